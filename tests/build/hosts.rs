//! What an extension would hide of usual hosts is told before it is signed.

use crate::desk::Desk;
use std::fs;
use std::os::unix::fs::symlink;
use support::keys;

/// systemd/systemd#42746: an extension with a real `usr/sbin` on a host where that is a link.
pub(crate) fn what_would_hide_usual_hosts_is_told_or_refused() {
    let desk = Desk::of(keys::ec("Vendor"));
    desk.file("tree/usr/sbin/tool", b"x");
    let line = "/usr/sbin is a directory; on Fedora 42 and later and Arch Linux it is a link to bin";
    let said = desk.build("tool", "tree", &["--json"]).good();
    assert!(said.stderr.contains(line), "{said:?}");
    let value: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert!(value["remarks"][0].as_str().unwrap().starts_with(line), "{value}");
    desk.build("other", "tree", &["--strict"]).refuses(&["building other: ", line, "--strict forbids that"]);
    assert!(!desk.path("other.sysext.raw").exists());
    // On the host that is meant it hides nothing.
    assert_eq!(desk.build("tool", "tree", &["--strict", "--id", "debian"]).good().stderr, "");
    desk.build("tool", "tree", &["--strict", "--id", "fedora"])
        .refuses(&["on Fedora 42 and later it is a link to bin,"]);

    fs::rename(desk.path("tree/usr/sbin"), desk.path("tree/usr/bin")).unwrap();
    desk.build("tool", "tree", &["--strict"]).good();
    for (path, words) in
        [("usr/sbin", "on Debian"), ("usr/lib64", "on Debian"), ("usr/share", "on all hosts it is a directory")]
    {
        symlink("bin", desk.path("tree").join(path)).unwrap();
        let said = desk.build("tool", "tree", &[]).good();
        assert!(
            said.stderr.contains(&format!("/{path} is a symbolic link; ")) && said.stderr.contains(words),
            "{said:?}"
        );
        desk.build("tool", "tree", &["--strict"]).refuses(&[words, "--strict"]);
        fs::remove_file(desk.path("tree").join(path)).unwrap();
    }
}
