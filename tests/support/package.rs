//! What a distribution would package: the layout of `make install`.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Lays out agent, tool and what `pages` writes as `make build` leaves them, in `dist`, and runs `make install` on it.
pub fn install(
    (agent, tool): (&Path, &Path),
    pages: impl FnOnce(&Path) -> anyhow::Result<()>,
    dist: &Path,
    destdir: &Path,
) {
    fs::create_dir_all(dist).unwrap();
    for (program, name) in [(agent, "sextant-agent"), (tool, "sextant")] {
        fs::copy(program, dist.join(name)).unwrap();
    }
    pages(dist).unwrap();
    let mut make = Command::new("make");
    make.args(["--silent", "--no-print-directory", "install", "prefix=/usr"]).stdin(Stdio::null());
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
