//! An initrd in which systemd is PID 1: units, drop-ins and what they rely on.

use super::check::{Checks, Group, State};
use super::expected::{self, MAX_FILE};
use super::look::{File, Look};
use ddi::text::Message;
use sextant::merge::{OLDEST_SYSTEMD, library_version};
use std::io;

/// Where our files are.
const UNITS: &str = "/usr/lib/systemd/system";
/// Directories whose files hide those of the same name there (systemd.unit(5)); `/run` is empty in an initrd.
const BEFORE: [&str; 2] = ["/etc/systemd/system", "/usr/local/lib/systemd/system"];

const NOT_STAGED: &str = "nothing is staged: no extension is merged";
const CLOSED: &str = "the gate stays closed: no extension is merged";
const UNGUARDED: &str = "without a working agent, systemd merges what others put into /run/extensions";
const EARLY: &str = "systemd merges in the initrd before the agent has rejected bad images";
const NOT_LOADED: &str = "images are rejected as not-mountable unless the modules are built in";

macro_rules! shipped {
    ($path:literal) => {
        ($path, include_str!(concat!("../../../systemd-units/", $path)))
    };
}

const STAGE: (&str, &str) = shipped!("sextant-stage.service");
/// Files below [`UNITS`], what a boot does without them, and the unit of systemd that they are for, if they are needed for
/// that unit alone.
const FILES: [((&str, &str), &str, Option<&str>); 12] = [
    (STAGE, NOT_STAGED, None),
    (shipped!("sextant-gate.service"), UNGUARDED, None),
    (shipped!("sextant-merge.service"), CLOSED, None),
    (shipped!("sextant-required.target"), NOT_STAGED, None),
    (shipped!("systemd-sysext.service.d/zz-sextant.conf"), NOT_STAGED, None),
    (shipped!("systemd-confext.service.d/zz-sextant.conf"), NOT_STAGED, None),
    (shipped!("systemd-sysext@.service.d/zz-sextant.conf"), NOT_STAGED, None),
    (shipped!("systemd-sysupdate-notify-sysext@.service.d/zz-sextant.conf"), NOT_STAGED, None),
    (shipped!("systemd-sysext-initrd.service.d/zz-sextant.conf"), EARLY, Some("systemd-sysext-initrd.service")),
    (shipped!("systemd-confext-initrd.service.d/zz-sextant.conf"), EARLY, Some("systemd-confext-initrd.service")),
    (shipped!("systemd-sysext-sysroot.service.d/zz-sextant.conf"), EARLY, Some("systemd-sysext-sysroot.service")),
    (shipped!("systemd-confext-sysroot.service.d/zz-sextant.conf"), EARLY, Some("systemd-confext-sysroot.service")),
];
/// An administrator may replace it.
const RUNNERS: (&str, &str) = shipped!("sextant-merge.service.d/10-stage-runners.conf");
const TMPFILES: (&str, &str) =
    ("/usr/lib/tmpfiles.d/sextant.conf", include_str!("../../../systemd-units/sextant.tmpfiles.conf"));
const MODULES_LOAD: (&str, &str) =
    ("/usr/lib/modules-load.d/sextant.conf", include_str!("../../../systemd-units/sextant.modules-load.conf"));

/// Checks units, drop-ins and programs, and returns the path of the agent that the units call.
pub(super) fn check(look: &Look<'_>, version: Option<u32>, checks: &mut Checks) -> io::Result<Option<String>> {
    let agent = match look.read(&format!("{UNITS}/{}", STAGE.0), MAX_FILE)? {
        File::Bytes(unit) => expected::called(&unit),
        _ => None,
    };
    for ((name, shipped), effect, unit) in FILES {
        let path = format!("{UNITS}/{name}");
        if let Some(unit) = unit
            && !look.has_name(&format!("{UNITS}/{unit}"))?
            && !look.has_name(&path)?
        {
            continue;
        }
        expected::check(look, (Group::Units, &path, shipped), agent.as_deref(), effect, checks)?;
        for directory in BEFORE {
            let other = format!("{directory}/{name}");
            if look.has_name(&other)? {
                checks.wrong(Group::Units, &other, Message::new(format_args!("file hides {path}")), effect);
            }
        }
    }
    let path = format!("{UNITS}/{}", RUNNERS.0);
    if expected::compare(look, &path, RUNNERS.1, None)? == expected::Compared::Same {
        checks.ok(Group::Units, &path, None);
    } else {
        checks.note(Group::Units, &path, "file is missing or changed: the order after stage runners is another one");
    }
    for ((path, shipped), effect) in [(TMPFILES, UNGUARDED), (MODULES_LOAD, NOT_LOADED)] {
        expected::check(look, (Group::Units, path, shipped), None, effect, checks)?;
    }
    enabled(look, checks)?;
    programs(look, checks)?;
    // It is the host's that merges, which an initrd need not have.
    if let Some(version) = version.filter(|version| *version < OLDEST_SYSTEMD) {
        let detail = format_args!("version {version}; a host merges nothing before {OLDEST_SYSTEMD}");
        checks.note(Group::Requirements, "systemd", Message::new(detail));
    }
    Ok(agent)
}

/// The links by which `initrd.target` wants our units.
fn enabled(look: &Look<'_>, checks: &mut Checks) -> io::Result<()> {
    for (unit, effect) in [("sextant-stage.service", NOT_STAGED), ("sextant-merge.service", CLOSED)] {
        let subject = format!("initrd.target.wants/{unit}");
        let mut is_enabled = false;
        for directory in BEFORE.into_iter().chain([UNITS]) {
            is_enabled |= look.is_file(&format!("{directory}/{subject}"))?;
        }
        if is_enabled {
            checks.ok(Group::Units, &subject, None);
        } else {
            checks.missing(Group::Units, &subject, effect);
        }
    }
    Ok(())
}

/// What the units run and rely on.
fn programs(look: &Look<'_>, checks: &mut Checks) -> io::Result<()> {
    let needed = [
        ("/usr/bin/systemd-tmpfiles", UNGUARDED),
        ("/usr/lib/systemd/systemd-modules-load", NOT_LOADED),
        ("/usr/lib/systemd/system/systemd-modules-load.service", NOT_LOADED),
        ("/usr/lib/systemd/systemd", "systemd is not started: no unit runs"),
    ];
    for (path, effect) in needed {
        if look.is_file(path)? {
            checks.ok(Group::Requirements, path, None);
        } else {
            checks.missing(Group::Requirements, path, effect);
        }
    }
    Ok(())
}

/// The version of systemd, which the name of its own library has.
pub(super) fn version(look: &Look<'_>) -> io::Result<Option<u32>> {
    let mut directories = vec!["usr/lib/systemd".to_owned(), "usr/lib64/systemd".to_owned()];
    directories.extend(look.names("usr/lib")?.iter().map(|name| format!("usr/lib/{name}/systemd")));
    for directory in directories {
        for name in look.names(&directory)? {
            if let Some(version) = library_version(&name) {
                return Ok(Some(version));
            }
        }
    }
    Ok(None)
}

/// Checks the version of the systemd that merges: in an image of Kairos, the one that is there.
pub(super) fn check_version(version: Option<u32>, checks: &mut Checks) {
    let subject = "systemd";
    match version {
        Some(version) if version < OLDEST_SYSTEMD => {
            let detail = Message::new(format_args!("version {version}; {OLDEST_SYSTEMD} is needed"));
            checks.wrong(
                Group::Requirements,
                subject,
                detail,
                "systemd knows no image policy and fails: nothing is merged",
            );
        }
        Some(version) => {
            checks.ok(Group::Requirements, subject, Some(Message::new(format_args!("version {version}"))));
        }
        None => {
            let detail = Some("libsystemd-shared-VERSION.so is not there".into());
            checks.add(Group::Requirements, subject, State::Unknown, detail, None);
        }
    }
}
