//! Why an image was refused: the tokens that reports, journal entries and scripts rely on.

use ddi::text::Message;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Defines the tokens once: variant, text, and the sentence that the catalogue of reasons shows.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $token:literal,)*) => {
        /// The rule that an image broke, in the order in which the rules are looked at.
        ///
        /// The text of each (see [`Reason::token`]) is an interface: it never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason there is, in the order of the rules.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable token.
            #[must_use]
            pub const fn token(self) -> &'static str {
                match self { $(Self::$variant => $token,)* }
            }
        }
    };
}

reasons! {
    /// Not a regular file, or its name isn't that of an extension.
    BadName = "bad-name",
    /// The sealed configuration can't be used, so nothing is staged.
    BadConfiguration = "bad-configuration",
    /// The firmware's variables can't be read, so nobody knows whom to trust or what is revoked.
    FirmwareUnreadable = "firmware-unreadable",
    /// dbx can't be read to its end, so a revocation may be missing.
    DbxUnreadable = "dbx-unreadable",
    /// The boot entry may not have extensions.
    EntryDenied = "entry-denied",
    /// Secure Boot isn't enforced, so the firmware's certificates prove nothing.
    SecureBootOff = "secure-boot-off",
    /// One file, all files, or the copy in memory would exceed a limit.
    TooLarge = "too-large",
    /// More files than the limit allows.
    TooMany = "too-many",
    /// The file can't be opened or read.
    Unreadable = "unreadable",
    /// No valid GUID partition table.
    BadGpt = "bad-gpt",
    /// A `usr` partition: systemd up to 257 would mount it without checking anything.
    UsrPartition = "usr-partition",
    /// The partitions are those of another architecture.
    WrongArchitecture = "wrong-architecture",
    /// A partition that doesn't belong into an extension.
    ExtraPartition = "extra-partition",
    /// Two partitions of one kind.
    DuplicatePartition = "duplicate-partition",
    /// No root partition with a hash tree.
    NoVerity = "no-verity",
    /// No signature partition.
    NoSignature = "no-signature",
    /// A partition is flagged, or named, not to be used.
    NoAuto = "no-auto",
    /// The signature partition isn't what the specification says.
    BadSignaturePartition = "bad-signature-partition",
    /// Signed by a certificate that isn't trusted.
    UnknownSigner = "unknown-signer",
    /// A digest, key or padding that isn't accepted.
    WeakSignature = "weak-signature",
    /// The signature doesn't fit the root hash.
    BadSignature = "bad-signature",
    /// Signed by a certificate that the firmware's dbx revokes.
    RevokedSigner = "revoked-signer",
    /// The sealed configuration denies this root hash.
    RevokedImage = "revoked-image",
    /// The dm-verity superblock doesn't fit the partitions.
    BadSuperblock = "bad-superblock",
    /// Data or hash tree don't give the signed root hash.
    Corrupt = "corrupt",
    /// dm-verity or the file system refuses it.
    NotMountable = "not-mountable",
    /// No extension-release file for this name and machine.
    WrongExtensionRelease = "wrong-extension-release",
    /// Not meant for a system that has booted.
    WrongScope = "wrong-scope",
    /// It brings an os-release of its own.
    ContainsOsRelease = "contains-os-release",
    /// Something that systemd can't read, or would wait for, among the files that it reads before it merges.
    BadMetadata = "bad-metadata",
    /// Something that isn't a directory where systemd merges directories, or a name of systemd's own in one.
    BadHierarchy = "bad-hierarchy",
    /// Made for another operating system or version.
    IncompatibleHost = "incompatible-host",
    /// An image of this name was accepted before.
    DuplicateName = "duplicate-name",
    /// An image of this root hash was accepted before, under another name.
    DuplicateImage = "duplicate-image",
    /// No room to stage it.
    NoSpace = "no-space",
    /// Staging failed though everything was fine.
    NotStaged = "not-staged",
    /// Reading it took too long.
    OutOfTime = "out-of-time",
    /// A fault in sextant itself, confined to this image.
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

/// A refusal: the token for programs and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    reason: Reason,
    detail: Message,
}

impl Refusal {
    /// Refuses for `reason`; `detail` is the cause without subject, such as
    /// `signer "CN=Acme" is not one of the 4 trust anchors`.
    pub fn new(reason: Reason, detail: impl fmt::Display) -> Self {
        Self { reason, detail: Message::new(detail) }
    }

    /// The rule that was broken.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The cause as a sentence.
    #[must_use]
    pub fn detail(&self) -> &str {
        self.detail.as_str()
    }

    /// The same, for a row or an event.
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
