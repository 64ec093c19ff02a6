//! Layers as they are found in the wild: one row for each kind, with public reports of it.

use crate::containers::{self, INDEX, LAYER, MANIFEST, diff_id, files, index};
use crate::desk::{Desk, shape};
use crate::layers::{GENEROUS, Layer, Stack};
use crate::meant::saved;
use serde_json::{Value, json};
use sextant_cli::build::tree::{FileTree, Layers, Metadata, apply};
use std::fs;
use std::process::Command;
use support::harness::left_out;
use support::keys;
use tar::{EntryType, Header};

fn tree(layers: Vec<Layer>) -> Result<FileTree, String> {
    let mut stack = Stack(layers.into_iter().map(Layer::spool).collect());
    apply(&mut stack, &Layers::All, GENEROUS).map_err(|error| error.to_string())
}

/// What is known about a path.
fn metadata<'t>(tree: &'t FileTree, path: &str) -> Option<&'t Metadata> {
    let found = tree.walk().into_iter().find(|(found, _)| found == path.as_bytes());
    found.map(|(_, id)| &tree.node(id).unwrap().metadata)
}

/// `usr/x` with a header that `change` has changed; the checksum is right again afterwards.
fn odd(change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut archive = Layer::new().file("usr/x", "content").bytes();
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(&archive[..512]);
    change(&mut header);
    header.set_cksum();
    archive[..512].copy_from_slice(header.as_bytes());
    archive
}

fn odd_tree(change: impl FnOnce(&mut Header)) -> Result<FileTree, String> {
    let mut stack = Stack(vec![crate::layers::spool(&odd(change))]);
    apply(&mut stack, &Layers::All, GENEROUS).map_err(|error| error.to_string())
}

/// Kind, public report, records, and what is known of `usr/x` then: path, owner, seconds.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static [u8])], (&'static str, u32, i64));

/// Kind, report, place of the field, bytes, and what is known then: mode, owner, seconds.
type Field = (&'static str, &'static str, usize, &'static [u8], (u16, u32, i64));

/// Kind, the upper layer, and the files that both layers come to.
type Pair = (&'static str, Layer, Vec<(&'static str, &'static str)>);

/// What Go's `archive/tar` makes of records and fields, and the engines after it.
pub(crate) fn archives_are_read_as_go_reads_them() {
    let rows: [Row; 10] = [
        ("no path", "jdx/jdx-tar#22", &[("path", b"")], ("usr/x", 0, 1000)),
        ("a path taken back", "astral-sh/tokio-tar#95", &[("path", b"usr/y"), ("path", b"")], ("usr/x", 0, 1000)),
        ("a path twice", "dragonflyoss/nydus#2064", &[("path", b"usr/y"), ("path", b"usr/z")], ("usr/z", 0, 1000)),
        ("no size", "jdx/jdx-tar#22", &[("size", b"")], ("usr/x", 0, 1000)),
        ("no time", "jdx/jdx-tar#22", &[("mtime", b"")], ("usr/x", 0, 1000)),
        ("no owner", "jdx/jdx-tar#22", &[("uid", b""), ("gid", b"")], ("usr/x", 0, 1000)),
        ("an owner", "astral-sh/tokio-tar#95", &[("uid", b"7")], ("usr/x", 7, 1000)),
        ("a time before 1970", "apptainer/singularity#1271", &[("mtime", b"-1.5")], ("usr/x", 0, 0)),
        ("a keyword of nobody's", "libarchive/libarchive#691", &[("SCHILY.fflags", b"")], ("usr/x", 0, 1000)),
        ("no comment", "docker/cli#1459", &[("comment", b"")], ("usr/x", 0, 1000)),
    ];
    for (kind, report, records, (path, uid, seconds)) in rows {
        let tree = tree(vec![Layer::new().pax(records).file("usr/x", "content")]);
        let tree = tree.unwrap_or_else(|error| panic!("{kind} ({report}): {error}"));
        assert_eq!(shape(&tree)[path], "file content", "{kind} ({report})");
        let found = metadata(&tree, path).unwrap();
        assert_eq!((found.uid, found.mtime.seconds), (uid, seconds), "{kind} ({report})");
        assert_eq!(tree.walk().len(), 2, "{kind} ({report})");
    }
    let fields: [Field; 8] = [
        ("a time of NULs", "composefs/tar-rs#181", 136, &[0; 12], (0o644, 0, 0)),
        ("a time of spaces", "wader/fq#372", 136, &[b' '; 12], (0o644, 0, 0)),
        ("an owner of NULs", "composefs/tar-rs#181", 108, &[0; 8], (0o644, 0, 1000)),
        ("a group of spaces", "libarchive/libarchive#825", 116, &[b' '; 8], (0o644, 0, 1000)),
        ("a mode of NULs", "wader/fq#372", 100, &[0; 8], (0, 0, 1000)),
        ("spaces on both sides", "isaacs/node-tar#28", 100, b" 000755 ", (0o755, 0, 1000)),
        ("a time before 1970", "apptainer/singularity#1271", 136, &[0xff; 12], (0o644, 0, 0)),
        (
            "a binary owner",
            "libarchive/libarchive#825",
            108,
            &[0x80, 0, 0, 0, 0x01, 0, 0, 7],
            (0o644, 0x0100_0007, 1000),
        ),
    ];
    for (kind, report, at, bytes, (mode, uid, seconds)) in fields {
        let tree = odd_tree(|header| header.as_mut_bytes()[at..at + bytes.len()].copy_from_slice(bytes));
        let tree = tree.unwrap_or_else(|error| panic!("{kind} ({report}): {error}"));
        let found = metadata(&tree, "usr/x").unwrap();
        assert_eq!((found.mode, found.uid, found.mtime.seconds), (mode, uid, seconds), "{kind} ({report})");
    }
    for (kind, at, bytes) in [
        ("a size below nothing", 124, &[0xff_u8; 12][..]),
        ("a size of letters", 124, b"1z"),
        ("an owner below nothing", 108, &[0xff; 8]),
        ("an owner beyond Linux'", 108, &[0x80, 0, 0, 1, 0, 0, 0, 0]),
        ("a mode with a space within", 100, b"06 44\0\0\0"),
    ] {
        let refused = odd_tree(|header| header.as_mut_bytes()[at..at + bytes.len()].copy_from_slice(bytes));
        assert!(refused.is_err(), "{kind}: {refused:?}");
    }
    // Where the headers of both formats come together, GNU tar's win.
    let long = Layer::new().entry(EntryType::GNULongName, "././@LongLink", "", b"usr/gnu");
    let found = tree(vec![long.pax(&[("path", b"usr/pax")]).file("usr/x", "1")]).unwrap();
    assert_eq!(shape(&found)["usr/gnu"], "file 1");
    // star's fields end earlier than POSIX'.
    let star = odd_tree(|header| {
        let bytes = header.as_mut_bytes();
        bytes[257..265].copy_from_slice(b"ustar\x0000");
        bytes[345..500].fill(0);
        bytes[345..348].copy_from_slice(b"opt");
        bytes[476..487].copy_from_slice(b"00000000000");
        bytes[508..512].copy_from_slice(b"tar\0");
    });
    assert_eq!(shape(&star.unwrap())["opt/usr/x"], "file content");
}

const ACL: &[u8] = b"user::rw-,user:lisa:r--:502,group::r--,mask::r--,other::---";

/// opencontainers/image-spec#725, moby/moby#20331, canonical/lxd#12027, containerd/containerd#8947, libarchive/libarchive#691.
pub(crate) fn access_control_lists_outside_of_what_is_taken_are_nobodys_loss() {
    let desk = Desk::of(keys::ec("Vendor"));
    let list = |path: &str, keyword: &str, value: &[u8]| {
        Layer::new().file("usr/x", "x").pax(&[(keyword, value)]).file(path, "").bytes()
    };
    for (keyword, value) in [
        ("SCHILY.acl.access", b"user::rw-".as_slice()),
        ("SCHILY.acl.default", ACL),
        ("SCHILY.acl.ace", b"owner@:rw"),
        ("LIBARCHIVE.xattr.user.a", b"*"),
    ] {
        saved(&desk, "image.tar", &[list("etc/conf", keyword, value)]);
        desk.build("tool", "image.tar", &["--arch", "amd64"]).good();
        assert_eq!(files(&desk), ["/usr/x"], "{keyword}");
    }
    // Inside, what can be read is kept, and what can't be is refused.
    let attributes = |keyword: &str, value: &[u8]| {
        let tree = tree(vec![Layer::new().pax(&[(keyword, value)]).file("usr/x", "")])?;
        let found = &metadata(&tree, "usr/x").unwrap().xattrs;
        Ok::<_, String>(found.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>())
    };
    assert_eq!(attributes("SCHILY.acl.access", ACL).unwrap(), ["system.posix_acl_access"]);
    assert_eq!(attributes("LIBARCHIVE.xattr.user.note", b"eA").unwrap(), ["user.note"]);
    for (keyword, value) in [("SCHILY.acl.access", b"user:lisa:r".as_slice()), ("LIBARCHIVE.xattr.user.a", b"*")] {
        assert!(attributes(keyword, value).unwrap_err().contains("has an unsupported form"), "{keyword}");
        saved(&desk, "image.tar", &[list("usr/y", keyword, value)]);
        desk.build("tool", "image.tar", &["--arch", "amd64"]).refuses(&["usr/y", "has an unsupported form"]);
    }
    // Squashfs, as it is written here, has no place for them, and says what has.
    saved(&desk, "image.tar", &[list("usr/y", "SCHILY.acl.access", ACL)]);
    let said = desk.build("tool", "image.tar", &["--arch", "amd64", "--format", "squashfs"]);
    said.refuses(&["/usr/y has the extended attribute system.posix_acl_access", "--format erofs"]);
}

/// moby/moby#42862, containerd/containerd#6177, opencontainers/image-spec#803.
pub(crate) fn a_frame_to_be_skipped_before_zstandard_is_skipped() {
    let desk = Desk::of(keys::ec("Vendor"));
    crate::reproducible::docker_archive(&desk, "image.tar", &Layer::new().file("usr/x", "x").bytes());
    let packed = zstd::encode_all(fs::read(desk.path("image.tar")).unwrap().as_slice(), 1).unwrap();
    for magic in [0x50_u8, 0x57, 0x5f] {
        let frame = [&[magic, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"notes", &packed].concat();
        desk.file("image.tar.zst", &frame);
        desk.build("tool", "docker-archive:image.tar.zst", &["--arch", "amd64"]).good();
        assert_eq!(files(&desk), ["/usr/x"], "{magic:#x}");
    }
    desk.file("image.tar.zst", &[0x60, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
    desk.build("tool", "docker-archive:image.tar.zst", &[]).refuses(&["parsing image.tar.zst"]);
}

fn attributed(layer: Layer, name: &str, value: &[u8]) -> Layer {
    layer.pax(&[(&format!("SCHILY.xattr.{name}"), value)])
}

fn below(tree: &mut FileTree) -> Vec<String> {
    let omissions = sextant_cli::build::tree::select(tree, ddi::Class::Sysext);
    omissions.iter().map(ToString::to_string).collect()
}

/// moby/moby#47962, containers/storage#1847, moby/buildkit#5478, opencontainers/umoci#354, opencontainers/umoci#572,
/// project-stacker/stacker#322, moby/moby#42178.
pub(crate) fn what_overlayfs_notes_down_is_applied_between_layers() {
    let lower = || Layer::new().file("usr/d/a", "1").file("usr/d/e/b", "1").file("usr/c", "1");
    let rows: Vec<Pair> = vec![
        (
            "opaque by the kernel",
            attributed(Layer::new(), "trusted.overlay.opaque", b"y").directory("usr/d").file("usr/d/new", "2"),
            vec![("usr/c", "1"), ("usr/d/new", "2")],
        ),
        (
            "opaque without privilege",
            Layer::new().file("usr/d/new", "2").pax(&[("SCHILY.xattr.user.overlay.opaque", b"y")]).directory("usr/d"),
            vec![("usr/c", "1"), ("usr/d/new", "2")],
        ),
        (
            "opaque by fuse-overlayfs",
            attributed(Layer::new(), "user.fuseoverlayfs.opaque", b"y").directory("usr/d"),
            vec![("usr/c", "1")],
        ),
        (
            "opaque in name only",
            attributed(Layer::new(), "trusted.overlay.opaque", b"x").directory("usr/d"),
            vec![("usr/c", "1"), ("usr/d/a", "1"), ("usr/d/e/b", "1")],
        ),
        (
            "no meaning, and empty",
            attributed(Layer::new(), "user.overlay.origin", b"").directory("usr/d"),
            vec![("usr/c", "1"), ("usr/d/a", "1"), ("usr/d/e/b", "1")],
        ),
        ("a device as whiteout", Layer::new().entry(EntryType::Char, "usr/d", "", b""), vec![("usr/c", "1")]),
        (
            "an attribute as whiteout",
            attributed(Layer::new(), "trusted.overlay.whiteout", b"").file("usr/d/a", ""),
            vec![("usr/c", "1"), ("usr/d/e/b", "1")],
        ),
        (
            "a directory renamed",
            attributed(Layer::new(), "trusted.overlay.redirect", b"/usr/d")
                .directory("usr/moved")
                .file("usr/moved/new", "2")
                .entry(EntryType::Char, "usr/d", "", b""),
            vec![("usr/c", "1"), ("usr/moved/a", "1"), ("usr/moved/e/b", "1"), ("usr/moved/new", "2")],
        ),
        (
            "a directory renamed beside itself",
            attributed(Layer::new().file("usr/.wh.d", ""), "user.overlay.redirect", b"d").directory("usr/moved"),
            vec![("usr/c", "1"), ("usr/moved/a", "1"), ("usr/moved/e/b", "1")],
        ),
        (
            "a file of which the content lies below",
            attributed(Layer::new(), "trusted.overlay.metacopy", b"").file("usr/c", ""),
            vec![("usr/c", "1"), ("usr/d/a", "1"), ("usr/d/e/b", "1")],
        ),
    ];
    for (kind, upper, expected) in rows {
        let mut tree = tree(vec![lower(), upper]).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let found: Vec<_> = shape(&tree).into_iter().filter(|(_, what)| what != "directory").collect();
        let expected: Vec<_> =
            expected.into_iter().map(|(path, text)| (path.to_owned(), format!("file {text}"))).collect();
        assert_eq!(found, expected, "{kind}");
        for (path, id) in tree.walk() {
            assert!(tree.node(id).unwrap().metadata.xattrs.is_empty(), "{kind}: {}", String::from_utf8_lossy(&path));
        }
        assert_eq!(below(&mut tree), [""; 0], "{kind}");
    }
}

/// Of a layer with nothing below it: moby/moby#47962, opencontainers/umoci#572, opencontainers/umoci#573.
pub(crate) fn what_is_about_files_below_is_told_or_refused() {
    let desk = Desk::of(keys::ec("Vendor"));
    let base = || Layer::new().file("usr/share/base", "1").bytes();
    let note = |name: &str, value: &[u8]| attributed(Layer::new().file("usr/x", "x"), name, value);
    let rows: [(&str, Layer, &str); 8] = [
        ("a whiteout", Layer::new().file("usr/x", "x").file("usr/bin/.wh.tool", ""), "the whiteout of /usr/bin/tool"),
        (
            "an opaque directory",
            Layer::new().file("usr/x", "x").file("usr/.wh..wh..opq", ""),
            "the opaque mark of /usr",
        ),
        ("by attribute", note("trusted.overlay.opaque", b"y").directory("usr/bin"), "the opaque mark of /usr/bin"),
        ("without privilege", note("user.overlay.opaque", b"y").directory("usr/bin"), "the opaque mark of /usr/bin"),
        ("by fuse-overlayfs", note("user.fuseoverlayfs.opaque", b"y").directory("opt/a"), "the opaque mark of /opt/a"),
        (
            "a redirection",
            note("trusted.overlay.redirect", b"/usr/old").directory("usr/new"),
            "the redirect mark of /usr/new",
        ),
        ("no content", note("trusted.overlay.metacopy", b"").file("usr/c", ""), "the file without data /usr/c"),
        (
            "a device",
            Layer::new().file("usr/x", "x").entry(EntryType::Char, "usr/bin/tool", "", b""),
            "the whiteout of /usr/bin/tool",
        ),
    ];
    for (kind, layer, words) in rows {
        let layer = layer.bytes();
        // Alone, and on a layer that isn't taken.
        for layers in [vec![layer.clone()], vec![base(), layer]] {
            saved(&desk, "image.tar", &layers);
            let build = |more: &[&str]| desk.build("tool", "image.tar", &[&["--arch", "amd64"], more].concat());
            let said = build(&[]).good();
            assert!(said.stderr.contains(&format!("left out {words}: it refers to lower layers")), "{kind}: {said:?}");
            assert_eq!(files(&desk), ["/usr/x"], "{kind}");
            assert_eq!(desk.verdict("tool.sysext.raw"), "", "{kind}");
            fs::remove_file(desk.path("tool.sysext.raw")).unwrap();
            let last = layers.len().to_string();
            build(&["--strict", "--layers", &last]).refuses(&["--strict does not allow"]);
            assert!(!desk.path("tool.sysext.raw").exists(), "{kind}");
        }
    }
    // What has come in its place needs no whiteout, and what is outside is no loss.
    let moot = Layer::new().file("usr/x", "x").file("usr/.wh.x", "").file("etc/.wh.y", "").file("usr/.wh..wh.plnk", "");
    saved(&desk, "image.tar", &[moot.bytes()]);
    desk.build("tool", "image.tar", &["--arch", "amd64", "--strict"]).good();
    // Applied to what is taken, it is no loss either.
    saved(&desk, "image.tar", &[base(), Layer::new().file("usr/x", "x").file("usr/share/.wh.base", "").bytes()]);
    desk.build("tool", "image.tar", &["--arch", "amd64", "--strict", "--layers", "all"]).good();
    assert_eq!(files(&desk), ["/usr/x"]);
}

/// The upper directory of a real overlay, after `rm -rf` and `mkdir`; and what others make of it.
pub(crate) fn an_upper_directory_is_told_about() {
    let desk = Desk::of(keys::ec("Vendor"));
    desk.file("upper/usr/x", b"x");
    fs::create_dir_all(desk.path("upper/usr/bin")).unwrap();
    let set = |path: &str, name: &str| {
        rustix::fs::setxattr(desk.path(path), name, b"y", rustix::fs::XattrFlags::empty()).is_ok()
    };
    let device = Command::new("mknod").arg(desk.path("upper/usr/gone")).args(["c", "0", "0"]).status();
    if !set("upper/usr/bin", "trusted.overlay.opaque") || !device.is_ok_and(|status| status.success()) {
        return left_out("only root can make upper directories");
    }
    assert!(set("upper/usr", "trusted.overlay.impure") && set("upper", "trusted.overlay.origin"));
    let said = desk.build("tool", "upper", &["--json"]).good();
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    let lines: Vec<_> = value["left_out"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("left out the opaque mark of /usr/bin:")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("left out the whiteout of /usr/gone:")), "{lines:?}");
    assert_eq!((files(&desk), desk.verdict("tool.sysext.raw")), (vec!["/usr/x".to_owned()], String::new()));
    desk.build("tool", "upper", &["--strict"]).refuses(&["2 files would be left out"]);
    // The same made by another tool hides the host's files: a boot refuses it, and all commands say why.
    desk.file("upper/usr/lib/extension-release.d/extension-release.odd", b"ID=_any\n");
    let made = Command::new("mksquashfs")
        .args(["upper", "odd.squashfs", "-quiet", "-no-progress"])
        .current_dir(desk.path("."))
        .status();
    assert!(made.unwrap().success());
    let image = support::ddi::Blueprint::new("odd", &fs::read(desk.path("odd.squashfs")).unwrap(), keys::ec("Vendor"));
    desk.file("odd.sysext.raw", &image.render().bytes);
    assert_eq!(desk.verdict("odd.sysext.raw"), "bad-hierarchy");
    for command in ["verify", "inspect", "plan"] {
        for trust in [&["--certificate", "crt.pem"][..], &[]] {
            if command == "verify" && trust.is_empty() {
                continue;
            }
            let said = desk.run(&[&[command, "odd.sysext.raw"], trust].concat());
            assert_eq!(said.status, Some(1), "{command}: {said:?}");
            let told = said.stdout.contains("/usr/bin is opaque") || said.stdout.contains("/usr/gone is a whiteout");
            assert!(told, "{command} {trust:?}: {said:?}");
        }
    }
    let said = desk.run(&["inspect", "odd.sysext.raw", "--certificate", "crt.pem"]);
    let both = said.stdout.contains("/usr/bin is opaque") && said.stdout.contains("/usr/gone is a whiteout");
    assert!(both, "{said:?}");
}

/// An image of one file in the layout `layout`, which is called like its machine.
fn image(desk: &Desk, architecture: &str) -> Value {
    let layer = Layer::new().file("usr/for", architecture).bytes();
    containers::image(&desk.path("layout"), architecture, &layer, LAYER, &diff_id(&layer))
}

fn platform(mut entry: Value, os: &str, architecture: &str) -> Value {
    entry["platform"] = json!({"os": os, "architecture": architecture});
    entry
}

fn named(mut entry: Value, name: &str) -> Value {
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    entry
}

/// An index within the index.
fn nested(desk: &Desk, manifests: &Value) -> Value {
    let inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
    containers::store(&desk.path("layout"), INDEX, inner.as_bytes())
}

/// Go writes an empty list as `null`, and the platform in an index is optional: containers/image#911, bootc-dev/ocidir-rs#73,
/// `pulp/pulp_container#2202`, superradcompany/microsandbox#1287, `podman-container-tools/skopeo#496`.
pub(crate) fn indexes_are_read_as_engines_read_them() {
    let desk = Desk::of(keys::ec("Vendor"));
    let layout = desk.path("layout");
    let build = |source: &str, more: &[&str]| desk.build("tool", source, &[&["--arch", "arm64"], more].concat());
    let (amd, arm) = (image(&desk, "amd64"), image(&desk, "arm64"));
    let nothing = platform(image(&desk, "unknown"), "unknown", "unknown");
    for (kind, manifests) in [
        ("one without platform", vec![arm.clone()]),
        ("none with a platform", vec![amd.clone(), arm.clone()]),
        ("one with another platform, one without", vec![platform(amd.clone(), "linux", "amd64"), arm.clone()]),
        ("an attestation", vec![nothing.clone(), platform(arm.clone(), "linux", "arm64")]),
        ("another system", vec![platform(amd.clone(), "windows", "arm64"), platform(arm.clone(), "linux", "arm64")]),
    ] {
        for within in [false, true] {
            let entries = if within { vec![nested(&desk, &json!(manifests))] } else { manifests.clone() };
            index(&layout, &entries);
            build("oci:layout", &[]).good();
            assert_eq!(containers::architectures(&desk), ["arm64", "arm64"], "{kind} {within}");
        }
    }
    // One name for several machines.
    let both = [("amd64", &amd), ("arm64", &arm)].map(|(go, entry)| named(platform(entry.clone(), "linux", go), "1"));
    index(&layout, &both);
    build("oci:layout:1", &[]).good();
    assert_eq!(containers::architectures(&desk)[0], "arm64");
    // Which of two isn't guessed, and each can be named.
    let other = {
        let layer = Layer::new().file("usr/other", "x").bytes();
        containers::image(&layout, "arm64", &layer, LAYER, &diff_id(&layer))
    };
    index(&layout, &[arm.clone(), other.clone()]);
    let digest = other["digest"].as_str().unwrap();
    build("oci:layout", &[]).refuses(&[
        "source contains several images",
        digest,
        "append a colon and one of these names",
    ]);
    build(&format!("oci:layout:{digest}"), &[]).good();
    assert_eq!(files(&desk), ["/usr/other"]);
    index(&layout, &[named(arm.clone(), "1"), named(other, "2")]);
    build("oci:layout", &[]).refuses(&["source contains several images; append a colon and one of these names: 1, 2"]);
    build("oci:layout:3", &[]).refuses(&["no image 3; available: 1, 2"]);
    // Nothing at all.
    for (kind, manifests, words) in [
        ("null", Value::Null, "no image in index.json"),
        ("an empty list", json!([]), "no image in index.json"),
        ("null within", json!([nested(&desk, &Value::Null)]), "no image in the index"),
        ("no list", json!({}), "parsing index.json"),
        (
            "attestations alone",
            json!([nothing, nothing]),
            "no image for linux/arm64; available: only images without a platform",
        ),
    ] {
        let document = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        fs::write(layout.join("index.json"), document).unwrap();
        for source in ["oci:layout", "oci:layout:1"] {
            let said = build(source, &[]);
            let expected = said.stderr.contains(words) || source.ends_with(":1") && said.stderr.contains("no image 1");
            assert!(said.status == Some(1) && expected, "{kind} {source}: {said:?}");
        }
    }
    // An image without layers, as `FROM scratch` alone gives it.
    let configuration = json!({"architecture": "arm64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": null}});
    let configuration = containers::store(&layout, containers::CONFIGURATION, configuration.to_string().as_bytes());
    let manifest =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": configuration, "layers": null}).to_string();
    index(&layout, &[containers::store(&layout, MANIFEST, manifest.as_bytes())]);
    build("oci:layout", &[]).refuses(&["no usr or opt in oci:layout"]);
}

/// `docker save` and `skopeo copy` leave the index as it was and copy one of its images: podman-container-tools/skopeo#764.
pub(crate) fn an_index_that_names_what_is_not_there_says_what_is() {
    let desk = Desk::of(keys::ec("Vendor"));
    let layout = desk.path("layout");
    let entries = ["amd64", "arm64", "riscv64"].map(|go| platform(image(&desk, go), "linux", go));
    let gone = |entry: &Value| {
        let digest = entry["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        fs::remove_file(layout.join("blobs/sha256").join(digest)).unwrap();
    };
    let pack = || {
        let status =
            Command::new("tar").args(["--create", "--file", "../layout.tar", "."]).current_dir(&layout).status();
        assert!(status.unwrap().success());
    };
    index(&layout, &[nested(&desk, &json!(entries))]);
    gone(&entries[0]);
    pack();
    for source in ["oci:layout", "oci-archive:layout.tar", "layout.tar"] {
        let said = desk.build("tool", source, &["--arch", "amd64"]);
        said.refuses(&[
            "the index lists an image for linux/amd64, but the source does not contain it",
            "linux/arm64, linux/riscv64",
            "--arch",
        ]);
        desk.build("tool", source, &["--arch", "arm64"]).good();
    }
    let said = desk.build("tool", "oci:layout", &["--arch", "s390x"]);
    said.refuses(&[
        "no image for linux/s390x; available: linux/amd64, linux/arm64, linux/riscv64 (select one with --arch)",
    ]);
    gone(&entries[1]);
    gone(&entries[2]);
    desk.build("tool", "oci:layout", &["--arch", "amd64"]).refuses(&["source does not contain it; available: none"]);
}
