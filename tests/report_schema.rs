//! `docs/report.schema.json` against reports of the agent and the tool, and against `docs/report.md`.
#![allow(clippy::unwrap_used)]

use boon::{Compiler, Schemas};
use ddi::Class;
use ddi::text::{Message, Text};
use serde_json::{Map, Value, json};
use sextant::firmware::SecureBoot;
use sextant::policy::Verify;
use sextant::reason::Reason;
use sextant::report::{
    Anchor, Coverage, FirmwareState, IgnoredCertificate, Image, MeasuredEvent, Measurement, MeasurementState, Merge,
    MergedExtension, NotMerged, Omitted, PcrValues, PhaseTime, Report, Run, SCHEMA_VERSION, Signer, SignerSource, Verb,
    Verdict, Vocabulary,
};
use sextant::trust::Source;
use sextant::verify::Phase;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use support::ddi::{Blueprint, good_image};
use support::efi::{self, Firmware};
use support::keys::{self, Authority};
use support::machine::Machine;
use support::trees::Tree;

fn vendor() -> &'static Authority {
    keys::ec("Vendor")
}

fn text() -> Value {
    serde_json::from_slice(&fs::read(support::repository().join("docs/report.schema.json")).unwrap()).unwrap()
}

/// Validates `report`, and returns the first errors.
fn errors(report: &Value) -> Option<String> {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("report.schema.json", text()).unwrap();
    let schema = compiler.compile("report.schema.json", &mut schemas).unwrap();
    schemas.validate(report, schema).err().map(|error| format!("{error:#}"))
}

#[track_caller]
fn check(what: &str, report: &Value) {
    assert_eq!(report["version"], json!(1), "{what}: {report}");
    if let Some(error) = errors(report) {
        panic!("{what}: {error}\n{report:#}");
    }
    let schema = text();
    let mut undescribed = BTreeSet::new();
    walk(&schema, &schema, report, "", &mut undescribed);
    assert!(undescribed.is_empty(), "{what}: the schema does not describe {undescribed:?}");
}

/// The definition that a schema refers to, or is one of with `null`.
fn resolve<'s>(schema: &'s Value, part: &'s Value) -> &'s Value {
    let alternative = || part["oneOf"].as_array().and_then(|all| all.iter().find(|it| it["type"] != "null"));
    if let Some(reference) = part["$ref"].as_str() {
        resolve(schema, schema.pointer(reference.trim_start_matches('#')).unwrap())
    } else if let Some(alternative) = alternative() {
        resolve(schema, alternative)
    } else {
        part
    }
}

/// Collects the members of `value` that the schema does not describe.
fn walk(schema: &Value, part: &Value, value: &Value, path: &str, undescribed: &mut BTreeSet<String>) {
    let part = resolve(schema, part);
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = format!("{path}.{name}");
                match part["properties"].get(name).or_else(|| part.get("additionalProperties")) {
                    Some(part) => walk(schema, part, member, &path, undescribed),
                    None => drop(undescribed.insert(path)),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                walk(schema, &part["items"], item, &format!("{path}[]"), undescribed);
            }
        }
        _ => {}
    }
}

/// All members that the schema describes, as docs/report.md writes them: `images[].coverage.verify`.
fn described(schema: &Value, part: &Value, path: &str, found: &mut BTreeSet<String>) {
    let part = resolve(schema, part);
    for (name, member) in part["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        found.insert(path.clone());
        described(schema, member, &path, found);
    }
    if part["items"].is_object() {
        described(schema, &part["items"], &format!("{path}[]"), found);
    }
}

/// Whether a member that is not null has this path.
fn has(value: &Value, path: &str) -> bool {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let (name, is_list) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
    let member = &value[name];
    match member.as_array().filter(|_| is_list) {
        Some(items) => items.iter().any(|item| has(item, rest)),
        None if rest.is_empty() => !member.is_null(),
        None => has(member, rest),
    }
}

fn measurement() -> Measurement {
    let values = || PcrValues {
        sha256: Some(Text::new("0c".repeat(32))),
        sha384: Some(Text::new("0c".repeat(48))),
        rest: Map::new(),
    };
    Measurement {
        state: MeasurementState::Differs.into(),
        detail: Some(Message::new("a sentence")),
        prediction_error: Some(Message::new("a sentence")),
        predicted: Some(values()),
        logged: Some(values()),
        tpm: Some(values()),
        events: vec![MeasuredEvent {
            pcr: 13,
            directory: Some(Text::new("/.extra/sysext")),
            predicted: Some(values()),
            logged: Some(values()),
            rest: Map::new(),
        }],
        rest: Map::new(),
    }
}

/// A report in which no member is null, except in some images, and no list is empty. A new field of these types does not compile here until it is
/// filled in, and then fails until the schema describes it.
fn complete() -> Report {
    let text = |text: &str| Text::new(text);
    let signer = || Signer {
        source: SignerSource::Anchor(Source::Db).into(),
        trusted: true,
        subject: text("CN=Vendor"),
        serial: Some(text("0c")),
        sha256: Text::new("0a".repeat(32)),
        not_after: Some(1),
        rest: Map::new(),
    };
    let image = |verdict: Verdict| Image {
        file: text("k3s.sysext.raw"),
        directory: Some(text("/.extra/sysext")),
        esp_path: Some(text("EFI/kairos/active.efi.extra.d/k3s.sysext.raw")),
        name: Some(text("k3s")),
        class: Class::Sysext,
        verdict: verdict.into(),
        reason: (verdict == Verdict::Rejected).then(|| Reason::Corrupt.into()),
        detail: matches!(verdict, Verdict::Rejected | Verdict::Withdrawn).then(|| Message::new("a sentence")),
        warnings: vec![Message::new("a warning")],
        root_hash: Some(Text::new("0b".repeat(64))),
        signer: Some(signer()),
        size: Some(4096),
        coverage: Some(Coverage { verify: Verify::OnRead.into(), bytes_checked: 1, bytes: 4096, rest: Map::new() }),
        verify_usec: 1,
        stage_usec: 1,
        phases: Phase::ALL
            .iter()
            .map(|phase| PhaseTime { phase: (*phase).into(), begin_usec: 1, end_usec: 2, rest: Map::new() })
            .collect(),
        rest: Map::new(),
    };
    let mut report = Report::default();
    report.firmware = Some(FirmwareState {
        secure_boot: SecureBoot::Enforcing.into(),
        entry: Some(text("active")),
        uki: Some(text("EFI/kairos/active.efi")),
        rest: Map::new(),
    });
    report.trust = Source::ALL
        .iter()
        .map(|source| Anchor {
            source: (*source).into(),
            subject: text("CN=Vendor"),
            sha256: Text::new("0a".repeat(32)),
            file: Some(text("db-1.crt")),
            not_after: Some(1),
            rest: Map::new(),
        })
        .collect();
    report.ignored_certificates = vec![IgnoredCertificate {
        source: text("dbx"),
        sha256: Some(Text::new("0a".repeat(32))),
        reason: Message::new("a sentence"),
        rest: Map::new(),
    }];
    report.images = Verdict::ALL.iter().copied().map(image).collect();
    report.omitted = Some(Omitted {
        total: 1,
        by_reason: [(text("bad-gpt"), 1)].into(),
        trust: 1,
        ignored_certificates: 1,
        rest: Map::new(),
    });
    report.merge = Some(Merge {
        requested: true,
        confirmed: true,
        merged: vec![text("k3s")],
        missing: vec![text("net")],
        unexpected: vec![text("stranger")],
        extensions: vec![MergedExtension {
            class: Class::Confext,
            name: text("k3s"),
            origin: text("staged"),
            root_hash: Some(Text::new("0b".repeat(32))),
            file: Some(text("/run/confexts/k3s.raw")),
            rest: Map::new(),
        }],
        not_merged: vec![NotMerged {
            class: Class::Sysext,
            name: text("net"),
            file: text("/run/extensions/net.raw"),
            staged: true,
            cause: Message::new("a sentence"),
            meant: false,
            rest: Map::new(),
        }],
        required_missing: vec![text("net")],
        rest: Map::new(),
    });
    report.measurement = Some(measurement());
    report.runs = Verb::ALL
        .iter()
        .map(|verb| Run { command: (*verb).into(), begin_usec: 1, end_usec: Some(2), rest: Map::new() })
        .collect();
    report.error = Some(Message::new("a sentence"));
    report.agent_version = Some(text("1.0"));
    report.duration_usec = Some(1);
    report
}

#[test]
fn every_field_is_described() {
    let report = serde_json::to_value(complete()).unwrap();
    check("every field", &report);
    let schema = text();
    let mut properties = BTreeSet::new();
    described(&schema, &schema, "", &mut properties);
    for property in &properties {
        assert!(has(&report, property), "no report has {property}");
    }
}

/// All words of a vocabulary.
fn all<T: Vocabulary>() -> Vec<&'static str> {
    T::ALL.iter().map(|it| it.word()).collect()
}

#[test]
fn words_are_those_that_reports_have() {
    let words = |name: &str, property: &str| -> Vec<String> {
        let part = &text()["$defs"][name];
        let list = if property.is_empty() { part } else { &part["properties"][property] };
        serde_json::from_value(list["enum"].clone()).unwrap()
    };
    assert_eq!(words("firmware", "secure_boot"), all::<SecureBoot>());
    assert_eq!(words("image", "verdict"), all::<Verdict>());
    assert_eq!(words("coverage", "verify"), all::<Verify>());
    assert_eq!(words("source", ""), all::<Source>());
    assert_eq!(words("run", "command"), all::<Verb>());
    assert_eq!(words("phase", "phase"), all::<Phase>());
    assert_eq!(words("measurement", "state"), all::<MeasurementState>());
    assert_eq!(words("class", ""), Class::ALL.map(Class::as_str));
    assert_eq!(text()["properties"]["version"]["const"], json!(SCHEMA_VERSION));
    for reason in Reason::ALL {
        let mut report = complete();
        report.omitted = Some(Omitted { by_reason: [(Text::new(reason), 1)].into(), ..Omitted::default() });
        check(reason.token(), &serde_json::to_value(report).unwrap());
    }
}

#[test]
fn the_document_describes_the_same_fields() {
    let schema = text();
    let mut properties = BTreeSet::new();
    described(&schema, &schema, "", &mut properties);
    let document = fs::read_to_string(support::repository().join("docs/report.md")).unwrap();
    let mut documented = BTreeSet::new();
    for line in document.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        // Rows about fields have a type; `a[].class`, `name` are two in one row.
        let is_type =
            |cell: &str| ["number", "string", "object", "list", "boolean"].iter().any(|it| cell.starts_with(it));
        if cells.len() != 5 || !is_type(cells[2]) {
            continue;
        }
        let mut prefix = String::new();
        for name in cells[1].split(", ").map(|name| name.trim_matches('`')) {
            let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") };
            prefix = name.rsplit_once('.').map_or(prefix, |(before, _)| before.to_owned());
            documented.insert(path);
        }
    }
    // What a signer has is in the text of its row.
    properties.retain(|property| !property.starts_with("images[].signer."));
    assert_eq!(documented, properties);
}

#[test]
fn other_documents_are_refused() {
    let complete = serde_json::to_value(complete()).unwrap();
    assert_eq!(errors(&complete), None);
    let changes: [(&str, Value); 8] = [
        ("/version", json!(2)),
        ("/images", json!(null)),
        ("/images/0/verdict", json!("good")),
        ("/images/0/reason", json!("corrupt")),
        ("/images/0/size", json!(-1)),
        ("/images/0/root_hash", json!("abc")),
        ("/merge/requested", json!("yes")),
        ("/error", json!("")),
    ];
    for (path, value) in changes {
        let mut document = complete.clone();
        *document.pointer_mut(path).unwrap() = value;
        assert!(errors(&document).is_some(), "{path}");
    }
    let mut missing = complete.clone();
    missing.as_object_mut().unwrap().remove("omitted");
    assert!(errors(&missing).is_some());
    let mut later = complete;
    later["images"][0]["colour"] = json!("blue");
    assert_eq!(errors(&later), None, "fields are added within a version");
}

/// Good images of both classes, a rejected file, and a certificate that is revoked.
fn machine() -> Machine {
    let revoked = keys::ec("Revoked");
    let firmware =
        Firmware::enforcing().db(&efi::certificates(&[vendor(), revoked])).dbx(&efi::certificates(&[revoked]));
    let confext = Blueprint::new("net", &Tree::confext("net").squashfs(), vendor()).render().bytes;
    Machine::new()
        .firmware(&firmware)
        .sysext("k3s.sysext.raw", &good_image("k3s", vendor()))
        .sysext("more.sysext.raw", &good_image("more", vendor()))
        .sysext("stranger.sysext.raw", &good_image("stranger", keys::ec("Stranger")))
        .sysext("junk.sysext.raw", b"junk")
        .confext("net.confext.raw", &confext)
}

/// Runs a verb and returns the report as it is then.
fn run(machine: &Machine, verb: &str) -> Value {
    let output = machine.agent(verb).output().unwrap();
    let report = fs::read(machine.path("run/sextant/report.json"));
    let report = report.unwrap_or_else(|error| panic!("{verb}: {error}: {}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_slice(&report).unwrap()
}

/// Verdict and reason of each row.
fn verdicts(report: &Value) -> BTreeSet<String> {
    let rows = report["images"].as_array().unwrap().iter();
    rows.map(|row| format!("{} {}", row["verdict"].as_str().unwrap(), row["reason"].as_str().unwrap_or(""))).collect()
}

#[test]
fn reports_of_a_boot_are_valid_from_stage_to_confirm() {
    let machine = machine();
    let report = run(&machine, "stage");
    check("stage", &report);
    assert_eq!(verdicts(&report), ["rejected bad-gpt", "rejected unknown-signer", "staged "].map(String::from).into());
    assert!(report["merge"].is_null() && report["ignored_certificates"][0]["source"] == "db", "{report:#}");

    // Another file takes the place of a staged one.
    let staged = machine.path("run/extensions/more.raw");
    let content = fs::read(&staged).unwrap();
    fs::remove_file(&staged).unwrap();
    fs::write(&staged, content).unwrap();
    let report = run(&machine, "merge");
    check("merge", &report);
    assert!(verdicts(&report).contains("withdrawn ") && report["merge"]["confirmed"] == false, "{report:#}");

    let merged = |hierarchy: &str, file: &str, names: &str| {
        let path = machine.path(Path::new(hierarchy).join(file));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, names).unwrap();
    };
    merged("usr", ".systemd-sysext/extensions", "k3s\nunexpected\n");
    let report = run(&machine, "confirm");
    check("confirm", &report);
    let merge = &report["merge"];
    for list in ["merged", "missing", "unexpected", "extensions", "not_merged"] {
        assert!(!merge[list].as_array().unwrap().is_empty(), "{list}: {merge:#}");
    }
}

#[test]
fn reports_of_failures_and_of_junk_are_valid() {
    let report = run(&machine().config("limitz: 3\n"), "stage");
    check("a broken configuration", &report);
    assert!(report["error"].is_string(), "{report:#}");

    let report = run(&Machine::new().firmware(&Firmware::absent()), "stage");
    check("no firmware", &report);
    assert_eq!(report["images"], json!([]));

    let junk = machine().with(|root| {
        for number in 0..1100 {
            fs::write(root.join(format!(".extra/sysext/{number}.txt")), b"").unwrap();
        }
    });
    let report = run(&junk, "stage");
    check("omitted rows", &report);
    assert!(report["omitted"]["total"].as_u64().unwrap() >= 100, "{}", report["omitted"]);
}

#[test]
fn reports_of_the_tool_are_valid() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("vendor.crt"), vendor().pem()).unwrap();
    fs::write(directory.path().join("k3s.sysext.raw"), good_image("k3s", vendor())).unwrap();
    fs::write(directory.path().join("junk.sysext.raw"), b"junk").unwrap();
    let tool = |arguments: &[&str]| -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tool-under-test"));
        let output = command.current_dir(directory.path()).args(arguments).stdin(Stdio::null()).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
    };
    let trust = ["--certificate", "vendor.crt"];
    let images = ["k3s.sysext.raw", "junk.sysext.raw", "absent.sysext.raw"];
    let report = tool(&[["verify", "--json"].as_slice(), &trust, &images].concat());
    check("verify", &report);
    assert!(verdicts(&report).contains("accepted ") && report["firmware"].is_null(), "{report:#}");

    let machine = machine();
    run(&machine, "stage");
    let path = machine.path("run/sextant/report.json");
    check("status", &tool(&["status", "--json", "--report", path.to_str().unwrap()]));
}
