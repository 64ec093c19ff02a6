//! What `sextant-agent adopt` would do, for `sextant refresh`. The two programs may be of different versions.

use super::schema::{Image, Omitted, SCHEMA_VERSION};
use ddi::Class;
use ddi::text::{Message, Text};
use serde::{Deserialize, Serialize};

/// What `sextant-agent adopt --dry-run` prints. Fields are added, never changed, within a version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Adoption {
    /// [`SCHEMA_VERSION`]
    pub version: u32,
    /// The files that aren't staged yet, as in the report; a good one is `accepted`.
    pub images: Vec<Image>,
    /// What has no row; `null` where all have.
    pub omitted: Option<Omitted>,
    /// What is staged and would be taken back. What is in its place is in `images`.
    pub withdrawn: Vec<TakenBack>,
    /// What systemd would find.
    pub offered: Vec<Offered>,
    /// Paths of images in directories of the host for whose sake systemd may refuse all extensions.
    pub blocking: Vec<Text>,
}

/// An extension that would be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenBack {
    /// What it extends.
    pub class: Class,
    /// Its name.
    pub name: Text,
    /// Why.
    pub cause: Message,
}

/// An extension that systemd would find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// What it extends.
    pub class: Class,
    /// Its name.
    pub name: Text,
    /// The path of its file; the name alone where it came from beside the UKI.
    pub file: Text,
    /// Its signed root hash; `null` for a directory of the host's, which no signature covers.
    pub root_hash: Option<Text>,
    /// Subject and source of its signer.
    pub signer: Option<Message>,
}

impl Adoption {
    /// Whether there is anything of `class`, good or bad.
    #[must_use]
    pub fn concerns(&self, class: Class) -> bool {
        self.offered.iter().any(|it| it.class == class)
            || self.withdrawn.iter().any(|it| it.class == class)
            || self.images.iter().any(|it| it.class == class)
    }
}

impl Default for Adoption {
    fn default() -> Self {
        Self {
            version: SCHEMA_VERSION,
            images: Vec::new(),
            omitted: None,
            withdrawn: Vec::new(),
            offered: Vec::new(),
            blocking: Vec::new(),
        }
    }
}
