#![allow(clippy::unwrap_used)]
use super::*;
use crate::policy::{Minimum, Named, Required, Verify};
use crate::trust::Source;
use ddi::Class;
use ddi::verity::RootHash;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// An initrd.
struct Initrd(tempfile::TempDir);

impl Initrd {
    fn new(files: &[(&str, &str)]) -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        for (path, content) in files {
            this.write(path, content.as_bytes());
        }
        this
    }

    /// The place of a file, with a directory around it.
    fn at(&self, path: &str) -> PathBuf {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn write(&self, path: &str, content: &[u8]) {
        fs::write(self.at(path), content).unwrap();
    }

    fn root(&self) -> Root {
        Root::open(self.0.path()).unwrap()
    }

    /// The policy, and that of the copy that is kept.
    fn load(&self) -> Result<Policy, String> {
        let root = self.root();
        keep(&root, &find(&root)).unwrap();
        let [found, kept] = [load(&root), kept(&root)].map(|policy| policy.map_err(|error| error.to_string()));
        match &found {
            Ok(_) => assert_eq!(found, kept),
            // The copy of a single file has a path of its own.
            Err(_) => assert!(kept.is_err(), "{kept:?}"),
        }
        found
    }

    fn images(&self) -> usize {
        self.load().unwrap().limits.images
    }
}

/// What several files come to, the first of which is the main file.
fn together(files: &[&str]) -> Result<Policy, String> {
    let initrd = Initrd::new(&[]);
    for (index, content) in files.iter().enumerate() {
        let path = if index == 0 { "etc/sextant.yaml".to_owned() } else { format!("etc/sextant.yaml.d/{index}.yaml") };
        initrd.write(&path, content.as_bytes());
    }
    initrd.load()
}

#[test]
fn drop_ins_apply_in_the_order_of_their_names_over_both_directories() {
    let initrd = Initrd::new(&[("usr/lib/sextant.yaml.d/50-a.yaml", "limits: {images: 50}")]);
    assert_eq!(initrd.images(), 50, "without a main file");
    initrd.write("usr/lib/sextant.yaml", b"limits: {images: 1, image_size: 7}");
    let policy = initrd.load().unwrap();
    assert_eq!((policy.limits.images, policy.limits.image_size), (50, 7));
    initrd.write("etc/sextant.yaml.d/40-b.yaml", b"limits: {images: 40}");
    assert_eq!(initrd.images(), 50, "the name counts, not the directory");
    initrd.write("etc/sextant.yaml.d/9.yaml", b"limits: {images: 9}");
    assert_eq!(initrd.images(), 9, "names are compared as bytes");
    // The main file of /etc takes the place of the other one, and of no drop-in.
    initrd.write("etc/sextant.yaml", b"limits: {images: 2, memory: 5}");
    let policy = initrd.load().unwrap();
    assert_eq!((policy.limits.images, policy.limits.image_size, policy.limits.memory), (9, 8 << 30, 5));
}

#[test]
fn a_drop_in_of_etc_replaces_or_masks_that_of_the_vendor() {
    let vendor = ("usr/lib/sextant.yaml.d/50-a.yaml", "limits: {images: 50, memory: 6}");
    let initrd = Initrd::new(&[vendor, ("etc/sextant.yaml.d/50-a.yaml", "limits: {images: 5}")]);
    let limits = initrd.load().unwrap().limits;
    assert_eq!((limits.images, limits.memory), (5, Policy::default().limits.memory));
    let replaces = |initrd: &Initrd| {
        let documents = find(&initrd.root());
        documents.iter().map(|found| found.unwrap().replaces().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(replaces(&initrd), [Some("/usr/lib/sextant.yaml.d/50-a.yaml".to_owned())]);

    initrd.write("etc/sextant.yaml.d/50-a.yaml", b"");
    assert_eq!(initrd.load().unwrap(), Policy::default());
    fs::remove_file(initrd.at("etc/sextant.yaml.d/50-a.yaml")).unwrap();
    assert_eq!(initrd.images(), 50);
    // As `ln -s /dev/null` has it; there is no such device in an archive.
    symlink("/dev/null", initrd.at("etc/sextant.yaml.d/50-a.yaml")).unwrap();
    assert_eq!(initrd.load().unwrap(), Policy::default());
    // A main file is masked in the same way.
    initrd.write("usr/lib/sextant.yaml", b"limits: {images: 3}");
    assert_eq!(initrd.images(), 3);
    symlink("/dev/null", initrd.at("etc/sextant.yaml")).unwrap();
    assert_eq!(initrd.load().unwrap(), Policy::default());
}

#[test]
fn other_names_are_no_drop_ins() {
    let initrd = Initrd::new(&[]);
    for name in [".yaml", ".50-a.yaml", ".50-a.yaml.swp", "50-a.yml", "50-a.yaml~", "50-a.yaml.disabled", "README"] {
        initrd.write(&format!("etc/sextant.yaml.d/{name}"), b"nonsense: true");
        assert!(!is_drop_in(name.as_ref()), "{name}");
    }
    fs::create_dir(initrd.at("etc/sextant.yaml.d/more")).unwrap();
    for elsewhere in ["run", "usr/local/lib", "lib"] {
        initrd.write(&format!("{elsewhere}/sextant.yaml.d/50-a.yaml"), b"nonsense: true");
    }
    assert_eq!(initrd.load().unwrap(), Policy::default());
    initrd.write("etc/sextant.yaml.d/50-a.yaml", b"nonsense: true");
    assert!(initrd.load().unwrap_err().contains("/etc/sextant.yaml.d/50-a.yaml, line 1, nonsense: "));
}

#[test]
fn a_mistake_in_any_file_refuses_all_of_them() {
    let good = ("etc/sextant.yaml", "limits: {images: 1}");
    for directory in ["etc", "usr/lib"] {
        let path = format!("{directory}/sextant.yaml.d/50-a.yaml");
        let initrd = Initrd::new(&[good, (&path, "metrics: true\nlimits:\n  imags: 3\n")]);
        let error = initrd.load().unwrap_err();
        assert!(error.starts_with(&format!("reading /{path}, line 3, limits.imags: limits: unknown field")), "{error}");
        // The run that has only the copy says the same.
        assert_eq!(kept(&initrd.root()).unwrap_err().to_string(), error);
    }
    for content in
        [&b"a: \xff"[..], b"metrics: true\n---\nmetrics: true\n", &b"[".repeat(1000), b"metrics: null", b"- a"]
    {
        let initrd = Initrd::new(&[good]);
        initrd.write("etc/sextant.yaml.d/50-a.yaml", content);
        let error = initrd.load().unwrap_err();
        assert!(error.starts_with("reading /etc/sextant.yaml.d/50-a.yaml"), "{error}");
    }
}

/// What systemd passes over was meant to be a part of the configuration.
#[test]
fn what_is_no_regular_file_refuses_the_configuration() {
    let name = "etc/sextant.yaml.d/50-a.yaml";
    let good = ("etc/sextant.yaml", "required: [k3s]");
    let error = |make: fn(&Initrd, &str)| {
        let initrd = Initrd::new(&[good]);
        make(&initrd, name);
        let documents = find(&initrd.root());
        assert!(documents.may_require(), "what could be read may still require");
        let error = initrd.load().unwrap_err();
        let rest = error.strip_prefix("reading /etc/sextant.yaml.d/50-a.yaml: ");
        rest.unwrap_or_else(|| panic!("{error}")).to_owned()
    };
    assert_eq!(error(|it, name| fs::create_dir(it.at(name)).unwrap()), "not a regular file");
    assert_eq!(error(|it, name| mkfifo(&it.at(name), Mode::S_IRWXU).unwrap()), "not a regular file");
    assert_eq!(error(|it, name| symlink("nowhere", it.at(name)).unwrap()), "entity not found");
    assert_eq!(error(|it, name| symlink("../sextant.yaml/a", it.at(name)).unwrap()), "entity not found");
    assert_eq!(
        error(|it, name| symlink("50-a.yaml", it.at(name)).unwrap()),
        "Too many levels of symbolic links (os error 40)"
    );
    // The directory is one part, too.
    for make in [
        |it: &Initrd, path: &str| fs::write(it.at(path), "metrics: true").unwrap(),
        |it: &Initrd, path: &str| symlink("nowhere", it.at(path)).unwrap(),
        |it: &Initrd, path: &str| symlink("/dev/null", it.at(path)).unwrap(),
    ] {
        let initrd = Initrd::new(&[good]);
        make(&initrd, "usr/lib/sextant.yaml.d");
        let error = initrd.load().unwrap_err();
        assert!(error.starts_with("reading /usr/lib/sextant.yaml.d: "), "{error}");
    }
    let initrd = Initrd::new(&[good]);
    initrd.write("etc/sextant.yaml.d/x", b"");
    let mut path = initrd.at("etc/sextant.yaml.d/x").into_os_string().into_encoded_bytes();
    path.extend(b"\xff.yaml");
    fs::write(std::ffi::OsStr::from_bytes(&path), "metrics: true").unwrap();
    let error = initrd.load().unwrap_err();
    assert!(error.ends_with("name is not UTF-8") && error.starts_with("reading /etc/sextant.yaml.d/x"), "{error}");
}

#[test]
fn only_links_inside_of_what_is_sealed_are_followed() {
    let initrd = Initrd::new(&[("usr/share/a/b.yaml", "limits: {images: 7}"), ("run/b.yaml", "metrics: true")]);
    for target in ["/usr/share/a/b.yaml", "../../usr/share/a/b.yaml", "../../../../../usr/share/a/b.yaml"] {
        let link = initrd.at("etc/sextant.yaml.d/50-a.yaml");
        symlink(target, &link).unwrap();
        assert_eq!(initrd.images(), 7, "{target}");
        fs::remove_file(link).unwrap();
    }
    symlink("/usr/share/a", initrd.at("etc/sextant.yaml.d/../sextant.yaml.e")).unwrap();
    fs::rename(initrd.at("etc/sextant.yaml.e"), initrd.at("usr/lib/sextant.yaml.d")).unwrap();
    assert_eq!(initrd.images(), 7, "a link to a directory");
    fs::remove_file(initrd.at("usr/lib/sextant.yaml.d")).unwrap();

    symlink("/run", initrd.at("usr/share/moved")).unwrap();
    for (name, target) in [
        ("etc/sextant.yaml.d/50-a.yaml", "/run/b.yaml"),
        ("etc/sextant.yaml.d/50-a.yaml", "/usr/share/moved/b.yaml"),
        ("etc/sextant.yaml", "../run/b.yaml"),
        ("usr/lib/sextant.yaml.d", "/run"),
    ] {
        let link = initrd.at(name);
        let _ = fs::remove_dir(&link);
        symlink(target, &link).unwrap();
        let error = initrd.load().unwrap_err();
        let expected = format!("reading /{name}: it leads to /run");
        assert!(error.starts_with(&expected) && error.ends_with("the UKI does not cover"), "{error}");
        fs::remove_file(link).unwrap();
    }
    for path in ["/run/x", "/.extra/sysext/x", "/sysroot/etc/x", "/oem/x", "/dev/null", "/"] {
        assert!(!is_sealed(Path::new(path)), "{path}");
    }
    for path in ["/etc/sextant.yaml", "/usr/run/x", "/running/x"] {
        assert!(is_sealed(Path::new(path)), "{path}");
    }
}

#[test]
fn number_and_size_of_the_files_are_bounded() {
    let initrd = Initrd::new(&[]);
    for number in 0..64 {
        initrd
            .write(&format!("etc/sextant.yaml.d/{number:02}.yaml"), format!("limits: {{images: {number}}}").as_bytes());
        // What is replaced does not count.
        initrd.write(&format!("usr/lib/sextant.yaml.d/{number:02}.yaml"), b"nonsense: true");
    }
    assert_eq!(initrd.images(), 63);
    initrd.write("usr/lib/sextant.yaml.d/99.yaml", b"");
    let many = "reading /usr/lib/sextant.yaml.d/99.yaml: more than 64 drop-ins";
    assert_eq!(initrd.load(), Err(many.to_owned()));

    let initrd = Initrd::new(&[]);
    (0..1025).for_each(|number| initrd.write(&format!("etc/sextant.yaml.d/{number}"), b""));
    assert_eq!(initrd.load(), Err("reading /etc/sextant.yaml.d: more than 1024 files".to_owned()));

    let half = "#".repeat(1 << 19);
    let initrd = Initrd::new(&[("etc/sextant.yaml", &half), ("etc/sextant.yaml.d/1.yaml", &half)]);
    assert_eq!(initrd.load(), Ok(Policy::default()));
    initrd.write("etc/sextant.yaml.d/2.yaml", b"#");
    let large =
        "reading /etc/sextant.yaml.d/2.yaml: the configuration is larger than 1048576 bytes, all files together";
    assert_eq!(initrd.load(), Err(large.to_owned()));
    let paths =
        ["etc/sextant.yaml", "etc/sextant.yaml.d/1.yaml", "etc/sextant.yaml.d/2.yaml"].map(|path| initrd.at(path));
    assert!(load_files(&paths[..2]).is_ok());
    assert!(load_files(&paths).unwrap_err().to_string().contains("2.yaml: the configuration is larger"));
}

#[test]
fn the_last_file_sets_what_is_a_single_value() {
    let first = "secure_boot: optional
trust: {sources: [db], dbx: lenient}
limits: {images: 1, image_size: 2, total_size: 3, memory: 4, keep_free: 5}
merge: {hierarchies: [/usr/bin], confext_hierarchies: [/etc/a], quarantine: true}
metrics: true
";
    let second = "secure_boot: require
trust: {sources: [sealed, KEK], dbx: strict}
limits: {images: 10, image_size: 20, total_size: 30, memory: 40, keep_free: 50}
merge: {hierarchies: [/usr, /opt], confext_hierarchies: [/etc/b], quarantine: false}
metrics: false
";
    assert_eq!(together(&[first, second]), together(&[second]));
    assert_eq!(together(&[second, first]), together(&[first]));
    assert_ne!(together(&[first]), together(&[second]));
    // A key that is not there, or has no value, changes nothing.
    let nothing = "trust: {sources: null}\nlimits: {images: , memory: ~}\nmerge: {hierarchies: null}\ndeny: {}\n";
    assert_eq!(together(&[first, nothing, "", "# nothing"]), together(&[first]));
    // A list of what is permitted is a single value, because lists that add up would permit more than each file.
    assert_eq!(together(&["trust: {sources: [db]}", "trust: {sources: []}"]).unwrap().sources, []);
    assert_eq!(together(&["trust: {sources: []}", "trust: {sources: [PK]}"]).unwrap().sources, [Source::Pk]);
}

#[test]
fn what_denies_or_demands_adds_up() {
    let hash = |digit: &str| digit.repeat(64);
    let [a, b] = ["a", "b"].map(|digit| format!("deny: {{root_hashes: [{}]}}", hash(digit)));
    let both = ["a", "b"].map(|digit| RootHash::from_hex(&hash(digit)).unwrap());
    assert_eq!(together(&[&a, "deny: {root_hashes: []}", &b]).unwrap().denied_root_hashes, both);

    let entries = |files: &[&str]| together(files).unwrap().denied_entries;
    let (rescue, none) = ("entries: {deny: [rescue]}", "entries: {deny: []}");
    assert_eq!(entries(&[rescue, "entries: {deny: [recovery]}", none]), ["rescue", "recovery"]);
    // Only the default list is replaced.
    assert_eq!(entries(&["metrics: true", rescue]), ["rescue"]);
    assert_eq!(entries(&[none, none]), Vec::<String>::new());

    let required =
        |names: &[&str]| Required::new(names.iter().map(|name| Named::parse(name).unwrap()).collect()).unwrap();
    let policy = together(&["required: [k3s]", "required: []", "required: [net.confext, k3s]"]).unwrap();
    assert_eq!(policy.required, required(&["k3s", "net.confext"]));

    let policy =
        together(&["minimum: {k3s: 1.9, a: 2}", "minimum: {k3s: 1.30}", "minimum: {k3s: 1.4, b: 1}", "minimum: {}"]);
    assert_eq!(policy.unwrap().minimum, Minimum::new(&[("k3s", "1.30"), ("a", "2"), ("b", "1")]).unwrap());
    // Within one file a name that is there twice is a mistake as before.
    assert!(together(&["metrics: true", "required: [a, a]"]).is_err());
}

#[test]
fn directories_add_up_and_the_last_file_says_how_one_is_searched() {
    let policy = together(&[
        "sources: [{directory: /a, verify: on-read}, {directory: /b}]",
        "sources: [{directory: /c}, {directory: /a, entries: [x]}, {directory: /a, entries: [y], verify: on-read}]",
    ]);
    let directories = policy.unwrap().directories;
    let shown: Vec<_> = directories.iter().map(|it| (it.directory.as_str(), it.entries.is_some(), it.verify)).collect();
    let full = Verify::Full;
    assert_eq!(shown, [("/b", false, full), ("/c", false, full), ("/a", true, full), ("/a", true, Verify::OnRead)]);
}

#[test]
fn a_bound_of_a_list_holds_for_all_files_together() {
    let list = |count: usize, start: usize, row: fn(usize) -> String| {
        (start..start + count).map(row).collect::<Vec<_>>().join(", ")
    };
    for (key, open, close, row, what) in [
        ("required", "[", "]", (|number| format!("n{number}")) as fn(usize) -> String, "extensions"),
        ("minimum", "{", "}", |number| format!("n{number}: 1"), "extensions"),
        ("sources", "[", "]", |number| format!("{{directory: /d{number}}}"), "directories"),
    ] {
        let file = |count, start| format!("{key}: {open}{}{close}", list(count, start, row));
        assert!(together(&[&file(40, 0), &file(24, 40)]).is_ok(), "{key}");
        assert!(together(&[&file(64, 0), &file(64, 0)]).is_ok(), "{key}: the same ones");
        let expected = format!(
            "reading /etc/sextant.yaml.d/1.yaml, {key}: more than 64 {what}, together with the files before it"
        );
        assert_eq!(together(&[&file(40, 0), &file(25, 40)]), Err(expected));
    }
}

#[test]
fn the_copy_holds_every_file_byte_for_byte() {
    let copied = |files: &[(&str, &[u8])]| {
        let documents: Documents =
            files.iter().map(|(path, content)| Document::new((*path).to_owned(), content.to_vec())).collect();
        let bytes = documents.to_bytes();
        let again = Documents::from_bytes("/copy", &bytes);
        let both = [&documents, &again].map(|it| it.iter().map(|found| found.unwrap().clone()).collect::<Vec<_>>());
        let [documents, again] = both;
        (bytes, documents, again)
    };
    // One file is copied as it is, and then has the path of the copy.
    let (bytes, _, again) = copied(&[("/etc/sextant.yaml", b"metrics: true")]);
    assert_eq!((bytes.as_slice(), again[0].path()), (&b"metrics: true"[..], "/copy"));
    assert_eq!(Documents::default().to_bytes(), b"");
    let (bytes, ..) = copied(&[("/a", b"metrics: true\n"), ("/b", b"x")]);
    let shown = "--- # sextant: 14 bytes of /a\nmetrics: true\n\n--- # sextant: 1 bytes of /b\nx\n";
    assert_eq!(String::from_utf8(bytes).unwrap(), shown);
    // What is in a file is never taken for another file.
    let nested = b"--- # sextant: 0 bytes of /x\n\n";
    for files in [
        &[("/a", &b"secure_boot: require\n---\nsecure_boot: optional"[..]), ("/b", b"")][..],
        &[("/a", nested), ("/b", nested)],
        &[("/a", nested)],
        &[("/a", b"\"open"), ("/b", b"\xff\0"), ("/c 1 bytes of ", b"...")],
    ] {
        let (_, documents, again) = copied(files);
        assert_eq!(documents, again);
    }
    for broken in [
        "--- # sextant: ",
        "--- # sextant: 3 bytes of /a",
        "--- # sextant: 3 bytes of /a\nab\n",
        "--- # sextant: 3 bytes of /a\nabcd\n",
        "--- # sextant: -1 bytes of /a\n\n",
        "--- # sextant: 99999999999999999999 bytes of /a\n\n",
        "--- # sextant: 1 bytes of /a\n#\nmetrics: true\n",
    ] {
        let error = Documents::from_bytes("/copy", broken.as_bytes()).parse().unwrap_err();
        assert_eq!(error.to_string(), "reading /copy: not as the agent wrote it", "{broken}");
    }
    // Of a file that could not be read, the copy has the reason, and a later run does not take an older copy for it.
    let initrd = Initrd::new(&[("etc/sextant.yaml", "metrics: true")]);
    assert!(initrd.load().unwrap().metrics);
    symlink("nowhere", initrd.at("etc/sextant.yaml.d/1.yaml")).unwrap();
    assert!(initrd.load().is_err());
    let message = "reading /etc/sextant.yaml.d/1.yaml: entity not found";
    assert_eq!(kept(&initrd.root()).unwrap_err().to_string(), message);
    // A copy serves as a file of the command line, too.
    let initrd = Initrd::new(&[("etc/sextant.yaml", "metrics: true"), ("etc/sextant.yaml.d/1.yaml", "required: [a]")]);
    assert!(initrd.load().is_ok());
    let policy = load_files(&[initrd.at("run/sextant/sextant.yaml")]).unwrap();
    assert!(policy.metrics && policy.required.missing(&[(Class::Confext, "a")]).count() == 1);
}
