//! Whole programs against their peers, in one run: ratios that hold on any machine, however noisy.
//!
//! `make bench` runs it after `make build`. Every figure is the median of several runs, the programs taking
//! turns; memory is the peak of the largest process as the kernel counts it. Files lie on a tmpfs, as
//! images in an initrd do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_precision_loss)]

#[path = "building.rs"]
mod building;

use ddi::io::{FileSource, ReadAt};
use ddi::write::{DdiBuilder, Parts};
use nix::sys::resource::{UsageWho, getrusage};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use support::efi::{Firmware, certificates};
use support::keys;
use support::trees::{Tree, noise};

const MIB: usize = 1 << 20;
/// Counted runs of each program.
const RUNS: usize = 5;

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

/// The programs that are measured.
struct Tools {
    agent: PathBuf,
    sextant: PathBuf,
}

impl Tools {
    fn find() -> Self {
        let dist = support::repository().join("target/dist");
        let tool = |name: &str| {
            let path = dist.join(name);
            assert!(path.exists(), "{} is not there: run `make build` first, or `make bench`", path.display());
            path
        };
        Self { agent: tool("sextant-agent"), sextant: tool("sextant") }
    }
}

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

fn machine(tree: &Path) -> PathBuf {
    let extra = tree.join(".extra/sysext");
    fs::create_dir_all(&extra).unwrap();
    fs::create_dir_all(tree.join("run")).unwrap();
    let db = certificates(&[keys::rsa("Vendor")]);
    Firmware::enforcing().db(&db).write_to(&tree.join("sys/firmware/efi/efivars"));
    extra
}

/// A signed image on disk.
struct Image {
    path: PathBuf,
    root_hash: String,
    data: (u64, u64),
    verity: Vec<u8>,
}

impl Image {
    /// An erofs with one incompressible file of about `size` bytes.
    fn make(work: &Path, name: &str, size: usize) -> Self {
        let source = work.join("source");
        let filesystem = work.join("filesystem");
        Tree::sysext(name).write_to(&source);
        let piece = noise(size.min(4 * MIB));
        let mut payload = File::create(source.join("usr/share/payload")).unwrap();
        for _ in 0..size.div_ceil(piece.len()) {
            std::io::Write::write_all(&mut payload, &piece).unwrap();
        }
        let mut make = Command::new("mkfs.erofs");
        make.arg(&filesystem).arg(&source).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(make.status().unwrap().success(), "mkfs.erofs failed");
        let file = FileSource::new(File::open(&filesystem).unwrap()).unwrap();
        let parts: Parts<'_> =
            DdiBuilder::new(name).protect(&file).unwrap().sign(&keys::rsa("Vendor").signer()).unwrap();
        let path = work.join(format!("{name}.sysext.raw"));
        parts.write_to(&mut File::create(&path).unwrap()).unwrap();
        let table = parts.table().unwrap();
        let data = (table.partitions[0].start, parts.data.len());
        let image = Self { path, root_hash: parts.root_hash.to_string(), data, verity: parts.verity.clone() };
        fs::remove_dir_all(&source).unwrap();
        fs::remove_file(&filesystem).unwrap();
        image
    }

    /// The partitions as files, since veritysetup can't be told where in a file the data begins.
    fn cut(&self, work: &Path) -> (PathBuf, PathBuf) {
        use std::io::{Read, Seek, SeekFrom};
        let (data, hash) = (work.join("data"), work.join("hash"));
        let mut image = File::open(&self.path).unwrap();
        image.seek(SeekFrom::Start(self.data.0)).unwrap();
        std::io::copy(&mut image.take(self.data.1), &mut File::create(&data).unwrap()).unwrap();
        fs::write(&hash, &self.verity).unwrap();
        (data, hash)
    }
}

#[derive(Debug, Clone, Copy)]
struct Figures {
    /// Seconds.
    wall: f64,
    /// Seconds, of all threads.
    cpu: f64,
    /// MiB.
    memory: f64,
}

/// Runs both in turn and takes the medians.
fn compare(ours: &[String], theirs: &[String], mut prepare: impl FnMut()) -> (Figures, Figures) {
    let mut figures = [Vec::new(), Vec::new()];
    for run in 0..=RUNS {
        for (command, figures) in [ours, theirs].into_iter().zip(&mut figures) {
            prepare();
            let measured = measure(command);
            // The first run only warms up.
            if run > 0 {
                figures.push(measured);
            }
        }
    }
    prepare();
    let [ours, theirs] = figures.map(|figures| {
        let median = |field: fn(&Figures) -> f64| {
            let mut values: Vec<_> = figures.iter().map(field).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Figures {
            wall: median(|figures| figures.wall),
            cpu: median(|figures| figures.cpu),
            memory: median(|figures| figures.memory),
        }
    });
    (ours, theirs)
}

/// Measures in a process of its own, for the kernel adds up over all children.
fn measure(command: &[String]) -> Figures {
    let output = Command::new(std::env::current_exe().unwrap()).arg("--measure").args(command).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [wall, cpu, memory] = numbers.as_slice() else {
        panic!("{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    };
    Figures { wall: *wall, cpu: *cpu, memory: *memory }
}

fn measure_child(command: &[String]) {
    let started = Instant::now();
    let output = Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).output().unwrap();
    let wall = started.elapsed().as_secs_f64();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cpu = seconds(usage.user_time()) + seconds(usage.system_time());
    println!("{wall} {cpu} {}", usage.max_rss() as f64 / 1024.0);
}

fn row(what: &str, ours: f64, theirs: f64, unit: &str, peer: &str) {
    let ratio = if theirs > 0.0 { ours / theirs } else { f64::NAN };
    println!("| {what} | {ours:.2} {unit} | {theirs:.2} {unit} ({peer}) | {ratio:.2} |");
}

fn path(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
