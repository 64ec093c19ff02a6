//! `sextant explain`.

use crate::Desk;
use serde_json::Value;
use sextant::reason::Reason;

#[test]
fn every_reason_is_listed_and_explained_within_eighty_columns() {
    let desk = Desk::new();
    let list = desk.run(&["explain"]);
    assert_eq!((list.status, list.stderr.as_str()), (Some(0), ""));
    for reason in Reason::ALL {
        let page = desk.run(&["explain", reason.token()]);
        assert_eq!((page.status, page.stderr.as_str()), (Some(0), ""));
        assert!(list.stdout.contains(&format!("\n{} ", reason.token())), "{reason}: {}", list.stdout);
        assert!(page.stdout.starts_with(&format!("{reason}\n  Meaning:\n    ")), "{}", page.stdout);
        assert!(page.stdout.contains("\n  What to do:\n    "), "{}", page.stdout);
        for line in list.stdout.lines().chain(page.stdout.lines()) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn several_reasons_come_in_the_order_of_the_rules_and_as_json() {
    let said = Desk::new().run(&["explain", "--json", "corrupt", "bad-name"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let document: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(document["version"], 1);
    let tokens: Vec<_> = document["reasons"].as_array().unwrap().iter().map(|row| &row["token"]).collect();
    assert_eq!(tokens, ["bad-name", "corrupt"]);
    let remedy = document["reasons"][1]["remedy"].as_str().unwrap();
    assert!(remedy.contains("Copy it anew"), "{remedy}");
}

#[test]
fn a_slip_of_the_finger_is_put_right() {
    let said = Desk::new().run(&["explain", "unknown-singer"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(2), ""));
    assert!(said.stderr.contains("'unknown-signer'"), "{}", said.stderr);
}
