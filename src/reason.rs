//! Reasons of refusals: stable tokens for reports, journal entries and scripts.

use ddi::text::Message;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Defines each reason in one place: documentation, variant and token.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $token:literal,)*) => {
        /// The rule that an image broke, in the order in which the rules are checked.
        ///
        /// Each token (see [`Reason::token`]) is an interface: it never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// All reasons, in the order of the rules.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the stable token.
            #[must_use]
            pub const fn token(self) -> &'static str {
                match self { $(Self::$variant => $token,)* }
            }
        }
    };
}

reasons! {
    /// The file is not a regular file, or its name is not that of an extension.
    BadName = "bad-name",
    /// The sealed configuration is invalid, so nothing is staged.
    BadConfiguration = "bad-configuration",
    /// The firmware's variables cannot be read, so trust anchors and revocations are unknown.
    FirmwareUnreadable = "firmware-unreadable",
    /// dbx cannot be read completely, so a revocation may be missing.
    DbxUnreadable = "dbx-unreadable",
    /// The boot entry may not have extensions.
    EntryDenied = "entry-denied",
    /// Secure Boot is not enforced, so the firmware's certificates prove nothing.
    SecureBootOff = "secure-boot-off",
    /// One file, all files together, or the copy in memory would exceed a limit.
    TooLarge = "too-large",
    /// There are more images than the limit allows.
    TooMany = "too-many",
    /// The file cannot be opened or read, or changed while it was in use.
    Unreadable = "unreadable",
    /// The file has no valid GUID partition table.
    BadGpt = "bad-gpt",
    /// The image has a `usr` partition, which systemd up to 257 would mount unverified.
    UsrPartition = "usr-partition",
    /// The partitions are for another architecture.
    WrongArchitecture = "wrong-architecture",
    /// The image has a partition that an extension may not have.
    ExtraPartition = "extra-partition",
    /// The image has two partitions of one kind.
    DuplicatePartition = "duplicate-partition",
    /// The image has no root partition with a hash tree.
    NoVerity = "no-verity",
    /// The image has no signature partition.
    NoSignature = "no-signature",
    /// A partition has the flag `no-auto` or the name `_empty`.
    NoAuto = "no-auto",
    /// The signature partition violates its specification.
    BadSignaturePartition = "bad-signature-partition",
    /// The signer is not a trust anchor.
    UnknownSigner = "unknown-signer",
    /// The signature uses a digest, key or padding that is too weak.
    WeakSignature = "weak-signature",
    /// The signature does not match the root hash.
    BadSignature = "bad-signature",
    /// dbx revokes the signer.
    RevokedSigner = "revoked-signer",
    /// The sealed configuration denies the root hash.
    RevokedImage = "revoked-image",
    /// The dm-verity superblock does not match the partitions.
    BadSuperblock = "bad-superblock",
    /// Data or hash tree do not match the signed root hash.
    Corrupt = "corrupt",
    /// dm-verity or the file system driver refuses the image.
    NotMountable = "not-mountable",
    /// There is no extension-release file for this name and architecture.
    WrongExtensionRelease = "wrong-extension-release",
    /// The extension is not for a booted system.
    WrongScope = "wrong-scope",
    /// The extension has its own os-release.
    ContainsOsRelease = "contains-os-release",
    /// One of the files that systemd reads before a merge cannot be read by systemd, or would block it.
    BadMetadata = "bad-metadata",
    /// A hierarchy of the extension is not a directory, or has a name that systemd reserves for itself.
    BadHierarchy = "bad-hierarchy",
    /// The extension is for another operating system or version.
    IncompatibleHost = "incompatible-host",
    /// The extension is older than the configuration permits.
    TooOld = "too-old",
    /// An image of the same name was accepted before.
    DuplicateName = "duplicate-name",
    /// An image of the same root hash was accepted before, under another name.
    DuplicateImage = "duplicate-image",
    /// There is not enough space to stage the image.
    NoSpace = "no-space",
    /// Staging the verified image failed.
    NotStaged = "not-staged",
    /// The image was not processed in time.
    OutOfTime = "out-of-time",
    /// A fault in sextant itself. It affects only this image.
    InternalError = "internal-error",
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.token())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let token = String::deserialize(deserializer)?;
        let known = Self::ALL.iter().find(|reason| reason.token() == token);
        known.copied().ok_or_else(|| D::Error::custom("no such reason"))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

/// A refusal: a token for programs and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    reason: Reason,
    detail: Message,
}

impl Refusal {
    /// Makes a refusal for `reason`. `detail` is the cause without subject, such as
    /// `signer "CN=Acme" is not one of the 4 trust anchors`.
    pub fn new(reason: Reason, detail: impl fmt::Display) -> Self {
        Self { reason, detail: Message::new(detail) }
    }

    /// Returns the rule that was broken.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Returns the cause as a sentence.
    #[must_use]
    pub fn detail(&self) -> &str {
        self.detail.as_str()
    }

    /// Returns the cause as a message for a row or an event.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.detail
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.reason)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn tokens_are_distinct_and_lower_case_words() {
        let tokens: HashSet<_> = Reason::ALL.iter().map(|reason| reason.token()).collect();
        assert_eq!(tokens.len(), Reason::ALL.len());
        assert!(tokens.iter().all(|token| token.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
    }
}
