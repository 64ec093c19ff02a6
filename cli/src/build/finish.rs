//! Writes an image, verifies it, and gives it its name.

use super::key::{KeyError, trust_in};
use ddi::ExtensionName;
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

    /// Returns the path of a temporary file called `name`.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a signed image, verifies it as a boot on a machine that trusts `certificate` would, and gives it its name in
    /// the output directory. Returns its path.
    ///
    /// # Errors
    /// [`FinishError`]
    pub fn finish(
        &self,
        parts: &Parts<'_>,
        class: Class,
        name: &ExtensionName,
        certificate: &X509,
    ) -> Result<PathBuf, FinishError> {
        let file_name = format!("{name}{}", class.file_suffix());
        let path = self.write(parts, &file_name)?;
        verify(&path, class, parts.architecture, certificate)?;
        self.publish(&path, &file_name)
    }

    /// Writes an image without a signature under `file_name` in the output directory. Returns its path.
    ///
    /// # Errors
    /// [`FinishError`]
    pub fn finish_unsigned(&self, parts: &Parts<'_>, file_name: &str) -> Result<PathBuf, FinishError> {
        let path = self.write(parts, file_name)?;
        self.publish(&path, file_name)
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

    fn write(&self, parts: &Parts<'_>, file_name: &str) -> Result<PathBuf, FinishError> {
        let path = self.path(file_name);
        let wrap = |error| FinishError::Io { path: path.display().to_string(), error };
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(wrap)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        parts.write_to(&mut out)?;
        out.flush().map_err(wrap)?;
        let file = out.into_inner().map_err(|error| wrap(error.into_error()))?;
        file.set_permissions(Permissions::from_mode(0o644)).map_err(wrap)?;
        file.sync_all().map_err(wrap)?;
        Ok(path)
    }

    fn publish(&self, path: &Path, file_name: &str) -> Result<PathBuf, FinishError> {
        let target = self.output.join(file_name);
        let wrap = |error| FinishError::Io { path: target.display().to_string(), error };
        fs::rename(path, &target).map_err(wrap)?;
        File::open(&self.output).and_then(|directory| directory.sync_all()).map_err(wrap)?;
        Ok(target)
    }
}

fn verify(path: &Path, class: Class, architecture: Architecture, certificate: &X509) -> Result<(), FinishError> {
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
    let opened = Candidate::open(path, class).map_err(FinishError::Refused)?;
    let outcome = verifier.verify(opened, &Accepted::default(), &InPlaceCustody, &mut Findings::default());
    outcome.map(drop).map_err(FinishError::Refused)
}
