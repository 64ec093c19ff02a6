//! What is built here, and what `systemd-repart` makes of the same tree; and what `systemd-dissect` says of both.

use crate::desk::{Desk, Mounted, Said, erofs_path};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use support::harness::left_out;
use support::keys;
use support::toolbox::Toolbox;

/// A tree as packages bring them, with owners, modes, links and attributes.
fn desk() -> Desk {
    let desk = Desk::of(keys::rsa("Vendor"));
    desk.file("tree/usr/bin/tool", &b"#!/bin/sh\necho tool\n".repeat(5000));
    desk.file("tree/usr/bin/ping", b"program");
    desk.file("tree/usr/lib/systemd/system/tool.service", b"[Service]\nExecStart=/usr/bin/tool\n");
    desk.file("tree/opt/tool/data", &vec![7; 300_000]);
    desk.file("tree/usr/share/tool/secret", b"x");
    symlink("tool", desk.path("tree/usr/bin/alias")).unwrap();
    for (path, mode) in [("usr/bin/tool", 0o755), ("usr/bin/ping", 0o4711), ("usr/share/tool", 0o2750)] {
        fs::set_permissions(desk.path("tree").join(path), Permissions::from_mode(mode)).unwrap();
    }
    let release = "tree/usr/lib/extension-release.d/extension-release.tool";
    let architecture = ddi::Architecture::native().unwrap();
    desk.file(release, format!("ID=_any\nARCHITECTURE={architecture}\n").as_bytes());
    desk
}

const REPART: &str = r#"
cd "$1"
systemd-repart --offline=yes --empty=create --size=auto --dry-run=no --pretty=no --no-pager \
  --make-ddi=sysext --copy-source="$1/tree" --private-key=key.pem --certificate=crt.pem \
  repart/tool.sysext.raw 2>&1
"#;

/// All images of the tree: by repart, and by us in both formats. `None` without a toolbox.
fn images(desk: &Desk) -> Option<Vec<&'static str>> {
    let toolbox = Toolbox::find()?;
    fs::create_dir(desk.path("repart")).unwrap();
    toolbox.succeed(REPART, &[desk.path(".").as_os_str()]);
    let path = erofs_path(desk)?;
    for format in ["squashfs", "erofs"] {
        fs::create_dir(desk.path(format)).unwrap();
        let fixed = ["build", "tool", "tree", "--private-key", "key.pem", "--certificate", "crt.pem", "--keep-owners"];
        let mut command = desk.command(&[&fixed[..], &["--format", format, "--output", format]].concat());
        Said::from(command.env("PATH", &path).output().unwrap()).good();
    }
    Some(vec!["repart/tool.sysext.raw", "erofs/tool.sysext.raw", "squashfs/tool.sysext.raw"])
}

pub(crate) fn images_of_repart_and_of_build_hold_the_same_and_get_the_same_verdict() {
    let desk = desk();
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(desk.path("tree/usr/share/tool/secret"), Some(5), Some(60)).unwrap();
    }
    let Some(images) = images(&desk) else { return };
    let mut listings = Vec::new();
    for image in &images {
        assert_eq!(desk.verdict(image), "", "{image}");
        let Some(mounted) = Mounted::of(&desk.path(image)) else { return };
        listings.push(mounted.listing());
    }
    let expected = crate::desk::listing(&desk.path("tree"));
    for (image, listing) in images.iter().zip(&listings) {
        assert_eq!(listing, &expected, "{image}");
    }
}

pub(crate) fn attributes_are_kept_as_repart_keeps_them() {
    let desk = desk();
    let flags = rustix::fs::XattrFlags::empty();
    // cap_net_raw+ep, as setcap(8) writes it.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    if rustix::fs::lsetxattr(desk.path("tree/usr/bin/ping"), "security.capability", &capability, flags).is_err() {
        return left_out("capabilities can't be given to files here");
    }
    rustix::fs::lsetxattr(desk.path("tree/opt/tool"), "user.note", b"directory", flags).unwrap();
    let Some(toolbox) = Toolbox::find() else { return };
    let Some(path) = erofs_path(&desk) else { return };
    fs::create_dir(desk.path("repart")).unwrap();
    toolbox.succeed(REPART, &[desk.path(".").as_os_str()]);
    let arguments = ["build", "tool", "tree", "--private-key", "key.pem", "--certificate", "crt.pem"];
    let mut command = desk.command(&[&arguments[..], &["--format", "erofs"]].concat());
    Said::from(command.env("PATH", path).output().unwrap()).good();
    let attributes = |image: &str| {
        let listing = Mounted::of(&desk.path(image))?.listing();
        Some(["usr/bin/ping", "opt/tool"].map(|path| listing[path].split_once(' ').unwrap().1.to_owned()))
    };
    let Some(ours) = attributes("tool.sysext.raw") else { return };
    assert!(ours[0].contains("security.capability=[01, 00, 00, 02, 00, 20"), "{ours:?}");
    assert!(ours[1].contains("user.note="), "{ours:?}");
    assert_eq!(Some(ours), attributes("repart/tool.sysext.raw"));
}

/// What `systemd-dissect` shows of each partition.
fn dissected(toolbox: &Toolbox, desk: &Desk, image: &str) -> Value {
    let script = r#"systemd-dissect --json=short --no-pager "$1""#;
    serde_json::from_str(&toolbox.succeed(script, &[desk.path(image).as_os_str()])).unwrap()
}

pub(crate) fn systemd_dissect_and_inspect_show_the_same_partitions() {
    let desk = desk();
    let Some(toolbox) = Toolbox::find() else { return };
    if !toolbox.has_loop_devices() {
        return;
    }
    let Some(images) = images(&desk) else { return };
    let mut shapes = Vec::new();
    for image in images {
        let theirs = dissected(&toolbox, &desk, image);
        let output = desk.run(&["inspect", "--json", "--certificate", "crt.pem", image]).good();
        let ours: Value = serde_json::from_str(&output.stdout).unwrap();
        let rows = ours["partitions"].as_array().unwrap();
        let theirs_by_uuid: BTreeMap<&str, &Value> = theirs["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["partition_uuid"].as_str().unwrap(), row))
            .collect();
        assert_eq!(theirs_by_uuid.len(), rows.len(), "{image}: {theirs:#}");
        for row in rows {
            let their = theirs_by_uuid[row["uuid"].as_str().unwrap()];
            assert_eq!(their["partition_label"], row["label"], "{image}");
            let designator = their["designator"].as_str().unwrap();
            let kind = row["kind"].as_str().unwrap();
            assert_eq!(kind.replace("-x86-64", "").replace("-arm64", ""), designator, "{image}");
            if designator == "root" {
                assert_eq!(their["fstype"], ours["filesystem"]["kind"], "{image}");
            }
        }
        assert_eq!(theirs["sectorSize"], ours["sector_size"], "{image}");
        let shape: Vec<_> = rows.iter().map(|row| (row["kind"].clone(), row["flags"].clone())).collect();
        shapes.push((shape, theirs["architecture"].clone(), theirs["useSystemExtension"].clone()));
    }
    assert!(shapes.iter().all(|shape| *shape == shapes[0]), "{shapes:#?}");
}

pub(crate) fn an_image_is_signed_so_that_openssl_agrees() {
    let desk = desk();
    desk.build("tool", "tree", &[]).good();
    let output = desk.run(&["inspect", "--json", "--certificate", "crt.pem", "tool.sysext.raw"]).good();
    let found: Value = serde_json::from_str(&output.stdout).unwrap();
    let place = &found["partitions"][2];
    let number = |key: &str| usize::try_from(place[key].as_u64().unwrap()).unwrap();
    let image = fs::read(desk.path("tool.sysext.raw")).unwrap();
    let partition = &image[number("offset")..number("offset") + number("size")];
    let text = partition.split(|byte| *byte == 0).next().unwrap();
    let claim: Value = serde_json::from_slice(text).unwrap();
    desk.file("signature.b64", claim["signature"].as_str().unwrap().as_bytes());
    desk.file("content", found["verity"]["root_hash"].as_str().unwrap().as_bytes());
    let script = "base64 -d signature.b64 > signature && openssl cms -verify -binary -inform DER -in signature \
                  -content content -certfile crt.pem -nointern -noverify";
    let output = Command::new("sh").args(["-ec", script]).current_dir(desk.path(".")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
