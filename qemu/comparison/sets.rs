//! Which images are offered.

use crate::images::{self, Offer};
use crate::keys;
use crate::support::ddi::Blueprint;
use crate::support::trees::{Tree, noise};
use sextant::build::DdiBuilder;
use sextant::image::PartitionKind;
use std::sync::Arc;

/// Of the large image; more than half of what /run may hold in such a machine.
const LARGE: usize = 150 << 20;
/// What else is in the set of twelve: something for each stage of a check.
const KINDS: [&str; 4] = ["bad-gpt", "extra-partition", "usr-partition", "wrong-extension-release"];

/// A set of images on the ESP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Set {
    Good,
    Stranger,
    Flipped,
    Unsigned,
    Twelve,
    Large,
}

impl Set {
    pub fn letter(self) -> &'static str {
        match self {
            Self::Good => "a",
            Self::Stranger => "b",
            Self::Flipped => "c",
            Self::Unsigned => "d",
            Self::Twelve => "e",
            Self::Large => "f",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Self::Good => "4 good ones",
            Self::Stranger => "4 good ones, 1 by an unknown signer",
            Self::Flipped => "4 good ones, 1 with a flipped bit in the data of a file",
            Self::Unsigned => "4 good ones, 1 bare squashfs, 1 with a hash tree but no signature",
            Self::Twelve => "4 good ones, 8 bad ones: those of b, c and d and 4 more",
            Self::Large => "1 good one of 150 MiB",
        }
    }

    /// Its images.
    pub fn offers(self) -> Vec<Offer> {
        let bad = match self {
            Self::Large => return vec![Offer::large("large", LARGE, keys::db(), "db")],
            Self::Good => Vec::new(),
            Self::Stranger => vec![stranger()],
            Self::Flipped => vec![flipped()],
            Self::Unsigned => unsigned(),
            Self::Twelve => {
                let others = images::hostile(1)
                    .into_iter()
                    .filter(|offer| KINDS.iter().any(|kind| offer.expected == images::Expected::Rejected(kind)));
                [vec![stranger(), flipped()], unsigned(), others.collect()].concat()
            }
        };
        [good(), bad].concat()
    }
}

/// By what the firmware trusts, for immucore knows nothing else.
fn good() -> Vec<Offer> {
    vec![
        Offer::sysext("by-db", keys::db(), "db"),
        Offer::erofs("by-kek", keys::kek(), "KEK"),
        Offer::sysext("by-pk", keys::pk(), "PK"),
        Offer::erofs("by-db-too", keys::db(), "db"),
    ]
}

fn stranger() -> Offer {
    Offer::sysext("stranger", keys::stranger(), "").rejected("unknown-signer")
}

/// In the middle of a file.
fn flipped() -> Offer {
    let noise = noise(1 << 18);
    let filesystem = Tree::sysext("flipped").file("usr/share/flipped/noise.bin", &noise).erofs(&[]);
    let middle = &noise[noise.len() / 2..][..64];
    let place = filesystem.windows(middle.len()).position(|window| window == middle).unwrap();
    let image = Blueprint::new("flipped", &filesystem, keys::db()).render();
    made("flipped", "corrupt", image.flip(PartitionKind::Root, place).bytes)
}

fn unsigned() -> Vec<Offer> {
    let tree = Tree::sysext("verity");
    let image = Blueprint::build(&DdiBuilder::new("verity").threads(1), &tree.squashfs(), None);
    vec![
        made("bare", "bad-gpt", Tree::sysext("bare").squashfs().to_vec()),
        made("verity", "no-signature", image.render().bytes),
    ]
}

fn made(name: &str, token: &'static str, bytes: Vec<u8>) -> Offer {
    Offer {
        file: format!("{name}.sysext.raw"),
        what: token.to_owned(),
        bytes: Arc::new(bytes),
        expected: images::Expected::Rejected(token),
    }
}
