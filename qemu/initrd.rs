//! The initrd: by the guest's own dracut, with the module, units and agent of this working tree, as a package
//! would have installed them; or by mkosi-initrd.

use crate::guest::Guest;
use crate::pages;
use crate::platform::Platform;
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
    let layer = layer(guest.platform())?;
    let output = work().join(format!("initrd-{}", guest.name()));
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
    let both = work().join(format!("layer-{}", guest.name()));
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
    let layer = layer(guest.platform())?;
    let output = work().join(format!("initrd-{}-mkosi", guest.name()));
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
    let layer = layer(guest.platform())?;
    let output = work().join(format!("initrd-{}-packages", guest.name()));
    let mut inputs = inputs(guest, &layer);
    inputs.extend([".ci/deb", INSTALLER].map(|path| fs::read(repository().join(path)).unwrap()));
    inputs.extend(contents(&repository().join("debian")));
    cached(&output, &inputs, || {
        let packages = work().join("packages");
        package::debs(&dist(guest.platform()), &packages)?;
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
pub fn layer(platform: &Platform) -> Result<PathBuf, String> {
    static LAYERS: [OnceLock<Result<PathBuf, String>>; 2] = [const { OnceLock::new() }; 2];
    LAYERS[usize::from(!platform.is_native())].get_or_init(|| install(platform)).clone()
}

fn install(platform: &Platform) -> Result<PathBuf, String> {
    let (agent, tool) = (agent(platform)?, tool(platform)?);
    let (layer, dist) = (work().join(format!("layer-{}", platform.name)), dist(platform));
    for directory in [&layer, &dist] {
        let _ = fs::remove_dir_all(directory);
    }
    package::install((&agent, &tool), pages::write_all, &dist, &layer);
    Ok(layer)
}

/// What `make build` would have left, of which the layer is made.
fn dist(platform: &Platform) -> PathBuf {
    work().join(format!("dist-{}", platform.name))
}

/// The tool as it was compiled for this test.
pub const TOOL: &str = env!("CARGO_BIN_EXE_tool-in-machines");

/// The same; of another architecture, the released one.
fn tool(platform: &Platform) -> Result<PathBuf, String> {
    if platform.is_native() { Ok(TOOL.into()) } else { released(platform, "sextant", &["src", "ddi/src", "cli/src"]) }
}

/// The static agent, or the one that `$SEXTANT_AGENT` names for machines of the architecture that builds.
fn agent(platform: &Platform) -> Result<PathBuf, String> {
    let chosen = std::env::var_os("SEXTANT_AGENT").filter(|_| platform.is_native());
    chosen.map_or_else(|| released(platform, "sextant-agent", &["src", "ddi/src"]), |agent| Ok(agent.into()))
}

/// A program as `make` leaves it, which has to be newer than what it was made of.
fn released(platform: &Platform, program: &str, sources: &[&str]) -> Result<PathBuf, String> {
    let path = repository().join(platform.dist()).join(program);
    let command = platform.cross_target.map_or("make agent".to_owned(), |target| format!("make build TARGET={target}"));
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    let made = modified(&path).map_err(|error| format!("{}: {error}; run `{command}` first", path.display()))?;
    for directory in sources {
        if made < newest(&repository().join(directory)) {
            return Err(format!("{} is older than {directory}/: run `{command}` again", path.display()));
        }
    }
    Ok(path)
}

fn newest(directory: &Path) -> SystemTime {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let times = entries.map(|entry| match entry.metadata().unwrap() {
        metadata if metadata.is_dir() => newest(&entry.path()),
        metadata => metadata.modified().unwrap(),
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}
