//! Options and variables that the tools of systemd and GNU have: their users' fingers know them.

use crate::Desk;
use crate::installation::{desk, extra, install};
use std::process::{Command, Stdio};

const VERIFY: [&str; 4] = ["verify", "--certificate", "vendor.crt", "k3s.sysext.raw"];

#[test]
fn json_is_indented_or_on_one_line_or_off() {
    let desk = Desk::new().image("k3s");
    let run = |option: &str| desk.run(&[&VERIFY[..], &[option]].concat());
    let (plain, pretty, short, pipe) = (run("--json"), run("--json=pretty"), run("--json=short"), run("-j"));
    assert_eq!(plain.stdout.lines().count(), pretty.stdout.lines().count());
    assert!(plain.stdout.starts_with("{\n  \"version\": 1,\n"), "{plain:?}");
    assert!(short.stdout.starts_with("{\"version\":1,") && short.stdout.lines().count() == 1, "{short:?}");
    assert!(pipe.stdout.starts_with("{\"version\":1,"), "not a terminal: {pipe:?}");
    let off = run("--json=off");
    assert_eq!(off.stdout, desk.run(&VERIFY).stdout);
    run("--json=xml").complains(2, &["invalid value 'xml' for '--json[=<MODE>]'", "pretty, short, off"]);
    // Every command with a document has both.
    for command in ["build", "sign", "inspect", "plan", "verify", "trust", "install", "list", "enable", "disable"] {
        let help = desk.run(&[command, "--help"]).stdout;
        for option in ["--json[=<MODE>]", " -j", "-q, --quiet"] {
            assert!(help.contains(option), "{command}: {option}");
        }
    }
}

#[test]
fn quiet_leaves_the_status_and_what_is_wrong() {
    let desk = Desk::new().image("k3s").file("junk.sysext.raw", b"junk");
    let good = desk.run(&[&VERIFY[..], &["-q"]].concat());
    assert_eq!((good.status, good.stdout.as_str(), good.stderr.as_str()), (Some(0), "", ""));
    let bad = desk.run(&[&VERIFY[..], &["junk.sysext.raw", "--quiet"]].concat());
    assert_eq!((bad.status, bad.stdout.as_str()), (Some(1), ""));
    desk.run(&["verify", "-q", "--certificate", "absent.crt", "x"]).complains(1, &["reading certificate absent.crt"]);
}

/// A main file and its drop-ins can be tried before they are sealed.
#[test]
fn several_configurations_apply_one_over_the_other() {
    let desk = Desk::new()
        .image("k3s")
        .file("main.yaml", b"limits: {image_size: 1}\nminimum: {k3s: 1.30}\n")
        .file("drop-in.yaml", b"limits: {image_size: 1G}\n")
        .file("mask.yaml", b"minimum: {}\n")
        .file("broken.yaml", b"limits:\n  imag_size: 1G\n");
    let run = |files: &[&str]| {
        let configs = files.iter().flat_map(|file| ["--config", file]);
        let arguments: Vec<&str> = VERIFY.iter().copied().chain(["--json"]).chain(configs).collect();
        desk.run(&arguments)
    };
    let reason = |files: &[&str]| run(files).json()["images"][0]["reason"].clone();
    assert_eq!(reason(&["main.yaml"]), "too-large");
    assert_eq!(reason(&["drop-in.yaml", "main.yaml"]), "too-large");
    assert_eq!(reason(&["main.yaml", "drop-in.yaml"]), "too-old");
    assert_eq!(reason(&["main.yaml", "drop-in.yaml", "mask.yaml"]), "too-old");
    assert_eq!(reason(&["drop-in.yaml"]), serde_json::Value::Null);
    run(&["main.yaml", "broken.yaml"]).complains(1, &["reading broken.yaml, line 2, limits.imag_size: "]);
}

#[test]
fn without_a_legend_there_are_rows_only() {
    let desk = desk();
    let on_esp = |words: &[&str]| desk.run(&[words, &["--esp", "esp", "--no-legend"]].concat()).stdout;
    let installed = install(&desk, &["k3s.sysext.raw", "--entry", "active", "--no-legend"]);
    assert_eq!(
        installed.stdout.lines().map(|line| line.split_whitespace().next()).collect::<Vec<_>>(),
        [Some("active")]
    );
    let listed = on_esp(&["list"]);
    assert!(listed.starts_with("active  k3s.sysext.raw  enabled  "), "{listed}");
    assert_eq!(listed.lines().count(), 1, "{listed}");
    assert_eq!(on_esp(&["disable", "k3s", "--entry", "active"]), "active: k3s.sysext.raw disabled\n");
    let verified = desk.run(&[&VERIFY[..], &["--no-legend"]].concat()).stdout;
    assert_eq!(verified, "k3s.sysext.raw  accepted  CN=Vendor (file)\n");
}

#[test]
fn the_partition_is_found_as_other_tools_find_it() {
    let desk = desk();
    let files = || desk.path().join(extra("active", "k3s.sysext.raw")).exists();
    let words = ["install", "k3s.sysext.raw", "--entry", "active", "--certificate", "vendor.crt", "-q"];
    let named = desk.run(&[&words[..], &["--esp-path", "esp"]].concat());
    assert!(named.status == Some(0) && files(), "{named:?}");
    let esp = desk.path().join("esp");
    let list = |path: &std::path::Path| desk.command(&["list"]).env("SYSTEMD_ESP_PATH", path).output().unwrap();
    let found = list(&esp);
    assert!(String::from_utf8_lossy(&found.stdout).contains("k3s.sysext.raw"), "{found:?}");
    let relative = list("esp".as_ref());
    let said = String::from_utf8_lossy(&relative.stderr).into_owned();
    assert!(
        relative.status.code() == Some(1) && said.contains("SYSTEMD_ESP_PATH=esp is not an absolute path"),
        "{said}"
    );
}

#[test]
fn a_typing_error_is_answered_with_what_was_meant() {
    let desk = desk();
    assert_eq!(install(&desk, &["k3s.sysext.raw", "--entry", "active"]).status, Some(0));
    desk.run(&["instal"]).complains(2, &["some similar subcommands exist: ", "'install'"]);
    desk.run(&["list", "--entr", "active"]).complains(2, &["a similar argument exists: '--entry'"]);
    desk.run(&["explain", "unknown-singer"]).complains(2, &["a similar value exists: 'unknown-signer'"]);
    let on_esp = |words: &[&str]| desk.run(&[words, &["--esp", "esp"]].concat());
    on_esp(&["list", "--entry", "actve"]).complains(1, &["no boot entry \"actve\"", "did you mean \"active\"?"]);
    on_esp(&["remove", "k3", "--all"]).complains(1, &["no such extension", "did you mean \"k3s\"?"]);
    on_esp(&["remove", "zzz", "--all"]).complains(1, &["available: k3s\n"]);
}

#[test]
fn tables_fit_the_terminal_and_keep_words_whole() {
    let long = "an-extension-with-a-name-that-is-rather-long-for-a-table_1.2.3";
    let desk = Desk::new().image("k3s").image(long);
    let names = ["k3s", long].map(|name| format!("{name}.sysext.raw"));
    let run = |width: Option<&str>| {
        let words = ["verify", "--certificate", "vendor.crt", &names[0], &names[1], "absent.sysext.raw"];
        let mut command = desk.command(&words);
        command.env_remove("COLUMNS").envs(width.map(|width| ("COLUMNS", width)));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let (wide, narrow) = (run(None), run(Some("60")));
    assert!(wide.contains(&format!("{}  accepted  CN=Vendor", names[1])), "{wide}");
    for line in narrow.lines().filter(|line| line.chars().count() > 60) {
        assert_eq!(line.trim(), names[1], "{narrow}");
    }
    assert!(narrow.contains("CN=Vendor (file)\n"), "{narrow}");
}

/// A pager that says which lines it was given.
const PAGER: &str = "#!/bin/sh\necho \"paged: $(wc -l) lines, secure=$LESSSECURE\"\n";

#[test]
fn long_text_on_a_terminal_goes_through_the_pager() {
    let desk = Desk::new().file("pager", PAGER.as_bytes()).image("k3s");
    let script = desk.path().join("pager");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let program = env!("CARGO_BIN_EXE_tool-under-test");
    let run = |words: &str, variables: &[(&str, &str)]| {
        let mut command = Command::new("script");
        command.args([
            "-qec",
            &format!("stty rows 24 cols 80; {program} {}", words.replace("$0", program)),
            "/dev/null",
        ]);
        command.current_dir(desk.path()).stdin(Stdio::null());
        for name in ["NO_COLOR", "SYSTEMD_PAGER", "SUDO_UID", "LINES", "COLUMNS", "SYSTEMD_PAGERSECURE"] {
            command.env_remove(name);
        }
        command.env("TERM", "xterm").env("PAGER", &script).envs(variables.iter().copied());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let paged = run("explain", &[]);
    assert!(paged.starts_with("paged: ") && paged.lines().count() == 1, "{paged}");
    let plain = |text: &str| text.starts_with("REASON ") && text.contains("unknown-signer") && !text.contains("paged");
    for (words, variables) in [
        ("explain --no-pager", &[][..]),
        ("explain", &[("PAGER", "cat")]),
        ("explain", &[("TERM", "dumb")]),
        ("explain", &[("SYSTEMD_PAGER", "")]),
        ("explain | cat", &[]),
    ] {
        let text = run(words, variables);
        assert!(plain(&text), "{words} {variables:?}: {text}");
    }
    let short = run("verify --certificate vendor.crt k3s.sysext.raw", &[]);
    assert!(short.starts_with("FILE ") && short.contains("CN=Vendor"), "{short}");
    let secure = run("explain", &[("SUDO_UID", "1000"), ("SYSTEMD_PAGERSECURE", "1")]);
    assert!(secure.contains("secure=1"), "{secure}");
    // A command of its own, so that the shell and `stty` are found.
    let missing = run("--version; PATH=/nowhere PAGER=/nowhere/pager $0 explain", &[]);
    let missing = missing.split_once('\n').unwrap().1;
    assert!(plain(missing), "without any pager the text is printed: {missing}");
}
