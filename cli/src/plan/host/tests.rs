#![allow(clippy::unwrap_used)]

use super::*;
use crate::plan::merge_order;
use crate::system::tests::{archive, host};
use ddi::filesystem::Node;

fn extension(name: &str, nodes: &[(&str, &str)]) -> Extension {
    let nodes = nodes.iter().map(|(path, what)| {
        let (kind, target) = match what.split_once(' ') {
            Some((_, target)) => (EntryKind::Symlink, Some(target.as_bytes().to_vec())),
            None if *what == "directory" => (EntryKind::Directory, None),
            None => (EntryKind::File, None),
        };
        Node { path: path.as_bytes().to_vec(), kind, mode: 0o755, uid: 0, gid: 0, size: 0, target }
    });
    Extension { name: name.to_owned(), class: Class::Sysext, nodes: nodes.collect() }
}

fn compared(extensions: &[Extension]) -> Comparison {
    let hierarchies = Hierarchies::default();
    compare(&merge_order(extensions), &hierarchies, &host(), "host".into()).unwrap()
}

#[test]
fn a_directory_over_a_link_hides_what_the_link_leads_to() {
    let one = extension("one", &[("usr", "directory"), ("usr/sbin", "directory"), ("usr/sbin/ip", "file")]);
    let two = extension("two", &[("usr", "directory"), ("usr/sbin", "directory"), ("usr/sbin/tool", "file")]);
    let found = compared(&[one, two]);
    assert_eq!(found.hidden.len(), 1, "{found:?}");
    let hidden = &found.hidden[0];
    assert_eq!((hidden.path.as_str(), hidden.host, hidden.extension), ("/usr/sbin", Shape::Link, Shape::Directory));
    assert_eq!(hidden.target.as_ref().map(Text::as_str), Some("bin"));
    // What an extension brings itself can be reached.
    assert_eq!((hidden.count, &hidden.names), (2, &vec![Text::new("init"), Text::new("mount")]));
    assert_eq!(hidden.by, [Text::new("one"), Text::new("two")]);
    assert_eq!(found.replaced, []);
}

#[test]
fn anything_else_over_a_directory_hides_all_of_it() {
    let link = extension("link", &[("usr", "directory"), ("usr/share", "link ../opt")]);
    let file = extension(
        "file",
        &[("usr", "directory"), ("usr/bin", "file"), ("usr/lib", "directory"), ("usr/lib/os-release", "file")],
    );
    let found = compared(&[link, file]);
    let rows: Vec<_> = found.hidden.iter().map(|it| (it.path.as_str(), it.extension, it.count)).collect();
    assert_eq!(rows, [("/usr/bin", Shape::File, 3), ("/usr/share", Shape::Link, 1)]);
    assert_eq!(found.hidden[1].names, [Text::new("doc/a/b")]);
    assert_eq!(found.replaced, [Replaced { path: "/usr/lib/os-release".into(), by: vec!["file".into()] }]);
    // The same link hides nothing, and what the host hasn't can't be hidden.
    let same = [("usr", "directory"), ("usr/new", "directory"), ("usr/new/x", "file"), ("usr/sbin", "link bin")];
    let found = compared(&[extension("same", &same)]);
    assert_eq!((found.hidden, found.replaced), (vec![], vec![]));
}

#[test]
fn links_in_circles_end() {
    let records = [("a", "link b"), ("b", "link a"), ("a/x", "x"), ("usr", "directory"), ("usr/sbin", "link /a/y")];
    let mut host = Archive::default();
    host.add(&archive(&records)).unwrap();
    let tool = extension("tool", &[("usr", "directory"), ("usr/sbin", "directory"), ("usr/sbin/x", "file")]);
    let found = compare(&merge_order(&[tool]), &Hierarchies::default(), &host, "host".into()).unwrap();
    assert_eq!((found.hidden.len(), found.hidden[0].count), (1, 0));
}

#[test]
fn rows_are_bounded() {
    let paths: Vec<String> = (0..1500).map(|number| format!("usr/{number:04}")).collect();
    let mut records = vec![("usr", "directory")];
    records.extend(paths.iter().map(|path| (path.as_str(), "file")));
    let mut host = Archive::default();
    host.add(&archive(&records)).unwrap();
    for what in ["file", "directory"] {
        let nodes: Vec<_> =
            std::iter::once(("usr", "directory")).chain(paths.iter().map(|path| (path.as_str(), what))).collect();
        let tool = extension("tool", &nodes);
        let found = compare(&merge_order(&[tool]), &Hierarchies::default(), &host, "host".into()).unwrap();
        assert_eq!((found.hidden.len() + found.replaced.len(), found.omitted), (1000, 500), "{what}");
    }
}
