//! What systemd-sysext does with odd extensions, and what sextant says of them when they are signed.

use std::fs;
use std::path::Path;
use std::thread;
use support::ddi::with_tree;
use support::keys;
use support::machine::Machine;
use support::toolbox::{Toolbox, directory};
use support::trees::Tree;

/// What `systemd-sysext refresh` and `unmerge` do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Merge,
    /// Nothing is merged, of no extension.
    Fail,
    /// It had to be stopped.
    Wait,
    /// It merges, and when it unmerges it deletes a directory of the host.
    Delete,
}

/// Merges the extensions of each directory below `$1/cases`, unmerges them, and says what happened: its name, the exit
/// status of the merge (124: stopped after ten seconds), and whether `$1/victim` is still there. Each has mounts of its own,
/// that end with it, so that all can wait at the same time.
const SCRIPT: &str = r#"
    merge() {
      mount --make-rshared /
      mount -t tmpfs none /run
      mount -t tmpfs none "$1/victim"
      # Where systemd runs it.
      cd /
      mkdir -p /run/extensions /run/systemd/system "$1/victim/content"
      cp "$2"/*.raw /run/extensions/
      timeout 10 systemd-sysext refresh >/dev/null 2>&1
      status=$?
      rm -f /run/extensions/*
      timeout 10 systemd-sysext unmerge >/dev/null 2>&1
      for hierarchy in /usr /opt; do
        while mountpoint -q "$hierarchy"; do umount --lazy "$hierarchy"; done
      done
      [[ -d $1/victim/content ]] && victim=kept || victim=deleted
      echo "${2##*/} $status $victim"
    }
    export -f merge
    for case in "$1"/cases/*; do
      unshare --mount bash -c 'merge "$@"' merge "$1" "$case" &
    done
    wait
"#;

/// Name, what is in the odd extension, what systemd does, and sextant's token.
type Case = (&'static str, Tree, Does, &'static str);

fn cases(scratch: &Path) -> Vec<Case> {
    let odd = || Tree::sysext("odd");
    let release = "usr/lib/extension-release.d/extension-release";
    let victim = scratch.join("victim").to_str().unwrap().trim_start_matches('/').to_owned();
    let fifo = scratch.join("fifo").to_str().unwrap().to_owned();
    let elsewhere = Tree::empty().file(fifo.trim_start_matches('/'), b"ID=_any\n");
    let metadata = "bad-metadata";
    vec![
        ("good", odd(), Does::Merge, ""),
        ("hostname", odd().file("etc/hostname", b"name\n").symlink("etc/machine-info", "nowhere"), Does::Merge, ""),
        ("fifo-os-release", odd().fifo("etc/os-release"), Does::Wait, metadata),
        ("fifo-machine-id", odd().fifo("srv/id").symlink("etc/machine-id", "/srv/id"), Does::Wait, metadata),
        ("directory", odd().directory("etc/hostname"), Does::Fail, metadata),
        ("large", odd().file("etc/hostname", &b"name\n".repeat(100_000)), Does::Fail, metadata),
        ("loop", odd().symlink("etc/os-release", "os-release"), Does::Fail, metadata),
        ("etc", odd().file("etc", b""), Does::Fail, metadata),
        ("hierarchy", odd().file("opt", b""), Does::Fail, "bad-hierarchy"),
        (
            "work-dir",
            odd().file("usr/.systemd-sysext/work_dir", format!("{victim}\n").as_bytes()),
            Does::Delete,
            "bad-hierarchy",
        ),
        ("release-of-another", odd().fifo(&format!("{release}.innocent")), Does::Wait, "wrong-extension-release"),
        (
            "release-elsewhere",
            elsewhere.symlink(&format!("{release}.odd"), &fifo),
            Does::Wait,
            "wrong-extension-release",
        ),
    ]
}

pub(crate) fn what_systemd_trips_over_is_refused_and_nothing_else() {
    let scratch = directory();
    nix::unistd::mkfifo(&scratch.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let cases = cases(scratch.path());
    for (name, tree, _, token) in &cases {
        let place = scratch.path().join("cases").join(name);
        fs::create_dir_all(&place).unwrap();
        // systemd's own policy takes unsigned file systems.
        fs::write(place.join("odd.raw"), &**tree.squashfs()).unwrap();
        fs::write(place.join("innocent.raw"), &**Tree::sysext("innocent").squashfs()).unwrap();

        let vendor = keys::rsa("Vendor");
        let image = with_tree("odd", tree, vendor).render().bytes;
        let outcome = Machine::trusting(&[vendor]).sysext("odd.sysext.raw", &image).stage();
        assert_eq!(outcome.row("odd.sysext.raw")["reason"].as_str().unwrap_or_default(), *token, "{name}");
    }
    fs::create_dir(scratch.path().join("victim")).unwrap();
    let toolboxes = [Toolbox::find(), Toolbox::newer()].into_iter().flatten();
    let toolboxes: Vec<_> = toolboxes.filter(Toolbox::has_loop_devices).collect();
    let outputs: Vec<_> = thread::scope(|scope| {
        let argument = scratch.path().as_os_str();
        let running: Vec<_> =
            toolboxes.iter().map(|toolbox| scope.spawn(move || toolbox.script(SCRIPT, &[argument]))).collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for output in outputs {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for (name, _, does, _) in &cases {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            let found = match line.unwrap_or_else(|| panic!("{name}: {text}\n{output:?}")) {
                "0 kept" => Does::Merge,
                "0 deleted" => Does::Delete,
                "124 kept" => Does::Wait,
                _ => Does::Fail,
            };
            assert_eq!(found, *does, "{name}: {text}");
        }
    }
}
