//! Images of the stories, each made once. What is merged is known by its root hash.

use super::disk::Stored;
use crate::keys;
use ddi::PartitionKind::Root;
use ddi::write::DdiBuilder;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use support::ddi::Blueprint;
use support::keys::Authority;
use support::trees::{Tree, noise};

/// An image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its file name.
    pub file: String,
    /// Hexadecimal.
    pub root_hash: String,
    pub bytes: Arc<Vec<u8>>,
}

impl Image {
    fn new(file: &str, blueprint: &Blueprint) -> Self {
        let bytes = Arc::new(blueprint.render().bytes);
        Self { file: file.to_owned(), root_hash: blueprint.root_hash.to_string(), bytes }
    }

    /// Name of the extension.
    pub fn name(&self) -> &str {
        self.file.trim_end_matches(".raw").trim_end_matches(".sysext").trim_end_matches(".confext")
    }

    /// Whether it is a confext.
    pub fn is_confext(&self) -> bool {
        self.file.ends_with(".confext.raw")
    }

    /// It in the store of the persistent partition, enabled for a boot state by a link.
    pub fn enabled(&self, state: &str) -> [Stored; 2] {
        Stored::enabled(&self.file, state, &self.bytes)
    }
}

/// The image of this name.
pub fn image(name: &str) -> &'static Image {
    static IMAGES: LazyLock<HashMap<&str, Image>> = LazyLock::new(make);
    if name == "bulk" {
        return bulk();
    }
    IMAGES.get(name).unwrap_or_else(|| panic!("there is no image {name:?}"))
}

/// The bytes of a good one, of which one in the file's data is another.
pub fn tampered(name: &str, authority: &Authority) -> Image {
    let blueprint = sysext(name, authority);
    let end = blueprint.parts[blueprint.position(Root)].content.len();
    let bytes = Arc::new(blueprint.render().flip(Root, end / 2).bytes);
    Image { bytes, ..Image::new(&format!("{name}.sysext.raw"), &blueprint) }
}

/// A good one in which a byte in the middle of a file's data is another: all that is read before it is right.
fn flipped(name: &str, authority: &Authority) -> Image {
    let noise = noise(1 << 18);
    let filesystem = Tree::sysext(name).file(&format!("usr/share/{name}/noise.bin"), &noise).erofs(&[]);
    let middle = &noise[noise.len() / 2..][..64];
    let place = filesystem.windows(middle.len()).position(|window| window == middle).unwrap();
    let blueprint = Blueprint::new(name, &filesystem, authority);
    let bytes = Arc::new(blueprint.render().flip(Root, place).bytes);
    Image { bytes, ..Image::new(&format!("{name}.sysext.raw"), &blueprint) }
}

fn sysext(name: &str, authority: &Authority) -> Blueprint {
    Blueprint::new(name, &Tree::sysext(name).squashfs(), authority)
}

fn unsigned(name: &str) -> Image {
    let blueprint = Blueprint::build(&DdiBuilder::new(name).threads(1), &Tree::sysext(name).squashfs(), None);
    Image::new(&format!("{name}.sysext.raw"), &blueprint)
}

/// Larger than what firmware can load from an ESP, and than what /run may become.
pub const LARGE: usize = 700 << 20;

/// A good one of that size, made when it is asked for.
pub fn large() -> &'static Image {
    static IMAGE: LazyLock<Image> = LazyLock::new(|| {
        let tree = Tree::sysext("large").file("usr/share/large/large.bin", &noise(LARGE));
        Image::new("large.sysext.raw", &Blueprint::new("large", &tree.erofs(&[]), keys::db()))
    });
    &IMAGE
}

/// Bytes of a file in `roomy`.
pub fn roomy_noise() -> Vec<u8> {
    noise(16 << 20)
}

/// As large as an extension with some programs.
pub const BULK: usize = 64 << 20;

/// A good one of that size, made when it is asked for.
fn bulk() -> &'static Image {
    static IMAGE: LazyLock<Image> = LazyLock::new(|| {
        let tree = Tree::sysext("bulk").file("usr/share/bulk/bulk.bin", &noise(BULK));
        Image::new("bulk.sysext.raw", &Blueprint::new("bulk", &tree.erofs(&[]), keys::db()))
    });
    &IMAGE
}

/// Good ones of 1 MiB that differ in their names only.
pub const SEVERAL: [&str; 12] =
    ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

fn make() -> HashMap<&'static str, Image> {
    let signed = |name: &str, authority| Image::new(&format!("{name}.sysext.raw"), &sysext(name, authority));
    let other = Tree::sysext("good").file("usr/share/good/other", b"another build\n");
    let confext = Blueprint::new("settings", &Tree::confext("settings").squashfs(), keys::db());
    let garbage = Image {
        file: "garbage.sysext.raw".to_owned(),
        root_hash: String::new(),
        bytes: Arc::new(b"neither a disk image nor a file system\n".repeat(4096)),
    };
    // Larger than what is verified before the merge of an image that is verified when it is read.
    let roomy = Tree::sysext("roomy").file("usr/share/roomy/noise", &roomy_noise());
    let roomy = Blueprint::new("roomy", &roomy.squashfs(), keys::db());
    let several = SEVERAL.map(|name| {
        let tree = Tree::sysext(name).file(&format!("usr/share/{name}/noise"), &noise(1 << 20));
        (name, Image::new(&format!("{name}.sysext.raw"), &Blueprint::new(name, &tree.squashfs(), keys::db())))
    });
    let mut images = HashMap::from([
        ("roomy", Image::new("roomy.sysext.raw", &roomy)),
        ("good", signed("good", keys::db())),
        ("other good", Image::new("good.sysext.raw", &Blueprint::new("good", &other.squashfs(), keys::db()))),
        ("settings", Image::new("settings.confext.raw", &confext)),
        ("shared", signed("shared", keys::kek())),
        ("spare", signed("spare", keys::vendor())),
        ("only-active", signed("only-active", keys::db())),
        ("revoked", signed("revoked", keys::revoked())),
        ("stranger", signed("stranger", keys::stranger())),
        ("unsigned", unsigned("unsigned")),
        ("tampered", tampered("tampered", keys::db())),
        ("flipped", flipped("flipped", keys::db())),
        ("garbage", garbage),
        ("disk-revoked", signed("disk-revoked", keys::revoked())),
        ("disk-stranger", signed("disk-stranger", keys::stranger())),
        ("disk-unsigned", unsigned("disk-unsigned")),
        ("disk-tampered", tampered("disk-tampered", keys::db())),
    ]);
    images.extend(several);
    images
}
