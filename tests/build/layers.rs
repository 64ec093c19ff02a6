//! Layers on top of each other.

use crate::desk::shape;
use sextant_cli::build::source::{LayeredImage, SourceError, Spool};
use sextant_cli::build::tree::{Kind, LayerError, Layers, apply};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::process::Command;
use tar::{Builder, EntryType, Header};

pub(crate) const GENEROUS: u64 = 1 << 30;

/// An image whose layers are these archives.
pub(crate) struct Stack(pub(crate) Vec<Spool>);

impl LayeredImage for Stack {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn layer(&mut self, index: usize) -> Result<Spool, SourceError> {
        Ok(self.0[index].clone())
    }

    fn architecture(&self) -> Option<&str> {
        None
    }
}

/// A layer being written.
pub(crate) struct Layer(Builder<Vec<u8>>);

impl Layer {
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub(crate) fn entry(mut self, kind: EntryType, path: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1000);
        header.set_size(content.len() as u64);
        // As hostile as need be: the crate's own setters refuse what attackers write.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, path, "", content.as_bytes())
    }

    pub(crate) fn directory(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", b"")
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, b"")
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target, b"")
    }

    /// Records of an extended header for what comes next.
    pub(crate) fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }

    pub(crate) fn spool(self) -> Spool {
        spool(&self.bytes())
    }
}

pub(crate) fn spool(bytes: &[u8]) -> Spool {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    Spool::new(file).unwrap()
}

/// What all layers come to.
fn all(layers: Vec<Layer>) -> BTreeMap<String, String> {
    some(layers, &Layers::All).unwrap()
}

fn some(layers: Vec<Layer>, wanted: &Layers) -> Result<BTreeMap<String, String>, LayerError> {
    let mut stack = Stack(layers.into_iter().map(Layer::spool).collect());
    apply(&mut stack, wanted, GENEROUS).map(|tree| shape(&tree))
}

fn expect(found: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    let found: Vec<_> = found.iter().map(|(path, what)| (path.as_str(), what.as_str())).collect();
    let without_directories: Vec<_> = found.into_iter().filter(|(_, what)| *what != "directory").collect();
    assert_eq!(without_directories, expected);
}

pub(crate) fn a_whiteout_takes_away_what_lower_layers_put() {
    let lower = || Layer::new().file("usr/a", "1").file("usr/b", "1").file("usr/d/c", "1");
    let found = all(vec![lower(), Layer::new().file("usr/.wh.a", "").file("usr/.wh.d", "").file("usr/.wh.absent", "")]);
    expect(&found, &[("usr/b", "file 1")]);
    // Only lower ones: the layer's own file stays, whichever of the two comes first in the archive.
    for layer in
        [Layer::new().file("usr/a", "2").file("usr/.wh.a", ""), Layer::new().file("usr/.wh.a", "").file("usr/a", "2")]
    {
        expect(&all(vec![lower(), layer]), &[("usr/a", "file 2"), ("usr/b", "file 1"), ("usr/d/c", "file 1")]);
    }
}

pub(crate) fn an_opaque_directory_hides_all_of_it_below() {
    let lower = Layer::new().file("usr/d/a", "1").file("usr/d/e/b", "1").file("usr/c", "1");
    let upper = Layer::new().file("usr/d/new", "2").file("usr/d/.wh..wh..opq", "").file("usr/d/.wh..wh.plnk", "");
    expect(&all(vec![lower, upper]), &[("usr/c", "file 1"), ("usr/d/new", "file 2")]);
}

/// A whiteout means the directory that the layer has, not what a link of that name led to before.
pub(crate) fn what_took_the_place_of_a_link_takes_nothing_away_where_that_led() {
    let lower = || {
        Layer::new()
            .file("usr/lib/a.so", "1")
            .symlink("usr/lib64", "lib")
            .file("opt/v1/data", "1")
            .symlink("opt/current", "v1")
    };
    let upper = Layer::new()
        .directory("usr/lib64")
        .file("usr/lib64/.wh..wh..opq", "")
        .file("usr/lib64/b.so", "2")
        .file("opt/current/.wh.data", "")
        .directory("opt/current");
    expect(
        &all(vec![lower(), upper]),
        &[("opt/v1/data", "file 1"), ("usr/lib/a.so", "file 1"), ("usr/lib64/b.so", "file 2")],
    );
    // Without a directory of its own the layer goes by the link, as container engines do.
    let through = Layer::new().file("usr/lib64/.wh.a.so", "");
    expect(
        &all(vec![lower(), through]),
        &[("opt/current", "link v1"), ("opt/v1/data", "file 1"), ("usr/lib64", "link lib")],
    );
}

pub(crate) fn upper_layers_replace_files_and_describe_directories_anew() {
    let lower = Layer::new().directory("usr").file("usr/a", "1").file("usr/d/b", "1").symlink("usr/l", "a");
    let upper = Layer::new().file("usr/a", "2").file("usr/d", "now a file").directory("usr/l");
    let found = all(vec![lower, upper]);
    assert_eq!(found["usr/l"], "directory");
    expect(&found, &[("usr/a", "file 2"), ("usr/d", "file now a file")]);
}

pub(crate) fn links_on_the_way_are_followed_inside_the_tree() {
    let lower = Layer::new()
        .directory("usr/lib")
        .symlink("lib", "usr/lib")
        .symlink("abs", "/usr/lib")
        .symlink("up", "../../../usr");
    let upper = Layer::new().file("lib/a", "1").file("abs/b", "1").file("up/lib/c", "1");
    let found = all(vec![lower, upper]);
    for path in ["usr/lib/a", "usr/lib/b", "usr/lib/c"] {
        assert_eq!(found[path], "file 1");
    }
}

pub(crate) fn the_last_layer_alone_is_what_kairos_users_mean() {
    let layers = || vec![Layer::new().file("usr/base", "1"), Layer::new().file("usr/mine", "2")];
    expect(&some(layers(), &Layers::Last).unwrap(), &[("usr/mine", "file 2")]);
    expect(&some(layers(), &Layers::Some(1, 1)).unwrap(), &[("usr/base", "file 1")]);
    expect(&some(layers(), &Layers::Some(1, 2)).unwrap(), &[("usr/base", "file 1"), ("usr/mine", "file 2")]);
    let error = some(layers(), &Layers::Some(2, 3)).unwrap_err();
    assert_eq!(error.to_string(), "layers 2..3 requested; the image has 2");
}

pub(crate) fn layers_are_named_by_words_or_numbers() {
    assert_eq!(Layers::parse("all"), Ok(Layers::All));
    assert_eq!(Layers::parse("2"), Ok(Layers::Some(2, 2)));
    assert_eq!(Layers::parse("2..4"), Ok(Layers::Some(2, 4)));
    for text in ["", "0", "0..2", "4..2", "a..b", "..", "-1"] {
        assert!(Layers::parse(text).is_err(), "{text}");
    }
}

pub(crate) fn hard_links_share_one_node_and_reach_into_layers_below() {
    let lower = || Layer::new().file("usr/bin/busybox", "box").file("etc/other", "1");
    let upper = || Layer::new().link("usr/bin/ls", "usr/bin/busybox").link("usr/bin/cat", "./usr/bin/busybox");
    for (wanted, count) in [(Layers::Last, 2), (Layers::All, 3)] {
        let mut stack = Stack(vec![lower().spool(), upper().spool()]);
        let tree = apply(&mut stack, &wanted, GENEROUS).unwrap();
        let ids: Vec<_> = tree.walk().into_iter().filter(|(path, _)| path.starts_with(b"usr/bin/")).collect();
        assert_eq!(ids.len(), count);
        assert!(ids.iter().all(|(_, id)| *id == ids[0].1), "one node: {ids:?}");
        assert_eq!(shape(&tree)["usr/bin/ls"], "file box");
    }
    let error = some(vec![lower(), Layer::new().link("usr/a", "usr/absent")], &Layers::Last).unwrap_err();
    assert_eq!(error.to_string(), "reading usr/a in layer 2: hard link to usr/absent, which does not exist");
}

/// Archives of GNU tar's: everything that it writes for a tree with a bit of everything.
pub(crate) fn archives_of_gnu_tar_keep_holes_names_owners_times_and_attributes() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let long = format!("usr/{}/{}", "d".repeat(120), "n".repeat(200));
    std::fs::create_dir_all(root.join(&long).parent().unwrap()).unwrap();
    std::fs::write(root.join(&long), "long").unwrap();
    std::os::unix::fs::symlink("x".repeat(180), root.join("usr/link")).unwrap();
    std::fs::hard_link(root.join(&long), root.join("usr/hard")).unwrap();
    let holes = File::create(root.join("usr/holes")).unwrap();
    holes.set_len(9 << 20).unwrap();
    for at in [0_u64, 3 << 20, 5 << 20, 7 << 20, 8 << 20, (9 << 20) - 4] {
        std::os::unix::fs::FileExt::write_at(&holes, b"data", at).unwrap();
    }
    // What a program that may open raw sockets has, with a newline among the bytes.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let has_xattrs =
        rustix::fs::setxattr(root.join("usr/hard"), "user.note", &capability, rustix::fs::XattrFlags::empty()).is_ok();
    for format in ["gnu", "pax"] {
        for sparse in ["0.0", "0.1", "1.0"] {
            let archive = root.join(format!("{format}-{sparse}.tar"));
            let mut tar = Command::new("tar");
            tar.arg("--create")
                .arg(format!("--format={format}"))
                .arg("--sparse")
                .arg(format!("--sparse-version={sparse}"));
            if format == "pax" {
                tar.arg("--xattrs").arg("--xattrs-include=*");
            }
            tar.args(["--owner=1234567:7", "--group=7654321:8", "--mtime=@1234567890.5", "--directory"]).arg(root);
            let status = tar.arg("--file").arg(&archive).arg("usr").status().unwrap();
            assert!(status.success(), "{format} {sparse}");
            check_gnu(&archive, &long, (format == "pax" && has_xattrs).then_some(&capability));
        }
    }
}

fn check_gnu(archive: &Path, long: &str, attribute: Option<&[u8; 20]>) {
    let name = archive.display();
    let mut stack = Stack(vec![Spool::new(File::open(archive).unwrap()).unwrap()]);
    let tree = apply(&mut stack, &Layers::Last, GENEROUS).unwrap_or_else(|error| panic!("{name}: {error}"));
    let nodes: BTreeMap<String, _> =
        tree.walk().into_iter().map(|(path, id)| (String::from_utf8(path).unwrap(), id)).collect();
    let file = |path: &str| match &tree.node(nodes[path]).unwrap().kind {
        Kind::File(content) => {
            let mut bytes = Vec::new();
            content.reader().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes.len() as u64, content.len(), "{name}");
            bytes
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(file(long), b"long", "{name}");
    assert_eq!(nodes["usr/hard"], nodes[long], "{name}");
    let metadata = &tree.node(nodes["usr/hard"]).unwrap().metadata;
    // By name these are 1234567 and 7654321, by number 7 and 8: numbers count.
    assert_eq!((metadata.uid, metadata.gid, metadata.mtime.seconds), (7, 8, 1_234_567_890), "{name}");
    assert_eq!(
        metadata.xattrs.get(b"user.note".as_slice()).map(Vec::as_slice),
        attribute.map(<[u8; 20]>::as_slice),
        "{name}"
    );
    assert!(matches!(&tree.node(nodes["usr/link"]).unwrap().kind, Kind::Symlink(target) if target.len() == 180));
    let mut expected = vec![0; 9 << 20];
    for at in [0, 3 << 20, 5 << 20, 7 << 20, 8 << 20, (9 << 20) - 4] {
        expected[at..at + 4].copy_from_slice(b"data");
    }
    assert!(file("usr/holes") == expected, "{name}");
    assert!(std::fs::metadata(archive).unwrap().len() < 2 << 20, "{name} really has holes");
}
