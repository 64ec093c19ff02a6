//! File systems made by the tools that make them in real life: those of the toolbox, or else the host's.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// A temporary directory that the toolbox sees too.
pub fn directory() -> TempDir {
    tempfile::Builder::new().prefix("sextant-fs.").tempdir_in("/tmp").unwrap()
}

/// Makes an image of `tree`.
///
/// # Errors
/// What the tool said, or that there is none.
pub fn make(tool: &str, options: &[&str], tree: &Path, image: &Path) -> Result<(), String> {
    let (tree, image) = (tree.to_str().unwrap(), image.to_str().unwrap());
    let arguments: Vec<&str> = match tool {
        "mkfs.erofs" => [options, &[image, tree]].concat(),
        _ => [&[tree, image, "-noappend", "-no-progress", "-quiet"], options].concat(),
    };
    let output = command(tool).args(arguments).output().map_err(|error| format!("{tool}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    Err(format!("{tool} {options:?}: {}", text.trim()))
}

fn command(tool: &str) -> Command {
    static TOOLBOX: OnceLock<Option<PathBuf>> = OnceLock::new();
    let run = TOOLBOX.get_or_init(|| {
        let run = crate::repository().join("tests/toolbox/run");
        let usable = Command::new(&run).arg("true").output().is_ok_and(|output| output.status.success());
        usable.then_some(run)
    });
    match run {
        Some(run) => {
            let mut command = Command::new(run);
            command.arg(tool);
            command
        }
        None => Command::new(tool),
    }
}

/// Writes a file and the directories above it.
pub fn write(tree: &Path, path: &str, content: &[u8]) {
    let path = tree.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Sets an extended attribute.
pub fn set_xattr(tree: &Path, path: &str, name: &str, value: &[u8]) {
    rustix::fs::setxattr(tree.join(path), name, value, rustix::fs::XattrFlags::empty()).unwrap();
}

/// Bytes without a pattern, always the same ones.
pub struct Noise(pub u64);

impl Noise {
    /// The next number (xorshift64*).
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(len).collect()
    }
}
