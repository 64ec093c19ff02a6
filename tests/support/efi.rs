//! Firmware variables as efivarfs shows them.

use super::keys::Authority;
use super::pkcs7::Digest;
use ddi::Guid;
use std::fs;
use std::path::Path;

/// `EFI_GLOBAL_VARIABLE`
pub const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`
pub const SECURITY_DATABASE: &str = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
/// systemd's Boot Loader Interface
pub const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// `EFI_CERT_X509_GUID`
pub const X509: &str = "a5c059a1-94e4-4aa7-87b5-ab155c2bf072";
/// `EFI_CERT_SHA256_GUID`
pub const SHA256: &str = "c1c41626-504c-4092-aca9-41f936934328";
/// `EFI_CERT_SHA1_GUID`
pub const SHA1: &str = "826ca512-cf10-4ac9-b187-be01496631bd";
/// `EFI_CERT_RSA2048_GUID`
pub const RSA2048: &str = "3c5805ca-95ab-4a45-9f8c-4ffb3b1af5b6";
/// `EFI_CERT_X509_SHA256_GUID`
pub const X509_SHA256: &str = "3bd2a492-96c0-4079-b420-fcf98ef103ed";
/// `EFI_CERT_X509_SHA384_GUID`
pub const X509_SHA384: &str = "7076876e-80c2-4ee6-aad2-28b349a6865b";
/// `EFI_CERT_X509_SHA512_GUID`
pub const X509_SHA512: &str = "446dbf63-2502-4cda-bcfa-2465d2b0fe9d";

/// Time of a revocation that holds always.
pub const ALWAYS: [u8; 16] = [0; 16];
/// 2024-05-06 07:08:09 as `EFI_TIME`.
pub const SOME_TIME: [u8; 16] = [0xe8, 0x07, 5, 6, 7, 8, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Non-volatile, boot service, run time, time-based authenticated: what firmware gives PK, KEK, db, dbx.
const KEY_ATTRIBUTES: u32 = 0x27;
/// Boot service, run time.
const STATE_ATTRIBUTES: u32 = 6;

/// The bytes of a GUID given as text.
pub fn guid(text: &str) -> [u8; 16] {
    let number = u128::from_str_radix(&text.replace('-', ""), 16).unwrap();
    Guid::from_id128(number.to_be_bytes()).to_bytes()
}

/// An `EFI_SIGNATURE_LIST` whose size fields can be wrong.
#[derive(Debug, Clone)]
pub struct List {
    /// `SignatureType`
    pub kind: [u8; 16],
    /// `SignatureHeader`
    pub header: Vec<u8>,
    /// `SignatureOwner` of each entry
    pub owner: [u8; 16],
    /// `SignatureData` of each entry, all of one length
    pub entries: Vec<Vec<u8>>,
    /// `SignatureListSize`; `None`: the right one
    pub list_size: Option<u32>,
    /// `SignatureHeaderSize`; `None`: the right one
    pub header_size: Option<u32>,
    /// `SignatureSize`; `None`: the right one
    pub entry_size: Option<u32>,
}

impl List {
    /// A list of this type.
    pub fn new(kind: &str, entries: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self {
            kind: guid(kind),
            header: Vec::new(),
            owner: guid("77fa9abd-0359-4d32-bd60-28f4e78f784b"),
            entries: entries.into_iter().collect(),
            list_size: None,
            header_size: None,
            entry_size: None,
        }
    }

    /// One certificate.
    pub fn certificate(authority: &Authority) -> Self {
        Self::new(X509, [authority.der()])
    }

    /// The revocation of one certificate by the digest of its TBS part.
    pub fn revoked(authority: &Authority, digest: Digest, time: [u8; 16]) -> Self {
        let kind = match digest {
            Digest::Sha256 => X509_SHA256,
            Digest::Sha384 => X509_SHA384,
            Digest::Sha512 => X509_SHA512,
            other => panic!("UEFI has no revocation by {other:?}"),
        };
        Self::new(kind, [[authority.tbs_digest(digest.openssl()).as_slice(), &time].concat()])
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let size = |len: usize| u32::try_from(len).unwrap();
        let entry = 16 + self.entries.first().map_or(0, Vec::len);
        let body: Vec<u8> = self.entries.iter().flat_map(|data| self.owner.iter().chain(data).copied()).collect();
        [
            self.kind.as_slice(),
            &self.list_size.unwrap_or(size(28 + self.header.len() + body.len())).to_le_bytes(),
            &self.header_size.unwrap_or(size(self.header.len())).to_le_bytes(),
            &self.entry_size.unwrap_or(size(entry)).to_le_bytes(),
            &self.header,
            &body,
        ]
        .concat()
    }
}

/// Several lists one after the other.
pub fn lists(lists: &[List]) -> Vec<u8> {
    lists.iter().flat_map(List::encode).collect()
}

/// A certificate list for each of `authorities`.
pub fn certificates(authorities: &[&Authority]) -> Vec<u8> {
    authorities.iter().flat_map(|authority| List::certificate(authority).encode()).collect()
}

/// UTF-16LE with a NUL, as the Boot Loader Interface has its strings.
pub fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// A set of variables.
#[derive(Debug, Clone, Default)]
pub struct Firmware {
    files: Vec<(String, Vec<u8>)>,
}

impl Firmware {
    /// No variable at all: a machine without UEFI.
    pub fn absent() -> Self {
        Self::default()
    }

    /// Secure Boot enforced in user mode, with the usual state variables and no keys.
    pub fn enforcing() -> Self {
        Self::default().state("SecureBoot", 1).state("SetupMode", 0).state("AuditMode", 0).state("DeployedMode", 0)
    }

    /// Secure Boot switched off.
    pub fn disabled() -> Self {
        Self::enforcing().state("SecureBoot", 0)
    }

    /// Setup mode: anybody may enrol a platform key.
    pub fn setup_mode() -> Self {
        Self::enforcing().state("SecureBoot", 0).state("SetupMode", 1)
    }

    /// Puts a variable with any attributes and content, in place of one of this name.
    pub fn variable(self, name: &str, vendor: &str, attributes: u32, data: &[u8]) -> Self {
        let content = [attributes.to_le_bytes().as_slice(), data].concat();
        self.raw(&format!("{name}-{vendor}"), &content)
    }

    /// Puts a file as it is, in place of one of this name.
    pub fn raw(mut self, file: &str, content: &[u8]) -> Self {
        self.files.retain(|(name, _)| name != file);
        self.files.push((file.to_owned(), content.to_vec()));
        self
    }

    /// Removes a variable.
    pub fn without(mut self, name: &str) -> Self {
        self.files.retain(|(file, _)| !file.starts_with(&format!("{name}-")));
        self
    }

    /// A state variable of one byte, such as `SecureBoot`.
    pub fn state(self, name: &str, value: u8) -> Self {
        self.variable(name, GLOBAL, STATE_ATTRIBUTES, &[value])
    }

    /// The content of PK.
    pub fn pk(self, data: &[u8]) -> Self {
        self.variable("PK", GLOBAL, KEY_ATTRIBUTES, data)
    }

    /// The content of KEK.
    pub fn kek(self, data: &[u8]) -> Self {
        self.variable("KEK", GLOBAL, KEY_ATTRIBUTES, data)
    }

    /// The content of db.
    pub fn db(self, data: &[u8]) -> Self {
        self.variable("db", SECURITY_DATABASE, KEY_ATTRIBUTES, data)
    }

    /// The content of dbx.
    pub fn dbx(self, data: &[u8]) -> Self {
        self.variable("dbx", SECURITY_DATABASE, KEY_ATTRIBUTES, data)
    }

    /// What systemd-boot says it started, such as `active.conf`.
    pub fn entry(self, id: &str) -> Self {
        self.variable("LoaderEntrySelected", LOADER, STATE_ATTRIBUTES, &utf16(id))
    }

    /// What systemd-stub says it was loaded from, such as `\EFI\kairos\active.efi`.
    pub fn stub(self, path: &str) -> Self {
        self.variable("StubImageIdentifier", LOADER, STATE_ATTRIBUTES, &utf16(path))
    }

    /// Writes the variables into a directory that looks like efivarfs, in place of what was there.
    pub fn write_to(&self, directory: &Path) {
        let _ = fs::remove_dir_all(directory);
        fs::create_dir_all(directory).unwrap();
        for (name, content) in &self.files {
            fs::write(directory.join(name), content).unwrap();
        }
    }
}
