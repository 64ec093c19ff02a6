//! The layout that a distribution packages.

use crate::image::unpacked;
use crate::installed::Installed;
use crate::trees::Tree;
use crate::units::{IN_AN_INITRD, complaints};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Files and links below `directory`, as paths relative to it, sorted.
pub(crate) fn files(directory: &Path) -> Vec<String> {
    fn walk(directory: &Path, top: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                walk(&path, top, found);
            } else {
                found.push(path.strip_prefix(top).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(directory, directory, &mut found);
    found.sort();
    found
}

/// Everything there is; what isn't in this list isn't promised, and what is, is.
const LAYOUT: &[&str] = &[
    "usr/bin/sextant",
    "usr/lib/dracut/modules.d/50sextant/module-setup.sh",
    "usr/lib/sextant/initrd/usr/lib/modules-load.d/sextant.conf",
    "usr/lib/sextant/initrd/usr/lib/systemd/initrd-preset/50-sextant.preset",
    "usr/lib/sextant/initrd/usr/lib/systemd/system-preset/50-sextant.preset",
    "usr/lib/sextant/initrd/usr/lib/systemd/system/initrd.target.wants/sextant-merge.service",
    "usr/lib/sextant/initrd/usr/lib/systemd/system/initrd.target.wants/sextant-stage.service",
    "usr/lib/sextant/initrd/usr/lib/systemd/system/sextant-gate.service",
    "usr/lib/sextant/initrd/usr/lib/systemd/system/sextant-merge.service",
    "usr/lib/sextant/initrd/usr/lib/systemd/system/sextant-merge.service.d/10-stage-runners.conf",
    "usr/lib/sextant/initrd/usr/lib/systemd/system/sextant-required.target",
    "usr/lib/sextant/initrd/usr/lib/systemd/system/sextant-stage.service",
    "usr/lib/sextant/initrd/usr/lib/systemd/system/systemd-confext-initrd.service.d/zz-sextant.conf",
    "usr/lib/sextant/initrd/usr/lib/systemd/system/systemd-confext-sysroot.service.d/zz-sextant.conf",
    "usr/lib/sextant/initrd/usr/lib/systemd/system/systemd-confext.service.d/zz-sextant.conf",
    "usr/lib/sextant/initrd/usr/lib/systemd/system/systemd-sysext-initrd.service.d/zz-sextant.conf",
    "usr/lib/sextant/initrd/usr/lib/systemd/system/systemd-sysext-sysroot.service.d/zz-sextant.conf",
    "usr/lib/sextant/initrd/usr/lib/systemd/system/systemd-sysext.service.d/zz-sextant.conf",
    "usr/lib/sextant/initrd/usr/lib/systemd/system/systemd-sysext@.service.d/zz-sextant.conf",
    "usr/lib/sextant/initrd/usr/lib/systemd/system/systemd-sysupdate-notify-sysext@.service.d/zz-sextant.conf",
    "usr/lib/sextant/initrd/usr/lib/tmpfiles.d/sextant.conf",
    "usr/lib/sextant/kairos/system/oem/zz-sextant.yaml",
    "usr/lib/sextant/kairos/usr/lib/sextant/sextant-agent",
    "usr/lib/sextant/kairos/usr/lib/systemd/confext.conf.d/zz-sextant.conf",
    "usr/lib/sextant/kairos/usr/lib/systemd/sysext.conf.d/zz-sextant.conf",
    "usr/lib/sextant/kairos/usr/lib/systemd/system/boot-complete.target.requires/sextant-required.target",
    "usr/lib/sextant/kairos/usr/lib/systemd/system/sextant-confirm.service",
    "usr/lib/sextant/kairos/usr/lib/systemd/system/sextant-required.target",
    "usr/lib/sextant/kairos/usr/lib/systemd/system/sysinit.target.wants/sextant-confirm.service",
    "usr/lib/sextant/kairos/usr/lib/systemd/system/sysinit.target.wants/systemd-confext.service",
    "usr/lib/sextant/kairos/usr/lib/systemd/system/sysinit.target.wants/systemd-sysext.service",
    "usr/lib/sextant/kairos/usr/lib/systemd/system/systemd-confext.service.d/zz-sextant.conf",
    "usr/lib/sextant/kairos/usr/lib/systemd/system/systemd-sysext.service.d/zz-sextant.conf",
    "usr/lib/sextant/kairos/usr/lib/systemd/system/systemd-sysext@.service.d/zz-sextant.conf",
    "usr/lib/sextant/kairos/usr/lib/systemd/system/systemd-sysupdate-notify-sysext@.service.d/zz-sextant.conf",
    "usr/lib/sextant/sextant-agent",
    "usr/lib/sextant/yip/sextant-after-install.yaml",
    "usr/lib/sextant/yip/zz-sextant-merge.yaml",
    "usr/lib/systemd/catalog/sextant.catalog",
    "usr/lib/systemd/system/sextant-gate.service",
    "usr/lib/systemd/system/sextant-merge.service",
    "usr/lib/systemd/system/sextant-merge.service.d/10-stage-runners.conf",
    "usr/lib/systemd/system/sextant-pcrlock.service",
    "usr/lib/systemd/system/sextant-stage.service",
    "usr/share/bash-completion/completions/sextant",
    "usr/share/doc/sextant/configuration.md",
    "usr/share/doc/sextant/glossary.md",
    "usr/share/doc/sextant/initrd.md",
    "usr/share/doc/sextant/kairos.md",
    "usr/share/doc/sextant/operations.md",
    "usr/share/doc/sextant/plan.md",
    "usr/share/doc/sextant/reasons.md",
    "usr/share/doc/sextant/report.md",
    "usr/share/doc/sextant/report.schema.json",
    "usr/share/doc/sextant/tutorial.md",
    "usr/share/doc/sextant/usage.md",
    "usr/share/fish/vendor_completions.d/sextant.fish",
    "usr/share/zsh/site-functions/_sextant",
];

pub(crate) fn the_layout_is_the_one_that_is_promised() {
    let installed = Installed::new();
    let found = files(&installed.path());
    let (pages, others): (Vec<_>, Vec<_>) = found.iter().partition(|path| path.starts_with("usr/share/man/"));
    assert_eq!(others, LAYOUT);
    for page in [
        "man1/sextant.1",
        "man1/sextant-verify.1",
        "man5/sextant.yaml.5",
        "man7/sextant-reasons.7",
        "man8/sextant-agent.8",
    ] {
        assert!(pages.iter().any(|path| path.ends_with(page)), "no {page} in {pages:?}");
    }
    for path in &found {
        let metadata = fs::symlink_metadata(installed.path().join(path)).unwrap();
        if metadata.is_symlink() {
            let of_systemd = path.contains("/sysinit.target.wants/systemd-");
            assert!(of_systemd || fs::metadata(installed.path().join(path)).unwrap().is_file(), "{path} leads nowhere");
            continue;
        }
        let program = path == "usr/bin/sextant" || path.ends_with("usr/lib/sextant/sextant-agent");
        let expected = if program || path.ends_with("/module-setup.sh") { 0o755 } else { 0o644 };
        assert_eq!(metadata.permissions().mode() & 0o7777, expected, "{path}");
        assert!(metadata.len() > 0, "{path} is empty");
    }
}

/// Where the agent lies is a matter of the distribution.
const ELSEWHERE: &str = "/usr/libexec/sextant";

pub(crate) fn another_directory_is_named_wherever_the_usual_one_was() {
    let (usual, other) = (Installed::new(), Installed::with(&["libexecdir=/usr/libexec/sextant"]));
    let moved = |path: &str| path.replace("usr/lib/sextant/", &format!("{}/", &ELSEWHERE[1..]));
    let mut expected: Vec<_> = files(&usual.path()).iter().map(|path| moved(path)).collect();
    expected.sort();
    assert_eq!(files(&other.path()), expected);
    let mut named = 0;
    for path in files(&other.path()) {
        let Ok(text) = fs::read_to_string(other.path().join(&path)) else { continue };
        let left =
            text.match_indices("/usr/lib/sextant").find(|(at, word)| !text[at + word.len()..].starts_with(".yaml"));
        assert_eq!(left, None, "{path}");
        named += text.matches(ELSEWHERE).count();
    }
    assert!(named > 20, "{named}");
    let kairos = other.path().join("usr/libexec/sextant/kairos");
    assert!(kairos.join("usr/libexec/sextant/sextant-agent").is_file());
    let stages = fs::read_to_string(kairos.join("system/oem/zz-sextant.yaml")).unwrap();
    assert_eq!(stages.matches("/usr/libexec/sextant/sextant-agent ").count(), 3, "{stages}");
}

pub(crate) fn dracut_puts_the_agent_where_the_units_call_it() {
    let installed = Installed::with(&["libexecdir=/usr/libexec/sextant"]);
    for tree in Tree::all() {
        let root = unpacked(&tree, &installed, &["--no-kernel", "--modules", "sextant"]);
        assert!(root.join("usr/libexec/sextant/sextant-agent").is_file(), "{}", tree.suite);
        assert!(!root.join("usr/lib/sextant").exists(), "{}", tree.suite);
        let unit = fs::read_to_string(root.join("usr/lib/systemd/system/sextant-merge.service")).unwrap();
        assert!(unit.contains("\nExecStart=/usr/libexec/sextant/sextant-agent merge\n"), "{}: {unit}", tree.suite);
        assert_eq!(complaints(&tree, &installed, &root, IN_AN_INITRD), "", "{}", tree.suite);
    }
}

/// By a distribution that enables only what its presets name.
pub(crate) fn presets_enable_the_units_in_an_initrd() {
    let installed = Installed::new();
    let script = r#"
        systemctl --root="$1" preset-all 2>/dev/null
        for unit in sextant-stage sextant-merge; do systemctl --root="$1" is-enabled "$unit.service"; done
    "#;
    for tree in Tree::all() {
        let root = unpacked(&tree, &installed, &["--no-kernel", "--modules", "sextant"]);
        for wants in ["etc/systemd/system/initrd.target.wants", "usr/lib/systemd/system/initrd.target.wants"] {
            for unit in ["sextant-stage.service", "sextant-merge.service"] {
                let _ = fs::remove_file(root.join(wants).join(unit));
            }
        }
        let presets = ["usr/lib/systemd/system-preset", "usr/lib/systemd/initrd-preset"];
        for directory in presets.map(|presets| root.join(presets)) {
            fs::write(directory.join("99-default.preset"), "disable *\n").unwrap();
        }
        let path = root.to_str().unwrap();
        assert_eq!(tree.succeed(&installed, script, &[path]), "enabled\nenabled\n", "{}", tree.suite);
        for directory in presets.map(|presets| root.join(presets)) {
            fs::remove_file(directory.join("50-sextant.preset")).unwrap();
        }
        let status = tree.run(&installed, script, &[path]).status;
        assert!(!status.success(), "{}: enabled without a preset", tree.suite);
    }
}

/// Names of pages behind each `before` in a text.
fn pages<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    let name = |rest: &'a str| {
        let end = rest.find(|character: char| !character.is_ascii_lowercase()).unwrap_or(rest.len());
        rest[end..].starts_with(".md").then(|| &rest[..end])
    };
    text.split(before).skip(1).filter_map(name)
}

pub(crate) fn every_page_that_an_installed_file_refers_to_is_installed() {
    let installed = Installed::new();
    let doc = installed.path().join("usr/share/doc/sextant");
    let mut referred = 0;
    for path in files(&installed.path()) {
        let Ok(text) = fs::read_to_string(installed.path().join(&path)) else { continue };
        let before: &[&str] = if path.starts_with("usr/share/doc/") { &["]("] } else { &["docs/", "doc/sextant/"] };
        for page in before.iter().flat_map(|before| pages(&text, before)) {
            referred += 1;
            assert!(doc.join(format!("{page}.md")).is_file(), "{path} refers to {page}.md");
        }
    }
    assert!(referred > 10, "{referred}");
}

/// What would be in the way of a host that booted without the agent.
pub(crate) fn nothing_on_the_host_closes_the_gate() {
    let installed = Installed::new();
    for directory in ["usr/lib/systemd/system", "usr/lib/tmpfiles.d", "usr/lib/modules-load.d", "etc", "run"] {
        let directory = installed.path().join(directory);
        let found = if directory.exists() { files(&directory) } else { Vec::new() };
        for file in found {
            assert!(file.starts_with("sextant-"), "{file} concerns others");
            let text = fs::read_to_string(directory.join(&file)).unwrap();
            if file == "sextant-pcrlock.service" {
                assert!(!text.contains("sysext") && !text.contains("confext"), "{file} concerns a merge");
                continue;
            }
            let inert = text.contains("\nConditionPathExists=/etc/initrd-release\n") || file.contains(".service.d/");
            assert!(inert, "{file} isn't for initrds only");
        }
    }
}

/// Every command has a page, and every option is on it.
pub(crate) fn the_manual_tells_every_command_and_option() {
    use clap::CommandFactory;
    let installed = Installed::new();
    for (mut command, section) in [(sextant_cli::commands::Cli::command(), 1), (sextant::agent::Cli::command(), 8)] {
        command.build();
        let program = command.get_name().to_owned();
        let subcommands: Vec<_> = command.get_subcommands().filter(|each| each.get_name() != "help").collect();
        assert!(!subcommands.is_empty());
        for subcommand in subcommands {
            let page = format!("usr/share/man/man{section}/{program}-{}.{section}", subcommand.get_name());
            let text =
                fs::read_to_string(installed.path().join(&page)).unwrap_or_else(|error| panic!("{page}: {error}"));
            let shown = subcommand.get_arguments().filter(|argument| !argument.is_hide_set());
            for option in shown.filter_map(clap::Arg::get_long) {
                let escaped = format!("\\-\\-{}", option.replace('-', "\\-"));
                assert!(text.contains(&escaped), "{page}: no {option}");
            }
            for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "SEE ALSO"] {
                let example = heading != "EXAMPLES" || section == 1;
                assert!(!example || text.contains(&format!(".SH {heading}\n")), "{page}: no {heading}");
            }
        }
    }
}
