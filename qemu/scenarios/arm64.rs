//! Boots of a machine for 64-bit ARM, whose images this test makes for an architecture that isn't its own.

use super::{Outcome, Scenario};
use crate::guest::Guest::Arm64;
use crate::images::{Expected, Offer};
use crate::variables::Firmware::Disabled;
use crate::witness::Findings;
use crate::{keys, toolbox};
use ddi::Architecture;
use ddi::write::DdiBuilder;
use support::ddi::Blueprint;
use support::keys::Authority;
use support::trees::Tree;

pub fn table() -> Vec<Scenario> {
    let on = |scenario: Scenario| scenario.on(Arm64).obstacle(|| toolbox::Tree::Arm64.inability()).of_matrix();
    vec![
        on(Scenario::new(
            "central",
            "64-bit ARM: good ones by each source of trust among hostile ones and foreign ones",
        )
        .offers(|| [good(), bad()].concat())
        .check(reasons_are_given)),
        on(Scenario::new("secure-boot-off", "64-bit ARM with Secure Boot switched off")
            .firmware(Disabled)
            .offers(|| good().into_iter().map(|offer| offer.rejected("secure-boot-off")).collect())
            .check(|findings| assert_eq!(findings.report().unwrap()["firmware"]["secure_boot"], "disabled"))),
        on(Scenario {
            uki_signer: keys::stranger,
            ..Scenario::new("wrong-key", "64-bit ARM: a UKI by a key that the firmware doesn't trust")
        }
        .outcome(Outcome::RefusedByFirmware)),
    ]
}

/// What a sysext has in it, for machines of that architecture.
fn tree(name: &str, architecture: Architecture) -> Tree {
    Tree::sysext(name).release(name, &format!("ID=_any\nARCHITECTURE={}\n", architecture.systemd_name()))
}

/// An image with the partition types of 64-bit ARM.
fn blueprint(name: &str, filesystem: &[u8], authority: Option<&Authority>) -> Blueprint {
    let builder = DdiBuilder::new(name).threads(1).architecture(Architecture::Arm64);
    Blueprint::build(&builder, filesystem, authority)
}

/// A good sysext.
fn sysext(name: &str, authority: &Authority, source: &'static str) -> Offer {
    let filesystem = tree(name, Architecture::Arm64).squashfs();
    Offer::laid_out(format!("{name}.sysext.raw"), &blueprint(name, &filesystem, Some(authority)), source)
}

fn good() -> Vec<Offer> {
    let built = |name: &str, options: &[&str]| {
        let options = [&["--arch", "arm64"], options].concat();
        Offer::built_from(name, &tree(name, Architecture::Arm64), &options, keys::db(), "db")
    };
    let settings = Tree::confext("settings").squashfs();
    vec![
        sysext("by-db", keys::db(), "db"),
        sysext("by-kek", keys::kek(), "KEK"),
        sysext("by-pk", keys::pk(), "PK"),
        sysext("by-vendor", keys::vendor(), "sealed"),
        Offer::laid_out("settings.confext.raw".to_owned(), &blueprint("settings", &settings, Some(keys::db())), "db"),
        built("built-squashfs", &[]),
        built("built-erofs", &["--format", "erofs", "--compression", "zstd"]),
    ]
}

fn bad() -> Vec<Offer> {
    let arm64 = |name: &str| tree(name, Architecture::Arm64).squashfs();
    let laid_out = |name: &str, blueprint: &Blueprint, token| {
        Offer::laid_out(format!("{name}.sysext.raw"), blueprint, "db").rejected(token)
    };
    let mut corrupt = sysext("corrupt", keys::db(), "db");
    let mut bytes = corrupt.bytes.to_vec();
    // The first block of the root partition.
    bytes[(1 << 20) + 100] ^= 1;
    corrupt.bytes = bytes.into();
    let foreign_files = tree("foreign-files", Architecture::X86_64).squashfs();
    vec![
        laid_out("unsigned", &blueprint("unsigned", &arm64("unsigned"), None), "no-signature"),
        sysext("by-stranger", keys::stranger(), "db").rejected("unknown-signer"),
        sysext("by-revoked", keys::revoked(), "db").rejected("revoked-signer"),
        corrupt.rejected("corrupt"),
        // A good one for a PC.
        Offer::sysext("foreign", keys::db(), "db").rejected("wrong-architecture"),
        laid_out(
            "foreign-files",
            &blueprint("foreign-files", &foreign_files, Some(keys::db())),
            "wrong-extension-release",
        ),
        Offer::anything("bare.sysext.raw", &arm64("bare"), Expected::Rejected("bad-gpt")),
    ]
}

/// The kernel is the one that it is about, and the report names both architectures.
fn reasons_are_given(findings: &Findings) {
    assert_eq!(findings.text("machine").trim(), "aarch64");
    let report = findings.report().unwrap();
    assert_eq!(report["firmware"]["secure_boot"], "enforcing");
    let rows = report["images"].as_array().unwrap();
    let detail = |file: &str| rows.iter().find(|row| row["file"] == file).unwrap()["detail"].as_str().unwrap();
    for file in ["foreign.sysext.raw", "foreign-files.sysext.raw"] {
        let text = detail(file);
        assert!(text.contains("x86-64") && text.contains("arm64"), "{file}: {text}");
    }
    assert!(detail("corrupt.sysext.raw").contains("block"), "{}", detail("corrupt.sysext.raw"));
}
