//! Writes an image, verifies it, and gives it its name.

use super::Watch;
use super::format::FormatError;
use super::key::{KeyError, trust_in};
use ddi::io::{FileSource, Observer};
use ddi::verity::default_threads;
use ddi::write::{BuildError, Parts};
use ddi::{Architecture, Class};
use openssl::x509::X509;
use sextant::confine::Confinement;
use sextant::durable;
use sextant::policy::Policy;
use sextant::reason::Refusal;
use sextant::verify::Candidate;
use sextant::verify::{Accepted, Findings, InPlaceCustody, Verifier};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;
use tempfile::TempDir;
use thiserror::Error;

/// Error of finishing an image. An older file of the same name is unchanged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FinishError {
    /// Writing failed.
    #[error("writing {path}: {error}")]
    Io {
        /// Path of the file or directory
        path: String,
        /// Error of the system
        error: io::Error,
    },
    /// Writing the file system failed.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Writing partitions failed.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The certificate can't be a trust anchor.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A boot would reject the written image.
    #[error("verifying the written image: {0}")]
    Refused(Refusal),
}

/// Temporary directory in the output directory, removed when it is dropped.
///
/// It is on the same file system as the output, so that the last step is a rename.
#[derive(Debug)]
pub struct Workshop {
    directory: TempDir,
    output: PathBuf,
}

impl Workshop {
    /// Creates the temporary directory in `output`, and `output` itself if it is missing.
    ///
    /// # Errors
    /// [`FinishError::Io`]
    pub fn open(output: &Path) -> Result<Self, FinishError> {
        let wrap = |error| FinishError::Io { path: output.display().to_string(), error };
        fs::create_dir_all(output).map_err(wrap)?;
        let directory = tempfile::Builder::new().prefix(".sextant-").tempdir_in(output).map_err(wrap)?;
        Ok(Self { directory, output: output.to_owned() })
    }

    /// Returns the path of the temporary directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Creates a file in the temporary directory that becomes `file_name` in the output directory.
    ///
    /// # Errors
    /// [`FinishError::Io`]
    pub fn draft(&self, file_name: &str) -> Result<Draft, FinishError> {
        let path = self.directory.path().join(file_name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| FinishError::Io { path: path.display().to_string(), error })?;
        Ok(Draft { path, file, target: self.output.join(file_name) })
    }

    /// Verifies a signed image as a boot on a machine that trusts `certificate` would, and gives it its name in the output
    /// directory. Returns its path. `watch` is called for what is verified.
    ///
    /// # Errors
    /// [`FinishError`]
    pub fn finish(
        &self,
        draft: &Draft,
        class: Class,
        architecture: Architecture,
        certificate: &X509,
        watch: &Watch,
    ) -> Result<PathBuf, FinishError> {
        self.publish(draft, watch, || verify(draft, class, architecture, certificate, watch))
    }

    /// Gives an image without a signature its name in the output directory. Returns its path.
    ///
    /// # Errors
    /// [`FinishError`]
    pub fn finish_unsigned(&self, draft: &Draft, watch: &Watch) -> Result<PathBuf, FinishError> {
        self.publish(draft, watch, || Ok(()))
    }

    /// Writes a small file into the output directory.
    ///
    /// # Errors
    /// [`FinishError::Io`]
    pub fn note(&self, file_name: &str, content: &[u8]) -> Result<PathBuf, FinishError> {
        let path = self.output.join(file_name);
        durable::write(&path, content, 0o644)
            .map_err(|error| FinishError::Io { path: path.display().to_string(), error })?;
        Ok(path)
    }

    /// Renames the file when it is on the disk and `check` has passed.
    fn publish(
        &self,
        draft: &Draft,
        watch: &Watch,
        check: impl FnOnce() -> Result<(), FinishError>,
    ) -> Result<PathBuf, FinishError> {
        draft.file.set_permissions(Permissions::from_mode(0o644)).map_err(|error| draft.wrap(error))?;
        thread::scope(|scope| {
            // The disk writes what the check reads from memory.
            let synced = scope.spawn(|| draft.file.sync_all());
            check()?;
            watch("waiting for the disk", 0, 0);
            synced.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(|error| draft.wrap(error))
        })?;
        let wrap = |error| FinishError::Io { path: draft.target.display().to_string(), error };
        fs::rename(&draft.path, &draft.target).map_err(wrap)?;
        File::open(&self.output).and_then(|directory| directory.sync_all()).map_err(wrap)?;
        Ok(draft.target.clone())
    }
}

/// A file that becomes an image.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    file: File,
    target: PathBuf,
}

impl Draft {
    /// Returns the path of the file until it gets its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file up to the length `len`. `observer` is called for what is read of it.
    ///
    /// # Errors
    /// [`FinishError::Io`]
    pub fn source(&self, len: u64, observer: Observer) -> Result<FileSource, FinishError> {
        let file = self.file.try_clone().map_err(|error| self.wrap(error))?;
        Ok(FileSource::with_len(file, len).observed(observer))
    }

    /// Writes all of an image.
    ///
    /// # Errors
    /// [`FinishError`]
    pub fn write(&self, parts: &Parts<'_>) -> Result<(), FinishError> {
        self.write_with(|out| parts.write_to(out))
    }

    /// Writes an image around its file system, which is in its place.
    ///
    /// # Errors
    /// [`FinishError`]
    pub fn write_around(&self, parts: &Parts<'_>) -> Result<(), FinishError> {
        self.write_with(|out| parts.write_around(out))
    }

    fn write_with(
        &self,
        write: impl FnOnce(&mut BufWriter<&File>) -> Result<(), BuildError>,
    ) -> Result<(), FinishError> {
        let mut out = BufWriter::with_capacity(1 << 20, &self.file);
        write(&mut out)?;
        out.flush().map_err(|error| self.wrap(error))
    }

    fn wrap(&self, error: io::Error) -> FinishError {
        FinishError::Io { path: self.path.display().to_string(), error }
    }
}

fn verify(
    draft: &Draft,
    class: Class,
    architecture: Architecture,
    certificate: &X509,
    watch: &Watch,
) -> Result<(), FinishError> {
    let policy = Policy::default();
    let trust = trust_in(certificate)?;
    let verifier = Verifier {
        policy: &policy,
        trust: &trust,
        architecture,
        host: None,
        activation: None,
        // This process wrote the image itself: its bytes are not hostile.
        confinement: Confinement::InProcess,
        threads: default_threads(),
        now: SystemTime::now(),
    };
    let opened = Candidate::open(&draft.path, class).map_err(FinishError::Refused)?;
    let (watch, total) = (Arc::clone(watch), opened.size());
    let opened = opened.observed(Arc::new(move |bytes| watch("verifying the image", total, bytes)));
    let outcome = verifier.verify(opened, &Accepted::default(), &InPlaceCustody, &mut Findings::default());
    outcome.map(drop).map_err(FinishError::Refused)
}
