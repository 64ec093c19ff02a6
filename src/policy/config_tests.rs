#![allow(clippy::unwrap_used)]
use super::*;
use crate::firmware::entry::BootEntry;
use crate::policy::{Limits, Minimum, Named, Required, Verify};
use crate::trust::Source;
use ddi::Class;
use ddi::verity::RootHash;

fn message(text: &str) -> String {
    parse("/etc/sextant.yaml", text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn nothing_configured_means_the_defaults() {
    for text in ["", "# only a comment\n", "---\n", "{}", "trust: {}\nlimits: {}\n", "merge:\n  hierarchies: null\n"] {
        assert_eq!(parse("x", text.as_bytes()).unwrap(), Policy::default(), "{text:?}");
    }
}

#[test]
fn every_key_has_its_effect() {
    let text = "secure_boot: optional
trust:
  sources: [db, sealed]
  dbx: lenient
entries:
  deny: [rescue]
deny:
  root_hashes: [ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB]
limits:
  images: 3
  image_size: 64M
  total_size: 1 GiB
  memory: 4096
  keep_free: 1KiB
merge:
  hierarchies: [/usr/bin, /usr/local/lib]
  confext_hierarchies: [/etc/a]
  quarantine: true
sources:
- directory: /data
  verify: on-read
- directory: /data/passive
  entries: [passive]
metrics: true
measurement: true
required: [k3s, net.confext]
minimum:
  k3s: 1.30
  net.confext: '2'
";
    let policy = parse("x", text.as_bytes()).unwrap();
    assert_eq!(
        policy.required,
        Required::new(["k3s", "net.confext"].map(|name| Named::parse(name).unwrap()).to_vec()).unwrap()
    );
    // A version is no number: 1.30 isn't 1.3.
    let minimum = Minimum::new(&[("k3s", "1.30"), ("net.confext", "2")]).unwrap();
    assert_eq!(policy.minimum, minimum);
    assert!(!policy.require_secure_boot);
    assert_eq!(policy.sources, [Source::Db, Source::Sealed]);
    assert!(!policy.require_whole_dbx);
    assert_eq!(policy.denied_entries, ["rescue"]);
    assert_eq!(policy.denied_root_hashes, [RootHash::from_hex(&"ab".repeat(32)).unwrap()]);
    assert!(policy.metrics && policy.measurement);
    let limits = Limits { images: 3, image_size: 64 << 20, total_size: 1 << 30, memory: 4096, keep_free: 1024 };
    assert_eq!(policy.limits, limits);
    let shown = |class| policy.hierarchies.of(class).unwrap().to_string();
    assert_eq!([Class::Sysext, Class::Confext].map(shown), ["/usr/bin:/usr/local/lib", "/etc/a"]);
    let verify = |path| policy.verify_at(path, &BootEntry::default());
    assert_eq!(verify("/data/app.sysext.raw"), Verify::OnRead);
    for path in ["/data/passive/app.sysext.raw", "/data/x/../app.sysext.raw", "/data", "app.sysext.raw"] {
        assert_eq!(verify(path), Verify::Full, "{path}");
    }
}

#[test]
fn a_directory_is_for_its_entries_alone() {
    let policy = parse("x", b"sources: [{directory: /data, entries: [active]}, {directory: /other}]").unwrap();
    let of = |name: &str| {
        let entry = BootEntry { loader: Some(name.to_owned()), stub: None };
        policy.directories_for(&entry).map(|directory| directory.directory.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("active"), ["/data", "/other"]);
    assert_eq!(of("passive"), ["/other"]);
}

#[test]
fn at_most_64_directories_are_searched() {
    let read = |count: usize| {
        let list: Vec<_> = (0..count).map(|number| format!("- directory: /data/{number}")).collect();
        parse("x", format!("sources:\n{}", list.join("\n")).as_bytes()).map(|policy| policy.directories.len())
    };
    assert_eq!(read(64).unwrap(), 64);
    for count in [65, 1000] {
        assert!(read(count).unwrap_err().to_string().contains("more than 64 directories"));
    }
}

#[test]
fn a_mistake_is_told_with_file_key_and_line() {
    let unknown = message("secure_boot: require\nlimits:\n  imags: 3\n");
    for part in ["/etc/sextant.yaml", "imags", "line 3"] {
        assert!(unknown.contains(part), "{unknown}");
    }
    for (text, parts) in [
        ("trust:\n  sources: [DB]\n", ["`DB`", "line 2"]),
        ("trust:\n  dbx: Lenient\n", ["trust.dbx", "line 2"]),
        ("limits:\n  memory: 3 bananas\n", ["limits.memory", "line 2"]),
        ("limits:\n  memory: -3\n", ["limits.memory", "line 2"]),
        ("secure_boot: require\n\nsecureboot: optional\n", ["secureboot", "line 3"]),
        ("limits:\n  memory: 99999999999GiB\n", ["size", "line 2"]),
        ("secure_boot: off\n", ["off", "line 1"]),
        ("secure_boot: require\nsecure_boot: optional\n", ["duplicate", "secure_boot"]),
        ("deny:\n  root_hashes: [abc]\n", ["root_hashes", "line 2"]),
        ("entries: [\n", ["line", "entries"]),
        ("merge:\n  hierarchies: [/usr, /usr/bin]\n", ["merge.hierarchies", "line 2"]),
        ("secure_boot: require\nmetrics: /var/x.prom\n", ["metrics", "line 2"]),
        ("measurement: sha256\n", ["measurement", "line 1"]),
        ("sources: [{directory: data}]\n", ["sources[0].directory", "line 1"]),
        ("sources:\n- directory: /run/x\n", ["sources[0].directory", "line 2"]),
        ("sources:\n- entries: [a]\n", ["sources[0]", "line 2"]),
        ("sources:\n- directory: /data\n  verify: never\n", ["sources[0].verify", "line 3"]),
        ("merge:\n  confext_hierarchies: []\n", ["merge.confext_hierarchies", "line 2"]),
        ("merge:\n  hierarchies: /usr\n", ["merge.hierarchies", "line 2"]),
        ("merge:\n  hierachies: [/usr]\n", ["hierachies", "line 2"]),
        ("required: k3s\n", ["required", "line 1"]),
        ("secure_boot: require\nrequired: [k3s, a/b]\n", ["line 2, required[1]: ", "`a/b` does not name"]),
        ("required: [k3s, k3s]\n", ["required: `k3s` is listed twice", "line 1"]),
        ("minimum: [k3s]\n", ["minimum", "line 1"]),
        ("minimum:\n  k3s: ''\n", ["line 2, minimum.k3s: ", "`` is not a version"]),
        ("minimum:\n  k3s: 1\n  k3s: 2\n", ["minimum", "k3s"]),
    ] {
        let message = message(text);
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
    let once = message("limits:\n  imags: 3\n");
    assert_eq!(once.matches("unknown field").count(), 1, "{once}");
    assert!(matches!(parse("x", b"a: \xff"), Err(ConfigError::Utf8 { offset: 3, .. })));
    let two = message("secure_boot: require\n---\nsecure_boot: optional\n");
    assert!(two.contains("more than one document") && two.contains("line 1"), "{two}");
    let deep = message(&"[".repeat(60_000));
    assert_eq!(deep, "reading /etc/sextant.yaml: lists and mappings are nested more than 64 deep at line 1");
}
