//! Who signed an image, as the report tells it.

use super::word::{Vocabulary, Word};
use crate::trust::{Anchor, Source};
use crate::verify::UnknownSigner;
use ddi::text::Text;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// Who signed an image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Signer {
    /// `PK`, `KEK`, `db`, `sealed` or `file`; `untrusted` for a certificate that is no trust anchor.
    pub source: Word<SignerSource>,
    /// Whether the certificate is a trust anchor. Reports of earlier versions name no others.
    #[serde(default = "always")]
    pub trusted: bool,
    /// Subject.
    pub subject: Text,
    /// Serial number in hexadecimal; `None` in a report of an earlier version.
    #[serde(default)]
    pub serial: Option<Text>,
    /// SHA-256 of the DER encoding.
    pub sha256: Text,
    /// When the certificate expires, in seconds since 1970 (UTC); `None` in a report of an earlier version, and for a
    /// signer that is not trusted.
    #[serde(default)]
    pub not_after: Option<i64>,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

const fn always() -> bool {
    true
}

/// Where the certificate of a signer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignerSource {
    /// It is a trust anchor.
    Anchor(Source),
    /// The image alone brought it.
    Untrusted,
}

impl Vocabulary for SignerSource {
    const ALL: &'static [Self] = &[
        Self::Anchor(Source::Pk),
        Self::Anchor(Source::Kek),
        Self::Anchor(Source::Db),
        Self::Anchor(Source::Sealed),
        Self::Anchor(Source::File),
        Self::Untrusted,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Anchor(source) => source.as_str(),
            Self::Untrusted => "untrusted",
        }
    }
}

impl Signer {
    /// Whether a trust anchor signed the image.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.trusted && self.source != SignerSource::Untrusted
    }

    /// A signer that isn't trusted; `None` without a certificate, of which alone subject and fingerprint can be told.
    pub(super) fn untrusted(signer: &UnknownSigner) -> Option<Self> {
        Some(Self {
            source: SignerSource::Untrusted.into(),
            trusted: false,
            subject: signer.subject()?.clone(),
            serial: Some(signer.serial().clone()),
            sha256: Text::new(signer.fingerprint()?),
            not_after: None,
            rest: Map::new(),
        })
    }
}

/// `O=Acme, CN=Extensions (db)`
impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.subject, self.source)
    }
}

impl From<&Anchor> for Signer {
    fn from(anchor: &Anchor) -> Self {
        Self {
            source: SignerSource::Anchor(anchor.source()).into(),
            trusted: true,
            subject: anchor.certificate().subject().clone(),
            serial: Some(Text::new(anchor.certificate().serial())),
            sha256: Text::new(anchor.certificate().fingerprint()),
            not_after: Some(anchor.certificate().not_after()),
            rest: Map::new(),
        }
    }
}
