//! Release files inside images: the same file is found that systemd 257 finds.
#![allow(clippy::unwrap_used, missing_docs)]

use support::harness;
use support::images;

use ddi::Class;
use ddi::ExtensionName;
use ddi::filesystem::{Filesystem, Tree};
use sextant::extension::{
    FoundRelease, LookupError, find_release, refuse_odd_hierarchies, refuse_odd_metadata, refuse_os_release,
    refuse_possible_hierarchies,
};
use sextant::kernel::MountedTree;
use sextant::policy::{Hierarchies, HostHierarchies};
use sextant::reason::Reason;
use std::path::Path;
use std::process::ExitCode;
use support::cases;

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
            images::write(tree, &format!("{SYSEXT}/extension-release.real"), b"ID=linked\n");
            let link = |target, name: &str| {
                let name = format!("extension-release.{name}");
                std::os::unix::fs::symlink(target, tree.join(SYSEXT).join(name)).unwrap();
            };
            link("extension-release.real", "linked");
            link("extension-release.nowhere", "dangling");
            link("extension-release.loop", "loop");
        },
        |filesystem| {
            let found = find(filesystem, Class::Sysext, "linked").unwrap();
            assert_eq!(found.file.get("ID"), Some("linked"));
            assert!(matches!(find(filesystem, Class::Sysext, "dangling"), Err(LookupError::Missing { .. })));
            assert_eq!(find(filesystem, Class::Sysext, "loop").unwrap_err().reason(), Reason::WrongExtensionRelease);
        },
    );
}

/// Makes an image of each format of a good extension with one more thing in it, and looks into both, and into the tree as the
/// kernel would show it.
fn with_odd(class: Class, put: impl Fn(&Path), look: impl Fn(&str, &dyn Tree)) {
    let directory = if class == Class::Sysext { SYSEXT } else { CONFEXT };
    let build = |tree: &Path| {
        release(tree, directory, "x", None);
        put(tree);
    };
    let tree = tempfile::tempdir().unwrap();
    build(tree.path());
    look("mounted", &MountedTree::open(tree.path()).unwrap());
    with_image(build, |filesystem| look("image", filesystem));
}

fn fifo(tree: &Path, path: &str) {
    let path = tree.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

fn symlink(tree: &Path, target: &str, path: &str) {
    let path = tree.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(target, path).unwrap();
}

type Put = fn(&Path);

fn what_systemd_reads_before_it_merges_is_a_small_file_or_nothing() {
    let odd: [(&str, Put); 15] = [
        ("etc/os-release is a FIFO", |tree| fifo(tree, "etc/os-release")),
        ("etc/hostname is a FIFO", |tree| fifo(tree, "etc/hostname")),
        ("etc/machine-id is a FIFO", |tree| fifo(tree, "etc/machine-id")),
        ("etc/machine-info is a FIFO", |tree| fifo(tree, "etc/machine-info")),
        ("etc/initrd-release is a FIFO", |tree| fifo(tree, "etc/initrd-release")),
        ("usr/lib/initrd-release is a FIFO", |tree| fifo(tree, "usr/lib/initrd-release")),
        ("etc/machine-id is a socket", |tree| {
            std::fs::create_dir_all(tree.join("etc")).unwrap();
            drop(std::os::unix::net::UnixListener::bind(tree.join("etc/machine-id")).unwrap());
        }),
        ("etc/hostname is a directory", |tree| std::fs::create_dir_all(tree.join("etc/hostname")).unwrap()),
        ("etc/machine-info is a FIFO", |tree| {
            fifo(tree, "srv/fifo");
            symlink(tree, "/srv/fifo", "etc/machine-info");
        }),
        ("etc/os-release", |tree| symlink(tree, "os-release", "etc/os-release")),
        ("etc/os-release", |tree| {
            images::write(tree, "etc/file", b"");
            symlink(tree, "file/below", "etc/os-release");
        }),
        ("etc/machine-id", |tree| images::write(tree, "etc/machine-id", &[b'0'; 4097])),
        ("etc/machine-info", |tree| images::write(tree, "etc/machine-info", &vec![b'#'; 65_537])),
        ("etc/hostname", |tree| symlink(tree, "/etc/../etc/hostname", "etc/hostname")),
        ("etc/machine-id is a FIFO", |tree| {
            symlink(tree, "srv/etc", "etc2");
            symlink(tree, "../etc2/id", "etc/machine-id");
            fifo(tree, "srv/etc/id");
        }),
    ];
    for class in Class::ALL {
        for (begin, put) in odd {
            with_odd(class, put, |what, tree| {
                let result = refuse_odd_metadata(tree, class, &ExtensionName::new("x").unwrap());
                let Err(error) = result else { panic!("{what}: {begin}") };
                assert_eq!(error.reason(), Reason::BadMetadata, "{what}: {begin}: {error}");
                assert!(error.to_string().starts_with(begin), "{what}: {begin}: {error}");
            });
        }
    }
}

fn the_release_file_of_the_other_class_is_read_too() {
    for (class, other) in [(Class::Sysext, CONFEXT), (Class::Confext, SYSEXT)] {
        let refuse = |put: &dyn Fn(&Path)| {
            let verdicts = std::cell::RefCell::new(Vec::new());
            with_odd(class, put, |_, tree| {
                let result = refuse_odd_metadata(tree, class, &ExtensionName::new("x").unwrap());
                assert!(result.as_ref().err().is_none_or(|error| error.reason() == Reason::BadMetadata), "{result:?}");
                verdicts.borrow_mut().push(result.is_err());
            });
            // All readers say the same.
            let verdicts = verdicts.into_inner();
            assert!(!verdicts.is_empty() && verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{verdicts:?}");
            verdicts[0]
        };
        assert!(refuse(&|tree| fifo(tree, &format!("{other}/extension-release.x"))));
        assert!(refuse(&|tree| std::fs::create_dir_all(tree.join(other).join("extension-release.x")).unwrap()));
        assert!(!refuse(&|tree| release(tree, other, "x", None)));
        // Of another name: it isn't opened.
        assert!(!refuse(&|tree| fifo(tree, &format!("{other}/extension-release.y"))));
    }
}

fn what_a_good_extension_may_have_passes() {
    let fine: [Put; 4] = [
        |_| {},
        |tree| {
            for path in ["etc/hostname", "etc/machine-id", "etc/machine-info", "etc/initrd-release"] {
                images::write(tree, path, b"uninitialized\n");
            }
        },
        |tree| {
            symlink(tree, "../usr/lib/machine-info", "etc/machine-info");
            symlink(tree, "/run/hostname", "etc/hostname");
            images::write(tree, "usr/lib/machine-info", b"PRETTY_HOSTNAME=x\n");
        },
        |tree| {
            images::write(tree, "etc/hostname", &[b'#'; 4096]);
            images::write(tree, "etc/machine-info", &vec![b'#'; 65_536]);
        },
    ];
    for class in Class::ALL {
        for put in fine {
            with_odd(class, put, |what, tree| {
                let name = ExtensionName::new("x").unwrap();
                let found = find_release(tree, class, &name);
                found.unwrap_or_else(|error| panic!("{what}: {error}"));
                refuse_odd_metadata(tree, class, &name).unwrap_or_else(|error| panic!("{what}: {error}"));
                refuse_possible_hierarchies(tree, HostHierarchies::default().possible(class), 20).unwrap();
            });
        }
    }
    // Nothing is merged of etc in a system extension.
    with_odd(
        Class::Sysext,
        |tree| images::write(tree, "etc/os-release", b"ID=x\n"),
        |_, tree| {
            refuse_odd_metadata(tree, Class::Sysext, &ExtensionName::new("x").unwrap()).unwrap();
        },
    );
}

fn release_files_are_read_again_in_the_merged_system() {
    let odd: [(&str, Put); 5] = [
        ("usr/lib/extension-release.d/extension-release.another is a FIFO", |tree| {
            fifo(tree, &format!("{SYSEXT}/extension-release.another"));
        }),
        ("usr/lib/extension-release.d/extension-release.link is a symbolic link", |tree| {
            symlink(tree, "../os", &format!("{SYSEXT}/extension-release.link"));
        }),
        ("usr/lib/extension-release.d/extension-release.a is a directory", |tree| {
            std::fs::create_dir_all(tree.join(SYSEXT).join("extension-release.a")).unwrap();
        }),
        ("usr/lib/extension-release.d is a symbolic link", |tree| {
            std::fs::rename(tree.join(SYSEXT), tree.join("usr/releases")).unwrap();
            symlink(tree, "../releases", SYSEXT);
        }),
        ("usr/lib is a symbolic link", |tree| {
            std::fs::rename(tree.join("usr/lib"), tree.join("usr/lib64")).unwrap();
            symlink(tree, "lib64", "usr/lib");
        }),
    ];
    for (begin, put) in odd {
        with_odd(Class::Sysext, put, |what, tree| {
            let error = find_release(tree, Class::Sysext, &ExtensionName::new("x").unwrap()).unwrap_err();
            assert_eq!(error.reason(), Reason::WrongExtensionRelease);
            assert!(error.to_string().starts_with(begin), "{what}: {begin}: {error}");
        });
    }
}

fn names_of_systemds_own_are_refused_in_every_hierarchy() {
    let host = HostHierarchies::default();
    for (class, path, passes) in [
        (Class::Sysext, "usr/.systemd-sysext/work_dir", false),
        (Class::Sysext, "opt/.systemd-confext/dev", false),
        (Class::Sysext, "usr/local/bin/.systemd-sysext", false),
        (Class::Sysext, "usr/share/doc/.systemd-sysext/dev", true),
        (Class::Confext, "etc/.systemd-confext/extensions", false),
        (Class::Confext, "etc/.systemd-sysext", false),
    ] {
        with_odd(
            class,
            |tree| images::write(tree, path, b"var/lib"),
            |what, tree| {
                let strict = refuse_odd_hierarchies(tree, Hierarchies::default().paths(class));
                let result = strict.and_then(|()| refuse_possible_hierarchies(tree, host.possible(class), 20));
                assert_eq!(
                    result.as_ref().map_err(LookupError::reason).err(),
                    (!passes).then_some(Reason::BadHierarchy)
                );
                assert!(passes || result.unwrap_err().to_string().contains(".systemd-"), "{what}: {path}");
            },
        );
    }
    with_odd(
        Class::Sysext,
        |tree| symlink(tree, "nowhere", "usr/.systemd-sysext"),
        |_, tree| {
            assert!(refuse_odd_hierarchies(tree, ["/usr"].into_iter()).is_err());
        },
    );
}

fn where_a_host_may_merge_an_extension_has_a_directory_or_a_short_link_to_one() {
    let cases: [(bool, Put); 10] = [
        (true, |tree| symlink(tree, "bin", "usr/sbin")),
        (true, |tree| symlink(tree, "../var/usrlocal", "usr/local")),
        (true, |tree| {
            std::fs::create_dir_all(tree.join("usr/bin")).unwrap();
            symlink(tree, "/usr/bin", "usr/sbin");
        }),
        (true, |tree| images::write(tree, "usr/libexec", b"")),
        (false, |tree| images::write(tree, "usr/bin", b"")),
        (false, |tree| fifo(tree, "usr/share")),
        (false, |tree| {
            images::write(tree, "usr/file", b"");
            symlink(tree, "file", "usr/sbin");
        }),
        (false, |tree| symlink(tree, "sbin", "usr/sbin")),
        (false, |tree| {
            std::fs::create_dir_all(tree.join("usr/share/a-much-longer-directory")).unwrap();
            symlink(tree, "share/a-much-longer-directory", "usr/sbin");
        }),
        (false, |tree| images::write(tree, "usr/local", b"")),
    ];
    for (number, (passes, put)) in cases.into_iter().enumerate() {
        with_odd(Class::Sysext, put, |what, tree| {
            let result = refuse_possible_hierarchies(tree, HostHierarchies::default().possible(Class::Sysext), 20);
            let reason = result.as_ref().map_err(LookupError::reason).err();
            assert_eq!(reason, (!passes).then_some(Reason::BadHierarchy), "{what}: {number}: {result:?}");
        });
    }
    // Where the host's own units merge.
    let mut host = HostHierarchies::default();
    host.add(Class::Confext, "/etc/app");
    with_odd(
        Class::Confext,
        |tree| images::write(tree, "etc/app", b""),
        |_, tree| {
            assert!(refuse_possible_hierarchies(tree, host.possible(Class::Confext), 20).is_err());
            assert!(refuse_possible_hierarchies(tree, HostHierarchies::default().possible(Class::Confext), 20).is_ok());
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
                what_systemd_reads_before_it_merges_is_a_small_file_or_nothing,
                the_release_file_of_the_other_class_is_read_too,
                what_a_good_extension_may_have_passes,
                release_files_are_read_again_in_the_merged_system,
                names_of_systemds_own_are_refused_in_every_hierarchy,
                where_a_host_may_merge_an_extension_has_a_directory_or_a_short_link_to_one,
                a_file_that_systemd_does_not_read_is_refused,
                an_os_release_is_refused_where_it_would_hide_the_hosts;
        ),
    )
}
