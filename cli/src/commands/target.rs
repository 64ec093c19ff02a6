//! The file that a command is about to write.

use super::usage;
use crate::inspect::Inspection;
use anyhow::{Context, Result, bail};
use ddi::Class;
use ddi::ExtensionName;
use ddi::io::FileSource;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Most bytes of a file with a root hash: SHA-512 in hexadecimal and a newline.
const MAX_ROOT_HASH: u64 = 129;

/// The file name that an extension's image has: systemd goes by it.
pub(super) fn file_name(name: &ExtensionName, class: Class, is_signed: bool) -> String {
    format!("{name}{}", if is_signed { class.file_suffix() } else { class.unsigned_suffix() })
}

/// The directory that `--output` means: itself, or that of the file it names, which can have no other name than `file_name`.
///
/// # Errors
/// Usage, where it names a file of another name.
pub(super) fn directory(output: &Path, file_name: &str) -> Result<PathBuf> {
    let is_image = output.extension().is_some_and(|end| {
        ["raw", "unsigned", "img", "squashfs", "erofs"].iter().any(|known| end.eq_ignore_ascii_case(known))
    });
    if output.is_dir() || !is_image {
        return Ok(output.to_owned());
    }
    if output.file_name().is_some_and(|name| name == file_name) {
        let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty());
        return Ok(parent.unwrap_or(Path::new(".")).to_owned());
    }
    Err(usage(&format!(
        "--output {}: the file name must be {file_name}, because systemd reads the name of the extension from it; \
         give this name, or a directory",
        output.display()
    )))
}

/// Refuses to replace what is neither an image nor the root hash of one, as `go build` refuses to replace what isn't a program:
/// an image that was built before is replaced without a question.
///
/// # Errors
/// Where something else is there, or can't be looked at.
pub(super) fn check_replaced(path: &Path, force: bool) -> Result<()> {
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("examining {}", path.display())),
    };
    if metadata.is_dir() {
        bail!("writing {}: it is a directory", path.display());
    }
    let is_ours = || -> io::Result<bool> {
        if !metadata.is_file() {
            return Ok(false);
        }
        if path.extension().is_some_and(|end| end == "roothash") {
            let is_short = metadata.len() <= MAX_ROOT_HASH;
            return Ok(is_short && std::fs::read(path)?.trim_ascii_end().iter().all(u8::is_ascii_hexdigit));
        }
        let source = FileSource::new(File::open(path)?)?;
        Ok(metadata.len() == 0 || Inspection::filesystem_of(&source).is_ok())
    };
    if force || is_ours().with_context(|| format!("examining {}", path.display()))? {
        return Ok(());
    }
    let what = if metadata.is_symlink() { "a symbolic link" } else { "a file that is not an extension" };
    bail!("writing {}: {what} exists (--force overwrites it)", path.display())
}
