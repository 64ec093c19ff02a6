//! Nothing is signed that was not meant: sources, names and places as people type them.
//!
//! Public reports of each kind are named in the rows.

use crate::containers::files;
use crate::desk::{Desk, Said, hex};
use crate::layers::Layer;
use crate::reproducible::docker_archive;
use crate::service::Service;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use support::keys;
use tar::EntryType;

fn desk() -> Desk {
    Desk::of(keys::ec("Vendor"))
}

/// What `docker save` writes, of these layers.
pub(crate) fn saved(desk: &Desk, name: &str, layers: &[Vec<u8>]) {
    let (mut digests, mut names) = (String::new(), String::new());
    let mut archive = Layer::new();
    for (number, layer) in layers.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        write!(digests, "{comma}\"sha256:{}\"", hex(&openssl::sha::sha256(layer))).unwrap();
        write!(names, "{comma}\"{number}.tar\"").unwrap();
        archive = archive.entry(EntryType::Regular, &format!("{number}.tar"), "", layer);
    }
    let config =
        format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{digests}]}}}}"#);
    let manifest = format!(r#"[{{"Config":"config.json","RepoTags":["x:latest"],"Layers":[{names}]}}]"#);
    desk.file(name, &archive.file("config.json", &config).file("manifest.json", &manifest).bytes());
}

/// A typed word becomes one of Docker Hub's images where Docker completes it (distribution, `reference/normalize.go`);
/// skopeo asks for a transport (podman-container-tools/skopeo #1448 and its like: "no transport").
pub(crate) fn a_registry_is_asked_only_where_it_is_named() {
    let desk = desk();
    desk.file("tree/usr/bin/tool", b"x");
    let service = Service::start(&desk, "404 Not Found", br#"{"message":"No such image"}"#.to_vec());
    for typo in ["tre", "dist/tre", "oci.tar", "./tre", "/srv/tre", "registry.example.com/tre"] {
        service.build(&desk, typo, &[]).refuses(&["reading ", typo, "no ", "file or directory"]);
    }
    assert_eq!(service.asked.lock().unwrap().as_slice(), [""; 0], "asked for what nobody named");
    for (name, full) in [("k3s:1", "docker.io/library/k3s:1"), ("acme/k3s:1", "docker.io/acme/k3s:1")] {
        let said = service.build(&desk, name, &[]);
        said.refuses(&["answered: No such image", &format!("to use a registry, write docker://{full}")]);
    }
    assert_eq!(service.asked.lock().unwrap().len(), 2);
}

pub(crate) fn a_file_that_is_there_is_recognized_or_named() {
    let desk = desk();
    docker_archive(&desk, "image.tar", &Layer::new().file("usr/x", "x").bytes());
    let archive = fs::read(desk.path("image.tar")).unwrap();
    desk.file("image.tar.zst", &zstd::encode_all(archive.as_slice(), 1).unwrap());
    for source in ["image.tar", "./image.tar", "image.tar:x:latest", "image.tar.zst"] {
        desk.build("tool", source, &["--arch", "amd64"]).good();
        assert_eq!(files(&desk), ["/usr/x"], "{source}");
    }
    desk.build("tool", "image.tar:y", &["--arch", "amd64"]).refuses(&["no image y; available: x:latest"]);
    desk.file("tree.tar", &Layer::new().file("usr/x", "x").bytes());
    desk.file("note.txt", b"words");
    desk.build("tool", "tree.tar", &[]).refuses(&[
        "tree.tar is not an archive of an image",
        "manifest.json",
        "unpack it",
    ]);
    for other in ["note.txt", "tool.sysext.raw"] {
        desk.build("tool", other, &[]).refuses(&[other, "is not an archive of an image"]);
    }
    // A layout by its directory alone.
    let layout = "oci:layout";
    crate::containers::multi(&desk, &["amd64"]);
    fs::rename(desk.path("multi"), desk.path("layout")).unwrap();
    for source in [layout, "layout"] {
        desk.build("tool", source, &["--arch", "amd64"]).good();
        assert_eq!(files(&desk), ["/usr/for"], "{source}");
    }
}

pub(crate) fn the_size_of_a_directory_is_bounded_too() {
    let desk = desk();
    desk.file("tree/usr/a", &vec![7; 2 << 20]);
    fs::hard_link(desk.path("tree/usr/a"), desk.path("tree/usr/b")).unwrap();
    let said = desk.build("tool", "tree", &["--max-size", "1M"]);
    said.refuses(&["files have 2097152 bytes; --max-size is 1048576"]);
    desk.build("tool", "tree", &["--max-size", "2M"]).good();
}

/// `FROM` and `COPY` into a base: the last layer is one of many, and what `RUN` made below it is left behind.
pub(crate) fn what_the_other_layers_have_is_told_or_refused() {
    let desk = desk();
    let base = Layer::new().directory("usr").file("usr/a", "1").file("usr/b", "1").file("etc/c", "1").bytes();
    let empty = Layer::new().file("etc/c", "1").file("usr/.wh.a", "").directory("opt").bytes();
    let last = Layer::new().file("usr/mine", "2").bytes();
    let build = |name: &str, more: &[&str]| desk.build("tool", name, &[&["--arch", "amd64"], more].concat());
    saved(&desk, "three.tar", &[base, empty.clone(), last.clone()]);
    let line = "using layer 3 of 3; left out files in /usr and /opt: layer 1 with 2 (--layers all uses them)";
    let said = build("three.tar", &["--json"]).good();
    assert!(said.stderr.contains(line), "{said:?}");
    let value: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&value["remarks"][0], &value["left_out"]), (&line.into(), &serde_json::json!([])));
    let strict = ["using layer 3 of 3", "layer 1 with 2", "--strict does not allow", "--layers all", "--layers 3"];
    fs::remove_file(desk.path("tool.sysext.raw")).unwrap();
    build("three.tar", &["--strict"]).refuses(&strict);
    build("three.tar", &["--strict", "--layers", "last"]).refuses(&strict);
    assert!(!desk.path("tool.sysext.raw").exists());
    build("three.tar", &["--strict", "--layers", "3"]).good();
    let said = build("three.tar", &["--layers", "2..3"]).good();
    assert!(said.stderr.contains("using layers 2 to 3 of 3; left out"), "{said:?}");
    assert_eq!(build("three.tar", &["--layers", "all"]).good().stderr.matches("layer").count(), 0);
    // Nothing of it is left behind.
    saved(&desk, "two.tar", &[empty, last.clone()]);
    let said = build("two.tar", &["--strict"]).good();
    assert!(said.stderr.contains("using layer 2 of 2; the others have no files in /usr and /opt"), "{said:?}");
    saved(&desk, "one.tar", &[last]);
    assert_eq!(build("one.tar", &["--strict"]).good().stderr, "");
    // For a confext other files count.
    let conf = Layer::new().file("etc/app", "1").bytes();
    saved(&desk, "conf.tar", &[Layer::new().file("usr/a", "1").bytes(), conf]);
    build("conf.tar", &["--strict", "--class", "confext"]).good();
}

pub(crate) fn a_name_may_be_that_of_the_file() {
    let desk = desk();
    desk.file("tree/usr/bin/tool", b"x");
    desk.file("tree/etc/tool", b"x");
    for (name, file) in [
        ("hello.sysext.raw", "hello.sysext.raw"),
        ("hello.raw", "hello.sysext.raw"),
        ("hello.confext.raw", "hello.confext.raw"),
    ] {
        let said = desk.build(name, "tree", &[]).good();
        assert!(said.stdout.starts_with(&format!("./{file}  ")), "{said:?}");
        assert_eq!(desk.verdict(file), "");
    }
    let said = desk.build("hello.sysext.raw", "tree", &["--class", "confext"]);
    assert_eq!(said.status, Some(2), "{said:?}");
    for name in [".raw", ".sysext.raw"] {
        assert_eq!(desk.build(name, "tree", &[]).status, Some(2), "{name}");
    }
}

pub(crate) fn a_file_may_be_named_as_output() {
    let desk = desk();
    desk.file("tree/usr/bin/tool", b"x");
    let run = |more: &[&str]| desk.build("tool", "tree", more);
    run(&["--output", "out/tool.sysext.raw"]).good();
    assert!(desk.path("out/tool.sysext.raw").is_file());
    for wrong in ["other.raw", "out/tool.raw", "out/tool.confext.raw", "tool.sysext.unsigned", "a.img"] {
        let said = run(&["--output", wrong]);
        assert_eq!(said.status, Some(2), "{wrong}: {said:?}");
        assert!(said.stderr.contains("the file name must be tool.sysext.raw"), "{said:?}");
        assert!(!desk.path(wrong).exists(), "{wrong}");
    }
    desk.run(&["build", "tool", "tree", "--unsigned", "--output", "tool.sysext.unsigned"]).good();
    let sign = ["sign", "tool.sysext.unsigned", "--private-key", "key.pem", "--certificate", "crt.pem", "--output"];
    let signed = |output: &'static str| desk.run(&[&sign[..], &[output]].concat());
    signed("signed/tool.sysext.raw").good();
    assert_eq!(desk.verdict("signed/tool.sysext.raw"), "");
    assert_eq!(signed("signed/other.raw").status, Some(2));
    // A directory of that name is a directory.
    fs::create_dir(desk.path("dir.raw")).unwrap();
    run(&["--output", "dir.raw"]).good();
    assert!(desk.path("dir.raw/tool.sysext.raw").is_file());
}

/// `go build` replaces what is a program and nothing else; mkosi and systemd-repart ask for `--force`.
pub(crate) fn what_is_no_extension_is_not_replaced() {
    let desk = desk();
    desk.file("tree/usr/bin/tool", b"x");
    let run = |more: &[&str]| desk.build("tool", "tree", more);
    run(&[]).good();
    run(&[]).good();
    let refused = |said: Said, words: &str| {
        said.refuses(&["writing ./tool.sysext.", words, "--force overwrites it"]);
    };
    desk.file("tool.sysext.raw", b"notes");
    refused(run(&[]), "a file that is not an extension exists");
    assert_eq!(fs::read(desk.path("tool.sysext.raw")).unwrap(), b"notes");
    run(&["--force"]).good();
    assert_eq!(desk.verdict("tool.sysext.raw"), "");
    fs::rename(desk.path("tool.sysext.raw"), desk.path("kept")).unwrap();
    symlink("kept", desk.path("tool.sysext.raw")).unwrap();
    refused(run(&[]), "a symbolic link exists");
    fs::remove_file(desk.path("tool.sysext.raw")).unwrap();
    let unsigned = ["build", "tool", "tree", "--unsigned"];
    desk.run(&unsigned).good();
    desk.run(&unsigned).good();
    desk.file("tool.sysext.roothash", b"some notes");
    refused(desk.run(&unsigned), "a file that is not an extension exists");
    desk.run(&[&unsigned[..], &["--force"]].concat()).good();
    desk.file("tool.sysext.raw", b"notes");
    let sign = ["sign", "tool.sysext.unsigned", "--private-key", "key.pem", "--certificate", "crt.pem"];
    refused(desk.run(&sign), "a file that is not an extension exists");
    desk.run(&[&sign[..], &["--force"]].concat()).good();
    fs::remove_file(desk.path("tool.sysext.raw")).unwrap();
    fs::create_dir(desk.path("tool.sysext.raw")).unwrap();
    run(&["--force"]).refuses(&["it is a directory"]);
}
