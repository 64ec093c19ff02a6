//! Boots that differ in the state of the firmware, the boot entry or the kernel's command line.

use super::{Outcome, Scenario, vendor};
use crate::images::{self, Offer};
use crate::keys;
use crate::variables::Firmware::{Disabled, Setup};
use crate::witness::Findings;

pub fn table() -> Vec<Scenario> {
    vec![
        Scenario::new("custom-entry", "an entry of one's own, a confext, and a signer that dbx revokes")
            .entry("own")
            .offers(|| {
                vec![
                    Offer::sysext("by-db", keys::db(), "db"),
                    Offer::confext("conf", keys::kek(), "KEK"),
                    Offer::sysext("by-revoked", keys::revoked(), "db").rejected("revoked-signer"),
                    Offer::sysext("by-stranger", keys::stranger(), "db").rejected("unknown-signer"),
                ]
            })
            .of_matrix(),
        Scenario::new("recovery-entry", "the recovery entry gets none")
            .entry("recovery")
            .offers(|| all_rejected("entry-denied"))
            .of_matrix(),
        Scenario::new("secure-boot-off", "Secure Boot switched off")
            .firmware(Disabled)
            .offers(|| all_rejected("secure-boot-off"))
            .check(|findings| firmware_is(findings, "disabled")),
        Scenario::new("setup-mode", "no platform key")
            .firmware(Setup)
            .offers(|| all_rejected("secure-boot-off"))
            .check(|findings| firmware_is(findings, "setup-mode"))
            .of_matrix(),
        Scenario::new("setup-mode-allowed", "no platform key, and a sealed configuration that puts up with it")
            .of_matrix()
            .firmware(Setup)
            .sealed(|| {
                let config = "secure_boot: optional\ntrust:\n  sources: [sealed]\nmetrics: true\n";
                vendor().file("etc/sextant.yaml", config)
            })
            .offers(|| {
                vec![
                    Offer::sysext("by-vendor", keys::vendor(), "sealed"),
                    Offer::sysext("by-db", keys::db(), "db").rejected("unknown-signer"),
                ]
            })
            .check(|findings| {
                firmware_is(findings, "setup-mode");
                // The unit that confirms may write there, in all of its confinement.
                let metrics = findings.text("metrics.prom");
                assert!(metrics.contains("\nsextant_merge_confirmed 1\n"), "{metrics}");
                assert!(metrics.contains("{secure_boot=\"setup-mode\",entry=\"active\"} 1\n"), "{metrics}");
            }),
        Scenario::new("kernel-only", "the kernel alone may check signatures, and it knows db")
            .command_line("systemd.allow_userspace_verity=0")
            .offers(all_but_db_rejected)
            .of_matrix(),
        Scenario::new("signatures-required", "the kernel's dm-verity insists on signatures")
            .command_line("dm_verity.require_signatures=1")
            .offers(all_but_db_rejected)
            .of_matrix(),
        Scenario {
            uki_signer: keys::stranger,
            ..Scenario::new("wrong-key", "a UKI by a key that the firmware doesn't trust")
        }
        .outcome(Outcome::RefusedByFirmware),
    ]
}

/// Good ones, that nobody may have in this boot.
fn all_rejected(token: &'static str) -> Vec<Offer> {
    images::good().into_iter().map(|offer| offer.rejected(token)).collect()
}

/// Good ones, of which the kernel knows the signer of the first alone: db is in its keyring.
fn all_but_db_rejected() -> Vec<Offer> {
    let mut offers = images::good();
    for offer in offers.iter_mut().skip(1) {
        *offer = offer.clone().rejected("not-mountable");
    }
    offers
}

fn firmware_is(findings: &Findings, state: &str) {
    assert_eq!(findings.report().unwrap()["firmware"]["secure_boot"], state);
}
