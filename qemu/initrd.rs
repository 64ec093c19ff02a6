//! The initrd: by the guest's own dracut, with the module, units and agent of this working tree, as a package
//! would have installed them; or by mkosi-initrd.

use crate::guest::Guest;
use crate::pages;
use crate::toolbox::{cached, contents, fresh, repository, succeed, work};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;
use support::package;

/// The initrd that most scenarios of `guest` start from.
///
/// # Errors
/// What dracut said.
pub fn base(guest: Guest) -> Result<PathBuf, String> {
    let layer = layer()?;
    let output = work().join(format!("initrd-{}", guest.version()));
    let script = repository().join(SCRIPT);
    cached(&output, &inputs(guest, &layer), || {
        let layer = with_kernel(guest, &layer)?;
        let mut command = guest.tree().command(&script);
        succeed(command.arg(&layer).arg(repository().join(WITNESS)).arg(&output)).map(drop)
    })
}

/// The same layer, with kernel modules for a guest whose tree has none.
fn with_kernel(guest: Guest, layer: &Path) -> Result<PathBuf, String> {
    if guest.tree() == guest.boot_tree() {
        return Ok(layer.to_owned());
    }
    let both = work().join(format!("layer-{}", guest.version()));
    fresh(&both)?;
    let modules = guest.boot_tree().path().join("usr/lib/modules");
    succeed(Command::new("cp").arg("--archive").arg(layer.join("usr")).arg(&both))?;
    succeed(Command::new("cp").arg("--archive").arg(modules).arg(both.join("usr/lib")))?;
    Ok(both)
}

/// One made by mkosi-initrd, by the commands in `docs/initrd.md`.
///
/// # Errors
/// What apt or mkosi said.
pub fn by_mkosi(guest: Guest) -> Result<PathBuf, String> {
    let layer = layer()?;
    let output = work().join(format!("initrd-{}-mkosi", guest.version()));
    let (script, page) = ("qemu/guest/make-initrd-mkosi", "docs/initrd.md");
    let mut inputs = inputs(guest, &layer);
    inputs.extend([INSTALLER, script, page].map(|path| fs::read(repository().join(path)).unwrap()));
    cached(&output, &inputs, || {
        let mut command = guest.tree().command(repository().join(INSTALLER));
        command.arg("mkosi").arg(repository().join(script)).arg(&layer).arg(repository().join(WITNESS));
        succeed(command.arg(repository().join(page)).arg(&output)).map(drop)
    })
}

/// One made where apt has installed the Debian packages.
///
/// # Errors
/// What apt or dracut said.
pub fn by_packages(guest: Guest) -> Result<PathBuf, String> {
    let layer = layer()?;
    let output = work().join(format!("initrd-{}-packages", guest.version()));
    let mut inputs = inputs(guest, &layer);
    inputs.extend([".ci/deb", INSTALLER].map(|path| fs::read(repository().join(path)).unwrap()));
    inputs.extend(contents(&repository().join("debian")));
    cached(&output, &inputs, || {
        let packages = work().join("packages");
        package::debs(&work().join("dist"), &packages)?;
        let mut command = guest.tree().command(repository().join(INSTALLER));
        command.arg(&packages).arg(repository().join(SCRIPT)).arg("").arg(repository().join(WITNESS));
        succeed(command.arg(&output)).map(drop)
    })
}

const SCRIPT: &str = "qemu/guest/make-initrd";
const INSTALLER: &str = "tests/toolbox/with-packages";
/// What is in each initrd and isn't sextant's.
const WITNESS: &str = "qemu/guest/initrd";

/// What an initrd is made of.
fn inputs(guest: Guest, layer: &Path) -> Vec<Vec<u8>> {
    let mut inputs =
        vec![guest.tree().stamp(), guest.boot_tree().stamp(), fs::read(repository().join(SCRIPT)).unwrap()];
    inputs.extend(contents(&repository().join(WITNESS)));
    inputs.extend(contents(layer));
    inputs
}

/// What `make install` lays out.
///
/// # Errors
/// If there is no agent that is new enough.
pub fn layer() -> Result<PathBuf, String> {
    static LAYER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    LAYER.get_or_init(install).clone()
}

fn install() -> Result<PathBuf, String> {
    let agent = agent()?;
    let layer = work().join("layer");
    let dist = work().join("dist");
    for directory in [&layer, &dist] {
        let _ = fs::remove_dir_all(directory);
    }
    package::install((&agent, Path::new(TOOL)), pages::write_all, &dist, &layer);
    Ok(layer)
}

/// The tool as it was compiled for this test.
pub const TOOL: &str = env!("CARGO_BIN_EXE_tool-in-machines");

/// The static agent as `make agent` leaves it, which has to be newer than what it was made of; or the one that
/// `$SEXTANT_AGENT` names.
fn agent() -> Result<PathBuf, String> {
    if let Some(agent) = std::env::var_os("SEXTANT_AGENT") {
        return Ok(agent.into());
    }
    let agent = repository().join("target/dist/sextant-agent");
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let made = modified(&agent).map_err(|error| format!("{}: {error}; run `make agent` first", agent.display()))?;
    for sources in ["src", "ddi/src"] {
        if made < newest(&repository().join(sources)) {
            return Err(format!("{} is older than {sources}/: run `make agent` again", agent.display()));
        }
    }
    Ok(agent)
}

fn newest(directory: &Path) -> SystemTime {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let times = entries.map(|entry| match entry.metadata().unwrap() {
        metadata if metadata.is_dir() => newest(&entry.path()),
        metadata => metadata.modified().unwrap(),
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}
