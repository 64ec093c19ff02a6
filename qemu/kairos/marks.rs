//! Marks: time, memory, and images in memory at some point of a boot (`qemu/guest/kairos/usr/lib/witness/mark`).

use crate::witness::Findings;
use std::collections::BTreeMap;
use std::path::Path;

/// What a mark says.
#[derive(Debug, Clone)]
pub struct Mark {
    /// Begin and end of the mark itself, in milliseconds since the kernel started.
    pub begun: u64,
    pub ended: u64,
    /// Memory that only tmpfs and shared memory use, in bytes.
    pub shmem: u64,
    /// Sizes of the images that are in memory, by path. What is mounted elsewhere too is there once.
    pub images: BTreeMap<String, u64>,
    /// Symbolic links where systemd looks for extensions.
    pub links: usize,
}

impl Mark {
    /// The mark of that name.
    pub fn read(findings: &Findings, name: &str) -> Self {
        let file = |file: &str| findings.text(&format!("marks/{name}/{file}"));
        let times: Vec<_> = file("uptime").split_whitespace().map(milliseconds).collect();
        let [begun, ended] = times[..] else { panic!("mark {name}: {times:?}") };
        let mut by_identity = BTreeMap::new();
        for line in file("images").lines() {
            let fields: Vec<_> = line.splitn(4, ' ').collect();
            let [filesystem, identity, size, path] = fields[..] else { panic!("mark {name}: {line}") };
            let is_image = Path::new(path).extension().is_some_and(|extension| extension == "raw");
            // What the agent notes about images is not one.
            let is_note = path.starts_with("/run/sextant/staged/");
            if is_image && !is_note && ["tmpfs", "ramfs", "rootfs"].contains(&filesystem) {
                by_identity.entry(identity.to_owned()).or_insert((path.to_owned(), size.parse().unwrap()));
            }
        }
        Self {
            begun,
            ended,
            shmem: kibibytes(&file("meminfo"), "Shmem:"),
            images: by_identity.into_values().collect(),
            links: file("links").lines().count(),
        }
    }

    /// Bytes of images in memory.
    pub fn in_memory(&self) -> u64 {
        self.images.values().sum()
    }

    /// How many images lie below this directory.
    pub fn images_below(&self, directory: &str) -> usize {
        self.images.keys().filter(|path| path.starts_with(directory)).count()
    }
}

/// A time of `/proc/uptime`, which has two digits behind the point (`proc_uptime(5)`).
fn milliseconds(text: &str) -> u64 {
    let digits: String = text.chars().filter(|character| *character != '.').collect();
    digits.parse::<u64>().unwrap_or_else(|error| panic!("{error}: {text}")) * 10
}

/// A field of `/proc/meminfo`, in bytes.
pub fn kibibytes(meminfo: &str, field: &str) -> u64 {
    let line = meminfo.lines().find(|line| line.starts_with(field)).unwrap_or_else(|| panic!("no {field}"));
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
