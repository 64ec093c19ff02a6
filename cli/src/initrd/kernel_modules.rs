//! Kernel modules: loaded from files, or built in.

use super::Kind;
use super::check::{Checks, Group, State};
use super::look::{File, Look};
use ddi::text::{Message, Text};
use std::collections::BTreeSet;
use std::io;

/// Largest list of modules.
const MAX_LIST: usize = 16 << 20;
/// Most kernels that are looked at.
const MAX_KERNELS: usize = 8;

const DIRECTORY: &str = "/usr/lib/modules";
const NOT_MOUNTABLE: &str = "images are rejected as not-mountable";
/// Modules that are needed, and what a boot does without them.
const NEEDED: [(&str, &str); 4] = [
    ("loop", NOT_MOUNTABLE),
    ("dm_mod", NOT_MOUNTABLE),
    ("dm_verity", NOT_MOUNTABLE),
    ("efivarfs", "firmware variables are not readable: images are rejected as firmware-unreadable"),
];
const FILE_SYSTEMS: [&str; 2] = ["erofs", "squashfs"];

/// Checks the modules of each kernel, and returns the kernels' versions.
pub(super) fn check(
    look: &Look<'_>,
    kind: Option<Kind>,
    uname: Option<&Text>,
    checks: &mut Checks,
) -> io::Result<Vec<Text>> {
    let mut kernels = look.names(DIRECTORY)?;
    kernels.truncate(MAX_KERNELS);
    if let Some(uname) = uname {
        if !kernels.is_empty() && !kernels.iter().any(|kernel| kernel == uname.as_str()) {
            let detail =
                Message::new(format_args!("kernel is {uname}; modules are for {}", Text::new(kernels.join(", "))));
            checks.wrong(Group::Requirements, DIRECTORY, detail, "the kernel loads no module");
        }
        kernels.retain(|kernel| kernel == uname.as_str());
    }
    if kernels.is_empty() {
        let detail = Message::from("there are no modules of this kernel: what it has built in is unknown");
        checks.add(Group::Requirements, DIRECTORY, State::Unknown, Some(detail), None);
    }
    for kernel in &kernels {
        let modules = Modules::read(look, kernel)?;
        let missing = |name: &str, effect, checks: &mut Checks| {
            checks.missing(Group::Requirements, &format!("module {name} of {kernel}"), effect);
        };
        for (name, effect) in NEEDED {
            if modules.has(name) {
                checks.ok(Group::Requirements, &format!("module {name} of {kernel}"), modules.how(name));
            } else {
                missing(name, effect, checks);
            }
        }
        if !FILE_SYSTEMS.iter().any(|name| modules.has(name)) {
            missing("erofs or squashfs", NOT_MOUNTABLE, checks);
        }
        for name in FILE_SYSTEMS {
            let subject = format!("module {name} of {kernel}");
            if modules.has(name) {
                checks.ok(Group::Requirements, &subject, modules.how(name));
            } else if FILE_SYSTEMS.iter().any(|name| modules.has(name)) {
                checks.note(Group::Requirements, &subject, "missing: extensions with this file system are rejected");
            }
        }
        let overlay = format!("module overlay of {kernel}");
        match (modules.has("overlay"), kind) {
            (true, _) => checks.ok(Group::Requirements, &overlay, modules.how("overlay")),
            // Only the host merges.
            (false, Some(Kind::Systemd)) => {
                checks.note(Group::Requirements, &overlay, "missing: the host has to have it");
            }
            (false, _) => missing("overlay", "systemd cannot merge", checks),
        }
    }
    Ok(kernels.iter().map(Text::new).collect())
}

/// The modules of one kernel.
#[derive(Default)]
struct Modules {
    files: BTreeSet<String>,
    built_in: BTreeSet<String>,
}

impl Modules {
    fn read(look: &Look<'_>, kernel: &str) -> io::Result<Self> {
        let list = |name: &str| -> io::Result<String> {
            Ok(match look.read(&format!("{DIRECTORY}/{kernel}/{name}"), MAX_LIST)? {
                File::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                _ => String::new(),
            })
        };
        let mut modules = Self::default();
        let wanted = |name: &String| {
            FILE_SYSTEMS.contains(&name.as_str())
                || name == "overlay"
                || NEEDED.iter().any(|(needed, _)| needed == name)
        };
        modules.built_in = list("modules.builtin")?.lines().filter_map(name).filter(wanted).collect();
        for line in list("modules.dep")?.lines() {
            let Some((path, _)) = line.split_once(':') else { continue };
            if let Some(name) = name(path).filter(wanted)
                && look.is_file(&format!("{DIRECTORY}/{kernel}/{path}"))?
            {
                modules.files.insert(name);
            }
        }
        Ok(modules)
    }

    fn has(&self, name: &str) -> bool {
        self.files.contains(name) || self.built_in.contains(name)
    }

    fn how(&self, name: &str) -> Option<Message> {
        self.built_in.contains(name).then(|| "built in".into())
    }
}

/// The name of the module in a file such as `kernel/drivers/md/dm-verity.ko.xz`.
fn name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (stem, _) = file.split_once(".ko")?;
    Some(stem.replace('-', "_"))
}
