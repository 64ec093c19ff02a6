//! How time and memory grow with the bytes of an image and with the number of images, and whether an image costs more for its rank
//! among others.
//!
//! `cargo bench --bench growth -- --svg docs/growth.svg`, after `make build`, prints the tables of `docs/performance.md` and
//! draws the picture. Figures are medians; times are processor time of all threads, by programs with real-time priority where that is
//! permitted, on files in a tmpfs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_precision_loss)]

#[path = "chart.rs"]
mod chart;
#[path = "measuring.rs"]
mod measuring;

use chart::{Axis, Panel, Series};
use measuring::{Figures, Image, MIB, Tools, compare, machine, measure_child, median, path};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::keys;

/// Sizes of images in MiB.
const SIZES: [usize; 7] = [1, 4, 16, 64, 256, 1024, 4096];
/// Numbers of images.
const COUNTS: [usize; 5] = [1, 4, 16, 64, 256];
/// Payload of images whose number counts, in bytes: an image of a little more than 1 MiB.
const SMALL: usize = 16 * 1024;
/// Runs of which the time of each rank is the median.
const RANK_RUNS: usize = 21;
/// Images that a machine stages: the kernel bounds the options of the mount that has all of them.
const STAGED: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, command @ ..] = arguments.as_slice()
        && flag == "--measure"
    {
        return measure_child(command);
    }
    let svg = arguments.iter().position(|argument| argument == "--svg").map(|at| PathBuf::from(&arguments[at + 1]));
    let bench = Bench::new();
    let bytes = bench.bytes();
    let counts = bench.counts();
    let ranks = bench.ranks();
    if let Some(file) = svg {
        let file = support::repository().join(file);
        fs::write(&file, picture(&bytes, &counts, &ranks)).unwrap();
        println!("\n{} is written", file.display());
    }
}

struct Bench {
    tools: Tools,
    work: tempfile::TempDir,
    /// What a command begins with.
    first: Vec<String>,
}

/// A program of ours and its peer, with what they had to do.
struct Row {
    amount: f64,
    ours: Figures,
    theirs: Figures,
}

/// Milliseconds for each rank, in `sextant verify` and in `sextant-agent stage`.
struct Ranks {
    verify: Vec<f64>,
    stage: Vec<f64>,
}

impl Bench {
    fn new() -> Self {
        let work = tempfile::Builder::new().prefix("sextant-bench").tempdir_in("/dev/shm").unwrap();
        fs::write(work.path().join("vendor.crt"), keys::rsa("Vendor").pem()).unwrap();
        let first = ["chrt", "--fifo", "1"].map(str::to_owned);
        let may = Command::new(&first[0]).args(&first[1..]).arg("true").stderr(Stdio::null()).status();
        let first = if may.is_ok_and(|status| status.success()) { first.to_vec() } else { Vec::new() };
        if first.is_empty() {
            println!("No real-time priority is permitted: other programs disturb these figures.\n");
        }
        Self { tools: Tools::find(), work, first }
    }

    fn command(&self, words: impl IntoIterator<Item = String>) -> Vec<String> {
        self.first.iter().cloned().chain(words).collect()
    }

    fn verify(&self, files: &[PathBuf], more: &[&str]) -> Vec<String> {
        let certificate = path(&self.work.path().join("vendor.crt"));
        let words = [path(&self.tools.sextant), "verify".into(), "--certificate".into(), certificate];
        let more = more.iter().map(|word| (*word).to_owned());
        self.command(words.into_iter().chain(more).chain(files.iter().map(|file| path(file))))
    }

    /// One image of each size.
    fn bytes(&self) -> Vec<Row> {
        println!("| image | sextant verify | per GiB | veritysetup verify | ratio | peak memory | of veritysetup |");
        println!("|---:|---:|---:|---:|---:|---:|---:|");
        SIZES.map(|size| self.size(size)).into()
    }

    fn size(&self, size: usize) -> Row {
        let payload = if size == 1 { SMALL } else { size * MIB };
        let image = Image::make(self.work.path(), "image", payload);
        let (data, hash) = image.cut(self.work.path());
        let ours = self.verify(std::slice::from_ref(&image.path), &[]);
        let theirs = ["veritysetup".into(), "verify".into(), path(&data), path(&hash), image.root_hash];
        let (ours, theirs) = compare(&ours, &self.command(theirs), || {});
        for file in [image.path, data, hash] {
            fs::remove_file(file).unwrap();
        }
        println!(
            "| {size} MiB | {} | {:.2} s | {} | {:.2} | {:.1} MiB | {:.1} MiB |",
            seconds(ours.cpu),
            ours.cpu * 1024.0 / size as f64,
            seconds(theirs.cpu),
            ours.cpu / theirs.cpu,
            ours.memory,
            theirs.memory
        );
        Row { amount: size as f64, ours, theirs }
    }

    /// A directory with this number of small images.
    fn images(&self, directory: &Path, count: usize) -> Vec<PathBuf> {
        let make = |number| {
            let image = Image::make(self.work.path(), &format!("i{number}"), SMALL);
            let file = directory.join(image.path.file_name().unwrap());
            fs::rename(image.path, &file).unwrap();
            file
        };
        (0..count).map(make).collect()
    }

    /// Small images, more and more of them.
    fn counts(&self) -> Vec<Row> {
        let (directory, target) = (self.work.path().join("small"), self.work.path().join("copies"));
        fs::create_dir(&directory).unwrap();
        let files = self.images(&directory, COUNTS[COUNTS.len() - 1]);
        println!("\n| images | sextant verify | per image | cp | ratio | peak memory | of cp |");
        println!("|---:|---:|---:|---:|---:|---:|---:|");
        let row = |count: usize| {
            let ours = self.verify(&files[..count], &[]);
            let words = ["cp".to_owned(), "-t".into(), path(&target)];
            let theirs = self.command(words.into_iter().chain(files[..count].iter().map(|file| path(file))));
            let (ours, theirs) = compare(&ours, &theirs, || {
                let _ = fs::remove_dir_all(&target);
                fs::create_dir(&target).unwrap();
            });
            println!(
                "| {count} | {} | {} | {} | {:.2} | {:.1} MiB | {:.1} MiB |",
                seconds(ours.cpu),
                seconds(ours.cpu / count as f64),
                seconds(theirs.cpu),
                ours.cpu / theirs.cpu,
                ours.memory,
                theirs.memory
            );
            Row { amount: count as f64, ours, theirs }
        };
        let rows = COUNTS.map(row).into();
        fs::remove_dir_all(target).unwrap();
        fs::remove_dir_all(directory).unwrap();
        rows
    }

    /// What each of many equal images takes, by the report.
    fn ranks(&self) -> Ranks {
        let directory = self.work.path().join("small");
        fs::create_dir(&directory).unwrap();
        let files = self.images(&directory, COUNTS[COUNTS.len() - 1]);
        let command = self.verify(&files, &["--json"]);
        let verify = medians(|| {
            let output = Command::new(&command[0]).args(&command[1..]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            times(&output.stdout)
        });
        let tree = self.work.path().join("tree");
        let extra = machine(&tree);
        for file in &files[..STAGED] {
            fs::rename(file, extra.join(file.file_name().unwrap())).unwrap();
        }
        let command = self.command([path(&self.tools.agent), "stage".into(), "--root".into(), path(&tree)]);
        let stage = medians(|| {
            let _ = fs::remove_dir_all(tree.join("run"));
            fs::create_dir(tree.join("run")).unwrap();
            let output = Command::new(&command[0]).args(&command[1..]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            times(&fs::read(tree.join("run/sextant/report.json")).unwrap())
        });
        println!(
            "\n| | images | median of the first quarter | of the last quarter | ratio |\n|---|---:|---:|---:|---:|"
        );
        for (what, times) in [("sextant verify", &verify), ("sextant-agent stage", &stage)] {
            let quarter = times.len() / 4;
            let part = |times: &[f64]| median(times.iter().copied());
            let (first, last) = (part(&times[..quarter]), part(&times[times.len() - quarter..]));
            println!("| {what} | {} | {first:.2} ms | {last:.2} ms | {:.2} |", times.len(), last / first);
        }
        Ranks { verify, stage }
    }
}

/// Milliseconds that each image took, in the order of a report.
fn times(report: &[u8]) -> Vec<f64> {
    let report: Value = serde_json::from_slice(report).unwrap();
    let length = |phase: &Value| phase["end_usec"].as_f64().unwrap() - phase["begin_usec"].as_f64().unwrap();
    let time = |image: &Value| {
        assert!(image["reason"].is_null(), "{image}");
        image["phases"].as_array().unwrap().iter().map(length).sum::<f64>() / 1e3
    };
    report["images"].as_array().unwrap().iter().map(time).collect()
}

/// The median of each place in lists of the same length.
fn medians(run: impl Fn() -> Vec<f64>) -> Vec<f64> {
    let runs: Vec<Vec<f64>> = (0..RANK_RUNS).map(|_| run()).collect();
    (0..runs[0].len()).map(|rank| median(runs.iter().map(|run| run[rank]))).collect()
}

fn seconds(time: f64) -> String {
    if time < 1.0 { format!("{:.1} ms", time * 1e3) } else { format!("{time:.2} s") }
}

fn points(rows: &[Row], value: impl Fn(&Row) -> f64) -> Vec<(f64, f64)> {
    rows.iter().map(|row| (row.amount, value(row))).collect()
}

fn series(class: &'static str, name: &'static str, points: Vec<(f64, f64)>) -> Series {
    Series { class, name, points, is_line: true }
}

fn picture(bytes: &[Row], counts: &[Row], ranks: &Ranks) -> String {
    let sizes = || Axis {
        name: "size of the image",
        low: 0.8,
        high: 5120.0,
        is_logarithmic: true,
        marks: SIZES
            .map(|size| (size as f64, if size < 1024 { format!("{size} M") } else { format!("{} G", size >> 10) }))
            .into(),
    };
    let time = |name, low: f64, high, marks: &[(f64, &str)]| Axis {
        name,
        low,
        high,
        is_logarithmic: true,
        marks: marks.iter().map(|(value, mark)| (*value, (*mark).to_owned())).collect(),
    };
    let linear = |name, high: f64, step: u32| {
        let marks = (0..).map(|number| number * step).take_while(|value| f64::from(*value) <= high);
        let marks = marks.map(|value| (f64::from(value), value.to_string())).collect();
        Axis { name, low: 0.0, high, is_logarithmic: false, marks }
    };
    let decades = [(0.001, "1 ms"), (0.01, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"), (10.0, "10 s")];
    let most = |values: &[(f64, f64)]| values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let memory = [points(bytes, |row| row.ours.memory), points(bytes, |row| row.theirs.memory)];
    let top = most(&memory[0]).max(most(&memory[1])) * 1.25;
    let by_rank = |times: &[f64]| (1_u32..).map(f64::from).zip(times.iter().copied()).collect::<Vec<_>>();
    let (verify, stage) = (by_rank(&ranks.verify), by_rank(&ranks.stage));
    let highest = most(&verify).max(most(&stage)) * 1.25;
    let panels = [
        Panel {
            heading: "Time by bytes",
            x: sizes(),
            y: time("processor time", 0.001, 10.0, &decades),
            series: vec![
                series("ours", "sextant verify", points(bytes, |row| row.ours.cpu)),
                series("peer", "veritysetup verify", points(bytes, |row| row.theirs.cpu)),
            ],
        },
        Panel {
            heading: "Memory by bytes",
            x: sizes(),
            y: linear("peak memory in MiB", top, 2),
            series: vec![
                series("ours", "sextant verify", memory[0].clone()),
                series("peer", "veritysetup verify", memory[1].clone()),
            ],
        },
        Panel {
            heading: "Time by number of images",
            x: Axis {
                name: "images of 1 MiB",
                low: 0.8,
                high: 320.0,
                is_logarithmic: true,
                marks: COUNTS.map(|count| (count as f64, count.to_string())).into(),
            },
            y: time("processor time", 0.0005, 1.0, &decades[..4]),
            series: vec![
                series("ours", "sextant verify", points(counts, |row| row.ours.cpu)),
                series("peer", "cp", points(counts, |row| row.theirs.cpu)),
            ],
        },
        Panel {
            heading: "Time of an image by its rank",
            x: Axis { low: 0.0, high: 256.0, ..linear("rank among 256 images, or 64", 256.0, 64) },
            y: linear("time in ms", highest.max(1.0), 1),
            series: vec![
                Series { class: "ours", name: "sextant verify", points: verify, is_line: false },
                Series { class: "other", name: "sextant-agent stage", points: stage, is_line: false },
            ],
        },
    ];
    let (first, last) = (&bytes[0], &bytes[bytes.len() - 1]);
    let description = format!(
        "sextant verify takes {} for an image of {} MiB and {} for one of {} MiB, with at most {:.1} MiB of memory; veritysetup \
         verify takes {} and {}. {} images take {}, and the time of an image does not depend on its rank.",
        seconds(first.ours.cpu),
        first.amount,
        seconds(last.ours.cpu),
        last.amount,
        most(&memory[0]),
        seconds(first.theirs.cpu),
        seconds(last.theirs.cpu),
        counts[counts.len() - 1].amount,
        seconds(counts[counts.len() - 1].ours.cpu),
    );
    chart::svg("Growth", &description, &panels)
}
