//! Both in Debian's chromium, without a screen: what its parser, its policy and its script engine make of them.

use super::page::{Element, parse};
use super::timeline;
use super::{Desk, HOSTILE};
use std::process::{Command, Stdio};
use support::harness;

/// The document that `chromium` has in memory once its scripts ran; `None` where it isn't installed, and the test is ignored.
fn dom(desk: &Desk, address: &str) -> Option<String> {
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]);
    let profile = format!("--user-data-dir={}", desk.path("profile").display());
    let address = format!("file://{}/{address}", desk.path("").display());
    let output = command.args([profile, address]).stdin(Stdio::null()).output();
    if output.is_err() {
        harness::left_out_everywhere("chromium is not installed");
    }
    let output = output.ok()?;
    assert!(output.status.success(), "{output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Rows of the tables that can be seen, and what the page says about their number.
fn shown(page: &str) -> (Vec<String>, String) {
    let (elements, _) = parse(page);
    let is_row = |element: &&Element| element.name == "tr" && element.attribute("data-by").is_some();
    let rows = elements.iter().filter(is_row).filter(|row| row.attribute("hidden").is_none());
    let output = elements.iter().find(|element| element.name == "output").unwrap();
    (rows.map(|row| row.text.clone()).collect(), output.text.clone())
}

pub(super) fn a_search_hides_what_does_not_match() {
    let desk = Desk::of_a_plan();
    let before = shown(&desk.plan());
    assert_eq!(before.1, "");
    let Some(page) = dom(&desk, "plan.html") else { return };
    assert_eq!(shown(&page), before, "nothing is searched yet");
    let is_hidden = |page: &str| {
        let (elements, _) = parse(page);
        elements.iter().find(|element| element.name == "form").unwrap().attribute("hidden").is_some()
    };
    assert!(is_hidden(&desk.plan()) && !is_hidden(&page), "the form is there once the script has run");

    let (rows, said) = shown(&dom(&desk, "plan.html?search=ONLY-old%20usr").unwrap());
    assert_eq!(rows, ["/usr/bin/only-oldk3s_1.9"]);
    assert_eq!(said, format!("1 of {} rows match", before.0.len()));
    let (rows, _) = shown(&dom(&desk, "plan.html?extension=k3s_1.9").unwrap());
    assert!(rows.len() >= 4 && rows.iter().all(|row| row.contains("k3s_1.9")), "{rows:#?}");
    let (rows, _) = shown(&dom(&desk, "plan.html?search=k3s&extension=odd").unwrap());
    // A step tells of extensions in its findings.
    assert_eq!((rows.len(), rows[0].as_str()), (2, "/usrk3s_1.9, k3s_1.10, odd"), "{rows:#?}");
    assert!(rows[1].starts_with("boot") && rows[1].contains("k3s_1.10, odd"), "{rows:#?}");
    assert_eq!(shown(&dom(&desk, "plan.html?extension=nobody").unwrap()).0, before.0, "not one of them");
}

pub(super) fn hostile_names_stay_text_in_a_browser() {
    let desk = Desk::of_a_plan();
    desk.plan();
    let Some(page) = dom(&desk, "plan.html?search=%3Cscript%3E") else { return };
    let (elements, _) = parse(&page);
    let count = |name: &str| elements.iter().filter(|element| element.name == name).count();
    assert_eq!((count("script"), count("b"), count("img")), (1, 0, 0));
    let title = elements.iter().find(|element| element.name == "title").unwrap();
    assert_eq!(title.text, "Merge plan", "no script of theirs ran");
    let (rows, _) = shown(&page);
    assert!(rows.iter().any(|row| row.contains(HOSTILE[0])), "{rows:#?}");
}

pub(super) fn a_browser_draws_the_timeline() {
    let desk = timeline::desk();
    desk.plot();
    let Some(page) = dom(&desk, "boot.svg") else { return };
    assert!(!page.contains("parsererror") && page.contains("Images of stage, from 1.90 s on"), "{page}");
}
