//! Why systemd merged nothing of a class: what became of its unit, and what an administrator told it.

use super::host::MAX_NAMES;
use super::{GATE, is_open};
use crate::kernel::cmdline::is_off;
use crate::root::Root;
use ddi::Class;
use ddi::text::Text;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where a unit can be masked, in the order in which systemd searches (systemd.unit(5)).
const MASKS: [&str; 2] = ["/etc/systemd/system", "/run/systemd/system"];
/// Where systemd's own unit is.
const VENDOR: &str = "/usr/lib/systemd/system";
/// Largest unit that is read, in bytes.
const MAX_UNIT: u64 = 64 << 10;
/// How long systemctl waits for an answer of systemd (systemd 257, `docs/ENVIRONMENT.md`).
pub const PATIENCE: (&str, &str) = ("SYSTEMD_BUS_TIMEOUT", "10s");

/// The first version of systemd that has image policies (systemd 254, `NEWS`). Older ones fail at the option for one.
pub const OLDEST: u32 = 254;
/// Name of systemd's own library, before its version.
const LIBRARY: &str = "libsystemd-shared-";
/// Where that library is, besides the directory of the architecture.
const LIBRARIES: [&str; 2] = ["/usr/lib/systemd", "/usr/lib64/systemd"];

/// What became of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// `ActiveState=`
    active: String,
    /// `Result=`
    result: String,
}

impl Service {
    /// Asks systemd about the unit that merges `class`; `None` where it gives no answer.
    #[must_use]
    pub fn ask(class: Class) -> Option<Self> {
        let mut command = Command::new("systemctl");
        command.args(["show", "--property=ActiveState,Result"]).arg(class.unit()).env(PATIENCE.0, PATIENCE.1);
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        Self::parse(&String::from_utf8_lossy(&output.stdout)).filter(|_| output.status.success())
    }

    /// Reads what `systemctl show` prints.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value =
            |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned);
        Some(Self { active: value("ActiveState")?, result: value("Result")? })
    }

    /// Whether it was started and failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.active == "failed" || self.result != "success"
    }

    /// Whether it was started and succeeded, and was not stopped since.
    #[must_use]
    pub fn has_succeeded(&self) -> bool {
        self.active == "active" && self.result == "success"
    }

    /// Why it failed, in one word of systemd's.
    #[must_use]
    pub fn result(&self) -> Text {
        Text::new(&self.result)
    }
}

/// What keeps systemd from merging anything of a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// The gate is closed.
    Gate,
    /// The unit is masked by this file.
    Masked(String),
    /// The kernel's command line has this word.
    CommandLine(String),
    /// Its systemd is of this version, which knows no image policy.
    TooOld(u32),
}

impl Obstacle {
    /// Whether an administrator put it there.
    #[must_use]
    pub const fn is_meant(&self) -> bool {
        matches!(self, Self::Masked(_) | Self::CommandLine(_))
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gate => write!(f, "{GATE} does not exist, so nothing is merged"),
            Self::Masked(path) => write!(f, "its unit is masked by {path}"),
            Self::CommandLine(word) => write!(f, "{word} on the kernel command line disables merging"),
            Self::TooOld(version) => write!(
                f,
                "systemd {version} has no image policies, so it fails and merges nothing: {OLDEST} or newer is needed"
            ),
        }
    }
}

/// Returns what keeps systemd from merging anything of `class`, as far as files say it.
#[must_use]
pub fn obstacle(root: &Root, class: Class, command_line: &str) -> Option<Obstacle> {
    let switch = format!("systemd.{class}");
    let first = MASKS.iter().find_map(|directory| named(root, directory, &class.unit()));
    if let Some((path, _)) = first.filter(|(_, is_mask)| *is_mask) {
        return Some(Obstacle::Masked(path));
    }
    if is_off(command_line, &switch) && knows(root, class, &switch) {
        return Some(Obstacle::CommandLine(format!("{switch}=0")));
    }
    (!is_open(root)).then_some(Obstacle::Gate)
}

/// Whether systemd is too old to merge by a policy. It is, if the name of its library says so.
#[must_use]
pub fn too_old(root: &Root) -> Option<Obstacle> {
    let own = format!("/usr/lib/{}-linux-gnu/systemd", std::env::consts::ARCH);
    let directories = LIBRARIES.into_iter().chain([own.as_str()]);
    let names =
        directories.flat_map(|directory| root.list_some(directory, MAX_NAMES).ok().flatten().unwrap_or_default());
    let version = names.filter_map(|name| library_version(name.to_str()?)).max()?;
    (version < OLDEST).then_some(Obstacle::TooOld(version))
}

/// The version of systemd whose library has this file name: `libsystemd-shared-257.so`, also `-257.13-1.fc42.so`. `None` if it is
/// another file.
#[must_use]
pub fn library_version(file: &str) -> Option<u32> {
    let version = file.strip_prefix(LIBRARY)?;
    version.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

/// The path of a unit in `directory`, and whether it is a link to `/dev/null`, or empty: that masks it.
fn named(root: &Root, directory: &str, unit: &str) -> Option<(String, bool)> {
    let path = format!("{directory}/{unit}");
    let file = root.directory(directory).ok()??.join(unit);
    let metadata = file.symlink_metadata().ok()?;
    let is_mask = if metadata.is_symlink() {
        fs::read_link(&file).is_ok_and(|target| target == Path::new("/dev/null"))
    } else {
        metadata.is_file() && metadata.len() == 0
    };
    Some((path, is_mask))
}

/// Whether this systemd knows the switch: its unit has it as a condition from 261 on.
fn knows(root: &Root, class: Class, switch: &str) -> bool {
    let path = format!("{VENDOR}/{}", class.unit());
    let text = root.read(&path, MAX_UNIT).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&text).contains(&format!("{switch}=0"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_unit_failed_or_succeeded_or_was_not_started() {
        // As systemd 257 prints it.
        let failed = Service::parse("Result=exit-code\nActiveState=failed\n").unwrap();
        assert!(failed.has_failed() && !failed.has_succeeded());
        assert_eq!(failed.result(), *"exit-code");
        let active = Service::parse("Result=success\nActiveState=active\n").unwrap();
        assert!(active.has_succeeded() && !active.has_failed());
        let inactive = Service::parse("ActiveState=inactive\nResult=success\n").unwrap();
        assert!(!inactive.has_succeeded() && !inactive.has_failed());
        // Either of the two says it: a unit that is started again, and one whose result was reset.
        for text in ["ActiveState=activating\nResult=exit-code\n", "ActiveState=failed\nResult=success\n"] {
            let service = Service::parse(text).unwrap();
            assert!(service.has_failed() && !service.has_succeeded(), "{text}");
        }
        for text in ["", "ActiveState=active\n", "Result=success", "Active\nResult"] {
            assert_eq!(Service::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_an_administrator_has_turned_off_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let found = |command_line: &str| obstacle(&root, Class::Sysext, command_line);
        assert_eq!(found(""), Some(Obstacle::Gate));
        write("run/sextant/merge", "");
        assert_eq!(found(""), None);
        // Before 261 the word means nothing.
        write("usr/lib/systemd/system/systemd-sysext.service", "[Unit]\n");
        assert_eq!(found("systemd.sysext=0"), None);
        write(
            "usr/lib/systemd/system/systemd-sysext.service",
            "[Unit]\nConditionKernelCommandLine=!systemd.sysext=0\n",
        );
        assert_eq!(found("systemd.sysext=0 quiet"), Some(Obstacle::CommandLine("systemd.sysext=0".to_owned())));
        assert_eq!(found("systemd.confext=0 quiet"), None);
        assert_eq!(obstacle(&root, Class::Confext, "systemd.sysext=0"), None);
        fs::create_dir_all(dir.path().join("run/systemd/system")).unwrap();
        symlink("/dev/null", dir.path().join("run/systemd/system/systemd-sysext.service")).unwrap();
        let masked = found("systemd.sysext=0").unwrap();
        assert_eq!(masked, Obstacle::Masked("/run/systemd/system/systemd-sysext.service".to_owned()));
        assert!(masked.is_meant() && !Obstacle::Gate.is_meant());
        let texts =
            [masked, Obstacle::CommandLine("systemd.sysext=0".to_owned()), Obstacle::Gate].map(|it| it.to_string());
        assert_eq!(
            texts,
            [
                "its unit is masked by /run/systemd/system/systemd-sysext.service",
                "systemd.sysext=0 on the kernel command line disables merging",
                "/run/sextant/merge does not exist, so nothing is merged",
            ]
        );
        // One of the administrator's own comes first.
        write("etc/systemd/system/systemd-sysext.service", "[Unit]\n");
        assert_eq!(found(""), None);
        write("etc/systemd/system/systemd-sysext.service", "");
        assert_eq!(found(""), Some(Obstacle::Masked("/etc/systemd/system/systemd-sysext.service".to_owned())));
    }
    #[test]
    fn a_systemd_without_image_policies_is_told_by_its_library() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let found = || too_old(&root);
        assert_eq!(found(), None, "there is none");
        let own = format!("usr/lib/{}-linux-gnu/systemd", std::env::consts::ARCH);
        for directory in ["usr/lib/systemd", &own] {
            let library = |version: &str| dir.path().join(directory).join(format!("libsystemd-shared-{version}.so"));
            fs::create_dir_all(dir.path().join(directory)).unwrap();
            fs::write(library("252"), "").unwrap();
            let obstacle = found().unwrap();
            assert_eq!(obstacle, Obstacle::TooOld(252), "{directory}");
            assert!(!obstacle.is_meant());
            let text = "systemd 252 has no image policies, so it fails and merges nothing: 254 or newer is needed";
            assert_eq!(obstacle.to_string(), text);
            // What an update has left behind isn't what runs.
            fs::write(library("254"), "").unwrap();
            assert_eq!(found(), None, "{directory}");
            fs::remove_file(library("254")).unwrap();
            fs::rename(library("252"), library("253.7-1.fc38")).unwrap();
            assert_eq!(found(), Some(Obstacle::TooOld(253)), "{directory}");
            fs::remove_file(library("253.7-1.fc38")).unwrap();
        }
        for name in ["libsystemd-shared-.so", "libsystemd-core-252.so", "libsystemd-shared-99999999999.so", "systemd"] {
            assert_eq!(library_version(name), None, "{name}");
        }
    }
}
