//! An archive that the kernel unpacks over the initrd proper: what one scenario has and others haven't.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Something in the archive.
#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>, u32),
    Symlink(String),
}

/// Files by path, without leading slash.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    nodes: BTreeMap<String, Node>,
}

impl Archive {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A file.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.node(path, Node::File(content.as_ref().to_vec(), 0o644))
    }

    /// A program.
    pub fn program(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.node(path, Node::File(content.as_ref().to_vec(), 0o755))
    }

    /// Everything below a directory.
    pub fn directory(self, directory: &Path) -> Self {
        self.below(directory, "")
    }

    /// The same below a path.
    pub fn directory_at(self, path: &str, directory: &Path) -> Self {
        self.below(directory, &format!("{path}/"))
    }

    fn below(mut self, directory: &Path, prefix: &str) -> Self {
        for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
            let (from, name) = (entry.path(), entry.file_name().into_string().unwrap());
            let path = format!("{prefix}{name}");
            let metadata = entry.metadata().unwrap();
            self = if metadata.is_symlink() {
                self.symlink(&path, fs::read_link(from).unwrap().to_str().unwrap())
            } else if metadata.is_dir() {
                self.below(&from, &format!("{path}/"))
            } else {
                self.node(&path, Node::File(fs::read(from).unwrap(), metadata.permissions().mode() & 0o777))
            };
        }
        self
    }

    /// Takes a file away that was put before.
    pub fn without(mut self, path: &str) -> Self {
        assert!(self.nodes.remove(path).is_some(), "{path} isn't in the archive");
        self
    }

    /// A symbolic link. In place of a file of the initrd that leads nowhere, it takes that file away.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.node(path, Node::Symlink(target.to_owned()))
    }

    /// A unit of the initrd, started with it.
    pub fn unit(self, name: &str, text: &str) -> Self {
        self.file(&format!("usr/lib/systemd/system/{name}"), text)
            .symlink(&format!("usr/lib/systemd/system/initrd.target.wants/{name}"), &format!("../{name}"))
    }

    fn node(mut self, path: &str, node: Node) -> Self {
        self.nodes.insert(path.to_owned(), node);
        self
    }

    /// The archive in the format "newc" (kernel Documentation/driver-api/early-userspace/buffer-format.rst).
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut directories = Vec::new();
        for (number, (path, node)) in self.nodes.iter().enumerate() {
            for (end, _) in path.match_indices('/') {
                let directory = &path[..end];
                if !directories.contains(&directory) {
                    directories.push(directory);
                    entry(&mut out, directories.len() + 10_000, directory, 0o40_755, &[]);
                }
            }
            match node {
                Node::File(content, mode) => entry(&mut out, number + 1, path, 0o100_000 | mode, content),
                Node::Symlink(target) => entry(&mut out, number + 1, path, 0o120_777, target.as_bytes()),
            }
        }
        entry(&mut out, 0, "TRAILER!!!", 0, &[]);
        out
    }
}

fn entry(out: &mut Vec<u8>, inode: usize, path: &str, mode: u32, content: &[u8]) {
    let (size, name_size) = (content.len(), path.len() + 1);
    let links = 1;
    // magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    let header = format!(
        "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{links:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{name_size:08x}{0:08x}",
        0
    );
    out.extend(header.as_bytes());
    out.extend(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend(content);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}
