//! The state of the firmware: Secure Boot, the boot entry, and the certificates that it trusts and revokes.

pub mod entry;
pub mod signature_list;
mod variables;

pub use variables::{DirectoryVariables, EFIVARFS, Name, NoVariables, SystemVariables, VariableError, Variables};

use serde::Serialize;
use signature_list::SignatureDatabase;
use std::fmt;

/// The state of Secure Boot. It determines whether the firmware's certificates prove anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecureBoot {
    /// On. Only the holder of the platform key can change that.
    Enforcing,
    /// Setup or audit mode: keys can be enrolled without authorization.
    SetupMode,
    /// Off.
    Disabled,
    /// There is no EFI firmware, or one without Secure Boot.
    Unavailable,
}

impl SecureBoot {
    /// Returns the token in the report.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforcing => "enforcing",
            Self::SetupMode => "setup-mode",
            Self::Disabled => "disabled",
            Self::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for SecureBoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state of the firmware as far as sextant needs it.
#[derive(Debug, Clone)]
pub struct Firmware {
    /// State of Secure Boot.
    pub secure_boot: SecureBoot,
    /// Names of the boot entry from boot loader and stub. Each may be missing.
    pub entries: entry::BootEntry,
    /// Path of the UKI on its partition, as the stub tells it; see [`entry::uki_path`].
    pub uki: Option<String>,
    /// Platform key.
    pub pk: SignatureDatabase,
    /// Key exchange keys.
    pub kek: SignatureDatabase,
    /// Allowed signers.
    pub db: SignatureDatabase,
    /// Revoked signers.
    pub dbx: SignatureDatabase,
}

impl Firmware {
    /// Reads the state.
    ///
    /// # Errors
    /// [`VariableError`] if a variable exists and cannot be read. Callers must treat this as fatal: with an unreadable
    /// dbx a revoked signer would be trusted.
    pub fn read(variables: &dyn Variables) -> Result<Self, VariableError> {
        let database = |name| -> Result<SignatureDatabase, VariableError> {
            Ok(variables.read(name)?.map(|data| signature_list::parse(&data)).unwrap_or_default())
        };
        // Of a damaged list in dbx, all entries are read that the firmware would read. In the other variables a damaged
        // list is refused as a whole.
        let dbx = variables.read(Name::Dbx)?.map(|data| signature_list::parse_revocations(&data));
        let stub = variables.read(Name::StubImageIdentifier)?;
        Ok(Self {
            secure_boot: secure_boot(variables)?,
            entries: entry::BootEntry {
                loader: variables.read(Name::LoaderEntrySelected)?.and_then(|data| entry::from_loader(&data)),
                stub: stub.as_deref().and_then(entry::from_stub),
            },
            uki: stub.as_deref().and_then(entry::uki_path),
            pk: database(Name::Pk)?,
            kek: database(Name::Kek)?,
            db: database(Name::Db)?,
            dbx: dbx.unwrap_or_default(),
        })
    }
}

/// Returns the state of Secure Boot (UEFI specification 2.10, section 32.3). `SecureBoot` is 1 if images are verified.
/// `SetupMode` is 1 if no platform key is enrolled, `AuditMode` if violations are only recorded.
fn secure_boot(variables: &dyn Variables) -> Result<SecureBoot, VariableError> {
    if !variables.available()? {
        return Ok(SecureBoot::Unavailable);
    }
    let flag =
        |name| -> Result<Option<bool>, VariableError> { Ok(variables.read(name)?.map(|data| data.as_slice() == [1])) };
    let secure_boot = flag(Name::SecureBoot)?;
    // Any value but zero counts as setup mode, so that an unclear value never establishes trust.
    let unowned =
        |name| -> Result<bool, VariableError> { Ok(variables.read(name)?.is_some_and(|data| data.as_slice() != [0])) };
    let unowned = unowned(Name::SetupMode)? || unowned(Name::AuditMode)?;
    Ok(match secure_boot {
        None => SecureBoot::Unavailable,
        Some(_) if unowned => SecureBoot::SetupMode,
        Some(true) => SecureBoot::Enforcing,
        Some(false) => SecureBoot::Disabled,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::HashMap;

    struct Fake(HashMap<Name, Vec<u8>>);

    impl Variables for Fake {
        fn read(&self, name: Name) -> Result<Option<Vec<u8>>, VariableError> {
            Ok(self.0.get(&name).cloned())
        }
        fn available(&self) -> Result<bool, VariableError> {
            Ok(!self.0.is_empty())
        }
    }

    fn state(variables: &[(Name, &[u8])]) -> SecureBoot {
        let variables = variables.iter().map(|(name, data)| (*name, data.to_vec())).collect();
        secure_boot(&Fake(variables)).unwrap()
    }

    #[test]
    fn only_an_owned_machine_that_verifies_is_enforcing() {
        use Name::{AuditMode, Db, DeployedMode, SecureBoot as Sb, SetupMode};
        assert_eq!(state(&[]), SecureBoot::Unavailable);
        assert_eq!(state(&[(Db, &[])]), SecureBoot::Unavailable);
        assert_eq!(state(&[(Sb, &[1]), (SetupMode, &[0]), (DeployedMode, &[1])]), SecureBoot::Enforcing);
        assert_eq!(state(&[(Sb, &[1])]), SecureBoot::Enforcing);
        assert_eq!(state(&[(Sb, &[1]), (SetupMode, &[1])]), SecureBoot::SetupMode);
        assert_eq!(state(&[(Sb, &[1]), (SetupMode, &[0]), (AuditMode, &[1])]), SecureBoot::SetupMode);
        assert_eq!(state(&[(Sb, &[0]), (SetupMode, &[1])]), SecureBoot::SetupMode);
        assert_eq!(state(&[(Sb, &[1]), (SetupMode, &[])]), SecureBoot::SetupMode);
        assert_eq!(state(&[(Sb, &[0]), (SetupMode, &[0])]), SecureBoot::Disabled);
        assert_eq!(state(&[(Sb, &[1, 1])]), SecureBoot::Disabled);
        assert_eq!(state(&[(Sb, &[])]), SecureBoot::Disabled);
    }
}
