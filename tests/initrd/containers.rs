//! The container recipes in `docs/examples`.

use crate::inspect::{findings, inspect, kairos};
use crate::installed::{Installed, repository};
use std::fs;
use std::process::Command;
use support::podman::Podman;

fn recipe(name: &str) -> String {
    fs::read_to_string(repository().join("docs/examples").join(name)).unwrap()
}

/// What the stages copy is there, and nothing that an initrd or an image of Kairos needs is left out.
pub(crate) fn the_recipe_copies_what_is_installed() {
    let installed = Installed::new();
    let recipe = recipe("Containerfile");
    let copied: Vec<_> = recipe.lines().filter_map(|line| line.strip_prefix("COPY --from=build /out")).collect();
    assert_eq!(copied.len(), 4, "{copied:?}");
    for line in copied {
        let (from, to) = line.split_once(' ').unwrap();
        let path = installed.path().join(from.trim_start_matches('/'));
        assert!(path.exists(), "{from}");
        assert_eq!(from.ends_with('/'), path.is_dir(), "{from}");
        assert!(path.is_dir() && to == "/" || from == to, "{line}");
    }
    for page in ["docs/initrd.md", "docs/kairos.md"] {
        let text = fs::read_to_string(repository().join(page)).unwrap();
        let target = text.split("--target ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        assert!(recipe.contains(&format!("\nFROM scratch AS {target}\n")), "{page}: {target}");
    }
}

/// What `AuroraBoot` gets.
pub(crate) fn the_recipe_for_kairos_makes_an_image_that_is_ready() {
    let installed = Installed::new();
    let work = installed.scratch("containers");
    let Some(podman) = Podman::find(&work) else { return };
    let (context, base) = (work.join("context"), kairos(&installed));
    fs::create_dir_all(&context).unwrap();
    fs::write(context.join("kairos.Containerfile"), recipe("kairos.Containerfile")).unwrap();
    // The base without what is sextant's, and sextant's image as the recipe for it ends.
    for file in crate::install::files(&installed.path().join("usr/lib/sextant/kairos")) {
        fs::remove_file(base.join(file)).unwrap();
    }
    assert!(!inspect(&base).0);
    for (tag, directory) in
        [("localhost/base", base), ("localhost/sextant-kairos", installed.path().join("usr/lib/sextant/kairos"))]
    {
        let file = context.join("scratch.Containerfile");
        fs::write(&file, "FROM scratch\nCOPY / /\n").unwrap();
        podman.run(&["build", "--quiet", "--file", file.to_str().unwrap(), "--tag", tag, "."], &directory);
    }
    let arguments = ["--build-arg", "KAIROS=localhost/base", "--tag", "localhost/kairos-sextant"];
    podman.run(&[&["build", "--quiet", "--file", "kairos.Containerfile"], &arguments[..], &["."]].concat(), &context);
    let container = podman.run(&["create", "localhost/kairos-sextant", "none"], &context);
    podman.run(&["export", "--output", "root.tar", container.trim()], &context);
    let root = installed.scratch("exported");
    let tar = Command::new("tar").arg("-xf").arg(context.join("root.tar")).arg("-C").arg(&root).status().unwrap();
    assert!(tar.success());
    let (ready, value) = inspect(&root);
    assert!(ready, "{:?}", findings(&value));
}
