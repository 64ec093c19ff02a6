//! Limits and free space.

use super::vendor;
use std::fs;
use support::ddi::{good, good_image, with_tree};
use support::machine::Machine;
use support::trees::{Tree, noise};

#[test]
fn limits_hold_for_each_and_for_all_and_leave_the_rest_its_chance() {
    let small = good_image("small", vendor());
    let large =
        with_tree("large", &Tree::sysext("large").file("usr/share/noise", &noise(300_000)), vendor()).render().bytes;
    let machine = |config: String| {
        Machine::trusting(&[vendor()])
            .config(&config)
            .sysext("large.sysext.raw", &large)
            .sysext("small.sysext.raw", &small)
    };
    let limited = machine(format!("limits:\n  image_size: {}\n", small.len()));
    assert_eq!(limited.stage().verdict("large.sysext.raw"), ("rejected", "too-large"));
    assert_eq!(limited.staged_names(), ["small"]);
    let limited = machine(format!("limits:\n  total_size: {}\n", large.len() - 1));
    assert_eq!(limited.stage().verdict("large.sysext.raw"), ("rejected", "too-large"));
    assert_eq!(limited.staged_names(), ["small"]);
    let limited = machine("limits:\n  images: 1\n".to_owned());
    assert_eq!(limited.stage().verdict("small.sysext.raw"), ("rejected", "too-many"));
    assert_eq!(limited.staged_names(), ["large"]);
    let limited = machine(format!("limits:\n  memory: {}\n", small.len()));
    assert_eq!(limited.stage().verdict("large.sysext.raw"), ("rejected", "too-large"));
    assert_eq!(limited.staged_names(), ["small"]);
}

/// Reading the next image begins before the limits are asked, so what was read of this one belongs to nobody.
#[test]
fn an_image_that_is_passed_over_does_not_stand_for_the_next_one() {
    let (first, last) = (good_image("a", vendor()), good_image("z", vendor()));
    let large = Tree::sysext("large").file("usr/share/noise", &noise(300_000));
    let machine = Machine::trusting(&[vendor()])
        .config(&format!("limits:\n  image_size: {}\n", first.len()))
        .sysext("a.sysext.raw", &first)
        .sysext("large.sysext.raw", &with_tree("large", &large, vendor()).render().bytes)
        .sysext("z.sysext.raw", &last);
    let outcome = machine.stage();
    assert_eq!(outcome.verdict("large.sysext.raw"), ("rejected", "too-large"));
    assert_eq!(machine.staged_names(), ["a", "z"], "{}", outcome.stderr);
    let root_hash = |file: &str| outcome.row(file)["root_hash"].clone();
    assert_ne!(root_hash("a.sysext.raw"), root_hash("z.sysext.raw"));
}

#[test]
fn junk_takes_nothing_from_the_limits() {
    let denied = good("denied", vendor());
    let corrupt = good_image("corrupt", vendor());
    let size = corrupt.len();
    let machine = Machine::trusting(&[vendor()])
        .config(&format!(
            "limits: {{images: 1, total_size: {size}, memory: {size}}}\ndeny: {{root_hashes: [{}]}}\n",
            denied.root_hash
        ))
        .sysext("a.sysext.raw", b"junk")
        .sysext("b.sysext.raw", &denied.render().bytes)
        .sysext("renamed.sysext.raw", &good_image("other", vendor()))
        .sysext("z.sysext.raw", &good_image("z", vendor()))
        .with(|root| {
            let hole = fs::File::create(root.join(".extra/sysext/c.sysext.raw")).unwrap();
            hole.set_len(u64::try_from(size).unwrap()).unwrap();
        });
    let outcome = machine.stage();
    assert_eq!(machine.staged_names(), ["z"], "{}", outcome.stderr);
}

/// Many names of small images, which systemd would have to mention in the options of a single mount.
#[test]
fn no_more_is_staged_than_systemd_can_merge() {
    let name = |number: usize| format!("k3s_{number:0>124}");
    let machine = (0..30).fold(Machine::trusting(&[vendor()]), |machine, number| {
        let tree = Tree::sysext("k3s").file("usr/share/number", number.to_string().as_bytes());
        machine.sysext(&format!("{}.sysext.raw", name(number)), &with_tree("k3s", &tree, vendor()).render().bytes)
    });
    let outcome = machine.stage();
    let staged = machine.staged_names();
    let rejected =
        outcome.report["images"].as_array().unwrap().iter().filter(|row| row["reason"] == "too-many").count();
    assert_eq!((staged.len() + rejected, staged.first()), (30, Some(&name(0))));
    let layers: Vec<_> = staged.iter().map(|name| format!("/run/systemd/sysext/extensions/{name}/usr:")).collect();
    let layers = layers.concat();
    let options = format!("lowerdir=/run/systemd/sysext/meta/usr:{layers}/usr");
    assert!((3000..4096).contains(&options.len()), "{} of {} bytes", staged.len(), options.len());
    assert!(outcome.row(&format!("{}.sysext.raw", name(29)))["detail"].as_str().unwrap().contains("mount options"));
}
