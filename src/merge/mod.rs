//! Having systemd merge what was staged, and nothing else.
//!
//! The merge itself is the host's: `systemd-sysext.service` and `systemd-confext.service` run early in its boot. From
//! the initrd they get drop-ins with the strict policy, for by itself systemd applies a lax one to what is staged, and
//! a gate: a file without which they do nothing. The gate is closed until [`open`] opens it, which
//! `sextant-agent merge` does as its last step, so no failure of ours leaves systemd merging by itself.

mod agent;
mod confirm;
mod environment;
mod host;
mod identity;
mod origin;
mod required;
mod service;
mod units;

pub use agent::{AGENT, Delivery};
pub use confirm::{Hidden, MOUNTS, Note, hiding, is_empty, merged, notes, plain_directories};
pub use environment::{configured, expect_sources, limit};
pub(crate) use host::image_name;
pub use host::{host_directories, host_extensions, host_hierarchies, host_images};
pub use identity::{Evidence, Found, Known, Origin};
pub use origin::{Attached, VerityDevice};
pub use required::{FULFILLED, REQUIRED, fulfil, is_required, require};
pub use service::{
    OLDEST as OLDEST_SYSTEMD, Obstacle, PATIENCE as SYSTEMCTL_PATIENCE, Service, library_version, obstacle, too_old,
};
pub use units::{CONFIRM, ENABLED as IMAGE_ENABLED, UNITS, Units, image_files};

use crate::durable;
use crate::policy::Overlay;
use crate::root::Root;
use crate::state::State;
use anyhow::{Context, Result, bail};
use ddi::Class;
use std::io;

/// The gate. The drop-ins in `systemd-units/` name it too.
pub const GATE: &str = "/run/sextant/merge";
const GATE_DIRECTORY: &str = "/run/sextant";
const GATE_NAME: &str = "merge";

/// Closes the gate.
///
/// # Errors
/// Where it can't be removed.
pub fn close(root: &Root) -> Result<()> {
    let Some(directory) = root.directory(GATE_DIRECTORY).with_context(|| format!("closing {GATE}"))? else {
        return Ok(());
    };
    durable::remove(&directory.join(GATE_NAME)).with_context(|| format!("closing {GATE}"))
}

/// Has the host's units wait for the gate, whatever becomes of the agent from now on. Where they do already, nothing changes,
/// and neither does the gate.
///
/// # Errors
/// The first file that can't be written. Nothing may be staged then.
pub fn guard(root: &Root, units: Units) -> Result<()> {
    units::guard(root, units)
}

/// Whether the gate is open.
#[must_use]
pub fn is_open(root: &Root) -> bool {
    matches!(root.metadata(GATE), Ok(metadata) if metadata.is_file())
}

/// Gives systemd the strict policy, enables the merge on the host, and has it confirmed there. The gate stays as it is.
///
/// # Errors
/// The first file that can't be written, or isn't in the image that should have it. The caller then has to close the gate.
pub fn prepare(root: &Root, delivery: Delivery, units: Units) -> Result<()> {
    units::provide(root, units)?;
    agent::provide(root, delivery)
}

/// Opens the gate.
///
/// # Errors
/// Where its file can't be written.
pub fn open(root: &Root) -> Result<()> {
    let written = root.make_directory(GATE_DIRECTORY).and_then(|directory| {
        let text = b"systemd-sysext and systemd-confext may merge what sextant staged\n";
        durable::write(&directory.join(GATE_NAME), text, 0o444)
    });
    written.with_context(|| format!("opening {GATE}"))
}

/// Whether what `stage` left is a reason to let systemd merge.
///
/// A stage that was stopped half-way, or failed for some images, still staged only what it had verified: the good
/// images don't pay for what happened to others. One that failed as a whole staged nothing, and then nothing that
/// others may have put there is merged either.
///
/// # Errors
/// Why not.
pub fn admit(state: &State) -> Result<()> {
    match &state.error {
        Some(error) if state.left().next().is_none() => bail!("nothing was staged: {error}"),
        _ => Ok(()),
    }
}

/// Why a staged extension is [`surplus`].
pub const SURPLUS: &str = "too many extensions for one overlay mount, the host's own included";

/// Returns the staged extensions that have to be taken back, last ones first, so that systemd can merge the others with
/// those that the host has of its own. While the images were verified the host perhaps wasn't mounted.
///
/// # Errors
/// Where what `stage` noted of the configuration can't be read.
pub fn surplus<'n>(root: &Root, staged: &[(Class, &'n str)]) -> Result<Vec<(Class, &'n str)>> {
    let configured = configured(root)?;
    let host = host_hierarchies(root);
    let mut surplus = Vec::new();
    for class in Class::ALL {
        let overlay = Overlay::of(class, &configured, &host);
        let mut layers = host_extensions(root, class);
        let is_there = |(of, name): &&(Class, &str)| *of == class && layers.contains(*name);
        let mut left: Vec<&str> = staged.iter().filter(is_there).map(|(_, name)| *name).collect();
        while !overlay.takes(layers.iter().map(String::as_str))
            && let Some(name) = left.pop()
        {
            layers.remove(name);
            surplus.push((class, name));
        }
    }
    Ok(surplus)
}

/// Makes the symbolic link `name` to `target` in `directory` of the root, in place of what has that name.
fn link(root: &Root, directory: &str, name: &str, target: &str) -> io::Result<()> {
    let path = root.make_directory(directory)?.join(name);
    let temporary = durable::temporary_name(&path)?;
    durable::remove(&temporary)?;
    std::os::unix::fs::symlink(target, &temporary)?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    #[test]
    fn what_failed_as_a_whole_is_not_merged() {
        let admitted = |error: &str, staged: &str| {
            let text = format!(r#"{{"version":1,"staged":[{staged}],"error":{error},"requested":false}}"#);
            admit(&serde_json::from_str(&text).unwrap()).map_err(|error| error.to_string())
        };
        let staged =
            r#"{"class":"sysext","name":"a","file":"a.sysext.raw","root_hash":null,"signer":null,"withdrawn":null}"#;
        let withdrawn = staged.replace(r#""withdrawn":null"#, r#""withdrawn":"gone""#);
        assert_eq!(admitted(r#""a cause""#, ""), Err("nothing was staged: a cause".to_owned()));
        assert!(admitted(r#""a cause""#, &withdrawn).is_err());
        for (error, staged) in [(r#""a cause""#, staged), ("null", staged), ("null", "")] {
            assert_eq!(admitted(error, staged), Ok(()));
        }
    }

    #[test]
    fn of_too_many_extensions_the_last_ones_are_surplus() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        for directory in ["run/extensions", "run/confexts"] {
            fs::create_dir_all(dir.path().join(directory)).unwrap();
        }
        let names: Vec<String> = (10..40).map(|number| format!("{number}{}", "n".repeat(150))).collect();
        let mut staged: Vec<(Class, &str)> = names.iter().map(|name| (Class::Sysext, name.as_str())).collect();
        assert_eq!(surplus(&root, &staged).unwrap(), [], "what is gone takes no room");
        for name in &names {
            fs::write(dir.path().join(format!("run/extensions/{name}.raw")), "").unwrap();
        }
        fs::write(dir.path().join("run/confexts/conf.raw"), "").unwrap();
        let sysexts = staged.clone();
        staged.extend([(Class::Sysext, "absent"), (Class::Confext, "conf")]);
        let found = surplus(&root, &staged).unwrap();
        let left = sysexts.len() - found.len();
        assert!((5..29).contains(&left), "{left}");
        assert!(found.iter().eq(sysexts.iter().rev().take(found.len())), "{found:?}");
        for (_, name) in found {
            fs::remove_file(dir.path().join(format!("run/extensions/{name}.raw"))).unwrap();
        }
        assert_eq!(surplus(&root, &staged).unwrap(), []);
    }

    #[test]
    fn the_host_gets_units_and_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        prepare(&root, Delivery::Copy, Units::Runtime).unwrap();
        assert!(dir.path().join(AGENT.trim_start_matches('/')).is_file());
        assert!(dir.path().join("run/systemd/system/systemd-sysext.service.d/zz-sextant.conf").is_file());
        assert!(!is_open(&root), "the gate stays as it is");
    }
}
