//! Stands in for `bindgen` in the build scripts of `devicemapper-sys` and `loopdev-3`.
//!
//! Both bind a few structures and constants of the kernel's user space interface, which never change. `bindgen` compiles
//! some twenty crates and needs libclang to find them anew in each build. This crate has the part of its interface that
//! the two scripts call, and writes the bindings that `bindgen` 0.72.1 made of Linux 6.1 and libdevmapper 1.02.185, less
//! what the two crates do not use. `tests/headers.rs` compares them with the headers of the machine.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;

/// A header and its bindings.
struct Recorded {
    /// Content of the header that a build script names, up to the definitions in it
    header: &'static str,
    bindings: &'static str,
}

const RECORDED: [Recorded; 3] = [
    Recorded {
        header: "#include <linux/dm-ioctl.h>\n#include <libdevmapper.h>\n",
        bindings: include_str!("recorded/dm.rs"),
    },
    Recorded { header: "#include <sys/sem.h>\n", bindings: include_str!("recorded/sem.rs") },
    Recorded { header: "#include <linux/loop.h>", bindings: include_str!("recorded/loop.rs") },
];

/// Selects bindings by the header that they are made of. All other options are taken as recorded.
#[derive(Debug, Default)]
pub struct Builder {
    path: Option<String>,
    contents: Option<String>,
}

impl Builder {
    /// Takes the header in the file at `path`.
    #[must_use]
    pub fn header(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Takes `contents` as the header.
    #[must_use]
    pub fn header_contents(mut self, _name: &str, contents: &str) -> Self {
        self.contents = Some(contents.to_owned());
        self
    }

    /// Returns the bindings of the header.
    ///
    /// # Errors
    /// The header can't be read, or no bindings of it are recorded.
    pub fn generate(self) -> Result<Bindings, BindgenError> {
        let header = match (self.contents, self.path) {
            (Some(contents), _) => contents,
            (None, Some(path)) => {
                fs::read_to_string(&path).map_err(|error| BindgenError(format!("reading {path}: {error}")))?
            }
            (None, None) => String::new(),
        };
        let includes = |text: &str| text.lines().filter(|line| line.starts_with('#')).collect::<Vec<_>>().join("\n");
        RECORDED
            .iter()
            .find(|recorded| includes(recorded.header) == includes(&header))
            .map(|recorded| Bindings(recorded.bindings))
            .ok_or_else(|| {
                BindgenError(format!("no bindings are recorded in patches/bindgen for this header:\n{header}"))
            })
    }

    /// Has no effect: the bindings suit every version that the workspace supports.
    #[must_use]
    pub fn rust_target(self, _version: RustTarget) -> Self {
        self
    }

    /// Has no effect: no compiler is called.
    #[must_use]
    pub fn clang_args<I: IntoIterator>(self, _arguments: I) -> Self
    where
        I::Item: AsRef<str>,
    {
        self
    }

    /// Has no effect: the recorded constants have the type that was asked for.
    #[must_use]
    pub fn default_macro_constant_type(self, _variation: MacroTypeVariation) -> Self {
        self
    }

    /// Has no effect: the compiler finds what is missing.
    #[must_use]
    pub fn allowlist_type(self, _pattern: impl AsRef<str>) -> Self {
        self
    }

    /// Has no effect: the compiler finds what is missing.
    #[must_use]
    pub fn allowlist_var(self, _pattern: impl AsRef<str>) -> Self {
        self
    }

    /// Has no effect: all recorded structures can be printed.
    #[must_use]
    pub fn derive_debug(self, _on: bool) -> Self {
        self
    }

    /// Has no effect: all recorded structures have defaults.
    #[must_use]
    pub fn derive_default(self, _on: bool) -> Self {
        self
    }
}

/// Recorded bindings.
#[derive(Debug)]
pub struct Bindings(&'static str);

impl Bindings {
    /// Writes the bindings to a file, as Rust.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write_to_file(&self, path: impl AsRef<Path>) -> io::Result<()> {
        fs::write(path, self.0)
    }
}

/// No bindings.
#[derive(Debug)]
pub struct BindgenError(String);

impl fmt::Display for BindgenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BindgenError {}

/// A version of Rust, which is not looked at.
#[derive(Debug, Clone, Copy)]
pub struct RustTarget;

impl FromStr for RustTarget {
    type Err = std::convert::Infallible;

    fn from_str(_version: &str) -> Result<Self, Self::Err> {
        Ok(Self)
    }
}

/// Types of constants, which are recorded.
#[derive(Debug, Clone, Copy)]
pub enum MacroTypeVariation {
    /// `i32`
    Signed,
    /// `u32`
    Unsigned,
}
