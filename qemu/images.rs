//! What lies beside the UKI, and what has to become of it.

use crate::{hostile, keys, toolbox};
use std::collections::HashMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use support::ddi::Blueprint;
use support::keys::Authority;
use support::trees::{Tree, noise};

/// What has to become of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Staged and merged; signed by a certificate from there.
    Merged { source: &'static str },
    /// Rejected with this token.
    Rejected(&'static str),
    /// Never seen by the agent.
    Unseen,
}

/// A file on the ESP.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Its name.
    pub file: String,
    /// What it is, for messages.
    pub what: String,
    pub bytes: Arc<Vec<u8>>,
    pub expected: Expected,
    /// Whether it is for all boot entries, in `\loader\extensions`.
    pub is_global: bool,
}

impl Offer {
    /// Anything, beside the UKI.
    pub fn anything(file: &str, bytes: &[u8], expected: Expected) -> Self {
        let bytes = Arc::new(bytes.to_vec());
        Self { file: file.to_owned(), what: "anything".to_owned(), bytes, expected, is_global: false }
    }

    /// A good sysext.
    pub fn sysext(name: &str, authority: &Authority, source: &'static str) -> Self {
        Self::with_tree(name, &Tree::sysext(name), authority, source)
    }

    /// A good sysext with this in it.
    pub fn with_tree(name: &str, tree: &Tree, authority: &Authority, source: &'static str) -> Self {
        Self::of(format!("{name}.sysext.raw"), name, &tree.squashfs(), authority, source)
    }

    /// A good sysext that is an erofs.
    pub fn erofs(name: &str, authority: &Authority, source: &'static str) -> Self {
        Self::of(format!("{name}.sysext.raw"), name, &Tree::sysext(name).erofs(&["-zlz4"]), authority, source)
    }

    /// A good confext.
    pub fn confext(name: &str, authority: &Authority, source: &'static str) -> Self {
        Self::of(format!("{name}.confext.raw"), name, &Tree::confext(name).squashfs(), authority, source)
    }

    /// A good sysext with so many bytes in a file, uncompressed, as the witness digests it.
    pub fn large(name: &str, bytes: usize, authority: &Authority, source: &'static str) -> Self {
        let tree = Tree::sysext(name).file(&format!("usr/share/{name}/large.bin"), &noise(bytes));
        Self::of(format!("{name}.sysext.raw"), name, &tree.erofs(&[]), authority, source)
    }

    /// A good sysext as a person makes it: by `sextant build`, with these options.
    pub fn built(name: &str, options: &[&str], authority: &Authority, source: &'static str) -> Self {
        Self::built_from(name, &Tree::sysext(name), options, authority, source)
    }

    /// The same with this in it.
    pub fn built_from(name: &str, tree: &Tree, options: &[&str], authority: &Authority, source: &'static str) -> Self {
        // The trees of the tools see it under the same path.
        let desk = tempfile::tempdir_in("/tmp").unwrap();
        let files = keys::Files::write(authority, desk.path());
        tree.write_to(&desk.path().join("tree"));
        let path = format!("{}:{}", mkfs_erofs(desk.path()), std::env::var("PATH").unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_tool-in-machines"));
        command.args(["build", name, "tree", "--private-key"]).arg(files.key).arg("--certificate");
        command.arg(files.certificate).args(options).current_dir(desk.path()).env("PATH", path);
        toolbox::succeed(&mut command).unwrap();
        let file = format!("{name}.sysext.raw");
        let bytes = Arc::new(std::fs::read(desk.path().join(&file)).unwrap());
        Self {
            file,
            what: format!("built with {options:?}"),
            bytes,
            expected: Expected::Merged { source },
            is_global: false,
        }
    }

    fn of(file: String, name: &str, filesystem: &[u8], authority: &Authority, source: &'static str) -> Self {
        Self::laid_out(file, &Blueprint::new(name, filesystem, authority), source)
    }

    /// A good image of this layout.
    pub fn laid_out(file: String, blueprint: &Blueprint, source: &'static str) -> Self {
        Self {
            file,
            what: format!("a good one, {source}"),
            bytes: Arc::new(blueprint.render().bytes),
            expected: Expected::Merged { source },
            is_global: false,
        }
    }

    /// The same, to be rejected.
    pub fn rejected(self, token: &'static str) -> Self {
        Self { expected: Expected::Rejected(token), what: format!("to be {token}"), ..self }
    }

    /// The same, for all boot entries.
    pub fn global(self) -> Self {
        Self { is_global: true, ..self }
    }

    /// The same, with no agent to see it.
    pub fn unseen(self) -> Self {
        Self { expected: Expected::Unseen, ..self }
    }

    /// Name of the extension.
    pub fn name(&self) -> &str {
        self.file.trim_end_matches(".raw").trim_end_matches(".sysext").trim_end_matches(".confext")
    }

    /// Whether it is a confext.
    pub fn is_confext(&self) -> bool {
        self.file.ends_with(".confext.raw")
    }
}

/// Good ones, one by each source of trust; for each of them the firmware or the seal has to be asked elsewhere.
pub fn good() -> Vec<Offer> {
    vec![
        Offer::sysext("by-db", keys::db(), "db"),
        Offer::erofs("by-kek", keys::kek(), "KEK"),
        Offer::sysext("by-pk", keys::pk(), "PK"),
        Offer::erofs("by-vendor", keys::vendor(), "sealed"),
    ]
}

/// Files of the directory `$SEXTANT_EXTENSIONS` whose names end so.
pub fn own_files(end: &str) -> Vec<(String, Vec<u8>)> {
    let directory = std::env::var_os("SEXTANT_EXTENSIONS").expect("SEXTANT_EXTENSIONS=DIR names the directory");
    let entries = std::fs::read_dir(directory).expect("listing SEXTANT_EXTENSIONS").map(|entry| entry.unwrap().path());
    let mut found = Vec::new();
    for path in entries.filter(|path| path.is_file()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(end) {
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// The extensions in that directory. What becomes of them is for a person to see.
pub fn own() -> Vec<Offer> {
    let offer = |(file, bytes): (String, Vec<u8>)| Offer {
        file,
        what: "somebody's own".to_owned(),
        bytes: Arc::new(bytes),
        expected: Expected::Merged { source: "sealed" },
        is_global: false,
    };
    own_files(".raw").into_iter().map(offer).collect()
}

/// One of each kind that `sextant build` makes, for which the kernel needs code of its own.
pub fn built() -> Vec<Offer> {
    [
        ("built-squashfs", &[][..]),
        ("built-gzip", &["--compression", "gzip"]),
        ("built-erofs", &["--format", "erofs"]),
        ("built-erofs-plain", &["--format", "erofs", "--compression", "none"]),
        ("built-erofs-zstd", &["--format", "erofs", "--compression", "zstd"]),
    ]
    .map(|(name, options)| Offer::built(name, options, keys::db(), "db"))
    .into()
}

/// A directory for `PATH` with the tools' `mkfs.erofs`; the host's may be too old.
fn mkfs_erofs(desk: &Path) -> String {
    let script = format!("#!/bin/sh\nexec '{}/tests/toolbox/run' mkfs.erofs \"$@\"\n", toolbox::repository().display());
    let directory = desk.join("tools");
    std::fs::create_dir(&directory).unwrap();
    let program = directory.join("mkfs.erofs");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    directory.display().to_string()
}

/// So many rows of the table of hostile images that FAT can hold and systemd-stub hands over: one of each kind, then a
/// second of each, and so on. More would take systemd-stub minutes: it copies all for each that it adds.
pub fn hostile(count: usize) -> Vec<Offer> {
    let scratch = tempfile::tempdir().unwrap();
    let mut kinds: HashMap<&str, usize> = HashMap::new();
    let mut offers = Vec::new();
    for (number, row) in hostile::rows().into_iter().enumerate() {
        let usual = row.file == *format!("{}.sysext.raw", hostile::NAME);
        let file = row.file.to_string_lossy().into_owned();
        let file = if usual { format!("{}_{number}.sysext.raw", hostile::NAME) } else { file };
        // Nobody has seen the host's os-release when the agent decides: systemd leaves these out, silently.
        if row.token == "incompatible-host" || !arrives(&file) {
            continue;
        }
        let path = scratch.path().join(number.to_string());
        (row.place)(&path);
        // Neither links nor what is only large because nothing is in it.
        let small = |metadata: std::fs::Metadata| metadata.is_file() && metadata.len() < 64 << 20;
        if !path.symlink_metadata().is_ok_and(small) {
            continue;
        }
        let rank = kinds.entry(row.token).or_default();
        *rank += 1;
        let bytes = Arc::new(std::fs::read(&path).unwrap());
        let expected = Expected::Rejected(row.token);
        let offer = Offer { file, what: row.what.to_owned(), bytes, expected, is_global: false };
        offers.push((*rank, offer));
    }
    offers.sort_by_key(|(rank, _)| *rank);
    offers.into_iter().map(|(_, offer)| offer).take(count).collect()
}

/// Whether a file of this name gets from an ESP into `/.extra/sysext`.
fn arrives(file: &str) -> bool {
    let fits = |character: char| character.is_ascii_graphic() && !"\"*/:<>?\\|".contains(character);
    let extension = Path::new(file).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("raw"));
    extension && !file.starts_with('.') && !file.ends_with(".confext.raw") && file.chars().all(fits)
}
