//! `sextant inspect` of what is put into an image: whole ones are ready, and whatever is taken away is missed.

use crate::image::unpacked;
use crate::installed::Installed;
use crate::trees::Tree;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::keys;
use support::uki::program;

/// What the tool says about a file or directory, and whether it succeeded.
pub(crate) fn inspect(path: &Path) -> (bool, Value) {
    let run = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_tool-under-test")).arg("inspect").args(arguments).arg(path).output();
        output.unwrap()
    };
    let (json, text) = (run(&["--json"]), run(&[]));
    assert_eq!(json.status.code(), text.status.code(), "{json:?} {text:?}");
    let shown = String::from_utf8(text.stdout).unwrap();
    let value: Value = serde_json::from_slice(&json.stdout).unwrap_or_else(|error| panic!("{error}: {json:?}"));
    let verdict = if value["ready"] == true { "ready: a boot" } else { "not ready: a boot" };
    assert!(shown.lines().last().unwrap().starts_with(verdict), "{shown}");
    // A path has a line of its own, however long it is.
    let wide = shown.lines().find(|line| line.chars().count() > 80 && line.split_whitespace().count() > 2);
    assert_eq!(wide, None, "{shown}");
    assert_eq!(value["ready"], json.status.success());
    (json.status.success(), value)
}

/// The checks that aren't simply good: subject, state.
pub(crate) fn findings(value: &Value) -> Vec<(String, String)> {
    let checks = value["checks"].as_array().unwrap().iter().filter(|check| check["state"] != "ok");
    let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    checks.map(|check| (text(check, "subject"), text(check, "state"))).collect()
}

/// The only finding that stands in the way of a boot.
fn the_problem(value: &Value) -> (String, String) {
    let problems: Vec<_> = findings(value).into_iter().filter(|(_, state)| state != "note").collect();
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    problem.clone()
}

/// Takes a file away, looks, and puts it back.
fn without(root: &Path, path: &str) -> Value {
    let (file, away) = (root.join(path), root.join("away"));
    fs::rename(&file, &away).unwrap();
    let (ready, value) = inspect(root);
    fs::rename(&away, &file).unwrap();
    assert!(!ready, "ready without {path}");
    value
}

pub(crate) fn an_initrd_by_dracut_is_ready_and_one_that_lacks_a_part_is_not() {
    let installed = Installed::new();
    let vendor = keys::ec("Vendor");
    let certificate = String::from_utf8(vendor.pem()).unwrap();
    installed.add("etc/verity.d/vendor.crt", &certificate).add("etc/sextant.yaml", "secure_boot: require\n");
    for tree in Tree::all() {
        let root = unpacked(&tree, &installed, &["--add", "sextant"]);
        let image = root.parent().unwrap().join("image");
        for path in [&root, &image] {
            let (ready, value) = inspect(path);
            assert!(ready, "{}: {:?}", tree.suite, findings(&value));
            assert_eq!(value["initrd"], "systemd");
            assert_eq!(value["agent"]["path"], "/usr/lib/sextant/sextant-agent");
            assert_eq!(value["sealed"]["configuration"], "/etc/sextant.yaml");
            assert_eq!(value["sealed"]["certificates"][0]["sha256"], vendor.fingerprint());
            let (version, old) = (value["systemd"].as_u64().unwrap(), ("systemd".to_owned(), "note".to_owned()));
            assert!(version >= 252, "{}: {version}", tree.suite);
            assert_eq!(findings(&value).contains(&old), version < 254, "{}: {:?}", tree.suite, findings(&value));
        }
        for (path, subject) in [
            ("usr/lib/sextant/sextant-agent", "/usr/lib/sextant/sextant-agent"),
            ("usr/lib/systemd/system/sextant-merge.service", "/usr/lib/systemd/system/sextant-merge.service"),
            ("usr/lib/systemd/system/sextant-gate.service", "/usr/lib/systemd/system/sextant-gate.service"),
            ("usr/lib/tmpfiles.d/sextant.conf", "/usr/lib/tmpfiles.d/sextant.conf"),
            ("usr/bin/systemd-tmpfiles", "/usr/bin/systemd-tmpfiles"),
            (
                "usr/lib/systemd/system/systemd-sysext@.service.d/zz-sextant.conf",
                "/usr/lib/systemd/system/systemd-sysext@.service.d/zz-sextant.conf",
            ),
            ("etc/initrd-release", "/etc/initrd-release"),
        ] {
            let value = without(&root, path);
            assert!(findings(&value).contains(&(subject.into(), "missing".into())), "{path}: {:?}", findings(&value));
        }
        let unit = root.join("usr/lib/systemd/system/sextant-stage.service");
        let text = fs::read_to_string(&unit).unwrap();
        fs::write(&unit, text.replace("StandardInput=null", "StandardInput=tty")).unwrap();
        let (ready, value) = inspect(&root);
        assert!(!ready);
        let changed = "/usr/lib/systemd/system/sextant-stage.service".to_owned();
        assert_eq!(the_problem(&value), (changed, "wrong".into()));
        fs::write(&unit, text).unwrap();
        compressed(&tree, &image);
        as_uki(&tree, &image);
    }
}

fn compressed(tree: &Tree, image: &Path) {
    let plain = fs::read(image).unwrap();
    let file = image.with_extension("compressed");
    let (zstd, mut gzip) = (zstd::encode_all(plain.as_slice(), 1).unwrap(), Vec::new());
    flate2::write::GzEncoder::new(&mut gzip, flate2::Compression::fast()).write_all(&plain).unwrap();
    for (bytes, name) in [(zstd, "zstandard"), (gzip, "gzip")] {
        fs::write(&file, bytes).unwrap();
        let (ready, value) = inspect(&file);
        assert!(ready, "{} {name}: {:?}", tree.suite, findings(&value));
        assert_eq!(value["segments"][0]["compression"], name);
    }
    // The early archive of dracut stays as it is.
    fs::write(&file, [plain.as_slice(), b"\x02\x21\x4c\x18\0\0\0\0"].concat()).unwrap();
    let (ready, value) = inspect(&file);
    assert!(!ready);
    assert_eq!(the_problem(&value), ("contents".into(), "wrong".into()));
    let effect = value["checks"].as_array().unwrap().iter().find(|check| check["subject"] == "contents").unwrap();
    assert!(effect["effect"].as_str().unwrap().contains("does not unpack what systemd-stub appends"), "{effect}");
}

fn as_uki(tree: &Tree, image: &Path) {
    let initrd = fs::read(image).unwrap();
    let uname = tree.kernel_inside().file_name().unwrap().to_str().unwrap().to_owned();
    let file = image.with_extension("efi");
    let uki = |cmdline: &str, uname: &str, stub: &[u8]| {
        let sections: [(&str, &[u8]); 6] = [
            (".sdmagic", stub),
            (".osrel", b"PRETTY_NAME=\"Test System\"\nIMAGE_VERSION=7\n"),
            (".uname", uname.as_bytes()),
            (".cmdline", cmdline.as_bytes()),
            (".linux", b"kernel"),
            (".initrd", &initrd),
        ];
        fs::write(&file, program(&sections)).unwrap();
        inspect(&file).1
    };
    let stub = b"#### LoaderInfo: systemd-stub 257.13 ####\0";
    let value = uki("quiet\0", &uname, stub);
    assert_eq!(value["ready"], true, "{}: {:?}", tree.suite, findings(&value));
    assert!(findings(&value).contains(&("signature".into(), "note".into())), "{:?}", findings(&value));
    assert_eq!((&value["uki"]["os"], &value["uki"]["stub"]), (&"Test System 7".into(), &"257.13".into()));
    assert_eq!(value["uki"]["command_lines"], serde_json::json!(["quiet"]));
    let value = uki("systemd.sysext=0", &uname, stub);
    assert_eq!(the_problem(&value), ("systemd.sysext=0".into(), "wrong".into()));
    let value = uki("quiet", &uname, b"another stub");
    assert_eq!(the_problem(&value), ("systemd-stub".into(), "wrong".into()));
    let value = uki("quiet", "1.2.3-other", stub);
    assert!(findings(&value).contains(&("/usr/lib/modules".into(), "wrong".into())), "{:?}", findings(&value));
    // All that is cut off is missed, and nothing panics.
    let whole = fs::read(&file).unwrap();
    for len in [0, 2, 63, 64, 70, 90, 200, 400, 4096, 5000, whole.len() / 2, whole.len() - 600] {
        fs::write(&file, &whole[..len]).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_tool-under-test")).arg("inspect").arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{len}: {output:?}");
    }
}

/// The root of an image of Kairos, as far as it matters here.
pub(crate) fn kairos(installed: &Installed) -> PathBuf {
    let root = installed.scratch("kairos-image");
    let tree = installed.path().join("usr/lib/sextant/kairos");
    assert!(Command::new("cp").arg("-a").arg(tree.join(".")).arg(&root).status().unwrap().success());
    let write = |path: &str, content: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    symlink("/usr/bin/immucore", root.join("init")).unwrap();
    write("usr/bin/immucore", "immucore");
    write("usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so", "");
    let modules = ["loop", "dm-mod", "dm-verity", "overlay", "erofs", "efivarfs"];
    let built_in: Vec<_> = modules.iter().map(|name| format!("kernel/x/{name}.ko\n")).collect();
    write("usr/lib/modules/6.12.0/modules.builtin", &built_in.concat());
    write("usr/lib/modules/6.12.0/modules.dep", "kernel/fs/squashfs.ko.xz:\n");
    write("usr/lib/modules/6.12.0/kernel/fs/squashfs.ko.xz", "module");
    write("system/oem/10_other.yaml", "stages:\n  boot:\n    - commands: [\"true\"]\n");
    root
}

pub(crate) fn an_image_of_kairos_is_ready_and_one_that_lacks_a_part_is_not() {
    let installed = Installed::new();
    let root = kairos(&installed);
    let (ready, value) = inspect(&root);
    assert!(ready, "{:?}", findings(&value));
    assert_eq!((&value["initrd"], &value["systemd"]), (&"kairos".into(), &257.into()));
    for file in crate::install::files(&installed.path().join("usr/lib/sextant/kairos")) {
        let value = without(&root, &file);
        assert_eq!(the_problem(&value), (format!("/{file}"), "missing".into()));
    }
    let library = "usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so";
    assert_eq!(the_problem(&without(&root, library)), ("systemd".into(), "unknown".into()));
    fs::rename(root.join(library), root.join(library.replace("257", "253"))).unwrap();
    assert_eq!(the_problem(&inspect(&root).1), ("systemd".into(), "wrong".into()));
    fs::rename(root.join(library.replace("257", "253")), root.join(library)).unwrap();

    let agent = root.join("usr/lib/sextant/sextant-agent");
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o644)).unwrap();
    let wrong = |subject: &str| (subject.to_owned(), "wrong".to_owned());
    assert_eq!(the_problem(&inspect(&root).1), wrong("/usr/lib/sextant/sextant-agent"));
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();

    let hiding = root.join("etc/systemd/system/systemd-sysext.service.d");
    fs::create_dir_all(&hiding).unwrap();
    symlink("/dev/null", hiding.join("zz-sextant.conf")).unwrap();
    assert_eq!(the_problem(&inspect(&root).1), wrong("/etc/systemd/system/systemd-sysext.service.d/zz-sextant.conf"));
    fs::remove_file(hiding.join("zz-sextant.conf")).unwrap();

    fs::write(root.join("system/oem/20_broken.yaml"), "stages: [\n").unwrap();
    assert_eq!(the_problem(&inspect(&root).1), wrong("/system/oem/20_broken.yaml"));
    fs::remove_file(root.join("system/oem/20_broken.yaml")).unwrap();

    fs::remove_file(root.join("usr/lib/modules/6.12.0/kernel/fs/squashfs.ko.xz")).unwrap();
    let (ready, value) = inspect(&root);
    assert!(ready, "erofs is there: {:?}", findings(&value));
    let builtin = root.join("usr/lib/modules/6.12.0/modules.builtin");
    fs::write(&builtin, fs::read_to_string(&builtin).unwrap().replace("dm-verity", "other")).unwrap();
    assert_eq!(the_problem(&inspect(&root).1), ("module dm_verity of 6.12.0".into(), "missing".into()));
}

pub(crate) fn what_is_sealed_is_read_as_the_agent_reads_it() {
    let installed = Installed::new();
    let root = kairos(&installed);
    let write = |path: &str, content: &[u8]| {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), content).unwrap();
    };
    let wrong = |subject: &str| (subject.to_owned(), "wrong".to_owned());
    write("usr/lib/sextant.yaml", b"secure_boot: require\n");
    assert_eq!(inspect(&root).1["sealed"]["configuration"], "/usr/lib/sextant.yaml");
    write("etc/sextant.yaml", b"secure_bot: require\n");
    assert_eq!(the_problem(&inspect(&root).1), wrong("/etc/sextant.yaml"));
    fs::remove_file(root.join("etc/sextant.yaml")).unwrap();
    // A link that leads nowhere in the image, whatever the machine has there.
    symlink("/etc/hostname", root.join("etc/sextant.yaml")).unwrap();
    assert_eq!(the_problem(&inspect(&root).1), wrong("/etc/sextant.yaml"));
    fs::remove_file(root.join("etc/sextant.yaml")).unwrap();

    write("etc/sextant.yaml.d/10-a.yaml", b"required: [k3s]\n");
    let value = inspect(&root).1;
    assert_eq!(value["sealed"]["drop_ins"][0], "/etc/sextant.yaml.d/10-a.yaml");
    // Each file is right, and together they are wrong.
    let many: Vec<String> = (0..64).map(|number| format!("n{number}")).collect();
    write("usr/lib/sextant.yaml.d/20-b.yaml", format!("required: [{}]\n", many.join(", ")).as_bytes());
    assert_eq!(the_problem(&inspect(&root).1), wrong("/usr/lib/sextant.yaml.d/20-b.yaml"));
    fs::remove_dir_all(root.join("usr/lib/sextant.yaml.d")).unwrap();
    fs::remove_dir_all(root.join("etc/sextant.yaml.d")).unwrap();

    let pem = keys::ec("Vendor").pem();
    write("etc/verity.d/a.crt", &pem);
    write("usr/lib/verity.d/b.crt", &pem);
    write("etc/verity.d/b.txt", b"no certificate");
    let (ready, value) = inspect(&root);
    assert!(ready, "{:?}", findings(&value));
    let twin = ("/usr/lib/verity.d/b.crt".to_owned(), "note".to_owned());
    assert!(findings(&value).contains(&twin), "the same twice: {:?}", findings(&value));
    write("etc/verity.d/c.crt", &keys::ec("Vendor").der());
    let value = inspect(&root).1;
    assert_eq!(the_problem(&value), wrong("/etc/verity.d/c.crt"));
    let rows = value["sealed"]["certificates"].as_array().unwrap();
    assert_eq!(rows[0]["subject"], "CN=Vendor");
    assert!(rows[2]["ignored"].as_str().unwrap().contains("no PEM certificate"), "{rows:?}");
    write("usr/lib/sextant.yaml", b"trust:\n  sources: [db]\n");
    let (ready, value) = inspect(&root);
    assert!(!ready, "no sealed certificate counts: {:?}", findings(&value));
}

/// With another directory for the agent, all of it is where the stage file and the units say.
pub(crate) fn an_agent_elsewhere_is_found() {
    let installed = Installed::with(&["libexecdir=/usr/libexec/sextant"]);
    let tree = installed.path().join("usr/libexec/sextant/kairos");
    let usual = Installed::new();
    let root = kairos(&usual);
    fs::remove_dir_all(root.join("usr/lib/sextant")).unwrap();
    assert!(Command::new("cp").arg("-a").arg(tree.join(".")).arg(&root).status().unwrap().success());
    let (ready, value) = inspect(&root);
    assert!(ready, "{:?}", findings(&value));
    assert_eq!(value["agent"]["path"], "/usr/libexec/sextant/sextant-agent");
}
