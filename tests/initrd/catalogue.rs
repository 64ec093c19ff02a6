//! The message catalogue.

use crate::installed::{Installed, repository};
use crate::trees::Tree;
use sextant::report::Event;
use std::collections::BTreeMap;
use std::fs;

/// Fields of our entries that a text may name.
const FIELDS: [&str; 9] = [
    "SEXTANT_IMAGE",
    "SEXTANT_EXTENSION",
    "SEXTANT_VERDICT",
    "SEXTANT_REASON",
    "SEXTANT_MEANING",
    "SEXTANT_REMEDY",
    "SEXTANT_ROOT_HASH",
    "SEXTANT_SIGNER",
    "SEXTANT_COVERAGE",
];

/// Header and text of each entry, by identifier.
fn entries() -> BTreeMap<String, (String, String)> {
    let text = fs::read_to_string(repository().join("systemd-units/sextant.catalog")).unwrap();
    let mut entries = BTreeMap::new();
    for entry in text.split("\n-- ").skip(1) {
        let (id, rest) = entry.split_once('\n').unwrap();
        let (header, text) = rest.split_once("\n\n").unwrap_or_else(|| panic!("{id} has no text"));
        assert!(entries.insert(id.to_owned(), (header.to_owned(), text.to_owned())).is_none(), "{id} is there twice");
    }
    entries
}

pub(crate) fn every_kind_of_event_is_explained() {
    let entries = entries();
    for event in Event::ALL {
        let (header, text) = entries.get(event.message_id()).unwrap_or_else(|| panic!("{event:?} is not explained"));
        assert!(header.starts_with("Subject: ") && header.contains("\nDefined-By: sextant-agent"), "{event:?}");
        assert!(text.trim().len() > 80, "{event:?}: {text}");
    }
    assert_eq!(entries.len(), Event::ALL.len(), "an entry for an event that isn't there");
}

pub(crate) fn only_fields_that_entries_have_are_named() {
    for (id, (_, text)) in entries() {
        for field in text.split('@').skip(1).step_by(2) {
            assert!(FIELDS.contains(&field), "{id}: @{field}@");
        }
    }
}

/// Who reads the journal has what is installed, not the sources.
pub(crate) fn only_what_is_installed_is_referred_to() {
    let installed = Installed::new();
    let mut files = 0;
    for (id, (_, text)) in entries() {
        assert!(!text.contains("docs/"), "{id} refers to the sources");
        for word in text.split_whitespace().filter(|word| word.starts_with("/usr/")) {
            files += 1;
            assert!(installed.path().join(&word[1..]).is_file(), "{id} refers to {word}");
        }
    }
    assert!(files > 0);
}

pub(crate) fn journalctl_takes_the_catalogue() {
    let installed = Installed::new();
    for tree in Tree::all() {
        let root = installed.scratch(tree.suite);
        let script = r#"
            mkdir -p "$1/usr/lib/systemd/catalog" "$1/var/lib/systemd/catalog"
            cp /usr/lib/systemd/catalog/sextant.catalog "$1/usr/lib/systemd/catalog"
            journalctl --root="$1" --update-catalog
            journalctl --root="$1" --list-catalog
        "#;
        let list = tree.succeed(&installed, script, &[root.to_str().unwrap()]);
        for event in Event::ALL {
            assert!(list.contains(event.message_id()), "{}: no {event:?} in\n{list}", tree.suite);
        }
    }
}
