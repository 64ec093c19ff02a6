//! Debian trees with a systemd and a dracut each. What is installed is laid over them for the time of a command.

use crate::installed::{Installed, repository};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::harness::left_out;

/// Releases of Debian whose dracut and systemd are tried, and what the tree is called beside `target/toolbox`. bookworm
/// without backports has the same dracut, and a systemd without image policies, which `make machines` boots.
const SUITES: [(&str, &str); 3] = [("bookworm-backports", "-bookworm-backports"), ("trixie", ""), ("forky", "-forky")];

/// Exit status of `tests/toolbox/run` where a tree can't be entered.
const UNAVAILABLE: i32 = 77;

/// What runs before a command: `/usr` and `/etc` of the DESTDIR over those of the tree, for nobody else to see.
const LAY_OVER: &str = r#"
    set -euo pipefail
    destdir=$1
    shift
    for directory in usr etc; do
        [[ -d $destdir/$directory ]] || continue
        mount -t overlay -o "lowerdir=$destdir/$directory:/$directory" overlay "/$directory"
    done
"#;

/// One of the trees.
pub(crate) struct Tree {
    pub(crate) suite: &'static str,
    path: PathBuf,
}

impl Tree {
    /// All trees that can be entered; the test is ignored in part where one is missing.
    pub(crate) fn all() -> Vec<Self> {
        SUITES.iter().filter_map(|(suite, suffix)| Self::find(suite, suffix)).collect()
    }

    /// The one with the tools in it.
    pub(crate) fn trixie() -> Option<Self> {
        Self::find("trixie", "")
    }

    fn find(suite: &'static str, suffix: &str) -> Option<Self> {
        let tree = Self { suite, path: path(suffix) };
        let output = tree.enter("mkdir /run/a /run/b; mount -t overlay -o lowerdir=/run/a:/run/b overlay /run/a", &[]);
        if output.status.success() {
            return Some(tree);
        }
        let cause = if output.status.code() == Some(UNAVAILABLE) { "no tree" } else { "no overlayfs" };
        left_out(&format!("{suite}: {cause}: {}", String::from_utf8_lossy(&output.stderr).trim()));
        None
    }

    /// Runs a bash script with arguments in the tree, as it is.
    fn enter(&self, script: &str, arguments: &[&OsStr]) -> Output {
        let run = repository().join("tests/toolbox/run");
        let mut command = Command::new(run);
        command.env("SEXTANT_TOOLBOX", &self.path).args(["bash", "-c", script, "script"]).args(arguments);
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a bash script where `installed` is installed.
    pub(crate) fn run(&self, installed: &Installed, script: &str, arguments: &[&str]) -> Output {
        let destdir = installed.path();
        let mut all = vec![destdir.as_os_str()];
        all.extend(arguments.iter().map(OsStr::new));
        self.enter(&format!("{LAY_OVER}\n{script}"), &all)
    }

    /// Runs a bash script in a copy of the tree in which the packages of a directory are installed.
    pub(crate) fn with_packages(&self, packages: &Path, script: &str, arguments: &[&OsStr]) -> Output {
        let with_packages = repository().join("tests/toolbox/with-packages");
        let mut all = vec![with_packages.as_os_str(), packages.as_os_str(), OsStr::new(script)];
        all.extend(arguments);
        self.enter(r#""$1" "$2" bash -c "$3" script "${@:4}""#, &all)
    }

    /// Runs a bash script that must succeed, and returns what it printed.
    pub(crate) fn succeed(&self, installed: &Installed, script: &str, arguments: &[&str]) -> String {
        let output = self.run(installed, script, arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}: {script}\n{}{}", self.suite, text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// A file of the tree, whatever is installed.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    /// The modules of a kernel, as a path inside: the tree's own, or trixie's, for a dracut takes any.
    pub(crate) fn kernel_inside(&self) -> PathBuf {
        let kernel = |tree: &Path| {
            let entries = fs::read_dir(tree.join("usr/lib/modules")).ok()?;
            entries.filter_map(|entry| Some(entry.ok()?.path())).find(|path| path.join("modules.dep").is_file())
        };
        if let Some(own) = kernel(&self.path) {
            return Path::new("/").join(own.strip_prefix(&self.path).unwrap());
        }
        kernel(&path("")).unwrap_or_else(|| panic!("{}: no kernel in any tree", self.suite))
    }
}

fn path(suffix: &str) -> PathBuf {
    let mut path =
        std::env::var_os("SEXTANT_TOOLBOX").unwrap_or_else(|| repository().join("target/toolbox").into_os_string());
    path.push(suffix);
    PathBuf::from(path)
}
