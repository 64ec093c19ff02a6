//! Writes erofs by feeding a tar archive to `mkfs.erofs`. Nothing is extracted, so owners and attributes need no privilege.

use super::{Algorithm, Compression, FormatError, Parameters, Place, Written};
use crate::build::tree::{FileTree, write_tar};
use ddi::Guid;
use ddi::text::Text;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

const PROGRAM: &str = "mkfs.erofs";

/// Oldest version that reads archives, and keeps the times of files although that of the file system is given (`--mkfs-time`).
const OLDEST: (u32, u32) = (1, 8);

/// Maximum number of bytes of the program's messages that are read.
const MAX_WORDS: u64 = 4096;

/// Time between two looks at how far the program is.
const INTERVAL: Duration = Duration::from_millis(100);

/// Maximum size of a piece that is compressed as one, in bytes. Larger pieces make reading a few bytes of a file slower.
const CLUSTER: u32 = 65_536;

/// Proof that `mkfs.erofs` is there and new enough.
pub(super) struct Tool(());

impl Tool {
    pub(super) fn find() -> Result<Self, FormatError> {
        let output = Command::new(PROGRAM).arg("--version").stdin(Stdio::null()).output();
        let output = output.map_err(|error| FormatError::NoTool(format!("running {PROGRAM}: {error}")))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let found = version(&text);
        if found.is_some_and(|found| found >= OLDEST) {
            return Ok(Self(()));
        }
        let first = Text::new(text.lines().next().unwrap_or_default());
        Err(FormatError::NoTool(format!("{PROGRAM} reports version {first:?}")))
    }
}

/// Parses `mkfs.erofs (erofs-utils) 1.8.6`, or `mkfs.erofs 1.5` before 1.6.
fn version(text: &str) -> Option<(u32, u32)> {
    let number = text.lines().next()?.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut parts = number.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Returns twice the number of bytes of all files: the program keeps what it gets, and reads it again to compress it.
pub(super) fn work(tree: &FileTree) -> u64 {
    tree.content_len().saturating_mul(2)
}

pub(super) fn write(
    tree: &FileTree,
    compression: Compression,
    place: Place<'_>,
    parameters: Parameters,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Written, FormatError> {
    let path = place.path.with_extension("erofs");
    make(tree, compression, &path, parameters, progress)?;
    let mut out = place.open()?;
    out.seek(SeekFrom::Start(place.offset))?;
    let len = std::io::copy(&mut File::open(&path)?, &mut out)?;
    std::fs::remove_file(path)?;
    Ok(Written { len, remarks: Vec::new() })
}

fn make(
    tree: &FileTree,
    compression: Compression,
    path: &Path,
    Parameters { time, uuid, .. }: Parameters,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), FormatError> {
    Tool::find()?;
    let mut command = Command::new(PROGRAM);
    command.arg("--quiet").arg("--tar=f").arg("--mkfs-time").arg(format!("-T{}", time.seconds));
    command.arg(format!("-U{}", Guid::from_id128(uuid)));
    if let Some(option) = option(compression) {
        command.arg(option).arg(format!("-C{CLUSTER}"));
    }
    // Without the name of a source it reads standard input.
    command.arg(path).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    // The image must not depend on the environment.
    command.env_remove("SOURCE_DATE_EPOCH").env("LC_ALL", "C");
    let mut child = command.spawn()?;
    let words = child.stderr.take();
    // A thread drains the messages: mkfs.erofs blocks when the pipe is full.
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut words) = words {
            let _ = words.by_ref().take(MAX_WORDS).read_to_end(&mut text);
            let _ = std::io::copy(&mut words, &mut std::io::sink());
        }
        text
    });
    let fed = match child.stdin.take() {
        Some(input) => {
            let mut input = BufWriter::with_capacity(1 << 18, input);
            write_tar(tree, &mut input, progress).and_then(|()| input.flush())
        }
        None => Ok(()),
    };
    let status = wait(&mut child, tree.content_len(), progress)?;
    let words = reader.join().unwrap_or_default();
    match fed {
        // If mkfs.erofs failed, its message explains more than the broken pipe.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    if status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&words);
    let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(FormatError::Tool(format!("{} ({status})", Text::new(last.trim()))))
}

/// Waits for the end, and reports how much of `total` bytes the program reads again meanwhile.
fn wait(child: &mut Child, total: u64, progress: &(dyn Fn(u64) + Sync)) -> std::io::Result<ExitStatus> {
    let id = child.id();
    let (alive, end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let (first, mut done) = (read_by(id), 0);
            while end.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let read = read_by(id).zip(first).map_or(0, |(now, first)| now.saturating_sub(first));
                let more = read.min(total).saturating_sub(done);
                done = done.saturating_add(more);
                progress(more);
            }
            progress(total.saturating_sub(done));
        });
        let status = child.wait();
        // That it is gone is the message.
        drop(alive);
        status
    })
}

/// Returns the number of bytes that a process has read from files and pipes (`rchar` of `proc_pid_io(5)`); `None` if the kernel
/// doesn't count.
fn read_by(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("rchar: "))?.parse().ok()
}

fn option(compression: Compression) -> Option<String> {
    let name = match compression.algorithm {
        Algorithm::None => return None,
        Algorithm::Deflate => "deflate",
        Algorithm::Lz4 => "lz4",
        Algorithm::Lz4hc => "lz4hc",
        Algorithm::Lzma => "lzma",
        Algorithm::Zstd => "zstd",
    };
    Some(match compression.level {
        Some(level) => format!("-z{name},level={level}"),
        None => format!("-z{name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_program_says() {
        assert_eq!(version("mkfs.erofs (erofs-utils) 1.8.6\navailable compressors: lz4\n"), Some((1, 8)));
        assert_eq!(version("mkfs.erofs (erofs-utils) 1.10-g1234\n"), Some((1, 10)));
        assert_eq!(version("mkfs.erofs 1.5\n"), Some((1, 5)));
        assert_eq!(version("something else\n"), None);
    }
}
