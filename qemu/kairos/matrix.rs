//! The rest of the table, which `make kairos` boots.

use super::disk::{STORE, Stored};
use super::marks::Mark;
use super::sets::{self, Image, image};
use super::stories::{boot, central};
use super::verdict::{LINKED, SYSEXT, links, merged, mounted, no_copies, only_good, stored, told};
use super::{Boot, Story};
use crate::cpio::Archive;
use crate::guest::Guest;
use crate::toolbox::repository;
use crate::variables::hex;
use crate::witness::Findings;
use ddi::{Architecture, Ddi};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

/// Where the agent lies in an image.
const AGENT: &str = "usr/lib/sextant/sextant-agent";

pub fn table() -> Vec<Story> {
    vec![alone(), newer(), entries(), sources(), run_time(), timeouts(), memory(), large(), no_agent(), killed()]
        .into_iter()
        .map(Story::of_matrix)
        .collect()
}

/// Kairos without sextant. What is known of it is seen, so that the machine is one of its kind.
fn alone() -> Story {
    Story {
        image: || Ok(Archive::new()),
        beside: &["good", "stranger"],
        boots: vec![boot("1", nothing_merged), boot("2", nothing_merged)],
        ..Story::new("kairos-alone", "no sextant, an image by an unknown signer on the ESP, and nothing is merged")
    }
}

/// immucore has moved both, takes both for good, and systemd refuses both because of one.
fn nothing_merged(findings: &Findings) {
    for class in ["sysext", "confext"] {
        assert_eq!(findings.merged(class), Vec::<String>::new());
    }
    assert_eq!(findings.property("systemd-sysext.service", "Result"), "exit-code");
    assert_eq!(findings.lines("cos"), ["active_mode", "cos-layout.env", "uki_boot_mode"]);
    let in_store = |image: &'static Image| (format!("{STORE}/{}", image.file), image);
    stored(findings, &["good", "stranger"].map(|name| in_store(image(name))));
    let both: BTreeSet<_> = ["good", "stranger"].map(|name| image(name).file.clone()).into();
    assert_eq!(links(findings, &format!("{STORE}/active")), both);
    assert_eq!(links(findings, LINKED), both);
    // Certificates of the firmware, the one that dbx revokes among them.
    let run = findings.text("run");
    for certificate in ["PK0.crt", "KEK0.crt", "DB0.crt", "DB1.crt"] {
        assert!(run.contains(certificate), "{certificate}: {run}");
    }
}

/// The central story with a newer systemd, its stub and its boot loader.
fn newer() -> Story {
    Story { name: "kairos-262", guest: Guest::Systemd262, ..central() }
}

/// What the host has of its own is judged before the merge, and put out of the way where the sealed configuration says so; other
/// directories on the disk are searched too.
fn sources() -> Story {
    Story {
        image: || Ok(super::image::sextant()?.file("etc/sextant.yaml", CONFIGURATION)),
        beside: &["good"],
        stored: || {
            [
                Stored::file("/usr/local/more", "shared.sysext.raw", &image("shared").bytes),
                Stored::file("/usr/local/more", "disk-stranger.sysext.raw", &image("disk-stranger").bytes),
                Stored::file("/usr/local/more", "roomy.sysext.raw", &image("roomy").bytes),
                Stored::file("/usr/local/more", "notes.txt", &image("garbage").bytes),
                Stored::file(HOSTS, "disk-unsigned.raw", &image("disk-unsigned").bytes),
                Stored::file(HOSTS, "spare.raw", &image("spare").bytes),
            ]
            .into()
        },
        boots: vec![
            Boot { script: "overwrite", ..boot("1", from_sources) },
            Boot { script: "overwrite", ..boot("2", from_sources_again) },
        ],
        ..Story::new(
            "kairos-sources",
            "directories on the disk that the sealed configuration names, and the host's own",
        )
    }
}

/// Where a host has extensions of its own.
const HOSTS: &str = "/var/lib/extensions";
const CONFIGURATION: &str = "sources:\n- directory: /usr/local/more\n  verify: on-read\nmerge:\n  quarantine: true\n";

fn from_sources(findings: &Findings) {
    let overwritten = overwritten(&[DATA]);
    merged_from_sources(findings, "/.extra/sysext/good.sysext.raw", &overwritten);
    unreadable(findings, "data");
    piece(findings, "tree", 12 << 20);
}

/// immucore has moved the one that was on the ESP. What was written to the data in the first boot is nothing that anybody looked at
/// before the merge.
fn from_sources_again(findings: &Findings) {
    merged_from_sources(findings, "/extensions/good.sysext.raw", &overwritten(&[DATA, tree_block()]));
    unreadable(findings, "data");
    unreadable(findings, "tree");
}

/// Where the script writes to the data: 8 MiB into the file.
const DATA: usize = 8 << 20;
/// What it writes, a block long.
const OVERWRITTEN: [u8; 4096] = [b'x'; 4096];

/// Where it writes to the tree: to the digests of the data from 12 MiB on. Superblock and top level come first.
fn tree_block() -> usize {
    let native = Architecture::native().unwrap();
    let verity = Ddi::read(&*image("roomy").bytes, native).unwrap().verity().start;
    usize::try_from(verity).unwrap() + (2 + 24) * 4096
}

/// The image once blocks at these offsets were written to.
fn overwritten(offsets: &[usize]) -> Image {
    let mut image = image("roomy").clone();
    let bytes = Arc::make_mut(&mut image.bytes);
    for offset in offsets {
        bytes[*offset..][..OVERWRITTEN.len()].copy_from_slice(&OVERWRITTEN);
    }
    image
}

/// dm-verity gave an error, and no byte.
fn unreadable(findings: &Findings, step: &str) {
    let step = findings.step(step);
    step.ended(1);
    assert!(step.err.contains("Input/output error") && step.out.is_empty(), "{step:?}");
}

/// What was read is what was signed.
fn piece(findings: &Findings, step: &str, offset: usize) {
    let digest = hex(&openssl::sha::sha256(&sets::roomy_noise()[offset..][..64 << 10]));
    let step = findings.step(step);
    step.ended(0);
    assert!(step.out.starts_with(&digest), "{step:?}");
}

fn merged_from_sources(findings: &Findings, good: &str, roomy: &Image) {
    assert_eq!(findings.merged("sysext"), ["good", "roomy", "shared", "spare"]);
    let staged = [
        (image("good"), good),
        (image("roomy"), "/more/roomy.sysext.raw"),
        (image("shared"), "/more/shared.sysext.raw"),
    ];
    mounted(findings, &staged);
    only_good(findings, &[image("good"), image("roomy"), image("shared"), image("spare")]);
    let kept = |directory: &str, file: &str, name: &str| (format!("{directory}/{file}"), image(name));
    stored(
        findings,
        &[
            kept(STORE, "good.sysext.raw", "good"),
            kept("/usr/local/more", "shared.sysext.raw", "shared"),
            kept("/usr/local/more", "disk-stranger.sysext.raw", "disk-stranger"),
            ("/usr/local/more/roomy.sysext.raw".to_owned(), roomy),
            kept(HOSTS, "disk-unsigned.raw.rejected", "disk-unsigned"),
            kept(HOSTS, "spare.raw", "spare"),
        ],
    );
    let report = findings.report().unwrap();
    let row = |file: &str| report["images"].as_array().unwrap().iter().find(|row| row["file"] == file).unwrap().clone();
    let coverage = &row("roomy.sysext.raw")["coverage"];
    let len = u64::try_from(roomy.bytes.len()).unwrap();
    assert_eq!((&coverage["verify"], &coverage["bytes"]), (&"on-read".into(), &len.into()), "{coverage}");
    assert!(coverage["bytes_checked"].as_u64().unwrap() < len / 2, "{coverage}");
    assert_eq!(row("good.sysext.raw")["coverage"]["verify"], "full");
    piece(findings, "sound", 2 << 20);
}

/// Each entry has its own extensions, and the recovery system none.
fn entries() -> Story {
    Story {
        entry: "passive",
        beside: &["good"],
        stored: || {
            let sets = [("shared", "common"), ("spare", "passive"), ("only-active", "active")];
            sets.into_iter().flat_map(|(name, state)| image(name).enabled(state)).collect()
        },
        boots: vec![Boot { script: "choose-recovery", ..boot("passive", passive) }, boot("recovery", recovery)],
        ..Story::new("kairos-entries", "the passive system has its extensions, and the recovery system has none")
    }
}

fn passive(findings: &Findings) {
    findings.step("choose").ended(0);
    assert!(findings.lines("cos").contains(&"passive_mode".to_owned()));
    merged(
        findings,
        &[
            (image("good"), "/.extra/sysext/good.sysext.raw"),
            (image("shared"), "/extensions/shared.sysext.raw"),
            (image("spare"), "/extensions/spare.sysext.raw"),
        ],
    );
    let rows =
        [(SYSEXT, "good.sysext.raw", None), (LINKED, "shared.sysext.raw", None), (LINKED, "spare.sysext.raw", None)];
    told(findings, &rows, &["good", "shared", "spare"]);
}

fn recovery(findings: &Findings) {
    assert!(findings.lines("cos").contains(&"recovery_mode".to_owned()));
    merged(findings, &[]);
    told(findings, &[(LINKED, "shared.sysext.raw", Some("entry-denied"))], &[]);
}

/// What dbx revokes is refused, whatever immucore wrote to `/run/verity.d`; and what is linked on the running system is
/// judged before each merge.
fn run_time() -> Story {
    Story {
        beside: &["good", "revoked"],
        stored: || {
            let disabled = ["shared", "spare", "disk-stranger"].map(|name| {
                let image = image(name);
                Stored::file(STORE, &image.file, &image.bytes)
            });
            let other = Stored::file(STORE, "other-good.sysext.raw", &image("other good").bytes);
            [image("disk-revoked").enabled("active").to_vec(), disabled.to_vec(), vec![other]].concat()
        },
        boots: vec![Boot { script: "run-time", ..boot("1", linked_at_run_time) }],
        ..Story::new("kairos-run-time", "images by a revoked signer; links that come at run time")
    }
}

fn linked_at_run_time(findings: &Findings) {
    let status = |name: &str| Findings::names(&findings.step(name).json(0));
    assert_eq!(status("at-boot"), ["good"]);
    findings.step("restart-with-stranger").ended(0);
    assert_eq!(status("with-stranger"), ["good"], "a bad link takes nothing down");
    findings.step("restart-with-shared").ended(0);
    assert_eq!(status("with-shared"), ["good", "shared"]);
    findings.step("restart-without").ended(0);
    assert_eq!(status("without"), ["good"]);
    compared(findings);
    refreshed(findings);
    kept(findings);
    merged(
        findings,
        &[
            (image("good"), "/.extra/sysext/good.sysext.raw"),
            (image("shared"), "/extensions/shared.sysext.raw"),
            (image("spare"), "/extensions/spare.sysext.raw"),
        ],
    );
    // Ours only: the certificate in db that dbx revokes is there no more.
    let run = findings.text("run");
    assert!(run.contains("db-1.crt") && !run.contains("DB1.crt"), "{run}");
    for (file, token) in
        [("revoked", "revoked-signer"), ("disk-revoked", "revoked-signer"), ("disk-stranger", "unknown-signer")]
    {
        let file = format!("{file}.sysext.raw");
        let end = format!("[rejected: {token}]");
        let is_it = |entry: &Value| {
            let text = entry["MESSAGE"].as_str().unwrap_or_default();
            text.contains(&format!(" {file}"))
                && (text.ends_with(&end) || entry["SEXTANT_REASON"].as_str() == Some(token))
        };
        assert!(findings.said().iter().any(is_it), "{file} isn't {token}");
    }
}

/// Each comparison tells what is merged by its root hash, what isn't and why, and takes nothing for a fault that was meant.
fn compared(findings: &Findings) {
    let merge = |name: &str| findings.step(&format!("confirmed-{name}")).json(0)["merge"].clone();
    // What is merged under the name "good": from what, and with which root hash.
    let good = |merge: &Value| {
        let rows = merge["extensions"].as_array().unwrap().iter();
        let row = rows.clone().find(|row| row["name"] == "good");
        row.map(|row| (row["origin"].clone(), row["root_hash"].clone(), row["file"].clone()))
    };
    // Why it isn't, and whether that was meant.
    let cause = |merge: &Value, name: &str| {
        let rows = merge["not_merged"].as_array().unwrap().iter();
        let row = rows.clone().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {merge}"));
        (row["cause"].as_str().unwrap().to_owned(), row["meant"] == true)
    };
    let staged = Some((json!("staged"), json!(image("good").root_hash), json!("/run/extensions/good.raw")));
    for name in ["null", "again", "last"] {
        let merge = merge(name);
        assert_eq!(good(&merge), staged, "{name}: {merge}");
        assert_eq!((&merge["missing"], &merge["unexpected"]), (&json!(["shared"]), &json!([])), "{name}: {merge}");
        assert!(merge["not_merged"].as_array().unwrap().iter().all(|row| row["name"] == "shared"), "{name}: {merge}");
    }
    let masked = merge("masked");
    assert_eq!(good(&masked), None, "{masked}");
    assert_eq!(cause(&masked, "good"), ("it is masked by /etc/extensions/good, an empty directory".to_owned(), true));
    let other = merge("other");
    let (origin, root_hash, _) = good(&other).unwrap();
    assert_eq!((origin, root_hash), (json!("host"), json!(image("other good").root_hash)), "{other}");
    assert_eq!(other["missing"], json!(["good", "shared"]), "{other}");
    let (text, meant) = cause(&other, "good");
    assert!(text.contains(&image("other good").root_hash) && !meant, "{other}");
    let directory = merge("directory");
    assert_eq!(good(&directory), staged, "{directory}");
    assert_eq!(directory["unexpected"], json!(["plain"]), "{directory}");
    let refused = merge("refused");
    assert_eq!(cause(&refused, "good").0, "systemd refused all extensions because of /var/lib/extensions/own.raw");
    assert!(cause(&refused, "own").0.ends_with("(unknown-signer)"), "{refused}");
    let unmerged = merge("unmerged");
    assert_eq!(cause(&unmerged, "good"), ("it was merged in this boot and unmerged later".to_owned(), true));
    let said = findings.said();
    let level = |start: &str| {
        let starts = |entry: &&Value| entry["MESSAGE"].as_str().is_some_and(|text| text.starts_with(start));
        said.iter().find(starts).unwrap_or_else(|| panic!("nothing starts with {start:?}"))["PRIORITY"].clone()
    };
    assert_eq!(level("good (sysext) was staged and is not merged: it is masked by "), "5");
    assert_eq!(level("good (sysext) was staged and is not merged: it was merged in this boot"), "5");
    assert_eq!(level("plain (sysext) is merged from the directory /etc/extensions/plain"), "4");
    assert_eq!(level("systemd merged no extension (sysext) because of /var/lib/extensions/own.raw"), "3");
}

/// `sextant refresh` says before what it says afterwards, and changes nothing before.
fn refreshed(findings: &Findings) {
    let status = |name: &str| Findings::names(&findings.step(name).json(0));
    let rows = |step: &str, ended: i32| -> Vec<String> {
        let answer = findings.step(step).json(ended);
        let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("-").to_owned();
        let rows = answer["extensions"].as_array().unwrap().iter();
        rows.map(|row| format!("{} {} {}", text(row, "name"), text(row, "change"), text(row, "reason"))).collect()
    };
    let expected = ["good unchanged -", "shared added -", "disk-stranger refused unknown-signer"];
    assert_eq!(rows("dry-run", 1), expected);
    assert_eq!(findings.step("before-dry-run").ended(0), findings.step("after-dry-run").ended(0));
    assert_eq!(status("after-dry"), ["good"]);
    assert_eq!(rows("refresh", 1), expected);
    assert_eq!(status("refreshed"), ["good", "shared"]);
    let again = findings.step("refresh-again");
    assert!(again.ended(0).ends_with("\n2 unchanged\n"), "{again:?}");

    let expected = ["good unchanged -", "shared unchanged -", "spare missing -", "stranger refused unknown-signer"];
    assert_eq!(rows("refresh-blocked", 1), expected);
    let said = findings.step("refresh-blocked").err;
    assert!(said.contains("because of /var/lib/extensions/stranger.raw; still merged: good, shared"), "{said}");
    assert_eq!(status("blocked"), ["good", "shared"]);
    assert_eq!(rows("refresh-unblocked", 0), ["good unchanged -", "shared unchanged -", "spare added -"]);
    assert_eq!(status("unblocked"), ["good", "shared", "spare"]);
}

/// A restart takes nothing down: neither where systemd refuses everything for one image of the host, nor where the agent is missing.
fn kept(findings: &Findings) {
    let status = |name: &str| Findings::names(&findings.step(name).json(0));
    findings.step("restart-blocked").ended(1);
    assert_eq!(status("still"), ["good", "shared"]);
    findings.step("reload-blocked").ended(1);
    findings.step("stop").ended(0);
    assert_eq!(status("stopped"), Vec::<String>::new());
    findings.step("start").ended(0);
    assert_eq!(status("started"), ["good", "shared", "spare"]);
    findings.step("restart-without-agent").ended(1);
    assert_eq!(status("without-agent"), ["good", "shared", "spare"]);
    findings.step("restart-with-agent").ended(0);
    assert_eq!(status("with-agent"), ["good", "shared", "spare"]);
}

/// Kairos' own timeouts, which no merge under emulation meets.
fn timeouts() -> Story {
    Story {
        image: || Ok(super::image::sextant()?.file("system/oem/99_sysext.yaml", with_kairos_timeouts())),
        beside: &["good", "settings"],
        boots: vec![boot("1", in_time)],
        ..Story::new("kairos-timeouts", "the timeouts are those of Kairos")
    }
}

fn with_kairos_timeouts() -> String {
    let path = repository().join("qemu/guest/kairos/system/oem/99_sysext.yaml");
    let text = fs::read_to_string(path).unwrap();
    let (job, start) = ("JobRunningTimeoutSec=300", "TimeoutStartSec=300");
    assert!(text.contains(job) && text.contains(start));
    text.replace(job, "JobRunningTimeoutSec=5").replace(start, "TimeoutStartSec=10")
}

fn in_time(findings: &Findings) {
    merged(
        findings,
        &[
            (image("good"), "/.extra/sysext/good.sysext.raw"),
            (image("settings"), "/.extra/confext/settings.confext.raw"),
        ],
    );
    for line in findings.lines("timeouts") {
        assert!(!line.ends_with("=5s") && !line.ends_with("=10s"), "{line}");
    }
}

/// Of what is on the ESP, one image that can be seen stays in memory after staging: the one that is staged.
fn memory() -> Story {
    Story {
        image: || super::image::marked(true),
        beside: &["bulk", "stranger"],
        boots: vec![boot("1", copies_are_freed)],
        ..Story::new("kairos-memory", "what immucore copied in memory is freed")
    }
}

/// What `stage` itself leaves in memory, and other programs at the same time.
const SLACK: u64 = 4 << 20;

fn copies_are_freed(findings: &Findings) {
    let bulk = image("bulk");
    merged(findings, &[(bulk, "/.extra/sysext/bulk.sysext.raw")]);
    let mark = |name: &str| Mark::read(findings, name);
    let (before, after) = (mark("before-stage"), mark("after-stage"));
    let size = |image: &Image| u64::try_from(image.bytes.len()).unwrap();
    let images = |directory: &str| {
        ["bulk", "stranger"].map(|name| (format!("{directory}/{}", image(name).file), size(image(name))))
    };
    assert_eq!(before.images, [images(SYSEXT), images("/run/systemd/sysext")].concat().into_iter().collect());
    assert_eq!(after.images, [(format!("{SYSEXT}/{}", bulk.file), size(bulk))].into());
    // Both copies below /run/systemd, and the image that was rejected.
    let freed = size(bulk) + 2 * size(image("stranger"));
    let lower = before.shmem.saturating_sub(after.shmem);
    assert!(lower.abs_diff(freed) < SLACK, "Shmem is {lower} bytes lower; {freed} were freed");
    no_copies(findings);
}

/// From a disk it takes no memory.
fn large() -> Story {
    Story {
        stored: || sets::large().enabled("common").to_vec(),
        boots: vec![boot("1", large_is_merged)],
        ..Story::new("kairos-large", "an extension of 700 MiB on the persistent partition")
    }
}

fn large_is_merged(findings: &Findings) {
    let large = sets::large();
    merged(findings, &[(large, "/extensions/large.sysext.raw")]);
    told(findings, &[(LINKED, &large.file, None)], &["large"]);
    let used = usize::try_from(findings.memory_used()).unwrap();
    assert!(used < sets::LARGE, "{used} bytes of memory are in use");
}

/// An image that has everything but the agent.
fn no_agent() -> Story {
    Story {
        image: || Ok(super::image::sextant()?.without(AGENT)),
        beside: &["good", "stranger"],
        boots: vec![boot("1", closed)],
        ..Story::new("kairos-no-agent", "the agent is missing in the image")
    }
}

/// Nothing is merged, and that is all.
fn closed(findings: &Findings) {
    merged(findings, &[]);
    assert_eq!(findings.property("systemd-sysext.service", "ConditionResult"), "no");
    assert_eq!(findings.property("systemd-sysext.service", "Result"), "success");
}

/// The agent is killed while it adopts: whatever is merged in the end has been verified.
fn killed() -> Story {
    Story {
        image: || {
            let steps = "        - sh -c '/usr/lib/sextant/sextant-agent adopt & sleep 0.3; kill -KILL $!'\n";
            let text = fs::read_to_string(repository().join("systemd-units/kairos/zz-sextant.yaml")).unwrap();
            let line = "        - /usr/lib/sextant/sextant-agent adopt\n";
            assert!(text.contains(line));
            Ok(super::image::sextant()?.file(super::image::STAGES, text.replace(line, steps)))
        },
        beside: &["good"],
        stored: || {
            let sets = ["disk-tampered", "disk-unsigned", "disk-stranger", "shared"];
            sets.into_iter().flat_map(|name| image(name).enabled("active")).collect()
        },
        boots: vec![boot("1", |findings| only_good(findings, &[image("good"), image("shared")]))],
        ..Story::new("kairos-killed", "the agent is killed while it judges what immucore linked")
    }
}
