#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::{Value, json};

fn minimal() -> Value {
    json!({"version": 1, "trust": [], "ignored_certificates": [], "images": []})
}

#[test]
fn members_and_words_that_are_not_known_survive() {
    let mut value = minimal();
    value["later"] = json!([1.5]);
    value["firmware"] = json!({"secure_boot": "audited", "entry": null, "uki": null, "vendor": "x"});
    value["images"] = json!([{
        "file": "a.sysext.raw", "name": "a", "class": "sysext", "verdict": "parked", "reason": "too-new",
        "warnings": [], "verify_usec": 1, "stage_usec": 1, "colour": "blue",
    }]);
    value["merge"] = json!({"requested": true, "merged": [], "missing": [], "later": 1});
    let report = Report::parse(value.to_string().as_bytes()).unwrap();
    assert!(!report.images[0].is_good());
    let written: Value = serde_json::from_slice(&report.encode().unwrap()).unwrap();
    assert_eq!(written["later"], json!([1.5]));
    assert_eq!(written["firmware"], value["firmware"]);
    for member in ["verdict", "reason", "colour"] {
        assert_eq!(written["images"][0][member], value["images"][0][member]);
    }
    assert_eq!(written["merge"]["later"], 1);
}

#[test]
fn what_is_no_report_is_an_error() {
    for text in ["", "[]", "{\"version\": 1}", "{", "{\"version\": 2, \"images\": []}"] {
        assert!(Report::parse(text.as_bytes()).is_err(), "{text}");
    }
    let mut other = minimal();
    other["version"] = json!(2);
    let error = Report::parse(other.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "the report has version 2; this sextant reads version 1");
    let long = vec![b' '; 2 * MAX_LEN + 1];
    assert!(matches!(Report::parse(&long), Err(ReportError::TooLarge)));
    let mut many = minimal();
    many["merge"] = json!({"requested": true, "merged": vec!["a"; 4097], "missing": []});
    let error = Report::parse(many.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "a list in it has 4097 rows; the limit is 4096");
    many["merge"]["merged"] = json!(vec!["a"; 4096]);
    assert!(Report::parse(many.to_string().as_bytes()).is_ok());
}

mod fates {
    use super::*;

    /// A sysext and a confext of one name, and another sysext.
    fn report(merged: &[&str], missing: &[&str]) -> Report {
        let image = |name: &str, class: &str| {
            json!({
                "file": format!("{name}.{class}.raw"), "name": name, "class": class, "verdict": "staged", "warnings": [],
                "verify_usec": 1, "stage_usec": 1,
            })
        };
        let mut value = minimal();
        value["images"] = json!([image("both", "sysext"), image("both", "confext"), image("one", "sysext")]);
        value["merge"] =
            json!({"requested": true, "confirmed": true, "merged": merged, "missing": missing, "unexpected": []});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn nothing_is_well_while_something_of_a_name_is_missing() {
        assert!(report(&["both", "both", "one"], &[]).is_well());
        let half = report(&["both", "one"], &["both"]);
        assert!(!half.is_well());
        assert_eq!(half.images.iter().map(|image| half.fate(image)).filter(|fate| *fate == Fate::Missing).count(), 2);
        assert!(!report(&["both", "one"], &["stranger"]).is_well());
    }

    #[test]
    fn the_worst_that_happened_decides_about_the_exit_status() {
        use crate::report::Health;
        let well = report(&["both", "both", "one"], &[]);
        let mut rejected = well.clone();
        rejected.images[2].verdict = Verdict::Rejected.into();
        let mut omitted = well.clone();
        omitted.omitted = Some(crate::report::Omitted { total: 1, ..Default::default() });
        let mut both = rejected.clone();
        both.merge.as_mut().unwrap().unexpected.push("stranger".into());
        let mut early = well.clone();
        early.merge = None;
        let mut failed = both.clone();
        failed.error = Some("it failed".into());
        let cases = [
            (well, Health::Well, 0),
            (rejected, Health::Rejected, 3),
            (omitted, Health::Rejected, 3),
            (both, Health::Missing, 4),
            (early, Health::Missing, 4),
            (report(&["both", "one"], &["both"]), Health::Missing, 4),
            (failed, Health::Failed, 1),
        ];
        for (report, health, status) in cases {
            assert_eq!((report.health(), health.exit_status()), (health, status));
        }
    }

    #[test]
    fn what_is_not_merged_any_more_is_missing() {
        let mut report = report(&["both", "both", "one"], &[]);
        let now = |names: &[&str]| names.iter().map(Text::new).collect::<BTreeSet<Text>>();
        assert_eq!(report.update(Class::Sysext, &now(&["one", "both", "other"])), Vec::<Text>::new());
        assert!(report.is_well());
        assert_eq!(report.update(Class::Sysext, &now(&["both"])), ["one"]);
        assert!(!report.is_well());
        assert_eq!(report.fate(&report.images[2]), Fate::Missing);
    }
}
