//! `sextant inspect` of a UKI, an initrd, or the directory of one.

use super::output::wrap;
use super::output_options::OutputOptions;
use super::progress::Waiting;
use crate::initrd::{Inspection, Recorder, Subject, text};
use crate::system::{
    Archive, Compression, Directory, InitrdError, MAGIC_SIZE, Segment, System, is_program, read_initrd_into,
};
use anyhow::{Context, Result, bail};
use ddi::io::{FileSource, ReadAt};
use ddi::text::Text;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// How often an initrd is read at most: for its names, for files, and for those that the files name.
const MAX_PASSES: usize = 4;

/// What is at a path, if it is no image.
pub(super) enum Found {
    Directory(Directory),
    Uki(FileSource),
    Initrd(FileSource),
}

/// Finds out by the first bytes what a file is; `None` of all that may be an image.
pub(super) fn detect(path: &Path, source: FileSource) -> Result<Result<Found, FileSource>> {
    let context = || format!("inspecting {}", path.display());
    if is_program(&source).with_context(context)? {
        return Ok(Ok(Found::Uki(source)));
    }
    let mut magic = [0; MAGIC_SIZE];
    if source.len() >= MAGIC_SIZE as u64 {
        source.read_exact_at(&mut magic, 0).with_context(context)?;
    }
    Ok(if Compression::of(&magic).is_some() { Ok(Found::Initrd(source)) } else { Err(source) })
}

/// Opens the directory of an initrd.
pub(super) fn directory(path: &Path) -> Result<Found> {
    let context = || format!("inspecting {}", path.display());
    let directory = Directory::open(path).with_context(context)?;
    if directory.entry(b"usr").with_context(context)?.is_none() {
        bail!("{}: directory has no usr, so it is the root of no initrd", context());
    }
    Ok(Found::Directory(directory))
}

pub(super) fn run(path: &Path, found: &Found, verbose: bool, output: &OutputOptions) -> Result<ExitCode> {
    let context = || format!("inspecting {}", path.display());
    let inspection = match found {
        Found::Directory(directory) => inspect(None, directory, None, &[]).with_context(context)?,
        Found::Uki(source) => unpack(source, Some(source)).with_context(context)?,
        Found::Initrd(source) => unpack(source, None).with_context(context)?,
    };
    let file = Text::from_os(path.as_os_str());
    let document = || {
        let mut value = serde_json::to_value(&inspection)?;
        value["file"] = file.as_str().into();
        Ok(value)
    };
    output.show(document, || Ok(text(&inspection, &file, verbose, &wrap, super::style())))?;
    Ok(if inspection.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn inspect(
    uki: Option<&dyn ReadAt>,
    system: &dyn System,
    error: Option<&InitrdError>,
    segments: &[Segment],
) -> std::io::Result<Inspection> {
    Inspection::of(&Subject { uki, system, error, segments })
}

/// Reads an initrd as often as it takes to have the contents of all files that are looked at: their names are known only
/// after it was read once.
fn unpack(source: &dyn ReadAt, uki: Option<&dyn ReadAt>) -> Result<Inspection> {
    let _waiting = Waiting::begin("unpacking the initrd");
    let mut archive = Archive::default();
    let mut wanted: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for _ in 0..MAX_PASSES {
        if let Err(error) = read_initrd_into(source, &mut archive) {
            let segments = archive.segments().to_vec();
            return Ok(inspect(uki, &archive, Some(&error), &segments)?);
        }
        let segments = archive.segments().to_vec();
        let recorder = Recorder::new(&archive);
        let inspection = inspect(uki, &recorder, None, &segments)?;
        let unread = recorder.into_wanted();
        if unread.is_empty() {
            return Ok(inspection);
        }
        wanted.extend(unread);
        archive = archive.to_keep(wanted.iter().map(|(path, limit)| (path.as_slice(), *limit)));
    }
    bail!("the file was changed while it was read")
}
