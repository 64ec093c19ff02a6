#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Reads the text format as strictly as promtool does, and returns the samples. Panics where it isn't valid.
fn samples(text: &str) -> BTreeMap<String, String> {
    assert!(text.ends_with('\n'), "{text}");
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let (mut families, mut samples, mut family) = (BTreeSet::new(), BTreeMap::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(is_name(name) && name.starts_with("sextant_") && help.ends_with('.'), "{line}");
            assert!(families.insert(name.to_owned()), "{name} is in two pieces");
            assert_eq!(lines.next(), Some(format!("# TYPE {name} gauge").as_str()));
            name.clone_into(&mut family);
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
        let (name, labels) = series.split_once('{').map_or((series, None), |(name, labels)| (name, Some(labels)));
        assert_eq!(name, family, "{line}");
        let mut rest = labels.map_or("", |labels| labels.strip_suffix('}').unwrap());
        let mut known = BTreeSet::new();
        while !rest.is_empty() {
            let (label, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
            assert!((is_name(label) || label == "sha256") && known.insert(label), "{line}");
            // Up to the first quote that isn't escaped.
            let mut escaped = false;
            let end = value.find(|character: char| {
                let is_end = character == '"' && !escaped;
                assert!(!escaped || matches!(character, '\\' | '"' | 'n'), "{line}");
                escaped = character == '\\' && !escaped;
                is_end
            });
            rest = &value[end.unwrap() + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        assert!(samples.insert(series.to_owned(), value.to_owned()).is_none(), "{series} is there twice");
    }
    samples
}

fn read(value: &Value) -> BTreeMap<String, String> {
    let report = Report::parse(value.to_string().as_bytes()).unwrap();
    let esp = Space { free: 1 << 20, size: 1 << 30, cluster: 4096, fat: true };
    samples(&metrics(&report, Surroundings { esp: Some(esp) }))
}

fn image(name: &str, verdict: &str, reason: Option<&str>) -> Value {
    json!({
        "file": format!("{name}.sysext.raw"), "name": name, "class": "sysext", "verdict": verdict, "reason": reason,
        "warnings": [], "verify_usec": 1500, "stage_usec": 1,
        "signer": {"source": "db", "subject": "CN=a \"b\\c\n", "sha256": "ab", "not_after": 1_900_000_000},
    })
}

fn boot() -> Value {
    json!({
        "version": 1, "agent_version": "1.2.3",
        "firmware": {"secure_boot": "enforcing", "entry": "active"},
        "trust": [
            {"source": "PK", "subject": "CN=Owner", "sha256": "cd", "file": null, "not_after": 2_000_000_000},
            {"source": "db", "subject": "CN=Old", "sha256": "ef", "file": null, "not_after": -5},
            {"source": "db", "subject": "CN=Noted by no one", "sha256": "01", "file": null},
        ],
        "ignored_certificates": [],
        "images": [
            image("k3s_1.30", "staged", None), image("k3s_1.31", "rejected", Some("corrupt")),
            image("lost", "staged", None), image("odd", "rejected", Some("from-a-later-version")),
        ],
        "omitted": {"total": 3, "by_reason": {"corrupt": 2, "unheard-of": 1}},
        "merge": {
            "requested": true, "confirmed": true, "merged": ["k3s_1.30"], "missing": ["lost"],
            "unexpected": [], "extensions": [{"class": "sysext", "name": "k3s_1.30", "origin": "staged"}],
        },
        "duration_usec": 2_000_001,
    })
}

#[test]
fn a_boot_is_counted() {
    let found = read(&boot());
    for (series, value) in [
        ("sextant_agent_info{version=\"1.2.3\"}", "1"),
        ("sextant_boot_info{secure_boot=\"enforcing\",entry=\"active\"}", "1"),
        ("sextant_health{state=\"missing\"}", "1"),
        ("sextant_health{state=\"well\"}", "0"),
        ("sextant_images{state=\"merged\"}", "1"),
        ("sextant_images{state=\"missing\"}", "1"),
        ("sextant_images{state=\"withdrawn\"}", "0"),
        ("sextant_images{state=\"rejected\"}", "5"),
        ("sextant_images_rejected{reason=\"corrupt\"}", "3"),
        ("sextant_images_rejected{reason=\"other\"}", "2"),
        ("sextant_extensions_merged", "1"),
        ("sextant_extensions_missing", "1"),
        ("sextant_extensions_lost", "3"),
        ("sextant_extension_info{class=\"sysext\",name=\"k3s_1.30\",version=\"1.30\",state=\"merged\"}", "1"),
        ("sextant_extension_info{class=\"sysext\",name=\"lost\",version=\"\",state=\"missing\"}", "1"),
        ("sextant_anchors", "3"),
        ("sextant_anchor_expiry_timestamp_seconds{source=\"db\",sha256=\"ef\",subject=\"CN=Old\"}", "-5"),
        (
            "sextant_signer_expiry_timestamp_seconds{source=\"db\",sha256=\"ab\",subject=\"CN=a \\\"b\\\\c\\\\n\"}",
            "1900000000",
        ),
        ("sextant_stage_duration_seconds", "2.000001"),
        ("sextant_verify_duration_seconds", "0.006000"),
        ("sextant_esp_free_bytes", "1048576"),
    ] {
        assert_eq!(found.get(series).map(String::as_str), Some(value), "{series}\n{found:#?}");
    }
    assert_eq!(found.keys().filter(|series| series.starts_with("sextant_anchor_expiry")).count(), 2);
}

#[test]
fn no_report_makes_more_series_than_there_is_room_for() {
    let mut value = boot();
    let images = (0..2000).map(|number| image(&format!("n{number}"), "staged", None));
    value["images"] = images.chain((0..2000).map(|it| image("x", "rejected", Some(&format!("token-{it}"))))).collect();
    value["trust"] = (0..2000)
        .map(|it| json!({"source": "db", "subject": "x", "sha256": format!("{it}"), "file": null, "not_after": it}))
        .collect();
    // The same twice.
    let anchor = value["trust"][0].clone();
    value["trust"].as_array_mut().unwrap().push(anchor);
    let found = read(&value);
    assert!(found.len() < 400, "{}", found.len());
    assert_eq!(found["sextant_images_rejected{reason=\"other\"}"], "2001");
    assert!(found.contains_key("sextant_anchor_expiry_timestamp_seconds{source=\"db\",sha256=\"63\",subject=\"x\"}"));
}

#[test]
fn a_report_that_says_nothing_has_metrics_too() {
    let found = samples(&metrics(&Report::default(), Surroundings::default()));
    assert_eq!(found["sextant_images{state=\"rejected\"}"], "0");
    assert_eq!(found["sextant_boot_info{secure_boot=\"unknown\",entry=\"\"}"], "1");
    assert!(!found.keys().any(|series| series.contains("esp") || series.contains("expiry")), "{found:#?}");
}
