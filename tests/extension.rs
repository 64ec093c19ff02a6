//! Release files inside images: the same file is found that systemd 257 finds.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/harness.rs"]
mod harness;
#[path = "support/images.rs"]
mod images;

use harness::cases;
use sextant::extension::{ExtensionName, FoundRelease, LookupError, find_release, refuse_os_release};
use sextant::filesystem::Filesystem;
use sextant::image::Class;
use sextant::reason::Reason;
use std::path::Path;
use std::process::ExitCode;

const SYSEXT: &str = "usr/lib/extension-release.d";
const CONFEXT: &str = "etc/extension-release.d";

/// Makes an image of each format of what `build` puts into a tree, and looks at both.
fn with_image(build: impl Fn(&Path), look: impl Fn(&Filesystem<'_>)) {
    let directory = images::directory();
    let tree = directory.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    build(&tree);
    for (tool, options) in [("mkfs.erofs", "-zlz4"), ("mksquashfs", "-comp gzip")] {
        let image = directory.path().join(tool);
        let options: Vec<&str> = options.split_whitespace().collect();
        match images::make(tool, &options, &tree, &image) {
            Ok(()) => look(&Filesystem::open(&std::fs::read(&image).unwrap()).unwrap()),
            Err(reason) => harness::left_out(&reason),
        }
    }
}

fn find(filesystem: &Filesystem<'_>, class: Class, name: &str) -> Result<FoundRelease, LookupError> {
    find_release(filesystem, class, &ExtensionName::new(name).unwrap())
}

fn release(tree: &Path, directory: &str, name: &str, strict: Option<&str>) {
    let path = format!("{directory}/extension-release.{name}");
    images::write(tree, &path, format!("ID=_any\nNAME={name}\n").as_bytes());
    if let Some(strict) = strict {
        images::set_xattr(tree, &path, "user.extension-release.strict", strict.as_bytes());
    }
}

/// The name of the release file that is found for `name`, or the reason why none is.
fn found(filesystem: &Filesystem<'_>, name: &str) -> Result<String, Reason> {
    find(filesystem, Class::Sysext, name)
        .map(|found| {
            let named = found.file.get("NAME").unwrap().to_owned();
            assert_eq!(found.path, format!("{SYSEXT}/extension-release.{named}"));
            named
        })
        .map_err(|error| error.reason())
}

fn the_file_of_exactly_this_name_comes_first() {
    with_image(
        |tree| {
            release(tree, SYSEXT, "k3s_1.2", None);
            release(tree, SYSEXT, "k3s", None);
            release(tree, SYSEXT, "other", Some("0"));
        },
        |filesystem| {
            assert_eq!(found(filesystem, "k3s_1.2").as_deref(), Ok("k3s_1.2"));
            assert_eq!(found(filesystem, "k3s").as_deref(), Ok("k3s"));
        },
    );
}

fn a_version_in_the_name_of_the_image_is_ignored() {
    with_image(
        |tree| {
            release(tree, SYSEXT, "k3s", None);
            release(tree, SYSEXT, "k3sx", None);
        },
        |filesystem| {
            assert_eq!(found(filesystem, "k3s_1.2").as_deref(), Ok("k3s"));
            assert_eq!(found(filesystem, "k3s+7").as_deref(), Ok("k3s"));
            assert_eq!(found(filesystem, "k3s-1.2"), Err(Reason::WrongExtensionRelease));
            assert_eq!(found(filesystem, "renamed"), Err(Reason::WrongExtensionRelease));
            assert_eq!(found(filesystem, "_k3s"), Err(Reason::WrongExtensionRelease));
        },
    );
}

fn only_a_false_strict_attribute_lets_another_name_pass() {
    for (value, passes) in [("0", true), ("No", true), ("false\0", true), ("1", false), ("nope", false), ("", false)] {
        with_image(
            |tree| {
                release(tree, SYSEXT, "original", Some(value));
                release(tree, SYSEXT, "unmarked", None);
            },
            |filesystem| assert_eq!(found(filesystem, "renamed").is_ok(), passes, "{value}"),
        );
    }
}

fn two_to_choose_from_are_none() {
    with_image(
        |tree| {
            release(tree, SYSEXT, "a", Some("false"));
            release(tree, SYSEXT, "renamed", None);
        },
        |filesystem| {
            let error = find(filesystem, Class::Sysext, "renamed_2").unwrap_err();
            assert!(matches!(error, LookupError::Ambiguous { .. }), "{error}");
            assert_eq!(error.reason(), Reason::WrongExtensionRelease);
        },
    );
}

fn each_class_has_its_directory() {
    with_image(
        |tree| {
            release(tree, SYSEXT, "x", None);
            release(tree, CONFEXT, "y", None);
        },
        |filesystem| {
            assert!(find(filesystem, Class::Sysext, "x").is_ok());
            assert!(find(filesystem, Class::Confext, "y").is_ok());
            assert!(matches!(find(filesystem, Class::Confext, "x"), Err(LookupError::Missing { .. })));
            let error = find(filesystem, Class::Sysext, "y").unwrap_err();
            assert_eq!(error.to_string(), "there is no usr/lib/extension-release.d/extension-release.y");
        },
    );
}

fn a_confext_is_refused_where_systemd_fails_to_look_for_a_sysext() {
    with_image(
        |tree| {
            release(tree, CONFEXT, "y", None);
            images::write(tree, SYSEXT, b"not a directory");
        },
        |filesystem| {
            let error = find(filesystem, Class::Confext, "y").unwrap_err();
            assert_eq!(error.reason(), Reason::WrongExtensionRelease);
        },
    );
}

fn links_are_followed_inside_the_image_and_other_things_refused() {
    with_image(
        |tree| {
            images::write(tree, "usr/share/release", b"ID=linked\n");
            std::fs::create_dir_all(tree.join(SYSEXT).join("extension-release.directory")).unwrap();
            let link = |target, name: &str| {
                let name = format!("extension-release.{name}");
                std::os::unix::fs::symlink(target, tree.join(SYSEXT).join(name)).unwrap();
            };
            link("/usr/share/release", "linked");
            link("nowhere", "dangling");
            link("extension-release.loop", "loop");
        },
        |filesystem| {
            let found = find(filesystem, Class::Sysext, "linked").unwrap();
            assert_eq!(found.file.get("ID"), Some("linked"));
            assert!(matches!(find(filesystem, Class::Sysext, "dangling"), Err(LookupError::Missing { .. })));
            assert!(matches!(find(filesystem, Class::Sysext, "directory"), Err(LookupError::NotAFile { .. })));
            assert_eq!(find(filesystem, Class::Sysext, "loop").unwrap_err().reason(), Reason::WrongExtensionRelease);
        },
    );
}

fn a_file_that_systemd_does_not_read_is_refused() {
    with_image(
        |tree| {
            images::write(tree, &format!("{SYSEXT}/extension-release.nul"), b"ID=_any\0\n");
            images::write(tree, &format!("{SYSEXT}/extension-release.large"), &vec![b'#'; 70_000]);
        },
        |filesystem| {
            for name in ["nul", "large"] {
                assert_eq!(find(filesystem, Class::Sysext, name).unwrap_err().reason(), Reason::WrongExtensionRelease);
            }
        },
    );
}

fn an_os_release_is_refused_where_it_would_hide_the_hosts() {
    let refused = |path: &'static str, dangling: bool, class: Class| {
        let verdict = std::cell::Cell::new(None);
        with_image(
            |tree| {
                images::write(tree, "usr/lib/file", b"");
                images::write(tree, "etc/file", b"");
                if dangling {
                    std::os::unix::fs::symlink("nowhere", tree.join(path)).unwrap();
                } else {
                    images::write(tree, path, b"ID=x\n");
                }
            },
            |filesystem| {
                let result = refuse_os_release(filesystem, class);
                if let Err(error) = &result {
                    assert_eq!(error.reason(), Reason::ContainsOsRelease);
                    assert_eq!(error.to_string(), format!("it contains {path}"));
                }
                verdict.set(Some(result.is_err()));
            },
        );
        verdict.get()
    };
    for dangling in [false, true] {
        for class in Class::ALL {
            assert_ne!(refused("usr/lib/os-release", dangling, class), Some(false));
        }
        assert_ne!(refused("etc/os-release", dangling, Class::Confext), Some(false));
        assert_ne!(refused("etc/os-release", dangling, Class::Sysext), Some(true));
    }
}

fn main() -> ExitCode {
    harness::run(
        "extension.rs",
        cases!(
            crate: the_file_of_exactly_this_name_comes_first,
                a_version_in_the_name_of_the_image_is_ignored,
                only_a_false_strict_attribute_lets_another_name_pass,
                two_to_choose_from_are_none,
                each_class_has_its_directory,
                a_confext_is_refused_where_systemd_fails_to_look_for_a_sysext,
                links_are_followed_inside_the_image_and_other_things_refused,
                a_file_that_systemd_does_not_read_is_refused,
                an_os_release_is_refused_where_it_would_hide_the_hosts;
        ),
    )
}
