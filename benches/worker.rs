//! What it costs to read each image in a process of its own: the same run with and without it, by turns.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

#[path = "../tests/support/mod.rs"]
mod support;

use sextant::agent::{BUDGET, Environment, Options, stage};
use sextant::image::Architecture;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::ddi::with_tree;
use support::efi::{Firmware, certificates};
use support::keys;
use support::trees::{Tree, noise};

const MIB: usize = 1 << 20;
/// Counted pairs of runs.
const RUNS: usize = 41;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, root, confined] = arguments.as_slice()
        && flag == "--stage"
    {
        return stage_once(Path::new(root), confined == "with");
    }
    println!("| what | with | without | ratio (median of {RUNS} pairs) |\n|---|---|---|---|");
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
    // What runs second finds the memory that the first one has just freed, so they take turns at that.
    let pair = |number| {
        if number % 2 == 0 {
            (run(root, true), run(root, false))
        } else {
            let without = run(root, false);
            (run(root, true), without)
        }
    };
    let mut pairs: Vec<(Duration, Duration)> = (0..=RUNS).map(pair).skip(1).collect();
    pairs.sort_by(|(a, b), (c, d)| (a.as_secs_f64() / b.as_secs_f64()).total_cmp(&(c.as_secs_f64() / d.as_secs_f64())));
    let (with, without) = pairs[pairs.len() / 2];
    println!(
        "| {what} | {:.1} ms | {:.1} ms | {:.3} |",
        with.as_secs_f64() * 1e3,
        without.as_secs_f64() * 1e3,
        with.as_secs_f64() / without.as_secs_f64()
    );
}

/// In a process of its own, which has no more memory than the agent.
fn run(root: &Path, confined: bool) -> Duration {
    let _ = fs::remove_dir_all(root.join("run"));
    fs::create_dir_all(root.join("run")).unwrap();
    let word = if confined { "with" } else { "without" };
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.arg("--stage").arg(root).arg(word).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    Duration::from_nanos(text.trim().parse().unwrap())
}

fn stage_once(root: &Path, confined: bool) {
    let environment = Environment::open(Some(root)).unwrap();
    let options = Options { config: None, architecture: Architecture::native().unwrap(), confined, budget: BUDGET };
    let started = Instant::now();
    stage(&environment, &options).unwrap();
    println!("{}", started.elapsed().as_nanos());
}
