//! What the tutorial does with podman.

use crate::containers::files;
use crate::desk::Desk;
use std::fs;
use support::keys;
use support::podman::Podman;

pub(crate) fn the_step_of_the_tutorial_needs_no_service() {
    let desk = Desk::of(keys::rsa("Vendor"));
    let Some(podman) = Podman::find(&desk.path("podman")) else { return };
    let page = fs::read_to_string(support::repository().join("docs/tutorial.md")).unwrap();
    let step = page.split("\n## ").find(|section| section.starts_with("8. ")).unwrap();
    let block = step.split("```console\n").nth(1).and_then(|rest| rest.split_once("```")).unwrap().0;
    let (recipe, commands) = block.split_once("\nEND\n").unwrap();
    desk.file("Containerfile", recipe.split_once('\n').unwrap().1.as_bytes());
    desk.file("tree/usr/bin/hello", b"hello");
    let source = commands.lines().fold(None, |source, command| {
        let words: Vec<_> = command.trim_start_matches("$ ").split(' ').collect();
        match words.as_slice() {
            ["podman", arguments @ ..] => podman.run(arguments, &desk.path(".")),
            ["sextant", "build", "hello", source, ..] => return Some((*source).to_owned()),
            _ => panic!("{command}"),
        };
        source
    });
    desk.build("tool", &source.unwrap(), &[]).good();
    assert_eq!(files(&desk), ["/usr/bin/hello"]);
}
