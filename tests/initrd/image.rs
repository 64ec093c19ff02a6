//! Initrds that dracut makes with the module.

use crate::installed::Installed;
use crate::trees::Tree;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;

/// Makes an initrd for a kernel, of the modules that the arguments name. No compression: it is the slowest part.
pub(crate) fn dracut(tree: &Tree, installed: &Installed, image: &Path, kernel: &Path, arguments: &[&str]) -> Output {
    let script = r#"
        image=$1 kernel=$2
        shift 2
        dracut --force --no-hostonly --reproducible --compress cat "$@" --kmoddir "$kernel" "$image" "${kernel##*/}"
    "#;
    let mut all = vec![image.to_str().unwrap(), kernel.to_str().unwrap()];
    all.extend(arguments);
    tree.run(installed, script, &all)
}

/// The content of an image that has to come out.
pub(crate) fn unpacked(tree: &Tree, installed: &Installed, arguments: &[&str]) -> PathBuf {
    let directory = installed.scratch(tree.suite);
    let image = directory.join("image");
    let output = dracut(tree, installed, &image, &tree.kernel_inside(), arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", tree.suite);
    let root = directory.join("root");
    fs::create_dir(&root).unwrap();
    tree.succeed(installed, r#"cd "$1" && lsinitrd --unpack "$2""#, &[root.to_str().unwrap(), image.to_str().unwrap()]);
    root
}

/// Whether a kernel module is in the image, or in the kernel.
fn has_module(root: &Path, name: &str) -> bool {
    let kernels = fs::read_dir(root.join("usr/lib/modules")).unwrap();
    let directory = kernels.map(|entry| entry.unwrap().path()).next().unwrap();
    let dependencies = fs::read_to_string(directory.join("modules.dep")).unwrap();
    let builtin = fs::read_to_string(directory.join("modules.builtin")).unwrap_or_default();
    let file = format!("/{name}.ko");
    dependencies.lines().any(|line| line.split(':').next().is_some_and(|path| path.contains(&file)))
        || builtin.lines().any(|path| path.ends_with(&file))
}

pub(crate) fn an_image_holds_everything_that_the_agent_needs() {
    let installed = Installed::new();
    installed
        .add("etc/sextant.yaml", "secure_boot: require\n")
        .add("etc/verity.d/vendor.crt", "a certificate")
        .add("etc/verity.d/vendor.key", "not for anybody")
        .add("usr/lib/sextant.yaml", "secure_boot: optional\n")
        .add("usr/lib/verity.d/other.crt", "another certificate")
        .add("etc/sextant.yaml.d/10-a.yaml", "metrics: true\n")
        .add("etc/sextant.yaml.d/20-b.yaml", "")
        .add("etc/sextant.yaml.d/.hidden.yaml", "metrics: true\n")
        .add("etc/sextant.yaml.d/README", "not for anybody")
        .add("usr/lib/sextant.yaml.d/30-c.yaml", "metrics: false\n")
        .add("usr/share/vendor/d.yaml", "metrics: false\n")
        .add("etc/systemd/system/sextant-merge.service.d/20-mine.conf", "[Unit]\nAfter=mine.service\n");
    symlink("/dev/null", installed.path().join("etc/sextant.yaml.d/30-c.yaml")).unwrap();
    symlink("/usr/share/vendor/d.yaml", installed.path().join("usr/lib/sextant.yaml.d/40-d.yaml")).unwrap();
    for tree in Tree::all() {
        let root = unpacked(&tree, &installed, &["--add", "sextant"]);
        let content = |path: &str| {
            let read = fs::read_to_string(root.join(path));
            read.unwrap_or_else(|error| panic!("{}: {path}: {error}", tree.suite))
        };
        let agent = fs::metadata(root.join("usr/lib/sextant/sextant-agent")).unwrap();
        assert_eq!(agent.permissions().mode() & 0o7777, 0o755, "{}", tree.suite);
        assert!(agent.len() > 1 << 20, "{}: the agent has {} bytes", tree.suite, agent.len());

        // Each file of the tree for initrds, as it is.
        let source = installed.path().join("usr/lib/sextant/initrd");
        let files = super::install::files(&source);
        assert!(files.len() > 10, "{files:?}");
        for file in files.iter().filter(|file| !source.join(file).is_symlink()) {
            assert_eq!(content(file), fs::read_to_string(source.join(file)).unwrap(), "{}: {file}", tree.suite);
        }
        for unit in ["sextant-stage.service", "sextant-merge.service"] {
            let link = fs::read_link(root.join("etc/systemd/system/initrd.target.wants").join(unit)).unwrap();
            let target = root.join(link.strip_prefix("/").unwrap());
            assert!(fs::metadata(&target).unwrap().is_file(), "{}: {}", tree.suite, target.display());
        }

        assert_eq!(content("etc/sextant.yaml"), "secure_boot: require\n");
        assert_eq!(content("usr/lib/sextant.yaml"), "secure_boot: optional\n");
        assert_eq!(content("etc/verity.d/vendor.crt"), "a certificate");
        assert_eq!(content("usr/lib/verity.d/other.crt"), "another certificate");
        assert!(!root.join("etc/verity.d/vendor.key").exists(), "{}", tree.suite);
        assert_eq!(content("etc/sextant.yaml.d/10-a.yaml"), "metrics: true\n");
        assert_eq!(content("etc/sextant.yaml.d/20-b.yaml"), "", "{}: a mask", tree.suite);
        assert_eq!(content("usr/lib/sextant.yaml.d/30-c.yaml"), "metrics: false\n");
        let mask = fs::read_link(root.join("etc/sextant.yaml.d/30-c.yaml")).unwrap();
        assert_eq!(mask, Path::new("/dev/null"), "{}", tree.suite);
        assert!(root.join("usr/lib/sextant.yaml.d/40-d.yaml").is_symlink(), "{}", tree.suite);
        assert_eq!(content("usr/share/vendor/d.yaml"), "metrics: false\n");
        for name in [".hidden.yaml", "README"] {
            assert!(!root.join("etc/sextant.yaml.d").join(name).exists(), "{}: {name}", tree.suite);
        }
        assert!(content("etc/systemd/system/sextant-merge.service.d/20-mine.conf").contains("mine.service"));

        for module in ["loop", "dm-mod", "dm-verity", "erofs", "squashfs", "overlay", "efivarfs"] {
            assert!(has_module(&root, module), "{}: no {module}", tree.suite);
        }
        for program in ["usr/bin/systemd-tmpfiles", "usr/lib/systemd/systemd-modules-load"] {
            assert!(root.join(program).is_file(), "{}: no {program}", tree.suite);
        }
        let loader = "usr/lib/systemd/system/sysinit.target.wants/systemd-modules-load.service";
        assert!(root.join(loader).is_symlink() || root.join(loader.replace("usr/lib", "etc")).is_symlink());
    }
}

/// With the command of the unit that `sextant-stage.service` starts if it fails, in the image itself.
pub(crate) fn the_gate_is_closed_where_the_agent_fails() {
    let installed = Installed::new();
    for tree in Tree::all() {
        let root = unpacked(&tree, &installed, &["--no-kernel", "--modules", "sextant"]);
        let commands = |unit: &str| {
            let text = fs::read_to_string(root.join("usr/lib/systemd/system").join(unit)).unwrap();
            let value =
                |line: &str| line.strip_prefix("ExecStart").or(line.strip_prefix("OnFailure")).map(str::to_owned);
            text.lines().filter_map(value).collect::<Vec<_>>()
        };
        assert_eq!(
            commands("sextant-stage.service"),
            ["=sextant-gate.service", "=/usr/lib/sextant/sextant-agent stage"]
        );
        let gate = commands("sextant-gate.service");
        let [command] = &gate[..] else { panic!("{gate:?}") };
        let command = command.trim_start_matches('=');

        let script = r#"
            mount --bind /proc "$1/proc"
            chroot "$1" $2
            chroot "$1" /usr/lib/sextant/sextant-agent --version
        "#;
        let version = tree.succeed(&installed, script, &[root.to_str().unwrap(), command]);
        assert!(version.starts_with("sextant-agent "), "{}: {version}", tree.suite);
        for unit in [
            "systemd-sysext.service",
            "systemd-confext.service",
            "systemd-sysext@.service",
            "systemd-sysupdate-notify-sysext@.service",
        ] {
            let path = format!("systemd/system/{unit}.d/zz-sextant.conf");
            let closed = fs::read_to_string(root.join("run").join(&path));
            let closed = closed.unwrap_or_else(|error| panic!("{}: {path}: {error}", tree.suite));
            assert_eq!(closed, fs::read_to_string(root.join("usr/lib").join(&path)).unwrap(), "{}", tree.suite);
        }
        // What keeps a boot from being marked as good if the agent doesn't come to its end.
        let target = "systemd/system/sextant-required.target";
        let required = "systemd/system/boot-complete.target.requires/sextant-required.target";
        let read = |path: String| fs::read_to_string(root.join(path)).unwrap_or_default();
        assert_eq!(read(format!("run/{required}")), read(format!("usr/lib/{target}")), "{}", tree.suite);
        assert!(root.join("run").join(target).is_file(), "{}", tree.suite);
    }
}

/// Only the modules that the machine at hand uses, which are others than those of the machine that boots.
pub(crate) fn a_host_only_image_has_the_kernel_modules_too() {
    let installed = Installed::new();
    for tree in Tree::all() {
        let root = unpacked(&tree, &installed, &["--hostonly", "--no-hostonly-cmdline", "--modules", "sextant"]);
        for module in ["loop", "dm-mod", "dm-verity", "erofs", "squashfs", "overlay", "efivarfs"] {
            assert!(has_module(&root, module), "{}: no {module}", tree.suite);
        }
    }
}

pub(crate) fn nobody_gets_the_agent_who_did_not_ask_for_it() {
    let installed = Installed::new();
    for tree in Tree::all() {
        let root = unpacked(&tree, &installed, &["--no-kernel"]);
        assert!(root.join("usr/lib/systemd/systemd").is_file(), "{}: not much of an image", tree.suite);
        let sextant: Vec<_> =
            super::install::files(&root).into_iter().filter(|file| file.contains("sextant")).collect();
        assert_eq!(sextant, Vec::<String>::new(), "{}", tree.suite);
    }
}
