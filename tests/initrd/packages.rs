//! The Debian packages, installed by apt.

use crate::install::files;
use crate::installed::Installed;
use crate::trees::Tree;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::harness::left_out;
use support::package;

/// The packages of what is installed; `None`, and the test is ignored, where they can't be built.
fn packages(installed: &Installed) -> Option<PathBuf> {
    if let Some(obstacle) = package::no_debhelper() {
        left_out(&obstacle);
        return None;
    }
    let directory = installed.scratch("packages");
    package::debs(&installed.dist(), &directory).unwrap();
    Some(directory)
}

/// Those that a package compresses are found under their own names.
fn content(path: &Path) -> Vec<u8> {
    if path.is_file() {
        return fs::read(path).unwrap();
    }
    let compressed = format!("{}.gz", path.display());
    let output = Command::new("gzip").args(["--decompress", "--stdout"]).arg(&compressed).output().unwrap();
    assert!(output.status.success(), "{compressed}: {output:?}");
    output.stdout
}

pub(crate) fn packages_hold_what_make_installs_and_their_own_papers() {
    let installed = Installed::new();
    let Some(packages) = packages(&installed) else { return };
    let is_package = |file: &String| Path::new(file).extension().is_some_and(|extension| extension == "deb");
    let found: Vec<_> = files(&packages).into_iter().filter(is_package).collect();
    let unpacked = installed.scratch("unpacked");
    for name in ["sextant", "sextant-agent"] {
        let package = format!("{name}_{}_", env!("CARGO_PKG_VERSION"));
        let file = found.iter().find(|file| file.starts_with(&package)).unwrap_or_else(|| panic!("{found:?}"));
        let status = Command::new("dpkg-deb").arg("--extract").arg(packages.join(file)).arg(&unpacked).status();
        assert!(status.unwrap().success(), "{file}");
    }
    assert_eq!(found.len(), 2, "{found:?}");

    let laid_out = files(&installed.path());
    for file in &laid_out {
        let (expected, path) = (installed.path().join(file), unpacked.join(file));
        if expected.is_symlink() {
            assert_eq!(fs::read_link(&path).unwrap(), fs::read_link(&expected).unwrap(), "{file}");
        } else {
            assert!(content(&path) == fs::read(&expected).unwrap(), "{file} is another one in the package");
        }
    }
    let others = files(&unpacked).into_iter().filter(|file| {
        let name = if file.starts_with("usr/share/man/") { file.trim_end_matches(".gz") } else { file };
        !laid_out.iter().any(|it| it == name)
    });
    for file in others {
        let is_paper = file.starts_with("usr/share/doc/") || file.starts_with("usr/share/lintian/");
        assert!(is_paper, "{file} is in a package, and not laid out by `make install`");
    }
}

/// In a copy of a tree that has never seen Sextant.
pub(crate) fn apt_installs_them_and_dracut_takes_what_they_brought() {
    let installed = Installed::new();
    let Some(tree) = Tree::trixie() else { return };
    let Some(packages) = packages(&installed) else { return };
    let root = installed.scratch("root-of-initrd");
    let script = r#"
        set -euo pipefail
        root=$1 kernel=$2
        dpkg-query --show --showformat='${Package} ${Version} ${db:Status-Status}\n' sextant sextant-agent
        sextant --version
        systemctl is-enabled sextant-stage.service sextant-merge.service || true
        dracut --force --quiet --no-hostonly --reproducible --compress cat --no-kernel --modules sextant \
            --kmoddir "$kernel" "$root.cpio" "${kernel##*/}"
        lsinitrd "$root.cpio" | grep -c 'sextant' >/dev/null
        cd "$root"
        lsinitrd --unpack "$root.cpio"
    "#;
    let kernel = tree.kernel_inside();
    let output = tree.with_packages(&packages, script, &[root.as_os_str(), kernel.as_os_str()]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    let version = env!("CARGO_PKG_VERSION");
    let expected = [
        format!("sextant {version} installed"),
        format!("sextant-agent {version} installed"),
        format!("sextant {version}"),
        "disabled".to_owned(),
        "disabled".to_owned(),
    ];
    assert_eq!(stdout.lines().take(5).collect::<Vec<_>>(), expected, "{stdout}");

    let source = installed.path().join("usr/lib/sextant/initrd");
    let laid_out = files(&source);
    assert!(laid_out.len() > 10, "{laid_out:?}");
    for file in laid_out.iter().filter(|file| !source.join(file).is_symlink()) {
        assert_eq!(fs::read(root.join(file)).unwrap(), fs::read(source.join(file)).unwrap(), "{file}");
    }
    let agent = "usr/lib/sextant/sextant-agent";
    assert!(fs::read(root.join(agent)).unwrap() == fs::read(installed.path().join(agent)).unwrap());
    for unit in ["sextant-stage.service", "sextant-merge.service"] {
        assert!(root.join("etc/systemd/system/initrd.target.wants").join(unit).is_symlink(), "{unit}");
    }
    assert!(!tree.file("usr/bin/sextant").exists(), "it was installed into the tree itself");
}
