//! Files that are refused for what they are called or for not being files.

use super::{NAME, Row, vendor};
use crate::ddi::good_image;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

pub fn rows() -> Vec<Row> {
    let image = || good_image(NAME, vendor());
    let bad = |what, file: &[u8]| Row::file("bad-name", what, OsStr::from_bytes(file), image());
    let long = format!("{}.sysext.raw", "x".repeat(129));
    let target = tempfile::NamedTempFile::new().unwrap().into_temp_path().keep().unwrap();
    std::fs::write(&target, image()).unwrap();
    vec![
        bad("no class in the suffix", b"hostile.raw"),
        bad("another suffix", b"hostile.sysext.img"),
        // By its name it is one, which systemd-stub before 256 puts there; by its content it is none.
        Row::file("wrong-extension-release", "a sysext by the name of a confext", "hostile.confext.raw", image()),
        bad("an empty name", b".sysext.raw"),
        bad("a leading dot", b".hostile.sysext.raw"),
        bad("a newline in the name", b"hos\ntile.sysext.raw"),
        bad("an escape in the name", b"hos\x1b[2Jtile.sysext.raw"),
        bad("DEL in the name", b"hos\x7ftile.sysext.raw"),
        bad("a control character of Latin-1 in the name", "hos\u{85}tile.sysext.raw".as_bytes()),
        bad("a noncharacter in the name", "hos\u{fffe}tile.sysext.raw".as_bytes()),
        bad("another noncharacter in the name", "hos\u{fdd0}tile.sysext.raw".as_bytes()),
        bad("a change of direction in the name", "hos\u{202e}elit.sysext.raw".as_bytes()),
        bad("a character of no width in the name", "hos\u{200b}tile.sysext.raw".as_bytes()),
        bad("a byte order mark in the name", "hos\u{feff}tile.sysext.raw".as_bytes()),
        bad("a comma in the name, which ends an option of a mount", b"hostile_1,2.sysext.raw"),
        bad("a colon in the name, which parts the layers of an overlay", b"hostile_1:2.sysext.raw"),
        bad("a backslash in the name", b"hostile_1\\2.sysext.raw"),
        bad("a quotation mark in the name", b"hostile_\".sysext.raw"),
        bad("an apostrophe in the name", b"hostile_'.sysext.raw"),
        bad("a name that is not UTF-8", b"hos\xfftile.sysext.raw"),
        bad("a name of 129 bytes", long.as_bytes()),
        Row::placed("bad-name", "a symbolic link to a good image", "link.sysext.raw", move |path| {
            symlink(&target, path).unwrap();
        }),
        Row::placed("bad-name", "a dangling symbolic link", "dangling.sysext.raw", |path| {
            symlink("/nowhere", path).unwrap();
        }),
        Row::placed("bad-name", "a directory", "directory.sysext.raw", |path| {
            std::fs::create_dir_all(path.join("usr/lib/extension-release.d")).unwrap();
        }),
        Row::placed("bad-name", "a FIFO that nobody writes to", "fifo.sysext.raw", |path| {
            nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        Row::placed("bad-name", "a socket", "socket.sysext.raw", |path| {
            drop(UnixListener::bind(path).unwrap());
        }),
    ]
}
