//! Variables that `virt-fw-vars` enrolled, read back by the library: what went in comes out, in order.
#![allow(clippy::unwrap_used)]

use ddi::Guid;
use serde_json::Value;
use sextant::firmware::entry::BootEntry;
use sextant::firmware::signature_list::{Entry, SignatureDatabase, TbsDigest, parse, parse_revocations};
use sextant::firmware::{DirectoryVariables, Firmware, SecureBoot};
use sextant::trust::{Fingerprint, Source, TrustStore};
use std::process::ExitCode;
use support::efi::{self, List};
use support::machine::Machine;
use support::toolbox::{Fixtures, Toolbox};
use support::{cases, harness};

const SETS: [&str; 3] = ["efivars", "efivars-setup", "efivars-disabled"];
const LISTS: [(&str, &str); 4] =
    [("PK", efi::GLOBAL), ("KEK", efi::GLOBAL), ("db", efi::SECURITY_DATABASE), ("dbx", efi::SECURITY_DATABASE)];

/// Length of the revocation time behind a digest.
const TIME: usize = 16;

fn firmware(fixtures: &Fixtures, set: &str) -> Firmware {
    Firmware::read(&DirectoryVariables::new(fixtures.path(set))).unwrap()
}

/// What went into a variable, as type and data.
fn enrolled(fixtures: &Fixtures, listing: &Value, name: &str) -> Vec<(String, Vec<u8>)> {
    let rows = listing["lists"][name].as_array().map_or(&[][..], Vec::as_slice);
    let data = |row: &Value| match row["file"].as_str() {
        Some(file) => fixtures.read(file),
        None => from_hex(row["data"].as_str().unwrap()),
    };
    rows.iter().map(|row| (row["type"].as_str().unwrap().to_owned(), data(row))).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

fn expected_entry((kind, data): (String, Vec<u8>)) -> Entry {
    let digest = |digest| Entry::CertificateDigest { digest, value: data[..data.len() - TIME].to_vec() };
    match kind.as_str() {
        "x509" => Entry::Certificate(data),
        "x509-sha256" => digest(TbsDigest::Sha256),
        "x509-sha384" => digest(TbsDigest::Sha384),
        "sha256" => {
            let list_type = Guid::from_bytes(efi::guid(efi::SHA256));
            Entry::Other { list_type, name: Some("SHA-256 image hash") }
        }
        other => panic!("no entry type for {other}"),
    }
}

fn every_entry_comes_out_as_it_went_in_and_in_order() {
    let Some(fixtures) = Fixtures::find() else { return };
    let listing = fixtures.json("efivars.json");
    let mut seen = 0;
    for set in SETS {
        let firmware = firmware(&fixtures, set);
        let databases = [&firmware.pk, &firmware.kek, &firmware.db, &firmware.dbx];
        for ((name, _), found) in LISTS.into_iter().zip(databases) {
            let expected: Vec<_> = enrolled(&fixtures, &listing[set], name).into_iter().map(expected_entry).collect();
            seen += expected.len();
            assert_eq!(*found, SignatureDatabase { entries: expected, errors: Vec::new() }, "{set}: {name}");
        }
    }
    assert!(seen > 40, "{seen} entries");
}

fn the_variables_that_other_tests_make_are_those_of_the_real_tool_to_the_byte() {
    let Some(fixtures) = Fixtures::find() else { return };
    let listing = &fixtures.json("efivars.json")["efivars"];
    for (name, vendor) in LISTS {
        let entries = enrolled(&fixtures, listing, name);
        let owner = listing["lists"][name][0]["owner"].as_str().unwrap();
        // The tool makes a list of its own for each certificate, and one for all entries of another type.
        let mut lists: Vec<(String, List)> = Vec::new();
        for (kind, data) in entries {
            let guid = match kind.as_str() {
                "x509" => efi::X509,
                "sha256" => efi::SHA256,
                "x509-sha256" => efi::X509_SHA256,
                _ => efi::X509_SHA384,
            };
            match lists.iter_mut().find(|(before, _)| *before == kind && kind != "x509") {
                Some((_, list)) => list.entries.push(data),
                None => lists.push((kind, List { owner: efi::guid(owner), ..List::new(guid, [data]) })),
            }
        }
        let expected: Vec<u8> = lists.iter().flat_map(|(_, list)| list.encode()).collect();
        let file = fixtures.read(&format!("efivars/{name}-{vendor}"));
        assert!(file[4..] == expected, "{name}: {} bytes, expected {}", file.len() - 4, expected.len());
    }
}

fn the_state_of_secure_boot_and_the_boot_entry_are_read() {
    let Some(fixtures) = Fixtures::find() else { return };
    let listing = fixtures.json("efivars.json");
    for (set, state) in SETS.into_iter().zip([SecureBoot::Enforcing, SecureBoot::SetupMode, SecureBoot::Disabled]) {
        let firmware = firmware(&fixtures, set);
        assert_eq!(firmware.secure_boot, state, "{set}");
        let texts = &listing[set]["texts"];
        assert!(!texts["LoaderEntrySelected"].as_str().unwrap().is_empty());
        let name = firmware.entries.name().unwrap().to_owned();
        assert_eq!(Value::from(format!("{name}.conf")), texts["LoaderEntrySelected"], "{set}");
        assert!(texts["StubImageIdentifier"].as_str().unwrap().ends_with(&format!("\\{name}.efi")), "{set}");
    }
}

fn what_dbx_revokes_isnt_trusted_and_everything_else_is() {
    let Some(fixtures) = Fixtures::find() else { return };
    let fingerprint = |name: &str| Fingerprint::of(&fixtures.read(&format!("keys/{name}.der")));
    let firmware = firmware(&fixtures, "efivars");
    let store = TrustStore::of_machine(&firmware, &[], &Source::CONFIGURABLE);

    let anchors: Vec<_> =
        store.anchors().iter().map(|anchor| (anchor.source(), anchor.certificate().fingerprint())).collect();
    let trusted =
        [(Source::Pk, "pk"), (Source::Kek, "kek"), (Source::Db, "db"), (Source::Db, "db-ec"), (Source::Db, "db-p384")];
    assert_eq!(anchors, trusted.map(|(source, name)| (source, fingerprint(name))));

    let mut revoked: Vec<_> = store.revoked().iter().map(|revoked| revoked.certificate.fingerprint()).collect();
    let names = ["revoked", "revoked-tbs256", "revoked-tbs384", "revoked-since"];
    let mut expected = names.map(fingerprint).to_vec();
    let by_text = |fingerprint: &Fingerprint| fingerprint.to_string();
    revoked.sort_by_key(by_text);
    expected.sort_by_key(by_text);
    assert_eq!(revoked, expected);

    let ignored: Vec<_> = store.ignored().iter().map(|ignored| (ignored.origin.as_str(), ignored.sha256)).collect();
    assert_eq!(ignored, names.map(|name| ("db", Some(fingerprint(name)))), "in the order of db");
    for (ignored, how) in store.ignored().iter().zip(["certificate itself", "SHA-256", "SHA-384", "SHA-256"]) {
        assert!(
            ignored.reason.as_str().starts_with("revoked by dbx") && ignored.reason.as_str().contains(how),
            "{}",
            ignored.reason
        );
    }
}

fn nothing_is_staged_unless_secure_boot_is_enforced() {
    let Some(fixtures) = Fixtures::find() else { return };
    let image = fixtures.image("repart-db.sysext.raw");
    for (set, reason) in SETS.into_iter().zip(["", "secure-boot-off", "secure-boot-off"]) {
        let machine =
            Machine::new().with(|root| fixtures.install_variables(set, root)).sysext("repart-db.sysext.raw", &image);
        let outcome = machine.stage();
        assert_eq!((outcome.status, outcome.verdict("repart-db.sysext.raw").1), (Some(0), reason), "{set}");
        let staged = if reason.is_empty() { vec!["repart-db"] } else { Vec::new() };
        assert_eq!(machine.staged_names(), staged, "{set}");
        assert_eq!(machine.exported_certificates().is_empty(), staged.is_empty(), "{set}");
    }
}

/// The store that Debian ships with OVMF: keys of Microsoft, and a dbx of hundreds of entries.
fn the_keys_that_machines_are_sold_with_are_read_to_the_last_entry() {
    let Some(toolbox) = Toolbox::find() else { return };
    let dump = "virt-fw-vars --input /usr/share/OVMF/OVMF_VARS_4M.ms.fd --output-json /dev/stdout 2>/dev/null";
    let dump: Value = serde_json::from_str(&toolbox.succeed(dump, &[])).unwrap();
    let variables = dump["variables"].as_array().unwrap();
    let database = |name: &str| {
        let variable = variables.iter().find(|variable| variable["name"] == name).unwrap();
        let data = from_hex(variable["data"].as_str().unwrap());
        if name == "dbx" { parse_revocations(&data) } else { parse(&data) }
    };
    let [pk, kek, db, dbx] = ["PK", "KEK", "db", "dbx"].map(database);
    for (name, database) in [("PK", &pk), ("KEK", &kek), ("db", &db), ("dbx", &dbx)] {
        assert_eq!(database.errors, [], "{name}");
        assert!(!database.entries.is_empty(), "{name}");
    }
    // dbx of a PC consists of hashes of boot loaders, and may have a certificate or two.
    assert!(dbx.entries.iter().any(|entry| matches!(entry, Entry::Other { name: Some(_), .. })));
    let firmware =
        Firmware { secure_boot: SecureBoot::Enforcing, entries: BootEntry::default(), uki: None, pk, kek, db, dbx };
    let store = TrustStore::of_machine(&firmware, &[], &Source::CONFIGURABLE);
    let is_microsoft = |source: Source| {
        let mut anchors = store.anchors().iter().filter(|anchor| anchor.source() == source);
        anchors.any(|anchor| anchor.certificate().subject().as_str().contains("Microsoft"))
    };
    assert!(is_microsoft(Source::Kek) && is_microsoft(Source::Db), "{:?}", store.anchors());
    // A certificate may stand in two of them; nothing else is a reason to leave one out.
    assert_eq!(store.dbx_faults(), [], "every machine that is sold would reject everything");
    let strange =
        store.ignored().iter().find(|ignored| !ignored.reason.as_str().starts_with("the same certificate as"));
    assert_eq!(strange, None);
}

fn main() -> ExitCode {
    harness::run(
        "real_firmware.rs",
        cases!(
            crate: every_entry_comes_out_as_it_went_in_and_in_order,
                the_variables_that_other_tests_make_are_those_of_the_real_tool_to_the_byte,
                the_state_of_secure_boot_and_the_boot_entry_are_read,
                what_dbx_revokes_isnt_trusted_and_everything_else_is,
                nothing_is_staged_unless_secure_boot_is_enforced,
                the_keys_that_machines_are_sold_with_are_read_to_the_last_entry;
        ),
    )
}
