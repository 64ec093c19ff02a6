//! What `docs/initrd.md` says, done.

use crate::image::unpacked;
use crate::installed::{Installed, repository};
use crate::trees::Tree;
use crate::units::{IN_AN_INITRD, complaints};
use std::fs;

/// The commands for root in the section with a heading.
fn commands(heading: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join("docs/initrd.md")).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let mut commands = Vec::new();
    for block in section.split("```console\n").skip(1) {
        let (block, _) = block.split_once("```").unwrap();
        commands.extend(block.lines().filter_map(|line| line.strip_prefix("# ")).map(str::to_owned));
    }
    commands
}

pub(crate) fn the_line_for_dracut_puts_the_agent_into_the_image() {
    let commands = commands("With dracut");
    let line = commands[0].strip_prefix("echo '").and_then(|rest| rest.split_once("' > /"));
    let (content, path) = line.unwrap_or_else(|| panic!("{commands:?}"));
    assert!(commands[1].starts_with("dracut --force "), "{commands:?}");
    let installed = Installed::new();
    installed.add(path, &format!("{content}\n"));
    for tree in Tree::all() {
        let root = unpacked(&tree, &installed, &["--no-kernel"]);
        assert!(root.join("usr/lib/sextant/sextant-agent").is_file(), "{}", tree.suite);
    }
}

/// An initrd that was made by something that knows nothing of sextant.
pub(crate) fn the_commands_for_other_initrds_make_a_whole_one() {
    let commands = commands("Without dracut");
    assert_eq!(commands.len(), 2, "{commands:?}");
    let script = commands.join("\n").replace("ROOT/", "\"$1\"/");
    let installed = Installed::new();
    for tree in Tree::all() {
        let modules = "systemd-initrd systemd-modules-load systemd-tmpfiles dracut-systemd";
        let root = unpacked(&tree, &installed, &["--no-kernel", "--modules", modules]);
        assert!(!root.join("usr/lib/sextant").exists(), "{}", tree.suite);
        tree.succeed(&installed, &script, &[root.to_str().unwrap()]);
        for unit in ["sextant-stage.service", "sextant-merge.service"] {
            let wanted = root.join("usr/lib/systemd/system/initrd.target.wants").join(unit);
            assert!(wanted.is_symlink() && wanted.is_file(), "{}: {unit} isn't enabled", tree.suite);
        }
        assert_eq!(complaints(&tree, &installed, &root, IN_AN_INITRD), "", "{}", tree.suite);
        let gate = r#"mount --bind /proc "$1/proc"; chroot "$1" systemd-tmpfiles --create sextant.conf"#;
        tree.succeed(&installed, gate, &[root.to_str().unwrap()]);
        assert!(root.join("run/systemd/system/systemd-sysext.service.d/zz-sextant.conf").is_file(), "{}", tree.suite);
    }
}

/// What the page says that is needed, and what the module loads.
pub(crate) fn the_kernel_modules_are_the_ones_that_are_loaded() {
    let page = fs::read_to_string(repository().join("docs/initrd.md")).unwrap();
    let loaded = fs::read_to_string(repository().join("systemd-units/sextant.modules-load.conf")).unwrap();
    let modules: Vec<_> = loaded.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(modules, ["loop", "dm_mod", "dm_verity", "erofs", "squashfs", "overlay"]);
    for module in modules {
        assert!(page.contains(&format!("`{module}`")), "{module}");
    }
}
