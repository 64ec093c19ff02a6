//! What ends up on a terminal or in a pipe: names that somebody else chose, colours, readers that go away.

use crate::{Desk, mixed_firmware, vendor};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use support::ddi::good_image;
use support::keys;

const ESCAPE: u8 = 0x1b;

#[test]
fn names_and_subjects_cannot_move_the_cursor() {
    let hostile = "\u{1b}[2J\u{202e}\nname";
    let subject = keys::ec("\u{1b}]0;title\u{7}\nForged");
    let desk = Desk::new()
        .file(format!("{hostile}.sysext.raw"), b"junk")
        .file("signed.sysext.raw", &good_image("signed", subject))
        .file("subject.crt", &subject.pem())
        .file(format!("verity.d/{hostile}.crt"), b"junk")
        .file("verity.d/subject.crt", &subject.pem());
    let name = format!("{hostile}.sysext.raw");
    let pem = format!("{hostile}.crt");
    let runs: [&[&str]; 7] = [
        &["verify", "--certificate", "subject.crt", &name, "signed.sysext.raw"],
        &["verify", "--certificate", "subject.crt", "--json", &name, "signed.sysext.raw"],
        &["verify", "--certificate", "vendor.crt", "signed.sysext.raw"],
        &["trust", "--verity-dir", "verity.d"],
        &["verify", "--certificate", &pem, "x"],
        &["verify", "--efivars", hostile, "x"],
        &["verify", "--certificate", "vendor.crt", "--config", hostile, "x"],
    ];
    for arguments in runs {
        let said = desk.run(arguments);
        let all = format!("{}{}", said.stdout, said.stderr);
        assert!(!all.contains(['\u{1b}', '\u{7}', '\u{202e}']) && !all.contains("\nname"), "{arguments:?}: {said:?}");
        assert!(!all.lines().any(|line| line.starts_with("Forged")), "{said:?}");
    }
}

#[test]
fn colours_are_for_terminals_and_for_those_who_want_them() {
    let desk = Desk::new().image("k3s").file("junk.sysext.raw", b"junk").firmware(&mixed_firmware());
    let plain = desk.verify(&["k3s.sysext.raw", "junk.sysext.raw"]);
    assert!(!plain.stdout.as_bytes().contains(&ESCAPE), "not a terminal: {plain:?}");
    assert_script();
    let program = env!("CARGO_BIN_EXE_tool-under-test");
    for words in ["verify --certificate vendor.crt k3s.sysext.raw junk.sysext.raw", "trust --efivars efivars"] {
        let on_terminal = |no_color: Option<&str>| {
            let mut command = Command::new("script");
            command.current_dir(desk.path()).args(["-qec", &format!("{program} {words}"), "/dev/null"]);
            command.stdin(Stdio::null()).env_remove("NO_COLOR").env("TERM", "xterm");
            command.envs(no_color.map(|value| ("NO_COLOR", value)));
            command.output().unwrap().stdout
        };
        for (no_color, coloured) in [(None, true), (Some(""), true), (Some("1"), false)] {
            let output = on_terminal(no_color);
            let text = String::from_utf8_lossy(&output);
            assert!(text.contains("CN=Vendor"), "{text}");
            assert_eq!(output.contains(&ESCAPE), coloured, "NO_COLOR={no_color:?}: {text}");
        }
    }
}

/// What takes longer than a second has a bar on a terminal, which goes away; in a pipe there never is one.
#[test]
fn bars_are_for_people_who_wait() {
    assert_script();
    // More than a pipe holds, so that feeding it takes as long as the reader does.
    let desk = Desk::new()
        .file("tree/usr/large", &vec![7; 1 << 20])
        .file("vendor.key", &vendor().key.private_key_to_pem_pkcs8().unwrap())
        .file("tools/mkfs.erofs", SLOW.as_bytes());
    let tools = desk.path().join("tools");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(tools.join("mkfs.erofs"), executable).unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let line = format!(
        "{} build tool tree --private-key vendor.key --certificate vendor.crt --format",
        env!("CARGO_BIN_EXE_tool-under-test")
    );
    let run = |terminal: bool, format: &str| {
        let line = format!("{line} {format}");
        let words = if terminal { vec!["script", "-qec", &line, "/dev/null"] } else { vec!["sh", "-c", &line] };
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command.current_dir(desk.path()).env("PATH", &path).env("TERM", "xterm").stdin(Stdio::null());
        let output = command.output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let bar = "making the file system";
    let (slow, quick) = (run(true, "erofs"), run(true, "squashfs"));
    assert!(slow.contains(bar) && slow.contains("no space"), "{slow:?}");
    assert!(!quick.contains(bar) && quick.contains("tool.sysext.raw  "), "{quick:?}");
    let piped = run(false, "erofs");
    assert!(!piped.contains(bar) && piped.contains("no space") && !piped.contains(char::from(ESCAPE)), "{piped:?}");
}

/// What gives a program a terminal. Debian doesn't come without it.
fn assert_script() {
    let found = Command::new("script").arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(found, "script (util-linux) is not installed");
}

/// Takes its time, and then fails.
const SLOW: &str = "#!/bin/sh
[ \"$1\" = --version ] && echo 'mkfs.erofs (erofs-utils) 1.8.6' && exit
sleep 1.3
cat > /dev/null
echo 'no space' >&2
exit 1
";

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let desk = Desk::new().image("k3s").firmware(&mixed_firmware());
    let many: Vec<_> = std::iter::repeat_n("k3s.sysext.raw", 20).collect();
    let verify = [&["verify", "--certificate", "vendor.crt"][..], &many].concat();
    for arguments in [verify.as_slice(), &["trust", "--efivars", "efivars"], &["verify", "--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        // Gone before the first line is written.
        drop(reader);
        let output = desk.command(arguments).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{arguments:?}: {output:?}");
    }
}

#[test]
fn a_name_that_is_not_text_is_a_row_all_the_same() {
    let desk = Desk::new();
    let name = OsStr::from_bytes(b"\xff\xfe.sysext.raw");
    fs::write(desk.path().join(name), good_image("x", vendor())).unwrap();
    let options = ["verify", "--certificate", "vendor.crt", "--json"].map(OsStr::new);
    let said = desk.run(&[&options[..], &[name]].concat());
    assert_eq!((said.status, said.reasons()), (Some(1), vec!["bad-name".to_owned()]));
}

/// Everything in them comes from outside: a report, a file name, a label, a release file.
#[test]
fn foreign_reports_and_images_cannot_reach_the_terminal() {
    let hostile = "\u{1b}]0;x\u{7}\u{9b}2J\u{202e}\u{200b}";
    let image = serde_json::json!({
        "file": hostile, "name": hostile, "directory": hostile, "class": "sysext", "verdict": hostile, "reason": hostile,
        "detail": hostile, "warnings": [hostile], "verify_usec": 1, "stage_usec": 1, "later": hostile,
        "signer": {"source": hostile, "subject": hostile, "sha256": hostile},
    });
    let report = serde_json::json!({
        "version": 1, "firmware": {"secure_boot": hostile, "entry": hostile}, "later": [hostile], "images": [image],
        "trust": [{"source": hostile, "subject": hostile, "sha256": hostile, "file": hostile}],
        "ignored_certificates": [{"source": hostile, "sha256": null, "reason": hostile}],
        "omitted": {"total": 1, "by_reason": {hostile: 1}, "trust": 0, "ignored_certificates": 0},
        "merge": {"requested": true, "confirmed": true, "merged": [hostile], "missing": [], "unexpected": [hostile]},
        "error": hostile,
    });
    let name = format!("{hostile}.sysext.raw");
    let desk = Desk::new()
        .file("report.json", report.to_string().as_bytes())
        .file(&name, &good_image("x", vendor()))
        .file("esp/EFI/kairos/active.efi", b"")
        .file(format!("esp/EFI/kairos/active.efi.extra.d/{name}"), b"x")
        .file(format!("stages/{hostile}.yaml"), format!("stages: {{\"{}\": 1}}", "x\\u202e").as_bytes());
    let runs: [&[&str]; 10] = [
        &["status", "--report", "report.json"],
        &["status", "--report", "report.json", "--json"],
        &["list", "--esp", "esp", "--report", "report.json"],
        &["list", "--esp", "esp", "--report", "report.json", "--json"],
        &["inspect", "--list", &name],
        &["inspect", "--json", &name],
        &["plan", "--certificate", "vendor.crt", &name, "--stages", "stages"],
        &["plan", "--certificate", "vendor.crt", &name, "--stages", "stages", "--json"],
        &["verify", "--arch", hostile, &name],
        &["verify", &format!("--{hostile}")],
    ];
    for arguments in runs {
        let said = desk.run(arguments);
        let all = format!("{}{}", said.stdout, said.stderr);
        let harmful = |character: char| ddi::text::is_invisible(character) && character != '\n';
        assert!(!all.is_empty() && !all.contains(harmful), "{arguments:?}: {said:?}");
    }
    // For programs it is what was written.
    let json = desk.run(&["status", "--report", "report.json", "--json"]).json();
    assert_eq!(json["later"][0], hostile);
}
