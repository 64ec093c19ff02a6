//! The table: what lies on each disk, and what has to come of it in each boot.

use super::disk::{STORE, Stored};
use super::sets::image;
use super::verdict::{CONFEXT, LINKED, SYSEXT, links, measured, merged, stored, told};
use super::{Boot, Story};
use crate::cpio::Archive;
use crate::guest::Guest;
use crate::witness::Findings;
use std::collections::BTreeSet;

impl Story {
    pub fn new(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            guest: Guest::Systemd257,
            image: super::image::sextant,
            command_line: "",
            entry: "active",
            beside: &[],
            stored: Vec::new,
            oem: &[],
            boots: Vec::new(),
            is_of_matrix: false,
        }
    }

    pub(super) fn of_matrix(self) -> Self {
        Self { is_of_matrix: true, ..self }
    }
}

/// A boot in which nothing is done.
pub(super) fn boot(name: &'static str, check: fn(&Findings)) -> Boot {
    Boot { name, script: "nothing", check }
}

/// Good and bad ones, wherever extensions can lie. In the first boot they come from the ESP, in the second from the
/// persistent partition, to which immucore has moved them.
pub(super) fn central() -> Story {
    Story {
        image: || Ok(to_enable(super::image::sextant()?).file("etc/sextant.yaml", "measurement: true\n")),
        command_line: "kairos.config_url=/usr/share/config-url.yaml",
        beside: &["good", "settings", "stranger", "unsigned", "tampered", "garbage"],
        stored: || {
            // Under the name of one on the ESP: of the two, only one can be merged.
            let target = format!("{STORE}/other-good.sysext.raw");
            let link = Stored::link(&format!("{STORE}/active"), "good.sysext.raw", &target);
            [
                vec![Stored::file(STORE, "other-good.sysext.raw", &image("other good").bytes), link],
                image("shared").enabled("common").to_vec(),
                image("disk-unsigned").enabled("active").to_vec(),
                image("disk-tampered").enabled("active").to_vec(),
            ]
            .concat()
        },
        oem: &[("50-enable.yaml", ENABLE_IN_OEM)],
        boots: vec![boot("1", first), boot("2", second)],
        ..Story::new("kairos", "good and bad ones on the ESP and on the persistent partition, with two builds of one")
    }
}

/// What immucore linked in both boots of the central story.
const LINKED_BADLY: [(&str, &str, Option<&str>); 6] = [
    (LINKED, "disk-tampered.sysext.raw", Some("corrupt")),
    (LINKED, "disk-unsigned.sysext.raw", Some("no-signature")),
    (LINKED, "good.sysext.raw", Some("duplicate-name")),
    (LINKED, "stranger.sysext.raw", Some("unknown-signer")),
    (LINKED, "tampered.sysext.raw", Some("corrupt")),
    (LINKED, "unsigned.sysext.raw", Some("no-signature")),
];

fn first(findings: &Findings) {
    merged(
        findings,
        &[
            (image("good"), "/.extra/sysext/good.sysext.raw"),
            (image("settings"), "/.extra/confext/settings.confext.raw"),
            (image("shared"), "/extensions/shared.sysext.raw"),
        ],
    );
    let rows = [
        (SYSEXT, "garbage.sysext.raw", Some("bad-gpt")),
        (SYSEXT, "good.sysext.raw", None),
        (SYSEXT, "stranger.sysext.raw", Some("unknown-signer")),
        (SYSEXT, "tampered.sysext.raw", Some("corrupt")),
        (SYSEXT, "unsigned.sysext.raw", Some("no-signature")),
        (CONFEXT, "settings.confext.raw", None),
        (LINKED, "shared.sysext.raw", None),
    ];
    told(findings, &[&rows[..], &LINKED_BADLY].concat(), &["good", "settings", "shared"]);
    measured(findings, &["good", "settings", "stranger", "unsigned", "tampered", "garbage"].map(image));
    central_disk(findings);
    enabled(findings);
}

fn second(findings: &Findings) {
    merged(
        findings,
        &[
            (image("good"), "/.extra/sysext/good.sysext.raw"),
            (image("settings"), "/extensions/settings.confext.raw"),
            (image("shared"), "/extensions/shared.sysext.raw"),
        ],
    );
    let rows = [
        // A link of that name is in the way of immucore's, so that this one stays on the ESP.
        (SYSEXT, "good.sysext.raw", None),
        (LINKED, "settings.confext.raw", None),
        (LINKED, "shared.sysext.raw", None),
    ];
    told(findings, &[&rows[..], &LINKED_BADLY].concat(), &["good", "settings", "shared"]);
    measured(findings, &[image("good")]);
    central_disk(findings);
    enabled(findings);
}

/// What immucore moved is where it moved it to; nothing else was moved, changed or deleted.
fn central_disk(findings: &Findings) {
    let in_store = |name: &str| (format!("{STORE}/{}", image(name).file), image(name));
    let moved = ["settings", "stranger", "unsigned", "tampered", "garbage", "good"].map(in_store);
    let there = ["shared", "disk-unsigned", "disk-tampered"].map(in_store);
    let others = [
        (format!("{STORE}/other-good.sysext.raw"), image("other good")),
        ("/efi/EFI/kairos/active.efi.extra.d/good.sysext.raw".to_owned(), image("good")),
    ];
    stored(findings, &[&moved[..], &there, &others].concat());
    let files = |names: &[&str]| -> BTreeSet<_> { names.iter().map(|name| image(name).file.clone()).collect() };
    let active = ["good", "settings", "stranger", "unsigned", "tampered", "garbage", "disk-unsigned", "disk-tampered"];
    assert_eq!(links(findings, &format!("{STORE}/active")), files(&active));
    assert_eq!(links(findings, &format!("{STORE}/common")), files(&["shared"]));
}

/// Units, and steps of yip that enable them: before the agent's last step and after it, and from each source that there is.
fn to_enable(image: Archive) -> Archive {
    let unit = "[Unit]\nDescription=Something\n[Service]\nExecStart=true\n[Install]\nWantedBy=multi-user.target\n";
    let image = ["early", "late", "latest", "unwanted", "disabled"]
        .into_iter()
        .fold(image, |image, name| image.file(&format!("usr/lib/systemd/system/test-{name}.service"), unit));
    let wants = "etc/systemd/system/multi-user.target.wants/test-disabled.service";
    image
        .symlink(wants, "/usr/lib/systemd/system/test-disabled.service")
        .file("system/oem/50-enable.yaml", ENABLE_IN_SYSTEM)
        .file("usr/share/config-url.yaml", ENABLE_BY_URL)
}

const ENABLE_IN_SYSTEM: &str = "name: early
stages:
  initramfs:
    - commands: [systemctl enable test-early]
";
const ENABLE_IN_OEM: &str = "name: late
stages:
  initramfs.after:
    - commands: [systemctl enable test-late, systemctl mask test-unwanted, systemctl disable test-disabled]
";
const ENABLE_BY_URL: &str = "name: latest
stages:
  initramfs.after:
    - systemctl:
        enable: [test-latest]
";

/// All those steps have had effect.
fn enabled(findings: &Findings) {
    let units = |file: &str| -> Vec<String> {
        let names = findings.lines(file).into_iter().filter(|line| line.starts_with("test-"));
        names.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(units("enabled"), ["test-early.service", "test-late.service", "test-latest.service"]);
    assert_eq!(units("masked"), ["test-unwanted.service"]);
}
