//! What it costs to read each image in a process of its own: the same run with and without it, by turns.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

use ddi::Architecture;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use sextant::agent::{BUDGET, Environment, Options, stage};
use std::fs;
use std::ops::Add;
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use support::ddi::with_tree;
use support::efi::{Firmware, certificates};
use support::keys;
use support::trees::{Tree, noise};

const MIB: usize = 1 << 20;
/// Counted blocks of four runs.
const BLOCKS: usize = 31;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, root, confined] = arguments.as_slice()
        && flag == "--stage"
    {
        return stage_once(Path::new(root), confined == "with");
    }
    println!(
        "| images | with | without | ratio (median of {BLOCKS}, quartiles) | of processor time |\n|---|---|---|---|---|"
    );
    measure("64 small images", 64, 0);
    measure("1 image of 1 GiB", 1, 1024 * MIB);
}

fn measure(what: &str, count: usize, size: usize) {
    let work = tempfile::Builder::new().prefix("sextant-bench").tempdir_in("/dev/shm").unwrap();
    let root = work.path();
    Firmware::enforcing().db(&certificates(&[keys::rsa("Vendor")])).write_to(&root.join("sys/firmware/efi/efivars"));
    let extra = root.join(".extra/sysext");
    fs::create_dir_all(&extra).unwrap();
    for number in 0..count {
        let name = format!("image{number}");
        let mut tree = Tree::sysext(&name);
        if size > 0 {
            tree = tree.file("usr/share/noise", &noise(size));
        }
        fs::write(
            extra.join(format!("{name}.sysext.raw")),
            with_tree(&name, &tree, keys::rsa("Vendor")).render().bytes,
        )
        .unwrap();
    }
    // What runs later finds the memory that the earlier one has freed. In a block each comes first once, so that this
    // adds to both; the median of single pairs, which is that of two heaps, would belong to the larger one.
    let block = |_| {
        let (with, without) = (run(root, true), run(root, false));
        let (without, with) = (without + run(root, false), with + run(root, true));
        (with, without)
    };
    let blocks: Vec<(Cost, Cost)> = (0..=BLOCKS).map(block).skip(1).collect();
    let [low, median, high] = quartiles(blocks.iter().map(|(with, without)| with.time / without.time));
    let [_, processor, _] = quartiles(blocks.iter().map(|(with, without)| with.processor / without.processor));
    let [_, with, _] = quartiles(blocks.iter().map(|(with, _)| with.time / 2.0));
    let [_, without, _] = quartiles(blocks.iter().map(|(_, without)| without.time / 2.0));
    println!(
        "| {what} | {:.1} ms | {:.1} ms | {median:.3} ({low:.3} to {high:.3}) | {processor:.3} |",
        with * 1e3,
        without * 1e3,
    );
}

fn quartiles(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[values.len() * quarter / 4])
}

/// In seconds.
struct Cost {
    time: f64,
    /// Of agent and worker, in both modes.
    processor: f64,
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { time: self.time + other.time, processor: self.processor + other.processor }
    }
}

/// In a process of its own, which has no more memory than the agent.
fn run(root: &Path, confined: bool) -> Cost {
    let _ = fs::remove_dir_all(root.join("run"));
    fs::create_dir_all(root.join("run")).unwrap();
    let word = if confined { "with" } else { "without" };
    let before = processor_time();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.arg("--stage").arg(root).arg(word).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    Cost { time: text.trim().parse::<f64>().unwrap() / 1e9, processor: processor_time() - before }
}

fn processor_time() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

fn stage_once(root: &Path, confined: bool) {
    let environment = Environment::open(Some(root)).unwrap();
    let options =
        Options { config: Vec::new(), architecture: Architecture::native().unwrap(), confined, budget: BUDGET };
    let started = Instant::now();
    stage(&environment, &options).unwrap();
    println!("{}", started.elapsed().as_nanos());
}
