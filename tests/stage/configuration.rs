//! Which configuration counts, and what a mistake in it does.

use super::vendor;
use std::fs;
use support::ddi::good_image;
use support::machine::Machine;

#[test]
fn a_broken_configuration_stages_nothing_and_says_where_it_is_broken() {
    let machine = Machine::trusting(&[vendor()])
        .config("secure_boot: require\nlimits:\n  imags: 3\n")
        .sysext("good.sysext.raw", &good_image("good", vendor()))
        .sysext("junk.raw", b"");
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(1));
    assert!(machine.staged_names().is_empty() && machine.exported_certificates().is_empty());
    for part in ["/etc/sextant.yaml", "imags", "line 3"] {
        assert!(outcome.report["error"].as_str().unwrap().contains(part), "{}", outcome.report["error"]);
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    assert_eq!(outcome.verdict("good.sysext.raw"), ("rejected", "bad-configuration"));
    assert_eq!(outcome.verdict("junk.raw"), ("rejected", "bad-name"));
}

#[test]
fn the_configuration_comes_from_sealed_places_only_and_etc_comes_first() {
    let good = good_image("good", vendor());
    let machine = Machine::trusting(&[vendor()])
        .file("usr/lib/sextant.yaml", b"trust:\n  sources: [PK]\n")
        .file("run/sextant.yaml", b"nonsense: true\n")
        .sysext("good.sysext.raw", &good);
    assert_eq!(machine.stage().verdict("good.sysext.raw"), ("rejected", "unknown-signer"));
    let machine = machine.config("# defaults\n").sysext("good.sysext.raw", &good);
    assert_eq!(machine.stage().verdict("good.sysext.raw"), ("staged", ""));

    let file = machine.path("own.yaml");
    fs::write(&file, "entries: {deny: []}\nlimits: {images: 0}\n").unwrap();
    let machine = machine.sysext("good.sysext.raw", &good);
    let outcome = machine.stage_with(&["--config", file.to_str().unwrap()]);
    assert_eq!(outcome.verdict("good.sysext.raw"), ("rejected", "too-many"));
    let outcome = machine.sysext("good.sysext.raw", &good).stage_with(&["--config", "/nowhere/sextant.yaml"]);
    assert_eq!((outcome.status, outcome.verdict("good.sysext.raw").1), (Some(1), "bad-configuration"));
}

#[test]
fn drop_ins_count_in_their_order_and_one_mistake_stages_nothing() {
    let good = good_image("good", vendor());
    let machine = Machine::trusting(&[vendor()])
        .file("usr/lib/sextant.yaml.d/50-vendor.yaml", b"trust: {sources: [PK]}\n")
        .file("run/sextant.yaml.d/99.yaml", b"nonsense: true\n")
        .sysext("good.sysext.raw", &good);
    assert_eq!(machine.stage().verdict("good.sysext.raw"), ("rejected", "unknown-signer"), "without a main file");
    let machine = machine
        .config("trust: {sources: [KEK]}\n")
        .file("etc/sextant.yaml.d/60-site.yaml", b"trust: {sources: [db]}\n")
        .sysext("good.sysext.raw", &good);
    let outcome = machine.stage();
    assert_eq!(outcome.verdict("good.sysext.raw"), ("staged", ""));
    // What one file denies no later one permits.
    let hash = outcome.row("good.sysext.raw")["root_hash"].as_str().unwrap();
    let machine = machine
        .file("usr/lib/sextant.yaml.d/10-deny.yaml", format!("deny: {{root_hashes: [{hash}]}}\n").as_bytes())
        .file("etc/sextant.yaml.d/70-site.yaml", b"deny: {root_hashes: []}\n")
        .sysext("good.sysext.raw", &good);
    assert_eq!(machine.stage().verdict("good.sysext.raw"), ("rejected", "revoked-image"));
    // But a file of the same name takes its place.
    let machine = machine.file("etc/sextant.yaml.d/10-deny.yaml", b"").sysext("good.sysext.raw", &good);
    assert_eq!(machine.stage().verdict("good.sysext.raw"), ("staged", ""));

    let machine = machine.file("etc/sextant.yaml.d/70-site.yaml", b"metrics: true\nmetriks: true\n");
    let outcome = machine.sysext("good.sysext.raw", &good).stage();
    assert_eq!((outcome.status, outcome.verdict("good.sysext.raw")), (Some(1), ("rejected", "bad-configuration")));
    let said = outcome.report["error"].as_str().unwrap();
    assert!(said.contains("reading /etc/sextant.yaml.d/70-site.yaml, line 2, metriks: "), "{said}");
}

#[test]
fn several_files_of_the_command_line_are_a_main_file_and_drop_ins() {
    let machine = Machine::trusting(&[vendor()])
        .config("nonsense: true\n")
        .file("etc/sextant.yaml.d/1.yaml", b"nonsense: true\n")
        .file("a.yaml", b"limits: {images: 0}\n")
        .file("b.yaml", b"limits: {images: 1}\n")
        .sysext("good.sysext.raw", &good_image("good", vendor()));
    let [a, b] = ["a.yaml", "b.yaml"].map(|file| machine.path(file).to_str().unwrap().to_owned());
    let outcome = machine.stage_with(&["--config", &a, "--config", &b]);
    assert_eq!((outcome.status, outcome.verdict("good.sysext.raw")), (Some(0), ("staged", "")));
    let machine = machine.sysext("good.sysext.raw", &good_image("good", vendor()));
    assert_eq!(machine.stage_with(&["--config", &b, "--config", &a]).verdict("good.sysext.raw").1, "too-many");
}
#[test]
fn a_configuration_that_is_a_dangling_link_is_broken_not_absent() {
    let machine =
        Machine::trusting(&[vendor()]).sysext("tool.sysext.raw", &good_image("tool", vendor())).with(|root| {
            std::os::unix::fs::symlink("/nowhere", root.join("etc/sextant.yaml")).unwrap();
        });
    let outcome = machine.stage();
    assert_eq!((outcome.status, outcome.verdict("tool.sysext.raw").1), (Some(1), "bad-configuration"));
}
