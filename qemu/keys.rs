//! Who signs what: new keys in each run.

use std::fs;
use std::path::{Path, PathBuf};
use support::keys::{self, Authority};

/// The owner of the machine.
pub fn pk() -> &'static Authority {
    keys::rsa("Sextant Platform Key")
}

/// Who may change db and dbx.
pub fn kek() -> &'static Authority {
    keys::rsa("Sextant Key Exchange Key")
}

/// Signs boot loader and UKI, and extensions.
pub fn db() -> &'static Authority {
    keys::rsa("Sextant Database Key")
}

/// Signs extensions; the firmware has never heard of it.
pub fn vendor() -> &'static Authority {
    keys::rsa("Sextant Sealed Vendor")
}

/// Is in db and in dbx.
pub fn revoked() -> &'static Authority {
    keys::rsa("Sextant Revoked")
}

/// Nobody's.
pub fn stranger() -> &'static Authority {
    keys::rsa("Sextant Stranger")
}

/// Private key and certificate as files, for tools.
pub struct Files {
    pub key: PathBuf,
    pub certificate: PathBuf,
}

impl Files {
    /// Writes those of `authority` into a directory.
    pub fn write(authority: &Authority, directory: &Path) -> Self {
        let files = Self { key: directory.join("key.pem"), certificate: directory.join("certificate.pem") };
        fs::write(&files.key, authority.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
        fs::write(&files.certificate, authority.pem()).unwrap();
        files
    }
}
