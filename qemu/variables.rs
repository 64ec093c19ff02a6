//! The firmware's variables, in the flash that edk2 keeps them in.

use crate::platform::Platform;
use crate::toolbox::{Tree, succeed};
use crate::{hostile, keys};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use support::efi::{self, GLOBAL, List, SECURITY_DATABASE, SOME_TIME};

/// edk2's switch for Secure Boot (`gEfiSecureBootEnableDisableGuid`).
const SECURE_BOOT_ENABLE: &str = "f0a30bc7-af08-4556-99c4-001009c93a44";

/// State of the firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// Secure Boot on.
    Enforcing,
    /// The same, with certificates only: immucore gives up a database that holds something else.
    Plain,
    /// The same keys, but Secure Boot switched off.
    Disabled,
    /// No platform key: anybody may set the others.
    Setup,
}

impl Firmware {
    /// Writes the flash of a machine of this platform to `store`.
    ///
    /// # Errors
    /// What the tool said.
    pub fn write(self, platform: &Platform, store: &Path) -> Result<(), String> {
        let mut db = efi::certificates(&[keys::db(), keys::revoked()]);
        let mut dbx = List::certificate(keys::revoked()).encode();
        if self != Self::Plain {
            db.extend(hostile::db());
            dbx.extend(hostile::dbx());
        }
        let mut variables = vec![
            signatures("KEK", GLOBAL, &efi::certificates(&[keys::kek()])),
            signatures("db", SECURITY_DATABASE, &db),
            signatures("dbx", SECURITY_DATABASE, &dbx),
        ];
        if self != Self::Setup {
            variables.push(signatures("PK", GLOBAL, &efi::certificates(&[keys::pk()])));
            let enable = [u8::from(self != Self::Disabled)];
            variables.push(variable("SecureBootEnable", SECURE_BOOT_ENABLE, 3, &enable));
        }
        let list = store.with_extension("json");
        fs::write(&list, json!({ "version": 2, "variables": variables }).to_string()).unwrap();
        // The toolbox doesn't see the other trees.
        let blank = platform.tree.path().join(platform.variables);
        fs::copy(&blank, store).map_err(|error| format!("copying {}: {error}", blank.display()))?;
        let mut command = Tree::Trixie.command("virt-fw-vars");
        succeed(command.arg("--inplace").arg(store).arg("--set-json").arg(&list)).map(drop)
    }
}

fn variable(name: &str, guid: &str, attributes: u32, data: &[u8]) -> Value {
    json!({ "name": name, "guid": guid, "attr": attributes, "data": hex(data) })
}

/// A variable that only signed updates change, as PK, KEK, db and dbx are.
fn signatures(name: &str, guid: &str, data: &[u8]) -> Value {
    let mut variable = variable(name, guid, 0x27, data);
    variable["time"] = hex(&SOME_TIME).into();
    variable
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
