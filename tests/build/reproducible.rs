//! The same source gives the same bytes.

use crate::desk::{Desk, Said, erofs_path, hex};
use crate::layers::Layer;
use ddi::{Architecture, Class, ExtensionName};
use sextant_cli::build::format::Format;
use sextant_cli::build::tree::{Owners, Time, read_directory};
use sextant_cli::build::{Certificates, PrivateKeys, Recipe, SigningKey, Watch, Workshop};
use std::ffi::OsStr;
use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};
use support::keys;
use support::trees::noise;

const FILES: [&str; 5] = ["usr/bin/a", "usr/bin/b", "usr/lib/deep/er/c", "opt/d", "usr/lib/z"];

/// The same files, written in some order, at a path and a time.
fn tree<'a>(desk: &Desk, place: &str, files: impl Iterator<Item = &'a str>) {
    for (number, file) in files.enumerate() {
        desk.file(&format!("{place}/{file}"), file.repeat(5000).as_bytes());
        let age = format!("@{}", 1_700_000_000 + number);
        assert!(Command::new("touch").args(["-d", &age]).arg(desk.path(place).join(file)).status().unwrap().success());
    }
}

/// Builds into `output` and returns the image's bytes.
fn build(desk: &Desk, output: &str, source: &str, path: Option<&OsStr>, prefix: &[&str]) -> Vec<u8> {
    fs::create_dir_all(desk.path(output)).unwrap();
    let mut arguments: Vec<&str> = prefix.to_vec();
    arguments.extend([env!("CARGO_BIN_EXE_tool-under-test"), "build", "tool", source, "--output", output]);
    arguments.extend(["--private-key", "key.pem", "--certificate", "crt.pem"]);
    let mut command = Command::new(arguments[0]);
    command.args(&arguments[1..]).current_dir(desk.path(".")).env("SOURCE_DATE_EPOCH", "1600000000");
    if let Some(path) = path {
        command.args(["--format", "erofs"]).env("PATH", path);
    }
    Said::from(command.output().unwrap()).good();
    fs::read(desk.path(output).join("tool.sysext.raw")).unwrap()
}

pub(crate) fn neither_order_nor_path_nor_time_nor_threads_matter() {
    let desk = Desk::of(keys::rsa("Vendor"));
    tree(&desk, "one", FILES.into_iter());
    // All files are newer than SOURCE_DATE_EPOCH, and in the second tree have other times than in the first.
    tree(&desk, "some/where/else", FILES.into_iter().rev());
    let erofs = erofs_path(&desk);
    for path in [None, erofs.as_deref()].into_iter().take(if erofs.is_some() { 2 } else { 1 }) {
        let first = build(&desk, "out", "one", path, &["env", "TZ=UTC", "LC_ALL=C"]);
        let second = build(
            &desk,
            "elsewhere/out",
            "some/where/else",
            path,
            &["taskset", "--cpu-list", "0", "env", "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8"],
        );
        assert!(first == second, "erofs: {}", path.is_some());
    }
}

/// Maximum number of bytes of work that a call about progress is for.
const STRIDE: u64 = 1 << 20;

pub(crate) fn threads_do_not_matter_and_progress_never_stands_still() {
    let desk = Desk::of(keys::rsa("Vendor"));
    let noise = noise(3 << 20);
    for number in 0..6 {
        let text = format!("{number} some text\n").repeat(number * 20_000);
        desk.file(&format!("tree/usr/lib/{number}"), &[text.as_bytes(), &noise[number..]].concat());
        desk.file(&format!("tree/usr/bin/{number}"), &noise[..number * 999]);
    }
    desk.file("tree/usr/lib/extension-release.d/extension-release.tool", b"ID=_any\n");
    let read = |name: &str| fs::read(desk.path(name)).unwrap();
    let private = PrivateKeys::read(&read("key.pem"), &mut |_| Ok(0)).unwrap();
    let key = SigningKey::pair(private, Certificates::read(&read("crt.pem")).unwrap()).unwrap();
    let tree = read_directory(&desk.path("tree"), Owners::Kept).unwrap();
    let mut images = Vec::new();
    for threads in [1, 2, 3, 8] {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let watched = Arc::clone(&calls);
        let watch: Watch =
            Arc::new(move |step, total, bytes| watched.lock().unwrap().push((step.to_owned(), total, bytes)));
        let output = desk.path(threads.to_string());
        let recipe = Recipe {
            tree: &tree,
            format: Format::squashfs(None),
            time: Time::from_seconds(1),
            class: Class::Sysext,
            name: &ExtensionName::new("tool").unwrap(),
            architecture: Architecture::X86_64,
            key: Some(&key),
            threads,
        };
        let workshop = Workshop::open(&output).unwrap();
        let made = recipe.make(&workshop, "tool.sysext.raw", &watch).unwrap();
        images.push(fs::read(made.path).unwrap());

        let calls = calls.lock().unwrap();
        let mut steps: Vec<_> = calls.iter().map(|(step, total, _)| (step.as_str(), *total)).collect();
        steps.dedup();
        let names: Vec<_> = steps.iter().map(|(step, _)| *step).collect();
        let expected =
            ["making the file system", "computing the hash tree", "verifying the image", "waiting for the disk"];
        assert_eq!(names, expected);
        for (step, total) in steps {
            let bytes: Vec<u64> = calls.iter().filter(|call| call.0 == step).map(|call| call.2).collect();
            assert!(bytes.iter().all(|bytes| *bytes <= STRIDE), "{step}: {bytes:?}");
            let sum: u64 = bytes.iter().sum();
            assert!(sum + STRIDE >= total && sum <= total + STRIDE, "{step}: {sum} of {total}");
        }
    }
    assert!(images.iter().all(|image| *image == images[0]));
}

pub(crate) fn an_archive_in_another_order_gives_the_same_bytes() {
    let desk = Desk::of(keys::rsa("Vendor"));
    let mut images = Vec::new();
    for (place, files) in [("one", FILES.to_vec()), ("two", FILES.iter().rev().copied().collect())] {
        let layer = files.iter().fold(Layer::new(), |layer, file| layer.file(file, file));
        docker_archive(&desk, &format!("{place}.tar"), &layer.bytes());
        images.push(build(&desk, place, &format!("docker-archive:{place}.tar"), None, &["env"]));
    }
    assert!(images[0] == images[1]);
}

pub(crate) fn other_content_or_another_name_gives_other_identities() {
    let desk = Desk::of(keys::rsa("Vendor"));
    tree(&desk, "one", FILES.into_iter());
    let first = build(&desk, "out", "one", None, &["env"]);
    desk.file("one/usr/bin/a", b"other");
    let second = build(&desk, "out", "one", None, &["env"]);
    // Where the table of partitions has the first one's own GUID.
    let uuid = |image: &[u8]| image[1024 + 16..1024 + 32].to_vec();
    assert_ne!(uuid(&first), uuid(&second));
    let root_hash = |image: &str| {
        let said = desk.run(&["verify", "--json", "--certificate", "crt.pem", image]);
        let value: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        value["images"][0]["root_hash"].as_str().unwrap().to_owned()
    };
    // Discoverable Partitions Specification: the first half of the root hash, and the second for the hash tree.
    let expected = root_hash("out/tool.sysext.raw");
    let text = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        hex(&bytes)
    };
    assert_eq!(text(&second[1024 + 16..1024 + 32]), expected[..32]);
    assert_eq!(text(&second[1024 + 128 + 16..1024 + 128 + 32]), expected[32..]);
}

/// What `docker save` writes, of one layer.
pub(crate) fn docker_archive(desk: &Desk, name: &str, layer: &[u8]) {
    let digest = hex(&openssl::sha::sha256(layer));
    let config = format!(
        "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"sha256:{digest}\"]}}}}"
    );
    let manifest = r#"[{"Config":"config.json","RepoTags":["x:latest"],"Layers":["layer.tar"]}]"#;
    let archive = Layer::new()
        .entry(tar::EntryType::Regular, "layer.tar", "", layer)
        .file("config.json", &config)
        .file("manifest.json", manifest);
    desk.file(name, &archive.bytes());
}
