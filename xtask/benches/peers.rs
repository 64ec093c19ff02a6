//! Whole programs against their peers, in one run: ratios that hold on any machine, however noisy.
//!
//! `make bench` runs it after `make build`. Every figure is the median of several runs, the programs taking
//! turns; memory is the peak of the largest process as the kernel counts it. Files lie on a tmpfs, as
//! images in an initrd do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_precision_loss)]

#[path = "building.rs"]
mod building;
#[path = "measuring.rs"]
mod measuring;

use measuring::{Image, MIB, Tools, compare, machine, measure_child, path};
use std::fs;
use std::path::Path;
use support::keys;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, command @ ..] = arguments.as_slice()
        && flag == "--measure"
    {
        return measure_child(command);
    }
    let tools = Tools::find();
    let work = tempfile::Builder::new().prefix("sextant-bench").tempdir_in("/dev/shm").unwrap();
    println!("| what | sextant | peer | ratio |\n|---|---|---|---|");
    // `cargo bench --bench peers -- building` is for one of them.
    let wanted = |name: &str| {
        let mut names = arguments.iter().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
        names.peek().is_none() || names.any(|it| it == name)
    };
    let parts: [(&str, Part); 5] = [
        ("verification", verification),
        ("staging", staging),
        ("small_images", small_images),
        ("size", |tools, _| size(tools)),
        ("building", building::building),
    ];
    for (_, part) in parts.iter().filter(|(name, _)| wanted(name)) {
        part(&tools, work.path());
    }
}

/// One of the comparisons, with a directory to work in.
type Part = fn(&Tools, &Path);

/// Full verification of an image of 1 GiB.
fn verification(tools: &Tools, work: &Path) {
    let large = Image::make(work, "large", 1024 * MIB);
    let (data, hash) = large.cut(work);
    let certificate = work.join("vendor.crt");
    fs::write(&certificate, keys::rsa("Vendor").pem()).unwrap();
    let ours = [path(&tools.sextant), "verify".into(), "--certificate".into(), path(&certificate), path(&large.path)];
    let root_hash = large.root_hash.clone();
    let theirs = ["veritysetup".into(), "verify".into(), path(&data), path(&hash), root_hash];
    let (ours, theirs) = compare(&ours, &theirs, || {});
    let name = "verify an image of 1 GiB";
    row(&format!("{name}: wall time"), ours.wall, theirs.wall, "s", "veritysetup verify");
    row(&format!("{name}: processor time"), ours.cpu, theirs.cpu, "s", "veritysetup verify");
    row(&format!("{name}: peak memory"), ours.memory, theirs.memory, "MiB", "veritysetup verify");
    for file in [large.path, data, hash] {
        fs::remove_file(file).unwrap();
    }
}

/// Verifying and staging 8 images of 64 MiB.
fn staging(tools: &Tools, work: &Path) {
    let tree = work.join("staging");
    let images: Vec<_> = (0..8).map(|number| Image::make(work, &format!("part{number}"), 64 * MIB)).collect();
    let extra = machine(&tree);
    for image in &images {
        fs::rename(&image.path, extra.join(image.path.file_name().unwrap())).unwrap();
    }
    let target = work.join("copies");
    let ours = [path(&tools.agent), "stage".into(), "--root".into(), path(&tree)];
    let mut theirs = vec!["cp".to_owned(), "-t".into(), path(&target)];
    theirs.extend(extra.read_dir().unwrap().map(|entry| path(&entry.unwrap().path())));
    let (ours, theirs) = compare(&ours, &theirs, || {
        for directory in [&tree.join("run"), &target] {
            let _ = fs::remove_dir_all(directory);
            fs::create_dir_all(directory).unwrap();
        }
    });
    assert_eq!(tree.join("run/extensions").read_dir().map_or(0, Iterator::count), 0, "prepared for a next run");
    let name = "verify and stage 8 × 64 MiB (copying)";
    row(&format!("{name}: wall time"), ours.wall, theirs.wall, "s", "cp alone");
    row(&format!("{name}: processor time"), ours.cpu, theirs.cpu, "s", "cp alone");
    row(&format!("{name}: peak memory"), ours.memory, theirs.memory, "MiB", "cp alone");
    fs::remove_dir_all(&tree).unwrap();
    fs::remove_dir_all(&target).unwrap();
}

/// What the agent costs where there is little to do.
fn small_images(tools: &Tools, work: &Path) {
    for count in [0, 1, 64] {
        let tree = work.join(format!("small{count}"));
        let extra = machine(&tree);
        for number in 0..count {
            let image = Image::make(work, &format!("small{number}"), 16 * 1024);
            fs::rename(&image.path, extra.join(image.path.file_name().unwrap())).unwrap();
        }
        let ours = [path(&tools.agent), "stage".into(), "--root".into(), path(&tree)];
        let target = work.join("copies");
        let theirs = ["cp".to_owned(), "-r".into(), path(&extra), path(&target)];
        let (ours, theirs) = compare(&ours, &theirs, || {
            let _ = fs::remove_dir_all(tree.join("run"));
            let _ = fs::remove_dir_all(&target);
        });
        let name = format!("the agent with {count} small images");
        row(&format!("{name}: wall time"), ours.wall * 1e3, theirs.wall * 1e3, "ms", "cp -r of the same");
        row(&format!("{name}: peak memory"), ours.memory, theirs.memory, "MiB", "cp -r of the same");
    }
}

fn size(tools: &Tools) {
    let size = |path: &Path| fs::metadata(path).unwrap().len() as f64 / MIB as f64;
    let dissect = ["/usr/bin/systemd-dissect", "/bin/busybox", "/bin/bash"].map(Path::new);
    let peer = dissect.into_iter().find(|path| path.exists()).unwrap();
    row("size of the static agent", size(&tools.agent), size(peer), "MiB", &format!("{} (dynamic)", peer.display()));
}

fn row(what: &str, ours: f64, theirs: f64, unit: &str, peer: &str) {
    let ratio = if theirs > 0.0 { ours / theirs } else { f64::NAN };
    println!("| {what} | {ours:.2} {unit} | {theirs:.2} {unit} ({peer}) | {ratio:.2} |");
}
