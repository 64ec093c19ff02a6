//! The page of `sextant plan --html`.

use super::{Desk, HOSTILE, validate};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use html5ever::tendril::TendrilSink;
use html5ever::{ParseOpts, parse_document};
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use std::fs;

/// An element: its name, its attributes, and the text in it.
pub(crate) struct Element {
    pub(crate) name: String,
    attributes: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Element {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// All elements of a document, and the errors that the parser of the HTML standard found.
pub(crate) fn parse(page: &str) -> (Vec<Element>, Vec<String>) {
    let dom = parse_document(RcDom::default(), ParseOpts::default()).one(page);
    let mut elements = Vec::new();
    walk(&dom.document, &mut elements);
    let errors = dom.errors.borrow().iter().map(ToString::to_string).collect();
    (elements, errors)
}

fn walk(node: &Handle, elements: &mut Vec<Element>) {
    if let NodeData::Element { name, attrs, .. } = &node.data {
        let attribute =
            |attribute: &html5ever::Attribute| (attribute.name.local.to_string(), attribute.value.to_string());
        let mut text = String::new();
        text_of(node, &mut text);
        let attributes = attrs.borrow().iter().map(attribute).collect();
        elements.push(Element { name: name.local.to_string(), attributes, text });
    }
    for child in node.children.borrow().iter() {
        walk(child, elements);
    }
}

fn text_of(node: &Handle, text: &mut String) {
    if let NodeData::Text { contents } = &node.data {
        text.push_str(&contents.borrow());
    }
    for child in node.children.borrow().iter() {
        text_of(child, text);
    }
}

pub(super) fn the_page_is_valid_html_in_which_names_are_text() {
    let desk = Desk::of_a_plan();
    let page = desk.plan();
    let (elements, errors) = parse(&page);
    assert_eq!(errors, Vec::<String>::new());
    let count = |name: &str| elements.iter().filter(|element| element.name == name).count();
    assert_eq!((count("script"), count("style"), count("b"), count("img"), count("iframe")), (1, 1, 0, 0, 0));
    for element in &elements {
        assert!(element.attributes.iter().all(|(name, _)| !name.starts_with("on")), "{}", element.name);
        for name in ["src", "href"] {
            assert!(element.attribute(name).is_none_or(|target| target.starts_with('#')), "nothing is loaded");
        }
    }
    let has = |text: &str| elements.iter().any(|element| element.name == "th" && element.text.contains(text));
    for name in &HOSTILE[..3] {
        assert!(has(&format!("/usr/share/{name}")), "{name}");
    }
    assert!(has("/usr/share/a\\u{202e}b\\u{1b}[31m\\n&lt;"), "what can't be seen is escaped");
    assert!(!page.contains(['\u{202e}', '\u{1b}', '\t', '\r']));
    // What a screen reader needs: one language, one main heading, named tables with named columns, unique ids.
    let html = elements.iter().find(|element| element.name == "html").unwrap();
    assert_eq!((html.attribute("lang"), count("h1"), count("main")), (Some("en"), 1, 1));
    assert_eq!((count("table"), count("table")), (count("caption"), count("thead")));
    assert!(count("table") >= 7);
    let mut ids: Vec<_> = elements.iter().filter_map(|element| element.attribute("id")).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
    for element in &elements {
        for name in ["aria-labelledby", "aria-describedby", "for"] {
            for id in element.attribute(name).unwrap_or_default().split_whitespace() {
                assert!(ids.contains(&id), "{name}={id}");
            }
        }
        if let Some(section) = element.attribute("href") {
            assert!(ids.contains(&section.trim_start_matches('#')), "{section}");
        }
    }
    if let Some(output) = validate("tidy", &["-quiet", "-errors"], &desk.path("plan.html")) {
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(output.status.success(), "{output:?}");
    }
}

pub(super) fn the_policy_admits_the_style_and_the_script_of_the_page_alone() {
    let (elements, _) = parse(&Desk::of_a_plan().plan());
    let one = |name: &str| elements.iter().find(|element| element.name == name).unwrap();
    let is_policy = |element: &&Element| element.attribute("http-equiv").is_some();
    let policy = elements.iter().find(is_policy).unwrap().attribute("content").unwrap();
    let hash = |text: &str| STANDARD.encode(openssl::sha::sha256(text.as_bytes()));
    let expected = format!(
        "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'",
        hash(&one("style").text),
        hash(&one("script").text)
    );
    assert_eq!(policy, expected);
    assert!(elements.iter().all(|element| element.attribute("style").is_none()), "the policy would ignore it");
}

pub(super) fn every_part_of_the_plan_is_on_the_page() {
    let (elements, _) = parse(&Desk::of_a_plan().plan());
    let rows: Vec<&str> =
        elements.iter().filter(|element| element.name == "tr").map(|element| element.text.as_str()).collect();
    for row in [
        "stranger.sysext.rawunknown-signer",
        "/usrk3s_1.9, k3s_1.10, odd",
        "/usr/bin/k3sk3s_1.10k3s_1.9",
        "/usr/bin/k3sk3s_1.9, k3s_1.10",
        "/usr/bin/only-oldk3s_1.9",
        "oem/20.yamlyip rejects this file",
        "bootoem/10.yaml1read-only: ",
    ] {
        assert!(rows.iter().any(|text| text.contains(row)), "{row}: {rows:#?}");
    }
    let step = rows.iter().find(|row| row.starts_with("initramfs")).unwrap();
    assert!(step.contains(HOSTILE[0]) && step.contains("too early: k3s comes with k3s_1.10"), "{step}");
    // The uppermost comes first, the host last, and the merge between the two sides.
    let items: Vec<&str> =
        elements.iter().filter(|element| element.name == "strong").map(|element| element.text.as_str()).collect();
    let place = |text: &str| items.iter().position(|item| *item == text).unwrap_or_else(|| panic!("{text}: {items:?}"));
    assert!(
        place("odd") < place("k3s_1.10") && place("k3s_1.10") < place("k3s_1.9") && place("k3s_1.9") < place("Host")
    );
    assert!(place("too early") < place("The merge") && place("The merge") < place("read-only"));
}

pub(super) fn the_page_can_be_all_that_is_printed() {
    let desk = Desk::of_a_plan();
    let plan = ["plan", "--certificate", "vendor.crt", "k3s_1.9.sysext.raw", "--html", "-"];
    let output = desk.run(&plan);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.starts_with("<!DOCTYPE html><html lang=\"en\">") && page.trim_end().ends_with("</html>"), "{page}");
    assert!(parse(&page).1.is_empty());
    let output = desk.run(&[&plan[..], &["--json"]].concat());
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
    // Nobody was named whom to trust: the page says so.
    let output = desk.run(&["plan", "k3s_1.9.sysext.raw", "--html", "-"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("Images were not verified: "), "{output:?}");
}

pub(super) fn what_cannot_be_written_is_an_error_and_leaves_nothing() {
    let desk = Desk::of_a_plan().file("plan.html/x", b"");
    let output = desk.run(&["plan", "--certificate", "vendor.crt", "k3s_1.9.sysext.raw", "--html", "plan.html"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("sextant: writing plan.html: "), "{output:?}");
    let left = fs::read_dir(desk.path(".")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(left.into_iter().all(|name| !name.starts_with(".#")), "no temporary file");
}
