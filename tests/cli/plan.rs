//! `sextant plan`: what a set of extensions comes to.

use crate::{Desk, Said, vendor};
use serde_json::{Value, json};
use support::ddi::Blueprint;
use support::keys;
use support::trees::Tree;

/// Three extensions: two versions of one, and another.
fn desk() -> Desk {
    let image = |name: &str, paths: &[(&str, &str)]| {
        let tree = paths.iter().fold(Tree::sysext(name), |tree, (path, content)| tree.file(path, content.as_bytes()));
        Blueprint::new(name, &tree.squashfs(), vendor()).render().bytes
    };
    let newer = image("k3s_1.10", &[("usr/bin/k3s", "new"), ("usr/lib/systemd/system/k3s.service", "[Service]")]);
    let older = image("k3s_1.9", &[("usr/bin/k3s", "old"), ("usr/bin/k3s-only-old", "old")]);
    let other = image("tools", &[("opt/tools/bin/jq", "jq")]);
    Desk::new()
        .file("extra/k3s_1.10.sysext.raw", &newer)
        .file("extra/k3s_1.9.sysext.raw", &older)
        .file("extra/tools.sysext.raw", &other)
        .file("extra/README", b"not an image")
}

fn plan(desk: &Desk, arguments: &[&str]) -> (Said, Value) {
    let fixed = ["plan", "--certificate", "vendor.crt"];
    let said = desk.run(&[&fixed[..], arguments].concat());
    let json = desk.run(&[&fixed[..], &["--json"], arguments].concat());
    assert_eq!(json.status, said.status, "{said:?} {json:?}");
    (said, serde_json::from_str(&json.stdout).unwrap_or_else(|error| panic!("{error}: {json:?}")))
}

#[test]
fn a_directory_is_planned_in_systemds_order() {
    let desk = desk();
    let (said, json) = plan(&desk, &["extra"]);
    // Two versions share a path.
    assert_eq!((said.status, said.stderr.as_str()), (Some(1), ""));
    let names: Vec<_> =
        json["order"].as_array().unwrap().iter().map(|member| member["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["k3s_1.9", "k3s_1.10", "tools"]);
    let conflict = json!({"path": "/usr/bin/k3s", "winner": "k3s_1.10", "hidden": ["k3s_1.9"]});
    assert_eq!(json["conflicts"], json!([conflict]));
    let read_only = json!([
        {"path": "/usr", "by": ["k3s_1.9", "k3s_1.10", "tools"]},
        {"path": "/opt", "by": ["tools"]},
    ]);
    assert_eq!(json["read_only"], read_only);
    for line in
        ["Merge order (sysext), later extensions override earlier ones:", "  /usr/bin/k3s: k3s_1.10 overrides k3s_1.9"]
    {
        assert!(said.stdout.lines().any(|it| it == line), "{line}: {}", said.stdout);
    }
}

#[test]
fn what_does_not_collide_is_nothing_to_look_into() {
    let desk = desk();
    let (said, json) = plan(&desk, &["extra/k3s_1.10.sysext.raw", "extra/tools.sysext.raw"]);
    assert_eq!((said.status, &json["conflicts"]), (Some(0), &json!([])), "{said:?}");
    let (said, json) = plan(&desk, &["extra/tools.sysext.raw", "--hierarchies", "/usr/local/bin:/opt/tools"]);
    assert_eq!((said.status, &json["order"][0]["files"]), (Some(0), &json!(1)), "{said:?}");
    assert!(said.stdout.contains("outside of the merged directories, never visible"), "{}", said.stdout);
    let said = desk.run(&["plan", "extra/tools.sysext.raw", "--hierarchies", "usr"]);
    assert_eq!(said.status, Some(2));
}

#[test]
fn a_configuration_says_where_and_what_is_merged() {
    let sealed = "merge:\n  hierarchies: [/usr/bin]\nlimits:\n  image_size: 1\n";
    let desk = desk().file("limited.yaml", sealed.as_bytes()).file("wrong.yaml", b"merge:\n  hierarchies: [usr]\n");
    let desk = desk.file("sealed.yaml", b"merge:\n  hierarchies: [/usr/bin]\n");
    let k3s = "extra/k3s_1.10.sysext.raw";
    let (said, json) = plan(&desk, &[k3s, "--config", "sealed.yaml"]);
    assert_eq!(json["read_only"], json!([{"path": "/usr/bin", "by": ["k3s_1.10"]}]), "{said:?}");
    // Somebody who asks for others means them.
    let (said, json) = plan(&desk, &[k3s, "--config", "sealed.yaml", "--hierarchies", "/usr/lib"]);
    assert_eq!(json["read_only"], json!([{"path": "/usr/lib", "by": ["k3s_1.10"]}]), "{said:?}");
    let (said, json) = plan(&desk, &[k3s, "--config", "limited.yaml"]);
    assert_eq!((said.status, &json["left_out"][0]["reason"]), (Some(1), &json!("too-large")), "{said:?}");
    // Whether there is anybody to trust or not.
    for trust in [&[][..], &["--certificate", "vendor.crt"]] {
        let said = desk.run(&[&["plan", k3s, "--config", "wrong.yaml"], trust].concat());
        assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""), "{said:?}");
        assert!(said.stderr.contains("merge.hierarchies") && said.stderr.contains("line 2"), "{said:?}");
    }
}

#[test]
fn what_a_boot_would_refuse_is_left_out() {
    let stranger = Blueprint::new("bad", &Tree::sysext("bad").squashfs(), keys::rsa("Stranger")).render();
    let desk = desk().file("bad.sysext.raw", &stranger.bytes).file("junk.sysext.raw", b"junk");
    let (said, json) =
        plan(&desk, &["extra/tools.sysext.raw", "bad.sysext.raw", "junk.sysext.raw", "extra/tools.sysext.raw"]);
    assert_eq!(said.status, Some(1));
    let reasons: Vec<_> =
        json["left_out"].as_array().unwrap().iter().map(|row| row["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["unknown-signer", "bad-gpt", "duplicate-name"]);
    assert_eq!(json["order"].as_array().unwrap().len(), 1);
    // Without anybody to trust the stranger's is planned as well, and said to be unverified.
    let said = desk.run(&["plan", "extra/tools.sysext.raw", "bad.sysext.raw", "junk.sysext.raw"]);
    assert_eq!(said.status, Some(1));
    assert!(said.stderr.contains("images were not verified: reading firmware variables: "), "{said:?}");
    assert!(said.stdout.contains("left out: junk.sysext.raw: no GUID partition table"), "{said:?}");
    assert!(said.stdout.contains("  bad  "), "{said:?}");
}

/// What can be judged without trust anchors is.
#[test]
fn what_a_boot_would_refuse_for_its_contents_is_left_out_without_trust_anchors() {
    let image = |name: &str, tree: &Tree| Blueprint::new(name, &tree.squashfs(), vendor()).render().bytes;
    let rows = [
        ("a.sysext.raw", Tree::sysext("other"), "wrong-extension-release"),
        ("b.sysext.raw", Tree::sysext("b").file("usr/lib/os-release", b"ID=x\n"), "contains-os-release"),
        ("c.sysext.raw", Tree::sysext("c").symlink("opt", "usr"), "bad-hierarchy"),
        ("d.sysext.raw", Tree::sysext("d").release("d", "ID=_any\nSYSEXT_SCOPE=initrd\n"), "wrong-scope"),
        ("e.raw", Tree::sysext("e"), "bad-name"),
        ("f,.sysext.raw", Tree::sysext("f,"), "bad-name"),
    ];
    let mut desk = desk();
    for (file, tree, _) in &rows {
        desk = desk.file(file, &image("x", tree));
    }
    for trust in [&[][..], &["--certificate", "vendor.crt"]] {
        for (file, _, token) in &rows {
            let said = desk.run(&[&["plan", "--json", file], trust].concat());
            let json: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
            assert_eq!((said.status, &json["left_out"][0]["reason"]), (Some(1), &json!(token)), "{file} {trust:?}");
            assert_eq!(json["order"], json!([]), "{file}");
        }
    }
}

#[test]
fn steps_are_found_in_the_files_that_yip_reads() {
    let early = "name: test\nstages:\n  initramfs:\n  - name: early\n    commands: [k3s check-config]\n";
    let late = "#cloud-config\nstages:\n  boot:\n  - files: [{path: /opt/tools/x}]\n";
    let desk = desk()
        .file("oem/90/b.yml", late.as_bytes())
        .file("oem/10.yaml", early.as_bytes())
        .file("oem/20.yaml", b"stages: [")
        .file("oem/30.txt", b"stages: [");
    let (said, json) = plan(&desk, &["extra/k3s_1.10.sysext.raw", "extra/tools.sysext.raw", "--stages", "oem"]);
    assert_eq!(said.status, Some(1));
    let found: Vec<_> = json["findings"].as_array().unwrap().iter().map(|it| (&it["trouble"], &it["file"])).collect();
    let expected = [(json!("too-early"), json!("oem/10.yaml")), (json!("read-only"), json!("oem/90/b.yml"))];
    assert_eq!(found, expected.iter().map(|(trouble, file)| (trouble, file)).collect::<Vec<_>>());
    assert_eq!(json["unreadable"].as_array().unwrap().len(), 1);
    assert_eq!(json["unreadable"][0]["file"], "oem/20.yaml");
    for words in [
        "  oem/10.yaml: initramfs, step 1 \"early\"\n    too early: k3s comes with k3s_1.10, which is merged after this step\n",
        "  oem/90/b.yml: boot, step 1\n    read-only: files: /opt/tools/x is written after the merge",
    ] {
        assert!(said.stdout.contains(words), "{words}: {}", said.stdout);
    }
    let said = desk.run(&["plan", "extra", "--stages", "nowhere"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""));
    assert!(said.stderr.contains("listing nowhere: No such file"), "{said:?}");
}

/// Anchors that were named and can't be read are no reason to go on without.
#[test]
fn trust_is_read_once_and_what_is_wrong_with_it_is_told() {
    let desk = desk();
    let said = desk.run(&["plan", "--certificate", "nowhere.crt", "extra"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(1), ""), "{said:?}");
    assert_eq!(said.stderr.matches("nowhere.crt").count(), 1, "{said:?}");
    let json: Value = serde_json::from_str(&desk.run(&["plan", "--json", "extra/tools.sysext.raw"]).stdout).unwrap();
    assert_eq!(json["verified"], json!(false));
    assert!(json["not_verified"].as_str().unwrap().starts_with("reading firmware variables: "), "{json:#}");
    let (_, json) = plan(&desk, &["extra/tools.sysext.raw"]);
    assert_eq!((&json["verified"], &json["not_verified"]), (&json!(true), &json!(null)));
}

/// A file that would keep the parser busy for hours is told about, and the others are read.
#[test]
fn stage_files_are_bounded_before_they_are_parsed() {
    let brackets = "[".repeat(1 << 20);
    let doubling = (1..60).fold("a0: &a0 [x, x]\n".to_owned(), |text, level| {
        format!("{text}a{level}: &a{level} [*a{}, *a{}]\n", level - 1, level - 1)
    });
    let early = "stages:\n  initramfs:\n  - commands: [k3s check-config]\n";
    let desk = desk()
        .file("oem/10.yaml", brackets.as_bytes())
        .file("oem/20.yaml", doubling.as_bytes())
        .file("oem/30.yaml", "- ".repeat(100).as_bytes())
        .file("oem/40.yaml", early.as_bytes());
    let begun = std::time::Instant::now();
    let (said, json) = plan(&desk, &["extra/k3s_1.10.sysext.raw", "--stages", "oem"]);
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(json["findings"][0]["trouble"], "too-early", "{said:?}");
    let causes: Vec<_> =
        json["unreadable"].as_array().unwrap().iter().map(|it| it["cause"].as_str().unwrap()).collect();
    let expected = [
        "lists and mappings are nested more than 64 deep at line 1",
        "more than 16 aliases at line 10",
        "lists and mappings are nested more than 64 deep at line 1",
    ];
    assert_eq!(causes, expected);
    let deep = "d/".repeat(40);
    let said = desk.file(format!("oem/{deep}x.yaml"), b"").run(&["plan", "extra", "--stages", "oem"]);
    assert!(said.stderr.contains("directories are nested more than 32 deep"), "{said:?}");
}

/// What we ship and test with, and a cloud-config with all that people write into one.
#[test]
fn ordinary_stage_files_are_within_the_bounds() {
    let root = support::repository();
    let mut count = 0;
    for directory in ["systemd-units/yip", "docs", "tests/cli/stages"] {
        for entry in std::fs::read_dir(root.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let blocks: Vec<&str> = if path.extension().is_some_and(|extension| extension == "md") {
                text.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next()).collect()
            } else {
                vec![&text]
            };
            for block in blocks {
                sextant::yaml::check(block).unwrap_or_else(|error| panic!("{}: {error}\n{block}", path.display()));
                count += 1;
            }
        }
    }
    assert!(count > 5, "{count}");
}
