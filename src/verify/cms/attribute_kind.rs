//! The accepted signed attributes.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kind of a signed attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttributeKind {
    /// Type of the signed content: plain data.
    ContentType,
    /// Digest of the content.
    MessageDigest,
    /// Time of the signature, which is not trusted.
    SigningTime,
    /// Capabilities of the signer (RFC 8551, section 2.5.2). OpenSSL writes them.
    SmimeCapabilities,
    /// Copy of the algorithms that the signature covers (RFC 6211).
    AlgorithmProtection,
    /// Digest of the signer's certificate (RFC 5035).
    SigningCertificateV2,
}

impl AttributeKind {
    pub(super) const ALL: [Self; 6] = [
        Self::ContentType,
        Self::MessageDigest,
        Self::SigningTime,
        Self::SmimeCapabilities,
        Self::AlgorithmProtection,
        Self::SigningCertificateV2,
    ];

    /// Returns the content of its object identifier.
    pub(super) const fn identifier(self) -> &'static [u8] {
        match self {
            Self::ContentType => &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3],
            Self::MessageDigest => &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4],
            Self::SigningTime => &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 5],
            Self::SmimeCapabilities => &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 15],
            Self::AlgorithmProtection => &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 52],
            Self::SigningCertificateV2 => &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 2, 47],
        }
    }
}

impl fmt::Display for AttributeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ContentType => "contentType",
            Self::MessageDigest => "messageDigest",
            Self::SigningTime => "signingTime",
            Self::SmimeCapabilities => "smimeCapabilities",
            Self::AlgorithmProtection => "cmsAlgorithmProtection",
            Self::SigningCertificateV2 => "signingCertificateV2",
        })
    }
}
