//! `sextant install`, `list`, `enable`, `disable`, `remove` in the other stores: Kairos', and that for all boot entries.

use crate::{Desk, Said, vendor};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use support::ddi::{Blueprint, good_image, with_tree};
use support::trees::Tree;

/// The tree of a machine that immucore booted from a UKI, as it leaves it: notes in memory, an empty store, an EFI
/// system partition with three entries.
fn machine() -> Desk {
    let desk = ["active", "passive", "recovery"].iter().fold(Desk::new(), |desk, entry| {
        desk.file(format!("m/efi/EFI/kairos/{entry}.efi"), b"").file(
            format!("m/efi/loader/entries/{entry}.conf"),
            format!("title {entry}\nefi /EFI/kairos/{entry}.efi\n").as_bytes(),
        )
    });
    fs::create_dir_all(desk.path().join("m/var/lib/kairos/extensions")).unwrap();
    desk.file("m/run/cos/active_mode", b"1").file("m/run/cos/uki_boot_mode", b"1").image("k3s")
}

fn sextant(desk: &Desk, arguments: &[&str]) -> Said {
    desk.run(&[arguments, &["--root", "m"]].concat())
}

fn install(desk: &Desk, arguments: &[&str]) -> Said {
    sextant(desk, &[&["install", "--certificate", "vendor.crt"], arguments].concat())
}

fn done(said: Said) -> Said {
    assert_eq!(said.status, Some(0), "{said:?}");
    said
}

fn store(desk: &Desk, path: &str) -> PathBuf {
    desk.path().join("m/var/lib/kairos").join(path)
}

/// All names of the store, links with where they lead.
fn tree(desk: &Desk) -> Vec<String> {
    fn walk(base: &Path, directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = path.strip_prefix(base).unwrap().display().to_string();
            if kind.is_symlink() {
                found.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            } else if kind.is_dir() {
                walk(base, &path, found);
            } else {
                found.push(name);
            }
        }
    }
    let (base, mut found) = (desk.path().join("m/var/lib/kairos"), Vec::new());
    walk(&base, &base, &mut found);
    found.sort();
    found
}

fn list(desk: &Desk, arguments: &[&str]) -> Vec<String> {
    let said = done(sextant(desk, &[&["list", "--json"], arguments].concat()));
    rows(&said, |row| {
        let state = if row["enabled"] == true { "enabled" } else { "disabled" };
        format!("{} {} {state}", row["entry"].as_str().unwrap_or("-"), row["file"].as_str().unwrap())
    })
}

fn rows(said: &Said, shown: impl Fn(&Value) -> String) -> Vec<String> {
    said.json()["files"].as_array().unwrap().iter().map(shown).collect()
}

fn actions(said: &Said) -> Vec<String> {
    let word = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows(said, |row| format!("{} {} {}", word(row, "entry"), word(row, "file"), word(row, "action")))
}

/// What `kairos-agent sysext|confext enable|disable|remove` does, call by call (kairos-io/kairos ca022425,
/// `agent/pkg/action/sysext.go`).
struct KairosAgent<'d>(&'d Desk, &'static str);

impl KairosAgent<'_> {
    fn directory(&self, state: &str) -> PathBuf {
        store(self.0, self.1).join(state)
    }

    fn list(&self, state: &str) -> Vec<String> {
        let mut names = Vec::new();
        let Ok(entries) = fs::read_dir(self.directory(state)) else { return names };
        for entry in entries.map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            // `filepath.Ext`, and `IsDir` of the entry itself.
            if !entry.file_type().unwrap().is_dir() && Path::new(&name).extension().is_some_and(|end| end == "raw") {
                names.push(name);
            }
        }
        names.sort();
        names
    }

    fn install(&self, file: &str) {
        fs::create_dir_all(self.directory("")).unwrap();
        fs::copy(self.0.path().join(file), self.directory(file)).unwrap();
    }

    fn enable(&self, file: &str, state: &str) {
        assert!(self.list("").contains(&file.to_owned()));
        fs::create_dir_all(self.directory(state)).unwrap();
        if !self.list(state).contains(&file.to_owned()) {
            let target = format!("/var/lib/kairos/{}/{file}", self.1);
            symlink(target, self.directory(state).join(file)).unwrap();
        }
    }

    fn disable(&self, file: &str, state: &str) {
        assert!(self.list(state).contains(&file.to_owned()), "{:?}", self.list(state));
        fs::remove_file(self.directory(state).join(file)).unwrap();
    }

    fn remove(&self, file: &str) {
        assert!(self.list("").contains(&file.to_owned()));
        for state in ["active", "passive", "recovery", "common"] {
            if self.list(state).contains(&file.to_owned()) {
                self.disable(file, state);
            }
        }
        fs::remove_file(self.directory(file)).unwrap();
    }
}

#[test]
fn the_store_of_a_machine_is_found_and_said() {
    let desk = machine();
    let found = |more: &[&str]| {
        let json = done(sextant(&desk, &[&["list", "--json"], more].concat())).json();
        (json["store"].clone(), json["path"].clone(), json["esp"].clone())
    };
    let kairos = (json!("kairos"), json!("m/var/lib/kairos"), Value::Null);
    let (esp, root) = (json!("esp"), desk.path().canonicalize().unwrap().join("m/efi"));
    let root = json!(root);
    assert_eq!(found(&[]), kairos);
    assert_eq!(found(&["--store", "kairos"]), kairos);
    assert_eq!(found(&["--store", "esp"]), (esp.clone(), root.clone(), root.clone()));
    assert_eq!(found(&["--store", "global"]), (json!("global"), root.clone(), root.clone()));
    assert_eq!(found(&["--esp", "m/efi"]), (esp.clone(), json!("m/efi"), json!("m/efi")));
    let said = done(sextant(&desk, &["list"]));
    assert!(said.stdout.starts_with("m/var/lib/kairos (kairos): 0 files for 4 boot states; "), "{said:?}");

    // Before Kairos 3.4 immucore made no such directory; an installation medium and other systems leave other notes.
    let remove = |path: &str| fs::remove_file(desk.path().join("m/run/cos").join(path)).unwrap();
    fs::remove_dir(store(&desk, "extensions")).unwrap();
    assert_eq!(found(&[]).0, esp);
    // A machine that boots no UKI has nothing beside one.
    remove("uki_boot_mode");
    assert_eq!(found(&[]).0, esp);
    fs::create_dir_all(desk.path().join("m/run/extensions")).unwrap();
    assert_eq!(found(&[]), kairos);
    fs::rename(desk.path().join("m/run/cos/active_mode"), desk.path().join("m/run/cos/live_mode")).unwrap();
    assert_eq!(found(&[]).0, esp);
    let said = done(sextant(&desk, &["list", "--store", "kairos"]));
    assert!(said.stderr.contains("a boot may not load extensions from there"), "{said:?}");
    remove("live_mode");
    assert_eq!(found(&[]).0, esp);
    sextant(&desk, &["list", "--store", "kairos", "--esp", "m/efi"]).complains(2, &["--esp"]);
    sextant(&desk, &["list", "--store", "elsewhere"]).complains(2, &["esp, global, kairos"]);
}

#[test]
fn an_image_is_written_once_and_linked_for_each_state() {
    let desk = machine();
    let both = ["k3s.sysext.raw", "--entry", "active", "--entry", "common", "--json"];
    let before = tree(&desk);
    let dry = done(install(&desk, &[&both[..], &["--dry-run"]].concat()));
    let installed = ["active k3s.sysext.raw installed", "common k3s.sysext.raw installed"];
    assert_eq!(actions(&dry), installed);
    assert_eq!(tree(&desk), before, "a dry run writes nothing");

    assert_eq!(actions(&done(install(&desk, &both))), installed);
    let expected = [
        "extensions/active/k3s.sysext.raw -> /var/lib/kairos/extensions/k3s.sysext.raw",
        "extensions/common/k3s.sysext.raw -> /var/lib/kairos/extensions/k3s.sysext.raw",
        "extensions/k3s.sysext.raw",
    ];
    assert_eq!(tree(&desk), expected);
    let file = store(&desk, "extensions/k3s.sysext.raw");
    assert!(fs::read(&file).unwrap() == fs::read(desk.path().join("k3s.sysext.raw")).unwrap());
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o644);
    let unchanged = ["active k3s.sysext.raw unchanged", "common k3s.sysext.raw unchanged"];
    assert_eq!(actions(&done(install(&desk, &both))), unchanged);
    assert_eq!(fs::metadata(&file).unwrap().ino(), metadata.ino(), "it isn't written again");
    let said = done(install(&desk, &["k3s.sysext.raw", "--entry", "passive"]));
    assert!(said.stdout.contains("passive  k3s.sysext.raw  enabled "), "{said:?}");
    assert!(
        said.stdout.contains("\nm/var/lib/kairos (kairos): 1 of 1 files done, effective from the next boot; "),
        "{said:?}"
    );
    assert_eq!(fs::metadata(&file).unwrap().ino(), metadata.ino());
}

#[test]
fn what_is_refused_changes_nothing() {
    let desk = machine().file("bad.sysext.raw", b"junk").file("K.SYSEXT.RAW", &good_image("K", vendor()));
    let said = install(&desk, &["bad.sysext.raw", "k3s.sysext.raw", "--entry", "active"]);
    assert!(said.status == Some(1) && said.stderr.contains("would reject 1 of 2"), "{said:?}");
    install(&desk, &["k3s.sysext.raw", "--entry", "recovery"]).complains(1, &["recovery", "entry-denied"]);
    install(&desk, &["k3s.sysext.raw", "--entry", "activ"])
        .complains(1, &["\"activ\"", "active, passive, recovery, common"]);
    install(&desk, &["k3s.sysext.raw"]).complains(2, &["active, passive, recovery, common", "--entry"]);
    install(&desk, &["K.SYSEXT.RAW", "--entry", "active"]).complains(1, &["does not end in .raw"]);
    for verb in ["enable", "disable", "remove"] {
        sextant(&desk, &[verb, "k3s", "--entry", "active"]).complains(1, &["no such extension; available: none"]);
        sextant(&desk, &[verb, "k3s"]).complains(2, &["--entry"]);
    }
    assert_eq!(tree(&desk), Vec::<String>::new());
}

#[test]
fn the_two_tools_can_be_used_in_turn() {
    let net = Blueprint::new("net", &Tree::confext("net").squashfs(), vendor()).render().bytes;
    let desk = machine().file("net.confext.raw", &net).image("tools");
    let (sysext, confext) = (KairosAgent(&desk, "extensions"), KairosAgent(&desk, "confexts"));
    done(install(&desk, &["k3s.sysext.raw", "net.confext.raw", "--entry", "active", "--entry", "passive"]));
    assert_eq!(
        (sysext.list(""), sysext.list("active")),
        (vec!["k3s.sysext.raw".into()], vec!["k3s.sysext.raw".into()])
    );
    assert_eq!(confext.list("passive"), ["net.confext.raw"]);

    sysext.disable("k3s.sysext.raw", "active");
    confext.disable("net.confext.raw", "active");
    assert_eq!(list(&desk, &[]), ["passive k3s.sysext.raw enabled", "passive net.confext.raw enabled"]);
    done(sextant(&desk, &["enable", "net", "k3s", "--entry", "active"]));
    assert_eq!((sysext.list("active"), confext.list("active")), (sysext.list("passive"), confext.list("passive")));

    sysext.install("tools.sysext.raw");
    assert_eq!(list(&desk, &[]).last().unwrap(), "- tools.sysext.raw disabled");
    sysext.enable("tools.sysext.raw", "common");
    assert!(list(&desk, &[]).contains(&"common tools.sysext.raw enabled".to_owned()));
    let said = done(sextant(&desk, &["disable", "tools", "--entry", "common", "--json"]));
    assert_eq!(actions(&said), ["common tools.sysext.raw disabled"]);
    assert_eq!((sysext.list("common").len(), sysext.list("").len()), (0, 2));
    sysext.enable("tools.sysext.raw", "active");
    assert_eq!(
        actions(&done(sextant(&desk, &["enable", "tools", "--entry", "active", "--json"]))),
        ["active tools.sysext.raw unchanged"]
    );
    sysext.remove("tools.sysext.raw");
    assert!(!list(&desk, &[]).iter().any(|row| row.contains("tools")));

    // Taken from one state, it stays for the other; from the last, it goes.
    let said = done(sextant(&desk, &["remove", "k3s", "--entry", "active"]));
    assert!(
        said.stdout
            .contains("active: k3s.sysext.raw removed (/var/lib/kairos/extensions/k3s.sysext.raw is kept for passive)"),
        "{said:?}"
    );
    assert_eq!((sysext.list("active").len(), sysext.list("")), (0, vec!["k3s.sysext.raw".to_owned()]));
    assert_eq!(
        actions(&done(sextant(&desk, &["remove", "k3s", "--entry", "active", "--json"]))),
        ["active k3s.sysext.raw unchanged"]
    );
    assert_eq!(
        actions(&done(sextant(&desk, &["remove", "k3s", "--all", "--json"]))),
        ["passive k3s.sysext.raw removed"]
    );
    assert_eq!(sysext.list(""), Vec::<String>::new());
    confext.remove("net.confext.raw");
    assert_eq!(tree(&desk), Vec::<String>::new());
    sysext.install("tools.sysext.raw");
    assert_eq!(
        actions(&done(sextant(&desk, &["remove", "tools", "--all", "--json"]))),
        ["active tools.sysext.raw removed"]
    );
    assert_eq!(tree(&desk), Vec::<String>::new());
}

#[test]
fn a_new_content_is_new_for_every_state_and_that_is_said() {
    let desk = machine();
    done(install(&desk, &["k3s.sysext.raw", "--entry", "active", "--entry", "passive"]));
    let newer = with_tree("k3s", &Tree::sysext("k3s").file("usr/new", b"new"), vendor()).render().bytes;
    let desk = desk.file("k3s.sysext.raw", &newer);
    let said = done(install(&desk, &["k3s.sysext.raw", "--entry", "active"]));
    assert!(said.stdout.contains("active  k3s.sysext.raw  replaced "), "{said:?}");
    assert!(said.stdout.contains("k3s.sysext.raw is also enabled for passive, and changes there too"), "{said:?}");
    assert!(fs::read(store(&desk, "extensions/k3s.sysext.raw")).unwrap() == newer);
}

#[test]
fn what_an_interrupted_run_left_in_the_store_is_cleaned_up() {
    let desk = machine().file("m/var/lib/kairos/extensions/.#x.sysext.raw.tmp", b"half");
    fs::create_dir_all(store(&desk, "extensions/passive")).unwrap();
    symlink("/nowhere", store(&desk, "extensions/passive/.#x.sysext.raw.tmp")).unwrap();
    let said = done(sextant(&desk, &["list"]));
    assert_eq!(said.stdout.matches("left by an interrupted installation").count(), 2, "{said:?}");
    done(install(&desk, &["k3s.sysext.raw", "--entry", "active"]));
    assert_eq!(tree(&desk).len(), 2, "{:?}", tree(&desk));
}

#[test]
fn odd_things_in_the_store_are_a_line_each_and_keep_nothing_else_out() {
    let desk = machine().image("away").image("own");
    done(install(&desk, &["k3s.sysext.raw", "--entry", "active"]));
    let active = store(&desk, "extensions/active");
    symlink("/opt/away.sysext.raw", active.join("away.sysext.raw")).unwrap();
    fs::create_dir_all(desk.path().join("m/opt")).unwrap();
    fs::rename(desk.path().join("away.sysext.raw"), desk.path().join("m/opt/away.sysext.raw")).unwrap();
    symlink("/var/lib/kairos/extensions/gone.sysext.raw", active.join("gone.sysext.raw")).unwrap();
    symlink("loop.sysext.raw", active.join("loop.sysext.raw")).unwrap();
    fs::copy(desk.path().join("own.sysext.raw"), active.join("own.sysext.raw")).unwrap();
    fs::create_dir(active.join("dir.sysext.raw")).unwrap();
    nix::unistd::mkfifo(&store(&desk, "extensions/fifo.sysext.raw"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    // As immucore leaves what it moved from beside a UKI.
    fs::write(store(&desk, "extensions/old.sysext.raw.disabled"), b"x").unwrap();
    fs::write(store(&desk, "extensions/net.confext.raw"), b"x").unwrap();
    fs::write(store(&desk, "extensions/passive"), b"no directory").unwrap();
    let said = sextant(&desk, &["list"]);
    assert_eq!(said.status, Some(1), "one of the directories can't be listed: {said:?}");
    let base = "/var/lib/kairos/extensions";
    for line in [
        format!("{base}/active/away.sysext.raw links to /opt/away.sysext.raw, not to {base}/away.sysext.raw"),
        format!("{base}/active/gone.sysext.raw is a broken link: No such file"),
        format!("{base}/active/loop.sysext.raw is a broken link: Too many levels of symbolic links"),
        format!("{base}/active/own.sysext.raw is a file, not a link"),
        format!("{base}/fifo.sysext.raw is not a regular file"),
        format!("{base}/old.sysext.raw.disabled was disabled beside a UKI before it was moved here"),
        format!("{base}/net.confext.raw is a confext by its name, which systemd-sysext skips"),
        format!("not listed: {base}/passive: Not a directory"),
        "active  k3s.sysext.raw".to_owned(),
    ] {
        assert_eq!(said.stdout.matches(line.as_str()).count(), 1, "{line}\n{}", said.stdout);
    }
    // Kairos' agent shows the same names as enabled.
    let enabled: Vec<_> = KairosAgent(&desk, "extensions").list("active");
    let ours = sextant(&desk, &["list", "--json"]);
    let ours = rows(&ours, |row| format!("{} {}", row["entry"], row["file"].as_str().unwrap()));
    let ours: Vec<_> = ours.iter().filter_map(|row| row.strip_prefix("\"active\" ")).collect();
    assert_eq!(ours, enabled);

    sextant(&desk, &["enable", "k3s", "--entry", "passive"]).complains(1, &["extensions/passive", "Not a directory"]);
    sextant(&desk, &["disable", "own", "--entry", "active"]).complains(1, &["a file, not a link", "sextant remove"]);
    install(&desk, &["own.sysext.raw", "--entry", "active"]).complains(1, &["a file, not a link", "remove it first"]);
    for name in ["gone", "loop"] {
        done(sextant(&desk, &["disable", name, "--entry", "active"]));
    }
    done(sextant(&desk, &["remove", "away", "own", "--entry", "active"]));
    assert!(desk.path().join("m/opt/away.sysext.raw").exists(), "only the link goes");
    // Who has it is not known for passive: it stays.
    let said = done(sextant(&desk, &["remove", "k3s", "--entry", "active"]));
    assert!(
        said.stdout.contains("k3s.sysext.raw is kept: /var/lib/kairos/extensions/passive: Not a directory"),
        "{said:?}"
    );
    assert!(store(&desk, "extensions/k3s.sysext.raw").exists());
    // A link that leads elsewhere is put right.
    symlink("/opt/away.sysext.raw", active.join("k3s.sysext.raw")).unwrap();
    done(sextant(&desk, &["enable", "k3s", "--entry", "active"]));
    assert_eq!(
        fs::read_link(active.join("k3s.sysext.raw")).unwrap(),
        Path::new("/var/lib/kairos/extensions/k3s.sysext.raw")
    );
}

#[test]
fn thousands_of_files_are_a_line_and_the_other_class_goes_on() {
    let desk = machine();
    fs::create_dir_all(store(&desk, "confexts")).unwrap();
    for number in 0..4097 {
        fs::write(store(&desk, &format!("confexts/{number}.confext.raw")), "").unwrap();
    }
    KairosAgent(&desk, "extensions").install("k3s.sysext.raw");
    KairosAgent(&desk, "extensions").enable("k3s.sysext.raw", "active");
    let said = sextant(&desk, &["list"]);
    assert_eq!(said.status, Some(1), "{said:?}");
    assert_eq!(said.stdout.matches("not listed: ").count(), 1, "{said:?}");
    assert!(said.stdout.contains("/var/lib/kairos/confexts: 4097 files; the limit is 4096"), "{said:?}");
    assert!(said.stdout.contains("active  k3s.sysext.raw"), "{said:?}");
    install(&desk, &["k3s.sysext.raw", "--entry", "passive"]).complains(1, &["4097 files"]);
}

#[test]
fn the_global_store_has_one_set_for_all_entries() {
    let desk = machine();
    let global = ["--store", "global"];
    let run = |arguments: &[&str]| done(sextant(&desk, &[arguments, &global].concat()));
    let said = done(install(&desk, &["k3s.sysext.raw", "--store", "global"]));
    assert!(said.stdout.contains("all    k3s.sysext.raw  installed "), "{said:?}");
    assert!(said.stdout.contains("m/efi (global): 1 of 1 files done"), "{said:?}");
    let file = desk.path().join("m/efi/loader/extensions/k3s.sysext.raw");
    assert!(fs::read(&file).unwrap() == fs::read(desk.path().join("k3s.sysext.raw")).unwrap());
    assert_eq!(list(&desk, &global), ["all k3s.sysext.raw enabled"]);
    run(&["disable", "k3s", "--all"]);
    assert!(file.with_file_name("k3s.sysext.raw.disabled").exists());
    assert_eq!(list(&desk, &global), ["all k3s.sysext.raw disabled"]);
    run(&["enable", "k3s"]);
    assert!(file.exists());
    run(&["remove", "k3s"]);
    assert!(!file.exists());
    install(&desk, &["k3s.sysext.raw", "--store", "global", "--entry", "active"])
        .complains(1, &["\"active\"", "apply to all boot entries"]);
}

#[test]
fn the_store_beside_the_uki_is_warned_of_where_immucore_empties_it() {
    let desk = machine();
    let esp = ["--store", "esp", "--entry", "active"];
    let line =
        "immucore moves the files in /EFI/kairos/active.efi.extra.d to /var/lib/kairos/extensions at the next boot";
    let said = done(install(&desk, &[&["k3s.sysext.raw"][..], &esp].concat()));
    assert_eq!(said.stderr.matches(line).count(), 1, "{said:?}");
    assert!(
        desk.path().join("m/efi/EFI/kairos/active.efi.extra.d/k3s.sysext.raw").exists(),
        "and does it all the same"
    );
    let said = done(sextant(&desk, &["list", "--store", "esp"]));
    assert!(said.stderr.contains(line) && said.stderr.contains("passive.efi"), "{said:?}");
    let said = done(sextant(&desk, &["list", "--store", "esp", "--entry", "recovery"]));
    assert_eq!(said.stderr.matches("immucore").count(), 0, "it leaves that alone: {said:?}");
    fs::remove_dir(store(&desk, "extensions")).unwrap();
    let said = done(sextant(&desk, &["list"]));
    assert_eq!(said.stderr.matches("immucore").count(), 0, "an older one moves nothing: {said:?}");
}

/// A machine of Kairos 3.3 that became one of 3.4: everything lies beside the UKIs.
fn upgraded() -> Desk {
    let net = Blueprint::new("net", &Tree::confext("net").squashfs(), vendor()).render().bytes;
    let k3s = good_image("k3s", vendor());
    [
        ("active", "k3s.sysext.raw", k3s.as_slice()),
        ("active", "net.confext.raw", &net),
        ("passive", "k3s.sysext.raw", &k3s),
    ]
    .into_iter()
    .fold(machine(), |desk, (entry, file, image)| desk.file(beside(entry, file), image))
    .file(beside("active", "tools.sysext.raw.disabled"), &good_image("tools", vendor()))
}

fn beside(entry: &str, file: &str) -> String {
    format!("m/efi/EFI/kairos/{entry}.efi.extra.d/{file}")
}

fn migrate(desk: &Desk, arguments: &[&str]) -> Said {
    sextant(desk, &[&["migrate", "--certificate", "vendor.crt"], arguments].concat())
}

/// Files beside the UKIs.
fn on_esp(desk: &Desk) -> Vec<String> {
    let mut found = Vec::new();
    for entry in ["active", "passive", "recovery"] {
        let Ok(directory) = fs::read_dir(desk.path().join(beside(entry, ""))) else { continue };
        found.extend(directory.map(|file| format!("{entry} {}", file.unwrap().file_name().into_string().unwrap())));
    }
    found.sort();
    found
}

#[test]
fn what_lies_beside_the_ukis_is_moved_with_one_command() {
    let desk = upgraded();
    let (before, links) = (on_esp(&desk), tree(&desk));
    let moved = [
        "active k3s.sysext.raw migrated",
        "active net.confext.raw migrated",
        "active tools.sysext.raw migrated",
        "passive k3s.sysext.raw migrated",
    ];
    let dry = done(migrate(&desk, &["--dry-run", "--json"]));
    assert_eq!((actions(&dry), on_esp(&desk), tree(&desk)), (moved.map(str::to_owned).to_vec(), before, links));
    let said = done(migrate(&desk, &[]));
    assert!(said.stdout.contains("active   tools.sysext.raw.disabled  migrated  "), "{said:?}");
    assert!(
        said.stdout.contains("m/efi (esp) to m/var/lib/kairos (kairos): 4 of 4 files migrated, effective from"),
        "{said:?}"
    );
    let expected = [
        "confexts/active/net.confext.raw -> /var/lib/kairos/confexts/net.confext.raw",
        "confexts/net.confext.raw",
        "extensions/active/k3s.sysext.raw -> /var/lib/kairos/extensions/k3s.sysext.raw",
        "extensions/k3s.sysext.raw",
        "extensions/passive/k3s.sysext.raw -> /var/lib/kairos/extensions/k3s.sysext.raw",
        "extensions/tools.sysext.raw",
    ];
    assert_eq!((tree(&desk), on_esp(&desk)), (expected.map(str::to_owned).to_vec(), vec![]));
    for file in ["extensions/k3s.sysext.raw", "extensions/tools.sysext.raw"] {
        assert!(done(desk.verify(&[&format!("m/var/lib/kairos/{file}")])).stdout.contains("accepted"));
    }
    let again = done(migrate(&desk, &[]));
    assert!(again.stdout.contains("nothing to migrate"), "{again:?}");
    assert_eq!(tree(&desk), expected);
}

#[test]
fn what_would_be_refused_or_lost_stays_and_the_rest_is_moved() {
    let newer = with_tree("k3s", &Tree::sysext("k3s").file("usr/new", b"new"), vendor()).render().bytes;
    let desk = upgraded()
        .file(beside("active", "bad.sysext.raw"), &good_image("bad", support::keys::ec("Stranger")))
        .file(beside("active", "theirs.sysext.raw"), &good_image("theirs", vendor()))
        .file("m/var/lib/kairos/extensions/theirs.sysext.raw", b"another")
        .file(beside("passive", "k3s.sysext.raw"), &newer)
        .file(beside("recovery", "k3s.sysext.raw"), &good_image("k3s", vendor()))
        .file("m/efi/EFI/kairos/work.efi", b"")
        .file(beside("work", "k3s.sysext.raw"), &good_image("k3s", vendor()));
    let k3s = fs::read(desk.path().join(beside("active", "k3s.sysext.raw"))).unwrap();
    let said = migrate(&desk, &["--json"]);
    assert_eq!((said.status, said.stderr.as_str()), (Some(1), ""), "{said:?}");
    let why = rows(&said, |row| {
        let word = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        format!("{} {}: {}", word("entry"), word("file"), word("detail"))
    });
    let line = |start: &str, end: &str| {
        assert!(why.iter().any(|row| row.starts_with(start) && row.contains(end)), "{start} {end}: {why:#?}");
    };
    line("active bad.sysext.raw: ", "a boot would reject it: unknown-signer: ");
    line("active theirs.sysext.raw: ", "the store has a different file of this name");
    line("passive k3s.sysext.raw: ", "active has a different file of this name");
    line("recovery k3s.sysext.raw: ", "may not have extensions");
    line("work k3s.sysext.raw: ", "no boot state");
    let left =
        ["active bad.sysext.raw", "active theirs.sysext.raw", "passive k3s.sysext.raw", "recovery k3s.sysext.raw"];
    assert_eq!(on_esp(&desk), left);
    assert_eq!(fs::read(store(&desk, "extensions/theirs.sysext.raw")).unwrap(), b"another");
    assert!(fs::read(store(&desk, "extensions/k3s.sysext.raw")).unwrap() == k3s);
    let said = migrate(&desk, &[]);
    assert!(said.stdout.contains("0 of 5 files migrated") && said.stdout.contains("bad.sysext.raw"), "{said:?}");
    let said = migrate(&desk, &["--force", "--entry", "active"]);
    assert_eq!(
        (said.status, on_esp(&desk)),
        (Some(1), left[1..].iter().map(|it| (*it).to_owned()).collect()),
        "{said:?}"
    );
    assert!(
        store(&desk, "extensions/bad.sysext.raw").exists()
            && fs::symlink_metadata(store(&desk, "extensions/active/bad.sysext.raw")).is_ok()
    );
}

#[test]
fn nothing_is_lost_where_a_migration_fails_or_was_interrupted() {
    let desk = upgraded();
    // A file system of its own for the store: k3s fits, and not the rest.
    let script = "
        mount -t tmpfs -o size=2m tmpfs m/var/lib/kairos && mkdir m/var/lib/kairos/extensions &&
        find m -type f -exec md5sum {} + | sort >before
        \"$0\" migrate --certificate vendor.crt --root m >said 2>&1
        echo $? >status
        find m -type f -exec md5sum {} + | sort >after";
    let mut command = std::process::Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_tool-under-test")]);
    let output = command.current_dir(desk.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let read = |file: &str| fs::read_to_string(desk.path().join(file)).unwrap();
    assert!(read("status") == "1\n" && read("said").contains("needed on"), "{}", read("said"));
    assert_eq!(read("before"), read("after"));

    // A state's directory that can't be used is a line for each file, and the other state goes on.
    fs::write(store(&desk, "extensions/passive"), b"no directory").unwrap();
    let said = migrate(&desk, &[]);
    assert!(said.status == Some(1) && said.stdout.contains("extensions/passive: Not a directory"), "{said:?}");
    assert_eq!(on_esp(&desk), ["passive k3s.sysext.raw"]);
    fs::remove_file(store(&desk, "extensions/passive")).unwrap();
    let k3s = fs::read(store(&desk, "extensions/k3s.sysext.raw")).unwrap();
    // Interrupted after the file got its name, with the next one begun.
    fs::remove_file(store(&desk, "extensions/active/k3s.sysext.raw")).unwrap();
    let desk = desk
        .file("m/var/lib/kairos/extensions/.#tools.sysext.raw.tmp", b"half")
        .file(beside("active", "k3s.sysext.raw"), &k3s);
    done(migrate(&desk, &[]));
    assert_eq!(on_esp(&desk), Vec::<String>::new());
    let links = tree(&desk).into_iter().filter(|it| it.contains("->")).count();
    assert_eq!((links, tree(&desk).len()), (3, 6), "{:?}", tree(&desk));
}

#[test]
fn only_a_machine_with_that_store_is_migrated() {
    let desk = upgraded();
    migrate(&desk, &["--store", "esp"]).complains(2, &["only Kairos' store"]);
    fs::remove_file(desk.path().join("m/run/cos/active_mode")).unwrap();
    migrate(&desk, &[]).complains(1, &["nothing to migrate to", "--store kairos"]);
    done(migrate(&desk, &["--store", "kairos", "--entry", "passive"]));
    assert_eq!(on_esp(&desk).len(), 3);
}

/// What immucore's migration does, call by call (kairos-io/kairos ca022425, `immucore/pkg/state/steps_uki.go`,
/// `MigrateSysExt`).
fn immucore_migrates(desk: &Desk) {
    for state in ["active", "passive"] {
        let Ok(files) = fs::read_dir(desk.path().join(beside(state, ""))) else { continue };
        fs::create_dir_all(store(desk, "extensions").join(state)).unwrap();
        for file in files.map(Result::unwrap).filter(|file| !file.file_type().unwrap().is_dir()) {
            let name = file.file_name().into_string().unwrap();
            fs::copy(file.path(), store(desk, "extensions").join(&name)).unwrap();
            let target = format!("/var/lib/kairos/extensions/{name}");
            if symlink(target, store(desk, "extensions").join(state).join(&name)).is_ok() {
                fs::remove_file(file.path()).unwrap();
            }
        }
    }
}

#[test]
fn what_immucore_moved_to_where_nothing_takes_it_is_put_right() {
    let desk = upgraded();
    immucore_migrates(&desk);
    let said = done(sextant(&desk, &["list"]));
    for part in ["net.confext.raw is a confext by its name", "tools.sysext.raw.disabled was disabled beside a UKI"] {
        assert!(said.stdout.contains(part), "{part}\n{}", said.stdout);
    }
    let said = done(migrate(&desk, &["--json"]));
    let shown = |row: &Value| format!("{} {} {}", row["entry"], row["file"].as_str().unwrap(), row["states"]);
    assert_eq!(rows(&said, shown), [r#"null net.confext.raw ["active"]"#, r#"null tools.sysext.raw ["active"]"#]);
    let expected = [
        "confexts/active/net.confext.raw -> /var/lib/kairos/confexts/net.confext.raw",
        "confexts/net.confext.raw",
        "extensions/active/k3s.sysext.raw -> /var/lib/kairos/extensions/k3s.sysext.raw",
        "extensions/k3s.sysext.raw",
        "extensions/passive/k3s.sysext.raw -> /var/lib/kairos/extensions/k3s.sysext.raw",
        "extensions/tools.sysext.raw",
    ];
    assert_eq!(tree(&desk), expected);
    let said = done(sextant(&desk, &["list"]));
    assert!(said.stdout.contains("-        tools.sysext.raw  disabled"), "{said:?}");
    assert!(done(migrate(&desk, &[])).stdout.contains("nothing to migrate"));
}

#[test]
fn names_in_the_store_cannot_move_the_cursor() {
    let hostile = "\u{1b}[2J\u{202e}\nx";
    let desk = machine()
        .file(format!("m/var/lib/kairos/extensions/{hostile}.sysext.raw"), b"x")
        .file(format!("m/var/lib/kairos/extensions/{hostile}.confext.raw"), b"x")
        .file(beside("active", &format!("{hostile}.sysext.raw")), b"x");
    fs::create_dir_all(store(&desk, "extensions/active")).unwrap();
    symlink(hostile, store(&desk, "extensions/active").join(format!("{hostile}-2.sysext.raw"))).unwrap();
    symlink(hostile, store(&desk, "extensions/active").join(format!("{hostile}.sysext.raw"))).unwrap();
    let name = format!("{hostile}.sysext.raw");
    let runs: [&[&str]; 7] = [
        &["list"],
        &["list", "--json"],
        &["migrate", "--certificate", "vendor.crt", "--dry-run"],
        &["migrate", "--certificate", "vendor.crt", "--dry-run", "--json"],
        &["disable", &name, "--entry", "active", "--dry-run"],
        &["remove", &name, "--all", "--json", "--dry-run"],
        &["enable", hostile, "--entry", "common"],
    ];
    for arguments in runs {
        let said = sextant(&desk, arguments);
        let all = format!("{}{}", said.stdout, said.stderr);
        let harmful = |character: char| ddi::text::is_invisible(character) && character != '\n';
        assert!(!all.is_empty() && !all.contains(harmful), "{arguments:?}: {said:?}");
        assert!(!all.lines().any(|line| line.starts_with('x')), "{arguments:?}: {said:?}");
    }
}
