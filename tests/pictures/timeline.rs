//! The timeline of `sextant status --plot`.

use super::{Desk, HOSTILE, validate};
use roxmltree::Document;
use serde_json::{Value, json};

/// A report with images of all verdicts and names that are not meant well.
pub(super) fn desk() -> Desk {
    let image = |name: &str, reason: Option<&str>, begin: u64| {
        json!({
            "file": name, "directory": "/.extra/sysext", "name": name, "class": "sysext",
            "verdict": if reason.is_some() { "rejected" } else { "staged" }, "reason": reason, "detail": reason,
            "warnings": [], "root_hash": null, "signer": null, "size": 1, "coverage": null, "verify_usec": 1,
            "stage_usec": 1, "phases": [
                {"phase": "read", "begin_usec": begin, "end_usec": begin + 10_000},
                {"phase": "hash", "begin_usec": begin + 10_000, "end_usec": begin + 90_000},
            ],
        })
    };
    let mut images = vec![image("k3s", None, 2_000_000)];
    images.extend(HOSTILE.iter().map(|name| image(name, Some("bad-gpt"), 2_100_000)));
    let report = report(
        &json!(images),
        &json!([
            {"command": "stage", "begin_usec": 1_900_000, "end_usec": 2_400_000},
            {"command": HOSTILE[0], "begin_usec": 3_000_000, "end_usec": 3_100_000},
        ]),
    );
    Desk::new().file("report.json", report.to_string().as_bytes())
}

fn report(images: &Value, runs: &Value) -> Value {
    json!({
        "version": 1, "firmware": {"secure_boot": "enforcing", "entry": HOSTILE[1]}, "trust": [],
        "ignored_certificates": [], "images": images, "omitted": null, "merge": null, "runs": runs, "error": null,
    })
}

pub(super) fn the_timeline_is_valid_svg_in_which_names_are_text() {
    let desk = desk();
    let svg = desk.plot();
    let document = Document::parse(&svg).unwrap_or_else(|error| panic!("{error}: {svg}"));
    let root = document.root_element();
    assert_eq!((root.tag_name().name(), root.tag_name().namespace()), ("svg", Some("http://www.w3.org/2000/svg")));
    assert_eq!((root.attribute("role"), root.attribute("aria-labelledby")), (Some("img"), Some("title description")));
    let known = ["svg", "title", "desc", "style", "rect", "line", "text", "g"];
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        assert!(known.contains(&node.tag_name().name()), "{node:?}");
        assert!(node.attributes().all(|attribute| !attribute.name().starts_with("on")), "{node:?}");
        // Whatever is drawn is inside of the picture.
        let number = |name: &str| node.attribute(name).map_or(0.0, |text| text.parse::<f64>().unwrap());
        assert!(number("x") + number("width") <= number_of(&root, "width"), "{node:?}");
        assert!(number("y") + number("height") <= number_of(&root, "height"), "{node:?}");
    }
    let texts: Vec<&str> = document.descendants().filter_map(|node| node.text()).collect();
    let has = |text: &str| texts.iter().any(|found| found.contains(text));
    for text in
        [HOSTILE[0], HOSTILE[1], HOSTILE[2], "a\\u{202e}b\\u{1b}[31m\\n&lt;", "k3s: reading and signature 10 ms"]
    {
        assert!(has(text), "{text}: {texts:#?}");
    }
    assert!(!svg.contains(['\u{202e}', '\u{1b}', '\t', '\r']));
    if let Some(output) = validate("xmllint", &["--noout", "--nonet"], &desk.path("boot.svg")) {
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
}

fn number_of(node: &roxmltree::Node<'_, '_>, name: &str) -> f64 {
    node.attribute(name).unwrap().parse().unwrap()
}

pub(super) fn a_report_of_an_older_agent_has_no_timeline() {
    let mut old = report(&json!([]), &json!([]));
    old.as_object_mut().unwrap().remove("runs");
    let desk = Desk::new().file("report.json", old.to_string().as_bytes());
    let output = desk.run(&["status", "--report", "report.json", "--plot"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("the report has no times: "), "{output:?}");
    let output = desk.run(&["status", "--report", "report.json", "--plot", "--json"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
