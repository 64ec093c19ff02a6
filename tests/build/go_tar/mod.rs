//! Random archives, read here and by Go's `archive/tar`, with which all container engines read layers: both have to see the
//! same files. Where more is refused here, it is for one of the reasons in [`STRICTER`].

mod generate;
mod kinds;

pub(crate) use kinds::each_kind_of_archive_is_read_or_refused_as_go_does;

use crate::desk::hex;
use crate::layers::{Stack, spool};
use generate::archive;
use proptest::prop_assert_eq;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use serde_json::Value;
use sextant_cli::build::tree::{FileTree, Kind, Layers, MAX_DEPTH, Metadata, Node, Time, apply};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use support::harness::left_out;

/// Archives that are compared, or more with `PROPTEST_CASES`.
const CASES: u32 = 4000;

/// Bytes of files that are read of an archive, as in the program of Go's.
const LIMIT: u64 = 64 << 20;

/// A member as Go reads it; text and content in hexadecimal.
#[derive(Debug)]
struct Member {
    path: String,
    r#type: u8,
    size: u64,
    digest: String,
    mode: i64,
    uid: i64,
    gid: i64,
    major: i64,
    minor: i64,
    seconds: i64,
    nanoseconds: u32,
    link: String,
    xattrs: BTreeMap<String, String>,
}

impl Member {
    fn of(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let number = |key: &str| value[key].as_i64().unwrap();
        let xattrs = value["xattrs"].as_object().unwrap().iter();
        Self {
            path: text(&value["path"]),
            r#type: u8::try_from(number("type")).unwrap(),
            size: u64::try_from(number("size")).unwrap(),
            digest: text(&value["digest"]),
            mode: number("mode"),
            uid: number("uid"),
            gid: number("gid"),
            major: number("major"),
            minor: number("minor"),
            seconds: number("seconds"),
            nanoseconds: u32::try_from(number("nanoseconds")).unwrap(),
            link: text(&value["link"]),
            xattrs: xattrs.map(|(name, value)| (name.clone(), text(value))).collect(),
        }
    }

    fn path(&self) -> Vec<u8> {
        unhex(&self.path)
    }

    fn link(&self) -> Vec<u8> {
        unhex(&self.link)
    }

    fn owners(&self) -> [i64; 2] {
        [self.uid, self.gid]
    }
}

/// A member of which more is asked here than Go asks.
struct Stricter {
    /// What the error here says
    words: &'static str,
    /// Whether a member is of that kind
    applies: fn(&Member) -> bool,
    /// Why
    reason: &'static str,
}

const STRICTER: [Stricter; 10] = [
    Stricter {
        words: "root is not a directory",
        applies: |member| member.r#type != b'5' && normal(&member.path()).is_empty(),
        reason: "nothing can be in the place of the root; an engine would delete all that is there",
    },
    Stricter {
        words: "path contains \"..\"",
        applies: |member| [member.path(), member.link()].iter().any(|path| is_upwards(path)),
        reason: "no tool writes such a path, and what it means depends on links: engines differ",
    },
    Stricter {
        words: "; the limit is ",
        applies: |member| [member.path(), member.link()].iter().any(|path| is_long(path)),
        reason: "Linux takes no longer name, so no engine unpacks it",
    },
    Stricter {
        words: " components",
        applies: |member| [member.path(), member.link()].iter().any(|path| is_long(path)),
        reason: "a tree that is so deep takes memory and time out of proportion, and no file in practice is",
    },
    Stricter {
        words: "invalid owner",
        applies: |member| member.owners().into_iter().any(|id| u32::try_from(id).is_err()),
        reason: "Linux has no such user; engines cut the number off, and give the file to somebody else",
    },
    Stricter { words: "invalid group", applies: |member| u32::try_from(member.gid).is_err(), reason: "as with users" },
    Stricter {
        words: "invalid link target",
        applies: |member| member.r#type == b'2' && (member.link.is_empty() || member.link.len() > 2 * 4095),
        reason: "Linux makes no such link, so no engine unpacks it",
    },
    Stricter {
        words: "hard link to ",
        applies: |member| member.r#type == b'1',
        reason: "a link to what isn't there, or to a directory, can't be made; Go only lists it",
    },
    Stricter {
        words: "unknown member type",
        applies: |member| !b"\x0001234567S".contains(&member.r#type),
        reason: "no engine unpacks such a member; Go only lists it",
    },
    Stricter {
        words: "has an unsupported form",
        applies: |member| member.xattrs.keys().any(|name| name.is_empty() || name.len() > 2 * 255),
        reason: "Linux has no such attribute",
    },
];

fn is_upwards(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|part| part == b"..")
}

/// Beyond what Linux takes, or nested deeper than a tree may be.
fn is_long(path: &[u8]) -> bool {
    let parts: Vec<_> = path.split(|byte| *byte == b'/').collect();
    path.len() > 4095 || parts.len() > MAX_DEPTH || parts.iter().any(|part| part.len() > 255)
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

/// The running program.
struct Go {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Go {
    /// Compiles and starts it; `None`, and the test is ignored, where there is no Go.
    fn start() -> Option<Self> {
        if Command::new("go").arg("version").output().is_err() {
            left_out("no Go here: its archive/tar is what archives are compared by");
            return None;
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("build/go_tar/main.go");
        // Tests run side by side, and each compiles its own.
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let program = directory.path().join("go-tar");
        let mut build = Command::new("go");
        // Nothing but the standard library, of the Go that is here.
        build.env("GO111MODULE", "off").env("GOTOOLCHAIN", "local").env_remove("GOFLAGS");
        let output = build.args(["build", "-o"]).arg(&program).arg(source).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Some(Self { child, answers })
    }

    fn list(&mut self, archive: &[u8]) -> Result<Vec<Member>, String> {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(&u32::try_from(archive.len()).unwrap().to_be_bytes()).unwrap();
        input.write_all(archive).unwrap();
        input.flush().unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        match answer["refused"].as_str() {
            Some("") => Ok(answer["members"].as_array().unwrap().iter().map(Member::of).collect()),
            refused => Err(refused.unwrap().to_owned()),
        }
    }
}

impl Drop for Go {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// What is compared of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    kind: char,
    size: u64,
    digest: String,
    link: String,
    mode: u16,
    uid: u32,
    gid: u32,
    mtime: (i64, u32),
    xattrs: BTreeMap<String, String>,
}

impl Row {
    /// Of Go's reading; `None` for a hard link.
    fn of_member(member: &Member) -> Self {
        let kind = match member.r#type {
            b'1' => 'h',
            b'2' => 'l',
            b'3' => 'c',
            b'4' => 'b',
            b'5' => 'd',
            b'6' => 'p',
            _ => 'f',
        };
        // As containerd and moby do.
        let bounded = (0..9_223_372_036).contains(&member.seconds);
        // Those that Linux doesn't have are refused before they would be compared.
        let id = |id: i64| u32::try_from(id).unwrap_or(u32::MAX);
        Self {
            kind,
            size: if kind == 'f' { member.size } else { 0 },
            digest: if kind == 'f' { member.digest.clone() } else { String::new() },
            link: if kind == 'l' { member.link.clone() } else { String::new() },
            mode: u16::try_from(member.mode & 0o7777).unwrap(),
            uid: id(member.uid),
            gid: id(member.gid),
            mtime: if bounded { (member.seconds, member.nanoseconds) } else { (0, 0) },
            xattrs: member.xattrs.clone(),
        }
    }

    fn of_node(node: &Node) -> Self {
        let Metadata { mode, uid, gid, mtime: Time { seconds, nanoseconds }, xattrs } = &node.metadata;
        let (kind, size, digest, link) = match &node.kind {
            Kind::Directory(_) => ('d', 0, String::new(), String::new()),
            Kind::Symlink(target) => ('l', 0, String::new(), hex(target)),
            Kind::File(content) => {
                let mut bytes = Vec::new();
                content.reader().read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes.len() as u64, content.len());
                ('f', content.len(), hex(&openssl::sha::sha256(&bytes)), String::new())
            }
            Kind::Special(kind) => {
                let letter = match kind {
                    ddi::filesystem::EntryKind::CharacterDevice => 'c',
                    ddi::filesystem::EntryKind::BlockDevice => 'b',
                    _ => 'p',
                };
                (letter, 0, String::new(), String::new())
            }
        };
        let xattrs = xattrs.iter().map(|(name, value)| (hex(name), hex(value))).collect();
        let (mode, uid, gid) = (*mode, *uid, *gid);
        Self { kind, size, digest, link, mode, uid, gid, mtime: (*seconds, *nanoseconds), xattrs }
    }
}

/// The path as it is inside a tree.
fn normal(path: &[u8]) -> Vec<u8> {
    let parts: Vec<_> = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    parts.join(&b'/')
}

/// What Go's members come to once they are unpacked; `None` where a file is in the way of another one, and engines differ.
fn unpacked(members: &[Member]) -> Option<BTreeMap<Vec<u8>, Row>> {
    let mut found: BTreeMap<Vec<u8>, Row> = BTreeMap::new();
    for member in members {
        let path = normal(&member.path());
        // The root itself; and overlayfs' whiteout, which means a file of the layers below.
        let is_whiteout = member.r#type == b'3' && (member.major, member.minor) == (0, 0);
        if path.is_empty() || is_whiteout || path.split(|byte| *byte == b'/').any(|name| name.starts_with(b".wh.")) {
            continue;
        }
        let row = match member.r#type {
            b'1' => found.get(&normal(&member.link()))?.clone(),
            _ => Row::of_member(member),
        };
        if found.insert(path, row).is_some() {
            return None;
        }
    }
    let paths: Vec<&Vec<u8>> = found.keys().collect();
    let within = |above: &[u8], path: &[u8]| path.strip_prefix(above).is_some_and(|rest| rest.first() == Some(&b'/'));
    let blocks = |above: &Vec<u8>| found[above].kind != 'd' && paths.iter().any(|path| within(above, path));
    if paths.iter().any(|path| blocks(path)) { None } else { Some(found) }
}

/// The tree's rows, but for directories that no member describes.
fn rows(tree: &FileTree, expected: &BTreeMap<Vec<u8>, Row>) -> BTreeMap<Vec<u8>, Row> {
    let implied =
        |node: &Node| matches!(node.kind, Kind::Directory(_)) && node.metadata == Metadata::implied_directory();
    let nodes = tree.walk().into_iter().map(|(path, id)| (path, tree.node(id).unwrap()));
    let told = nodes.filter(|(path, node)| expected.contains_key(path) || !implied(node));
    told.map(|(path, node)| (path, Row::of_node(node))).collect()
}

/// What came of the archives.
#[derive(Debug, Default)]
struct Tally {
    same: Cell<u32>,
    refused: Cell<u32>,
    stricter: [Cell<u32>; STRICTER.len()],
    in_the_way: Cell<u32>,
}

fn count(cell: &Cell<u32>) {
    cell.set(cell.get() + 1);
}

fn compare(go: &RefCell<Go>, tally: &Tally, bytes: &[u8]) -> Result<(), TestCaseError> {
    let theirs = go.borrow_mut().list(bytes);
    let mut stack = Stack(vec![spool(bytes)]);
    let ours = apply(&mut stack, &Layers::All, LIMIT).map_err(|error| error.to_string());
    match (theirs, ours) {
        (Err(_), Err(_)) => count(&tally.refused),
        (Err(theirs), Ok(tree)) => {
            let paths: Vec<_> = tree.walk().into_iter().map(|(path, _)| path).collect();
            return Err(TestCaseError::fail(format!("Go refuses it: {theirs}; here it is {paths:?}")));
        }
        (Ok(members), Err(error)) => {
            let is = |row: &&Stricter| error.contains(row.words) && members.iter().any(row.applies);
            match STRICTER.iter().position(|row| is(&row)) {
                Some(row) => count(&tally.stricter[row]),
                None if error.contains(", not a directory") && unpacked(&members).is_none() => {
                    count(&tally.in_the_way);
                }
                None => return Err(TestCaseError::fail(format!("refused: {error}; Go reads {members:?}"))),
            }
        }
        (Ok(members), Ok(tree)) => match unpacked(&members) {
            Some(expected) => {
                prop_assert_eq!(rows(&tree, &expected), expected);
                count(&tally.same);
            }
            None => count(&tally.in_the_way),
        },
    }
    Ok(())
}

pub(crate) fn random_archives_are_read_as_go_reads_them() {
    let Some(go) = Go::start() else { return };
    let go = RefCell::new(go);
    let tally = Tally::default();
    let mut runner = TestRunner::new(Config {
        cases: CASES.max(Config::default().cases),
        failure_persistence: None,
        ..Config::default()
    });
    match runner.run(&archive(), |archive| compare(&go, &tally, &archive.bytes())) {
        Ok(()) => {}
        Err(TestError::Fail(reason, archive)) => panic!("{reason}\n{archive:?}"),
        Err(error) => panic!("{error}"),
    }
    // Otherwise it would compare next to nothing.
    assert!(tally.same.get() > CASES / 4 && tally.refused.get() > CASES / 10, "{tally:?}");
    println!("{} the same, {} refused by both", tally.same.get(), tally.refused.get());
    for (row, found) in STRICTER.iter().zip(&tally.stricter) {
        println!("{} refused here, as {:?}: {}", found.get(), row.words, row.reason);
    }
}

/// What Go's own tests have found out over the years: golang/go#5290, golang/go#10968, golang/go#11169, golang/go#12435
/// and more.
pub(crate) fn archives_of_gos_own_tests_are_read_as_go_reads_them() {
    let Some(go) = Go::start() else { return };
    let output = Command::new("go").args(["env", "GOROOT"]).output().unwrap();
    let root = String::from_utf8(output.stdout).unwrap();
    let Ok(found) = Path::new(root.trim()).join("src/archive/tar/testdata").read_dir() else {
        return left_out("this Go came without the archives of its tests");
    };
    let (go, tally) = (RefCell::new(go), Tally::default());
    let mut paths: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "tar"));
    for path in &paths {
        let bytes = std::fs::read(path).unwrap();
        compare(&go, &tally, &bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    assert!(tally.same.get() > 10 && tally.refused.get() > 5, "{tally:?}");
}
