//! Programs, images and machines of the benchmarks that run whole programs.
#![allow(dead_code, reason = "no benchmark needs all of it")]

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

pub(crate) const MIB: usize = 1 << 20;
/// Counted runs of each program.
const RUNS: usize = 5;

/// The programs that are measured.
pub(crate) struct Tools {
    pub(crate) agent: PathBuf,
    pub(crate) sextant: PathBuf,
}

impl Tools {
    pub(crate) fn find() -> Self {
        let dist = support::repository().join("target/dist");
        let tool = |name: &str| {
            let path = dist.join(name);
            assert!(path.exists(), "{} is not there: run `make build` first, or `make bench`", path.display());
            path
        };
        Self { agent: tool("sextant-agent"), sextant: tool("sextant") }
    }
}

pub(crate) fn machine(tree: &Path) -> PathBuf {
    let extra = tree.join(".extra/sysext");
    fs::create_dir_all(&extra).unwrap();
    fs::create_dir_all(tree.join("run")).unwrap();
    let db = certificates(&[keys::rsa("Vendor")]);
    Firmware::enforcing().db(&db).write_to(&tree.join("sys/firmware/efi/efivars"));
    extra
}

/// A signed image on disk.
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    pub(crate) root_hash: String,
    pub(crate) data: (u64, u64),
    pub(crate) verity: Vec<u8>,
}

impl Image {
    /// An erofs with one incompressible file of about `size` bytes.
    pub(crate) fn make(work: &Path, name: &str, size: usize) -> Self {
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
    pub(crate) fn cut(&self, work: &Path) -> (PathBuf, PathBuf) {
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
pub(crate) struct Figures {
    /// Seconds.
    pub(crate) wall: f64,
    /// Seconds, of all threads.
    pub(crate) cpu: f64,
    /// MiB.
    pub(crate) memory: f64,
}

/// Runs both in turn and takes the medians.
pub(crate) fn compare(ours: &[String], theirs: &[String], mut prepare: impl FnMut()) -> (Figures, Figures) {
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
        let median = |field: fn(&Figures) -> f64| median(figures.iter().map(field));
        Figures {
            wall: median(|figures| figures.wall),
            cpu: median(|figures| figures.cpu),
            memory: median(|figures| figures.memory),
        }
    });
    (ours, theirs)
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Measures in a process of its own, for the kernel adds up over all children.
pub(crate) fn measure(command: &[String]) -> Figures {
    let output = Command::new(std::env::current_exe().unwrap()).arg("--measure").args(command).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [wall, cpu, memory] = numbers.as_slice() else {
        panic!("{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    };
    Figures { wall: *wall, cpu: *cpu, memory: *memory }
}

pub(crate) fn measure_child(command: &[String]) {
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

pub(crate) fn path(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
