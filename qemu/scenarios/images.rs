//! Boots that differ in what lies beside the UKI.

use super::{Scenario, measurement, vendor};
use crate::cpio::Archive;
use crate::guest::Guest::{self, Systemd254, Systemd257, Systemd262};
use crate::images::{self, Expected, Offer};
use crate::variables::hex;
use crate::witness::Findings;
use crate::{hostile, initrd, keys};
use std::collections::HashSet;
use support::package;

const MIB: usize = 1 << 20;
/// Where a systemd-stub that knows directories for all boot entries puts files.
const GLOBAL: [&str; 4] = [".extra/sysext", ".extra/global_sysext", ".extra/confext", ".extra/global_confext"];
/// Larger than the share of `LARGE_MEMORY` that /run gets, 20 %.
const LARGE: usize = 300 * MIB;
const LARGE_MEMORY: u32 = 1536;
/// While the kernel starts, the firmware's memory holds the extension three times, each time in one piece. A kernel at
/// a random address can leave no room for the last of them.
const LARGE_COMMAND_LINE: &str = "nokaslr";

pub fn table() -> Vec<Scenario> {
    let central = || {
        Scenario::new(
            "central",
            "good ones by db, KEK, PK and the sealed vendor, and all that `sextant build` makes, among hostile ones",
        )
        .sealed(measuring)
        .tpm()
    };
    let large = || {
        Scenario::new("large", "an extension larger than /run may become")
            .offers(|| vec![Offer::large("large", LARGE, keys::db(), "db")])
            .memory(LARGE_MEMORY)
            .command_line(LARGE_COMMAND_LINE)
            .check(large_is_there_once)
    };
    vec![
        central()
            .on(Systemd257)
            .offers(|| central_offers(Systemd257))
            .initrd(initrd::by_packages)
            .obstacle(package::no_debhelper)
            .check(|findings| measurement::as_predicted(findings, &[".extra/sysext", ".extra/confext"])),
        central().on(Systemd262).offers(|| central_offers(Systemd262)).check(|findings| {
            measurement::as_predicted(findings, &GLOBAL);
        }),
        central()
            .on(Systemd254)
            .offers(|| central_offers(Systemd254))
            .check(|findings| measurement::as_predicted(findings, &[".extra/sysext"])),
        central()
            .on(Systemd262)
            .named("central-mkosi")
            .offers(|| central_offers(Systemd262))
            .initrd(initrd::by_mkosi)
            // It has systemd-tpm in its initrd, which dracut leaves out.
            .check(|findings| measurement::as_predicted_and_separated(findings, &GLOBAL))
            .of_matrix(),
        large().on(Systemd257).of_matrix(),
        large().on(Systemd262).of_matrix(),
        Scenario::new("hostile-only", "nothing but hostile ones")
            .offers(hostile_offers)
            .sealed(|| vendor().file("etc/sextant.yaml", hostile::config()))
            .of_matrix(),
        Scenario::new("none", "no extension at all")
            .sealed(|| Archive::new().file("etc/sextant.yaml", "measurement: true\n"))
            .tpm()
            .check(|findings| measurement::as_predicted(findings, &[]))
            .of_matrix(),
    ]
}

fn measuring() -> Archive {
    vendor().file("etc/sextant.yaml", format!("{}\nmeasurement: true\n", hostile::config()))
}

/// Those of the central scenario. What is for all boot entries is seen by some versions of systemd-stub only.
fn central_offers(guest: Guest) -> Vec<Offer> {
    let all = |offer: Offer| if guest == Systemd262 { offer.global() } else { offer.global().unseen() };
    let odd = |file, expected| Offer::anything(file, file.as_bytes(), expected);
    let others = vec![
        Offer::confext("conf", keys::db(), "db"),
        all(Offer::sysext("all", keys::db(), "db")),
        all(Offer::confext("all-conf", keys::db(), "db")),
        // Names whose order depends on case, and of the form that FAT stores in another way.
        odd("Upper.SYSEXT.RAW", Expected::Rejected("bad-gpt")),
        odd("_under.sysext.raw", Expected::Rejected("bad-gpt")),
        odd("SHORT.RAW", Expected::Rejected("bad-name")),
        // What systemd-stub skips.
        odd(".hidden.sysext.raw", Expected::Unseen),
        odd("\u{fc}mlaut.sysext.raw", Expected::Unseen),
        odd("spare.sysext.raw.disabled", Expected::Unseen),
        odd("notes.txt", Expected::Unseen),
    ];
    let built = images::built().into_iter().map(|offer| match offer.name() {
        // Kernels read zstd in erofs from 6.10 on.
        "built-erofs-zstd" if guest == Systemd254 => offer.rejected("not-mountable"),
        _ => offer,
    });
    [images::good(), built.collect(), hostile_offers(), others].concat()
}

fn hostile_offers() -> Vec<Offer> {
    let offers = images::hostile(32);
    let tokens: HashSet<_> = offers.iter().map(|offer| format!("{:?}", offer.expected)).collect();
    assert!(offers.len() >= 30 && tokens.len() >= 15, "{} hostile images of {} kinds", offers.len(), tokens.len());
    offers
}

/// Its bytes are read back whole; it takes memory once; staging it is no work.
fn large_is_there_once(findings: &Findings) {
    let size = u64::try_from(LARGE).unwrap();
    let digest = openssl::sha::sha256(&support::trees::noise(LARGE));
    let digest = hex(&digest);
    assert!(findings.text("digests").contains(&digest), "{}", findings.text("digests"));

    // The bare system takes 70 to 150 MiB.
    let used = findings.memory_used();
    assert!(used > size && used < size + (200 << 20), "{} MiB are in use", used >> 20);
    let space = findings.text("space");
    let run: Vec<u64> =
        space.lines().last().unwrap().split_whitespace().skip(1).map(|it| it.parse().unwrap()).collect();
    assert!(run[0] < size && run[1] < size / 4, "/run: {run:?}");

    // What was staged is the file itself: no room was taken for a copy, neither in /run nor elsewhere in memory.
    let mounts = findings.lines("mounts");
    assert!(mounts.iter().any(|line| line.contains(" /run/extensions/large.raw ")), "{mounts:?}");
    let report = findings.report().unwrap();
    let row = &report["images"][0];
    let (stage, verify) = (row["stage_usec"].as_u64().unwrap(), row["verify_usec"].as_u64().unwrap());
    eprintln!(
        "large: {} MiB used after the switch of root, verified in {} ms, staged in {stage} µs",
        used >> 20,
        verify / 1000
    );
}
