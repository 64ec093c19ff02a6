//! What is in an extension, and the file systems that hold it.

use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::mkfifo;
use rustix::fs::{XattrFlags, setxattr};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

/// Something in a tree. Directories on the way to it come by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Node {
    /// A regular file with its content.
    File(Vec<u8>),
    /// A symbolic link with its target.
    Symlink(String),
    /// An empty directory.
    Directory,
    /// A FIFO.
    Fifo,
    /// What overlayfs has in the place of a file that was taken away.
    Whiteout,
}

/// A tree of files by path, without leading slash.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
    xattrs: BTreeMap<(String, String), Vec<u8>>,
}

impl Tree {
    /// Nothing in it.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A good sysext of this name: an extension-release file for any system and a file to find again.
    pub fn sysext(name: &str) -> Self {
        Self::empty()
            .release(name, &format!("ID=_any\nARCHITECTURE={}\n", native_architecture()))
            .file(&format!("usr/share/{name}/hello.txt"), format!("hello from {name}\n").as_bytes())
    }

    /// A good confext of this name.
    pub fn confext(name: &str) -> Self {
        Self::empty()
            .file(&format!("etc/extension-release.d/extension-release.{name}"), b"ID=_any\n")
            .file(&format!("etc/{name}/hello.conf"), format!("hello from {name}\n").as_bytes())
    }

    /// Puts a whiteout: a character device 0:0.
    pub fn whiteout(self, path: &str) -> Self {
        self.node(path, Node::Whiteout)
    }

    /// Puts a file.
    pub fn file(self, path: &str, content: &[u8]) -> Self {
        self.node(path, Node::File(content.to_vec()))
    }

    /// Puts a symbolic link.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.node(path, Node::Symlink(target.to_owned()))
    }

    /// Puts an empty directory.
    pub fn directory(self, path: &str) -> Self {
        self.node(path, Node::Directory)
    }

    /// Puts a FIFO.
    pub fn fifo(self, path: &str) -> Self {
        self.node(path, Node::Fifo)
    }

    /// Puts anything.
    pub fn node(mut self, path: &str, node: Node) -> Self {
        self.nodes.insert(path.to_owned(), node);
        self
    }

    /// Takes something away.
    pub fn without(mut self, path: &str) -> Self {
        assert!(self.nodes.remove(path).is_some(), "{path} isn't in the tree");
        self
    }

    /// Puts the extension-release file of a sysext called `name`.
    pub fn release(self, name: &str, text: &str) -> Self {
        self.file(&format!("usr/lib/extension-release.d/extension-release.{name}"), text.as_bytes())
    }

    /// Sets an extended attribute (erofs and mksquashfs only; `user.` ones need no privilege).
    pub fn xattr(mut self, path: &str, name: &str, value: &[u8]) -> Self {
        self.xattrs.insert((path.to_owned(), name.to_owned()), value.to_vec());
        self
    }

    /// Lays it out as real files below `directory`.
    pub fn write_to(&self, directory: &Path) {
        for (path, node) in &self.nodes {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match node {
                Node::File(content) => fs::write(path, content).unwrap(),
                Node::Symlink(target) => symlink(target, path).unwrap(),
                Node::Directory => fs::create_dir_all(path).unwrap(),
                Node::Fifo => mkfifo(&path, Mode::S_IRWXU).unwrap(),
                Node::Whiteout => mknod(&path, SFlag::S_IFCHR, Mode::S_IRUSR, 0).unwrap(),
            }
        }
        for ((path, name), value) in &self.xattrs {
            setxattr(directory.join(path), name, value, XattrFlags::empty()).unwrap();
        }
    }

    /// A squashfs with gzip; always the same bytes. Made in this process within a millisecond, or by mksquashfs in a build
    /// that has to be quick.
    pub fn squashfs(&self) -> Arc<Vec<u8>> {
        #[cfg(feature = "backhand")]
        return self.cached("backhand", || self.by_backhand());
        #[cfg(not(feature = "backhand"))]
        self.mksquashfs(&["-comp", "gzip"])
    }

    #[cfg(feature = "backhand")]
    fn by_backhand(&self) -> Vec<u8> {
        use backhand::compression::Compressor;
        use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};
        use std::io::Cursor;
        assert!(self.xattrs.is_empty(), "backhand writes no extended attributes");
        let header = NodeHeader::new(0o644, 0, 0, 0);
        let directory = NodeHeader::new(0o755, 0, 0, 0);
        let mut writer = FilesystemWriter::default();
        writer.set_compressor(FilesystemCompressor::new(Compressor::Gzip, None).unwrap());
        writer.set_time(0);
        writer.set_root_mode(0o755);
        writer.set_only_root_id();
        for (path, node) in &self.nodes {
            if let Some(parent) = Path::new(path).parent().filter(|parent| !parent.as_os_str().is_empty()) {
                writer.push_dir_all(parent, directory).unwrap();
            }
            match node {
                Node::File(content) => writer.push_file(Cursor::new(content.clone()), path, header).unwrap(),
                Node::Symlink(target) => writer.push_symlink(target, path, header).unwrap(),
                Node::Directory => writer.push_dir_all(path, directory).unwrap(),
                Node::Fifo => writer.push_fifo(path, header).unwrap(),
                Node::Whiteout => writer.push_char_device(0, path, header).unwrap(),
            }
        }
        let mut out = Cursor::new(Vec::new());
        writer.write(&mut out).unwrap();
        out.into_inner()
    }

    /// A squashfs made by the real tool with more arguments, such as `-comp zstd`.
    pub fn mksquashfs(&self, arguments: &[&str]) -> Arc<Vec<u8>> {
        self.cached(&format!("mksquashfs {arguments:?}"), || {
            self.by_tool(|source, target| {
                let mut command = Command::new("mksquashfs");
                command.arg(source).arg(target).args(["-quiet", "-no-progress", "-all-root"]);
                command.args(["-mkfs-time", "0", "-all-time", "0", "-root-mode", "0755"]).args(arguments);
                command
            })
        })
    }

    /// An erofs made by the real tool with more arguments, such as `-zlz4`.
    pub fn erofs(&self, arguments: &[&str]) -> Arc<Vec<u8>> {
        self.cached(&format!("mkfs.erofs {arguments:?}"), || {
            self.by_tool(|source, target| {
                let mut command = Command::new("mkfs.erofs");
                command.args(["--quiet", "--all-root", "-T0", "-U00000000-0000-4000-8000-000000000000"]);
                command.args(arguments).arg(target).arg(source);
                command
            })
        })
    }

    fn by_tool(&self, command: impl FnOnce(&Path, &Path) -> Command) -> Vec<u8> {
        let scratch = tempfile::tempdir().unwrap();
        let (source, target) = (scratch.path().join("tree"), scratch.path().join("image"));
        fs::create_dir(&source).unwrap();
        self.write_to(&source);
        run(&mut command(&source, &target));
        fs::read(target).unwrap()
    }

    fn cached(&self, how: &str, make: impl FnOnce() -> Vec<u8>) -> Arc<Vec<u8>> {
        type Cache = HashMap<(Tree, String), Arc<Vec<u8>>>;
        static CACHE: OnceLock<Mutex<Cache>> = OnceLock::new();
        let cache = CACHE.get_or_init(Mutex::default);
        let key = (self.clone(), how.to_owned());
        if let Some(image) = cache.lock().unwrap().get(&key) {
            return Arc::clone(image);
        }
        let image = Arc::new(make());
        cache.lock().unwrap().insert(key, Arc::clone(&image));
        image
    }
}

/// The architecture of this machine as `ARCHITECTURE=` says it.
pub fn native_architecture() -> &'static str {
    ddi::Architecture::native().expect("no partition types for this architecture").systemd_name()
}

fn run(command: &mut Command) {
    // Where these tools are, an ordinary user's PATH often doesn't look.
    let mut path = std::env::var_os("PATH").unwrap_or_default().as_bytes().to_vec();
    path.extend(b":/usr/sbin:/sbin");
    command.env("PATH", std::ffi::OsStr::from_bytes(&path)).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Bytes that don't compress and are the same each time (xorshift64*, Marsaglia 2003 and Vigna 2016).
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}
