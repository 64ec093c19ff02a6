//! What `sextant install` copies is what it verified, and a set of files is complete before the first old one goes.

use super::installation::{desk, extra, files, install};
use crate::{Desk, Said, vendor};
use ddi::PartitionKind;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use support::ddi::{good, good_image, with_tree};
use support::keys;
use support::trees::{Tree, noise};

const INSTALL: [&str; 5] = ["install", "--esp", "esp", "--certificate", "vendor.crt"];

/// Runs an installation that has verified its images and waits for the partition while `meddle` is at work.
fn while_it_waits(desk: &Desk, arguments: &[&str], meddle: impl FnOnce()) -> Said {
    let held = File::open(desk.path().join("esp")).unwrap();
    held.lock().unwrap();
    let mut command = desk.command(&[&INSTALL[..], arguments].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let mut stderr = String::new();
    while !stderr.contains("waiting for another sextant") {
        assert_ne!(errors.read_line(&mut stderr).unwrap(), 0, "it ended: {stderr}");
    }
    // Longer than a tick of the clock.
    sleep(Duration::from_millis(20));
    meddle();
    drop(held);
    errors.read_to_string(&mut stderr).unwrap();
    let output = child.wait_with_output().unwrap();
    Said { status: output.status.code(), stdout: String::from_utf8(output.stdout).unwrap(), stderr }
}

type Meddle<'m> = &'m dyn Fn(&Path);

/// The image with one byte of its data changed.
fn damaged(name: &str) -> Vec<u8> {
    good(name, vendor()).render().flip(PartitionKind::Root, 5000).bytes
}

#[test]
fn a_file_that_changes_after_it_was_verified_is_not_installed() {
    let append = |path: &Path| OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
    let overwrite = |path: &Path| fs::write(path, damaged("k3s")).unwrap();
    let cut = |path: &Path| OpenOptions::new().write(true).open(path).unwrap().set_len(5000).unwrap();
    let swap = |path: &Path| {
        fs::write(path.with_extension("other"), good_image("k3s", vendor())).unwrap();
        fs::rename(path.with_extension("other"), path).unwrap();
    };
    let remove = |path: &Path| fs::remove_file(path).unwrap();
    let cases: [(Meddle<'_>, &str); 5] = [
        (&append, "bytes and has"),
        (&overwrite, "it was written to"),
        (&cut, "and has 5000 now"),
        (&swap, "the file was replaced after it was opened"),
        (&remove, "No such file"),
    ];
    for (meddle, words) in cases {
        for force in [&[][..], &["--force"]] {
            let desk = desk();
            let before = files(&desk);
            let path = desk.path().join("k3s.sysext.raw");
            let both = [&["k3s.sysext.raw", "--entry", "active", "--entry", "passive"][..], force].concat();
            let said = while_it_waits(&desk, &both, || meddle(&path));
            assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""), "{words}: {said:?}");
            for word in ["nothing installed: ", "k3s.sysext.raw for active", "(unreadable)", words] {
                assert!(said.stderr.contains(word), "{word}: {said:?}");
            }
            assert_eq!(files(&desk), before, "{said:?}");
            // Whatever it is now, it is verified anew.
            let again = install(&desk, &["k3s.sysext.raw", "--entry", "active"]);
            assert_eq!(again.status == Some(0), words.contains("was replaced"), "{again:?}");
        }
    }
}

#[test]
fn an_image_that_changes_beside_one_that_does_not_keeps_the_whole_set_out() {
    let desk = desk().image("other");
    let before = files(&desk);
    // It is there already: nothing of it is written, and yet it is part of the set.
    assert_eq!(install(&desk, &["other.sysext.raw", "--entry", "active"]).status, Some(0));
    let with_other = files(&desk);
    let path = desk.path().join("other.sysext.raw");
    let said = while_it_waits(&desk, &["k3s.sysext.raw", "other.sysext.raw", "--entry", "active"], || {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    });
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(said.stderr.contains("other.sysext.raw") && said.stderr.contains("attributes"), "{said:?}");
    assert_eq!(files(&desk), with_other);
    assert!(before.len() < with_other.len());
}

/// A shared mapping of a file, through which it is written without a change of its times.
struct Mapping(*mut libc::c_void, usize);

impl Mapping {
    fn new(file: &File) -> Self {
        let len = usize::try_from(file.metadata().unwrap().len()).unwrap();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses; the descriptor is open.
        let place = unsafe { libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(place, libc::MAP_FAILED);
        Self(place, len)
    }

    fn flip(&self, at: usize) {
        assert!(at < self.1);
        let byte = self.0.cast::<u8>();
        // SAFETY: inside the mapping, which lives as long as `self`, and no reference to it exists.
        unsafe { byte.add(at).write_volatile(byte.add(at).read_volatile() ^ 1) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, and nothing refers to it any more.
        unsafe { libc::munmap(self.0, self.1) };
    }
}

#[test]
fn a_write_that_no_stamp_notices_is_found_in_the_copy() {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = memory.path().join("k3s.sysext.raw");
    let image = good("k3s", vendor()).render();
    fs::write(&path, &image.bytes).unwrap();
    let damage = image.flip(PartitionKind::Root, 5000).bytes;
    let at = damage.iter().zip(fs::read(&path).unwrap()).position(|(one, other)| *one != other).unwrap();
    let mapping = Mapping::new(&OpenOptions::new().read(true).write(true).open(&path).unwrap());
    // Once written, the page is written to again without anything of it being told.
    mapping.flip(at);
    mapping.flip(at);
    let desk = desk();
    let before = files(&desk);
    let changed = fs::metadata(&path).unwrap().modified().unwrap();
    let said = while_it_waits(&desk, &[path.to_str().unwrap(), "--entry", "active"], || mapping.flip(at));
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), changed, "this is no tmpfs");
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""), "{said:?}");
    let words = ["nothing installed: ", "verifying the copy of k3s.sysext.raw for active", "(corrupt)"];
    assert!(words.iter().all(|word| said.stderr.contains(word)), "{said:?}");
    assert_eq!(files(&desk), before);
}

fn signal(pid: u32, signal: libc::c_int) {
    // SAFETY: no memory is handed over. The child was not waited for, so the number is still its own.
    unsafe { libc::kill(pid.try_into().unwrap(), signal) };
}

/// An image of a stranger's, so large that writing it takes a while.
fn forced_desk() -> Desk {
    let tree = Tree::sysext("large").file("usr/share/large/noise", &noise(48 << 20));
    desk().file("large.sysext.raw", &with_tree("large", &tree, keys::ec("Stranger")).render().bytes)
}

#[test]
fn what_is_forced_is_compared_with_what_was_written_all_the_same() {
    let desk = forced_desk();
    let size = fs::metadata(desk.path().join("large.sysext.raw")).unwrap().len();
    let (target, temporary) = (extra("active", "large.sysext.raw"), extra("active", ".#large.sysext.raw.tmp"));
    let temporary = desk.path().join(temporary);
    // It has to be stopped while it writes. Where that comes too late, once more.
    for _ in 0..20 {
        let arguments = [&INSTALL[..], &["large.sysext.raw", "--entry", "active", "--force"]].concat();
        let mut command = desk.command(&arguments);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let len = || fs::metadata(&temporary).map_or(0, |found| found.len());
        // Not waited for until the end, so that the number stays its own.
        let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let is_over = || state().contains(") Z ");
        while len() == 0 && !is_over() {}
        signal(pid, libc::SIGSTOP);
        while !state().contains(") T ") && !is_over() {}
        let in_time = (1..size).contains(&len());
        if in_time {
            OpenOptions::new().write(true).open(&temporary).unwrap().write_all_at(b"meddled with", 0).unwrap();
        }
        signal(pid, libc::SIGCONT);
        let output = child.wait_with_output().unwrap();
        if in_time {
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(
                said.contains("nothing installed: reading back large.sysext.raw for active: file read back differs"),
                "{said}"
            );
            assert!(!temporary.exists() && !files(&desk).contains_key(&target));
            return;
        }
        let _ = fs::remove_file(desk.path().join(&target));
    }
    panic!("it was never stopped while it wrote");
}

/// Runs `script` with `$0` being the tool, where its mounts are its own.
fn in_namespace(desk: &Desk, script: &str) {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-e", "-c", script, env!("CARGO_BIN_EXE_tool-under-test")]);
    let output = command.current_dir(desk.path()).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Two extensions in two entries, and newer ones of the same names to be installed.
fn with_a_set() -> Desk {
    let newer = |name: &str| with_tree(name, &Tree::sysext(name).file("usr/new", b"new"), vendor()).render().bytes;
    let desk = desk().image("tools");
    let both = ["k3s.sysext.raw", "tools.sysext.raw", "--entry", "active", "--entry", "passive"];
    assert_eq!(install(&desk, &both).status, Some(0));
    desk.file("set/k3s.sysext.raw", &newer("k3s")).file("set/tools.sysext.raw", &newer("tools"))
}

#[test]
fn a_set_that_cannot_be_prepared_changes_nothing() {
    let desk = with_a_set();
    let before = files(&desk);
    in_namespace(
        &desk,
        "place=esp/EFI/kairos/passive.efi.extra.d
        mount --bind $place $place && mount -o remount,bind,ro $place
        if \"$0\" install --esp esp --certificate vendor.crt set --entry active --entry passive >out 2>err; then exit 1; fi",
    );
    let read = |file: &str| fs::read_to_string(desk.path().join(file)).unwrap();
    assert_eq!(read("out"), "");
    let said = read("err");
    assert!(said.contains("nothing installed: writing k3s.sysext.raw for passive: Read-only file system"), "{said}");
    assert_eq!(files(&desk), before, "neither a new file nor a temporary one");
    assert_eq!(install(&desk, &["set", "--entry", "active", "--entry", "passive"]).status, Some(0));
}

#[test]
fn a_set_that_stops_in_the_middle_says_what_was_done() {
    let desk = with_a_set().file(extra("active", "tools.sysext.raw.disabled"), b"older");
    let before = files(&desk);
    // What something is mounted on can't be replaced.
    in_namespace(
        &desk,
        "place=esp/EFI/kairos/passive.efi.extra.d
        mount --bind $place/k3s.sysext.raw $place/k3s.sysext.raw
        install() { \"$0\" install --esp esp --certificate vendor.crt set --entry active --entry passive \"$@\"; }
        if install >out 2>err; then exit 1; fi
        ls -A $place >left
        if install --json >json 2>>err; then exit 1; fi",
    );
    let read = |file: &str| fs::read_to_string(desk.path().join(file)).unwrap();
    let (table, said) = (read("out"), read("err"));
    let words = ["installed 2 of 4 files: ", "k3s.sysext.raw for passive: ", "busy"];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    let rows: Vec<_> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let expected = [
        "ENTRY FILE ACTION SIZE",
        "active k3s.sysext.raw replaced",
        "active tools.sysext.raw replaced",
        "active tools.sysext.raw.disabled removed",
        "passive k3s.sysext.raw failed",
        "passive tools.sysext.raw not done",
        "esp (esp): 2 of 4 files done, effective from the next boot",
    ];
    assert!(rows.len() == expected.len(), "{table}");
    assert!(rows.iter().zip(expected).all(|(row, expected)| row.starts_with(expected)), "{table}");
    assert_eq!(read("left"), "k3s.sysext.raw\ntools.sysext.raw\n", "the others' temporary files are gone");
    let json: serde_json::Value = serde_json::from_str(&read("json")).unwrap();
    let outcomes: Vec<_> =
        json["files"].as_array().unwrap().iter().map(|file| file["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["done", "done", "failed", "not-done"]);
    let after = files(&desk);
    for (entry, expected) in [("active", &desk.path().join("set")), ("passive", &desk.path().to_owned())] {
        for file in ["k3s.sysext.raw", "tools.sysext.raw"] {
            assert!(after[&extra(entry, file)].2 == fs::read(expected.join(file)).unwrap(), "{entry} {file}");
        }
    }
    assert_eq!(before[&extra("passive", "tools.sysext.raw")], after[&extra("passive", "tools.sysext.raw")]);
}

#[test]
fn a_removal_that_stops_in_the_middle_says_what_was_done() {
    let desk = with_a_set();
    in_namespace(
        &desk,
        "place=esp/EFI/kairos/passive.efi.extra.d
        mount --bind $place/k3s.sysext.raw $place/k3s.sysext.raw
        if \"$0\" remove --esp esp k3s tools --entry active --entry passive >out 2>err; then exit 1; fi
        if \"$0\" disable --esp esp --json tools k3s --entry passive >json 2>>err; then exit 1; fi",
    );
    let read = |file: &str| fs::read_to_string(desk.path().join(file)).unwrap();
    let (out, said) = (read("out"), read("err"));
    let expected = [
        "active: k3s.sysext.raw removed",
        "active: tools.sysext.raw removed",
        "passive: k3s.sysext.raw failed",
        "passive: tools.sysext.raw not done",
        "esp (esp)",
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
    assert!(said.contains("removed 2 of 4 files: removing k3s.sysext.raw for passive: "), "{said}");
    assert!(said.contains("disabled 1 of 2 files: disabling k3s.sysext.raw"), "{said}");
    let json: serde_json::Value = serde_json::from_str(&read("json")).unwrap();
    let outcomes: Vec<_> =
        json["files"].as_array().unwrap().iter().map(|file| file["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["done", "failed"]);
}
