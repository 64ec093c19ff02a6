//! Completions as shells get them.

use crate::Desk;
use crate::installation::{desk, install};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Command;

/// Candidates for the last word, as fish gets them. Nothing is printed besides.
fn fish(desk: &Desk, words: &[&str]) -> Vec<String> {
    let arguments = [&["--", "sextant"], words].concat();
    let output = desk.command(&arguments).env("SEXTANT_COMPLETE", "fish").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

/// Candidates as real bash puts them into `COMPREPLY`, by the script that is installed. `words` ends with the word to complete.
fn bash(desk: &Desk, words: &[&str]) -> Vec<String> {
    let programs = desk.path().join("bin");
    fs::create_dir_all(&programs).unwrap();
    let _ = symlink(env!("CARGO_BIN_EXE_tool-under-test"), programs.join("sextant"));
    fs::write(desk.path().join("script"), sextant_cli::commands::completion::registration("bash").unwrap()).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let code = r#"
        . ./script
        function=$(complete -p sextant | sed 's/.*-F \([^ ]*\) .*/\1/')
        COMP_WORDS=(sextant "$@") COMP_CWORD=$# COMP_TYPE=9
        "$function" sextant "${!#}" ""
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", code, "bash"]).args(words).env("PATH", path).current_dir(desk.path());
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn entries_names_tokens_and_layers_are_completed() {
    let desk = desk().image("tools");
    for (image, entry) in [("k3s", "active"), ("tools", "passive")] {
        let said = install(&desk, &[&format!("{image}.sysext.raw"), "--entry", entry]);
        assert_eq!(said.status, Some(0), "{said:?}");
    }
    desk.run(&["disable", "tools", "--all", "--esp", "esp"]);
    for complete in [fish, bash] {
        let found = |words: &[&str]| complete(&desk, words);
        for command in ["list", "install", "measure", "remove", "migrate"] {
            assert_eq!(
                found(&[command, "--esp", "esp", "--entry", ""])[..3],
                ["active", "passive", "recovery"],
                "{command}"
            );
        }
        assert_eq!(found(&["list", "--esp-path", "esp", "--entry", "a"]), ["active"]);
        assert_eq!(found(&["list", "--store", "kairos", "--root", ".", "--entry", "c"]), ["common"]);
        let names = |verb: &str, more: &[&str]| {
            let words = [&[verb, "--esp", "esp"], more, &[""]].concat();
            let options = |word: &String| !word.starts_with('-');
            found(&words).into_iter().filter(options).collect::<Vec<_>>()
        };
        assert_eq!(names("remove", &["--all"]), ["k3s", "tools"]);
        assert_eq!(names("remove", &["--entry", "passive"]), ["tools"]);
        assert_eq!(names("enable", &[]), ["tools"]);
        assert_eq!(names("disable", &[]), ["k3s"]);
        assert_eq!(found(&["explain", "unknown-s"]), ["unknown-signer"]);
        assert_eq!(found(&["build", "k3s", "oci:x", "--layers", ""])[..2], ["all", "last"]);
        assert_eq!(found(&["expl"]), ["explain"]);
        assert_eq!(found(&["list", "--no-l"]), ["--no-legend"]);
    }
    // bash takes `--entry=a` for three words, and completes the last.
    assert_eq!(bash(&desk, &["list", "--esp", "=", "esp", "--entry", "=", "a"]), ["active"]);
}

#[test]
fn files_are_completed() {
    let desk = Desk::new().image("k3s").file("a b.sysext.raw", b"");
    assert_eq!(fish(&desk, &["verify", "k"]), ["k3s.sysext.raw"]);
    assert_eq!(fish(&desk, &["verify", "--certificate", "ven"]), ["vendor.crt"]);
    // bash does it itself, and quotes: nothing is in its way.
    assert_eq!(bash(&desk, &["verify", ""]), [""; 0]);
    assert_eq!(bash(&desk, &["build", "k3s", ""]), [""; 0]);
    let script = String::from_utf8(sextant_cli::commands::completion::registration("bash").unwrap()).unwrap();
    assert!(script.contains("-o default ") && !script.contains("bashdefault"), "{script}");
}

#[test]
fn hostile_and_many_names_are_bounded_and_harmless() {
    let mut desk = desk();
    for name in ["$(reboot)", "a b", "--all", "e\u{1b}[2J", "x;y", "*", "~root", "good"] {
        desk = desk.file(format!("esp/EFI/kairos/active.efi.extra.d/{name}.sysext.raw"), b"");
    }
    let raw = OsStr::from_bytes(b"esp/EFI/kairos/active.efi.extra.d/\xff.sysext.raw");
    let desk = desk.file(raw, b"").file("e\u{1b}[2J", b"");
    for complete in [fish, bash] {
        let found = complete(&desk, &["remove", "--esp", "esp", ""]);
        let names: Vec<_> = found.iter().filter(|name| !name.starts_with('-')).collect();
        assert_eq!(names, ["good"]);
    }
    assert_eq!(fish(&desk, &["verify", "e"]), ["esp/"]);
    let many = (0..300).fold(desk, |desk, number| {
        desk.file(format!("esp/loader/entries/n{number}.conf"), b"efi /EFI/kairos/active.efi\n")
    });
    let found = fish(&many, &["list", "--esp", "esp", "--entry", "n"]);
    assert_eq!(found.len(), 200);
}

#[test]
fn what_cannot_be_read_has_no_candidates_and_no_message() {
    let desk = Desk::new();
    for words in [
        &["list", "--esp", "absent", "--entry", ""][..],
        &["remove", "--esp", "vendor.crt", "--all", "x"],
        &["list", "--root", "absent", "--entry", "x"],
        &["nonsense", "--nothing", "x"],
        &["enable", "--entry", "--", "x"],
        &["list", "--", "--", "x"],
    ] {
        assert_eq!(bash(&desk, words), [""; 0], "{words:?}");
        let found: Vec<_> = fish(&desk, words).into_iter().filter(|word| !word.starts_with('-')).collect();
        assert_eq!(found, [""; 0], "{words:?}");
    }
    let unknown = desk.command(&["--", "sextant", ""]).env("SEXTANT_COMPLETE", "tcsh").output().unwrap();
    assert!(unknown.stdout.is_empty() && unknown.stderr.is_empty(), "{unknown:?}");
    // Nothing but the variable makes it a completion.
    let empty = desk.command(&["--version"]).env("SEXTANT_COMPLETE", "").output().unwrap();
    assert!(empty.stdout.starts_with(b"sextant "), "{empty:?}");
}
