//! What a distribution would package: the layout of `make install`.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Lays out agent, tool and what `pages` writes as `make build` leaves them, in `dist`, and runs `make install` on it.
pub fn install(programs: (&Path, &Path), pages: impl FnOnce(&Path) -> anyhow::Result<()>, dist: &Path, destdir: &Path) {
    install_with(programs, pages, dist, destdir, &[]);
}

/// The same with variables of make, such as `libexecdir=/usr/libexec/sextant`.
pub fn install_with(
    (agent, tool): (&Path, &Path),
    pages: impl FnOnce(&Path) -> anyhow::Result<()>,
    dist: &Path,
    destdir: &Path,
    variables: &[&str],
) {
    fs::create_dir_all(dist).unwrap();
    for (program, name) in [(agent, "sextant-agent"), (tool, "sextant")] {
        fs::copy(program, dist.join(name)).unwrap();
    }
    pages(dist).unwrap();
    let mut make = Command::new("make");
    make.args(["--silent", "--no-print-directory", "install", "prefix=/usr"]).args(variables).stdin(Stdio::null());
    for (name, path) in [("DIST", dist), ("DESTDIR", destdir)] {
        let mut argument = OsString::from(format!("{name}="));
        argument.push(path);
        make.arg(argument);
    }
    // What the outer make says about itself means nothing to this one.
    make.current_dir(crate::repository()).env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    let output = make.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Why Debian packages can't be built here.
pub fn no_debhelper() -> Option<String> {
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let missing = ["dpkg-buildpackage", "dh"].into_iter().find(|program| !is_there(program));
    missing.map(|program| format!("no {program}: try `make deps`"))
}

/// Builds the Debian packages of what is in `dist`, and puts them into `output`. They are not compressed.
///
/// # Errors
/// What the tools said.
pub fn debs(dist: &Path, output: &Path) -> Result<(), String> {
    let mut deb = Command::new(crate::repository().join(".ci/deb"));
    deb.arg(dist).arg(output).env("DPKG_DEB_OPTIONS", "-Znone").stdin(Stdio::null());
    let output = deb.output().map_err(|error| format!("starting {deb:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("building packages: {}", String::from_utf8_lossy(&output.stderr)))
}
