//! An image that would boot without the agent must not come out at all.

use crate::image::dracut;
use crate::installed::Installed;
use crate::trees::Tree;
use std::os::unix::fs::symlink;

/// Asserts that no image comes out of `installed`, and that `message` is among what dracut says.
fn assert_refused(installed: &Installed, arguments: &[&str], message: &str) {
    for tree in Tree::all() {
        let image = installed.scratch(tree.suite).join("image");
        let output = dracut(&tree, installed, &image, &tree.kernel_inside(), arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{}: dracut succeeded\n{stderr}", tree.suite);
        assert!(!image.exists(), "{}: there is an image", tree.suite);
        assert!(stderr.contains(message), "{}: {message} isn't in\n{stderr}", tree.suite);
    }
}

/// What is missing here has nothing to do with a kernel; without one, and without other modules, dracut is quick.
const ADDED: &[&str] = &["--no-kernel", "--modules", "sextant"];

pub(crate) fn no_image_without_the_agent() {
    let installed = Installed::new();
    installed.remove("usr/lib/sextant/sextant-agent");
    assert_refused(&installed, ADDED, "sextant: there is no agent /usr/lib/sextant/sextant-agent");
}

pub(crate) fn no_image_without_a_unit() {
    let installed = Installed::new();
    // The host's copy must not stand in for it.
    installed.remove("usr/lib/sextant/initrd/usr/lib/systemd/system/sextant-merge.service");
    assert_refused(&installed, ADDED, "sextant: enabling sextant-merge.service failed");
}

pub(crate) fn no_image_without_the_gate() {
    for file in [
        "lib/tmpfiles.d/sextant.conf",
        "lib/systemd/system/systemd-confext.service.d/zz-sextant.conf",
        "lib/systemd/system/sextant-gate.service",
        "lib/systemd/system/sextant-required.target",
    ] {
        let installed = Installed::new();
        installed.remove(&format!("usr/lib/sextant/initrd/usr/{file}"));
        assert_refused(&installed, ADDED, &format!("sextant: there is no usr/{file} in /usr/lib/sextant/initrd"));
    }
}

pub(crate) fn no_image_without_a_certificate_that_was_meant_to_be_in_it() {
    let installed = Installed::new();
    installed.add("etc/verity.d/good.crt", "a certificate");
    symlink("/nowhere/vendor.crt", installed.path().join("etc/verity.d/vendor.crt")).unwrap();
    assert_refused(&installed, ADDED, "sextant: installing /etc/verity.d/vendor.crt failed");
}

pub(crate) fn no_image_with_a_drop_in_that_the_agent_refuses() {
    for (name, message) in [
        ("directory.yaml", "sextant: /etc/sextant.yaml.d/directory.yaml is a directory"),
        ("link.yaml", "sextant: installing /etc/sextant.yaml.d/link.yaml failed"),
    ] {
        let installed = Installed::new();
        installed.add("etc/sextant.yaml.d/good.yaml", "metrics: true\n");
        let path = installed.path().join("etc/sextant.yaml.d").join(name);
        match name {
            "link.yaml" => symlink("/nowhere/other.yaml", path).unwrap(),
            _ => std::fs::create_dir(path).unwrap(),
        }
        assert_refused(&installed, ADDED, message);
    }
}

/// A dependency that can't be met leaves the module out, whose own code then has no say.
pub(crate) fn no_image_without_what_the_module_depends_on() {
    let installed = Installed::new();
    let arguments = [ADDED, &["--omit", "systemd-tmpfiles"]].concat();
    assert_refused(&installed, &arguments, "systemd-tmpfiles");
}

pub(crate) fn no_image_without_dm_verity() {
    let installed = Installed::new();
    for tree in Tree::all() {
        // A kernel without it, as far as the list of modules knows.
        let kernels = installed.scratch(tree.suite).join("lib/modules");
        let script = r#"
            mkdir -p "$2"
            cp -a "$1" "$2"
            kernel=${1##*/}
            find "$2" -name "dm-verity.ko*" -delete
            depmod --basedir "${2%/lib/modules}" "$kernel"
        "#;
        let kernel = tree.kernel_inside();
        tree.succeed(&installed, script, &[kernel.to_str().unwrap(), kernels.to_str().unwrap()]);
        let kernel = kernels.join(kernel.file_name().unwrap());
        let image = kernels.join("image");
        let arguments = ["--modules", "sextant"];
        let output = dracut(&tree, &installed, &image, &kernel, &arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && !image.exists(), "{}: {stderr}", tree.suite);
        assert!(stderr.contains("dm_verity"), "{}: {stderr}", tree.suite);
    }
}
