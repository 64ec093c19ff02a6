//! Arrows between packages and modules go one way.
//!
//! Each module is a node, and so is each folder: what a module uses of another is an arrow between the two at the level
//! where their paths part. An item that a module re-exports belongs to the module that defines it. What a module shares
//! with the modules inside it (`super::Error`) is no arrow: they are one thought, told in one place.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use syn::visit::{self, Visit};
use syn::{Item, ItemUse, UseTree};

type ModulePath = Vec<String>;

/// Packages with the file that their modules start from.
const CRATES: [(&str, &str); 6] = [
    ("ddi", "ddi/src/lib.rs"),
    ("sextant", "src/lib.rs"),
    ("sextant_cli", "cli/src/lib.rs"),
    ("support", "tests/support/lib.rs"),
    ("xtask", "xtask/src/lib.rs"),
    ("qemu", "qemu/main.rs"),
];

/// A crate: what each module names, and what it re-exports.
#[derive(Default)]
struct Sources {
    modules: BTreeMap<ModulePath, Module>,
}

#[derive(Default)]
struct Module {
    /// Paths as they are written, with the names that they bring in.
    paths: Vec<ModulePath>,
    /// `use` of a path under a name that others can see.
    exports: BTreeMap<String, ModulePath>,
    children: BTreeSet<String>,
}

impl Sources {
    fn read(root: &Path) -> Self {
        let mut sources = Self::default();
        sources.add_file(root, root.parent().unwrap(), Vec::new());
        sources
    }

    /// `inside` is the folder of the modules that `file` declares.
    fn add_file(&mut self, file: &Path, inside: &Path, path: ModulePath) {
        let syntax = syn::parse_file(&fs::read_to_string(file).unwrap()).unwrap();
        self.add(&syntax.items, inside, path);
    }

    fn add(&mut self, items: &[Item], inside: &Path, path: ModulePath) {
        let mut module = Module::default();
        for item in items {
            if let Item::Mod(child) = item {
                if is_test(&child.attrs) {
                    continue;
                }
                let name = child.ident.to_string();
                let child_path = [path.as_slice(), std::slice::from_ref(&name)].concat();
                let folder = inside.join(&name);
                if let Some((_, items)) = &child.content {
                    self.add(items, &folder, child_path);
                } else {
                    let files = [inside.join(format!("{name}.rs")), folder.join("mod.rs")];
                    let file = files.iter().find(|file| file.is_file()).unwrap_or_else(|| panic!("{files:?}"));
                    self.add_file(file, &folder, child_path);
                }
                module.children.insert(name);
            } else {
                module.visit_item(item);
            }
        }
        self.modules.insert(path, module);
    }

    /// The module of this crate that defines what `written` names in `module`; `None` where it is none.
    fn resolve(&self, module: &[String], written: &[String], depth: usize) -> Option<ModulePath> {
        let (first, rest) = written.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.to_vec(),
            "super" => module.split_last()?.1.to_vec(),
            name if self.modules.get(module)?.children.contains(name) => [module, std::slice::from_ref(first)].concat(),
            _ => return None,
        };
        for (position, name) in rest.iter().enumerate() {
            let here = self.modules.get(&at)?;
            if name == "super" {
                at.pop();
            } else if here.children.contains(name) {
                at.push(name.clone());
            } else if let Some(exported) = here.exports.get(name)
                && depth < 8
            {
                let onwards = [exported.as_slice(), &rest[position + 1..]].concat();
                return self.resolve(&at, &onwards, depth + 1).or(Some(at));
            } else {
                break;
            }
        }
        Some(at)
    }

    /// Arrows by folder: which of its modules uses which.
    fn arrows(&self) -> BTreeMap<ModulePath, BTreeMap<String, BTreeMap<String, String>>> {
        let mut arrows: BTreeMap<_, BTreeMap<_, BTreeMap<_, _>>> = BTreeMap::new();
        for (from, module) in &self.modules {
            for written in &module.paths {
                let Some(to) = self.resolve(from, written, 0) else { continue };
                let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
                if let (Some(user), Some(used)) = (from.get(shared), to.get(shared)) {
                    let folder: BTreeMap<String, String> = BTreeMap::new();
                    let uses = arrows.entry(from[..shared].to_vec()).or_default().entry(user.clone()).or_insert(folder);
                    uses.entry(used.clone()).or_insert_with(|| format!("{}: {}", from.join("::"), written.join("::")));
                }
            }
        }
        arrows
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    let is_test = |tokens: String| tokens == "test" || tokens == "debug_assertions";
    attributes.iter().any(|it| {
        it.path().is_ident("cfg") && it.meta.require_list().is_ok_and(|list| is_test(list.tokens.to_string()))
    })
}

fn flatten(tree: &UseTree, before: &[String], found: &mut Vec<(ModulePath, String)>) {
    let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
    match tree {
        UseTree::Path(path) => flatten(&path.tree, &with(&path.ident), found),
        UseTree::Name(name) if name.ident == "self" => {
            found.push((before.to_vec(), before.last().cloned().unwrap_or_default()));
        }
        UseTree::Name(name) => found.push((with(&name.ident), name.ident.to_string())),
        UseTree::Rename(name) => found.push((with(&name.ident), name.rename.to_string())),
        UseTree::Glob(_) => found.push((before.to_vec(), "*".to_owned())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, found)),
    }
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut found = Vec::new();
        flatten(&item.tree, &[], &mut found);
        for (path, name) in found {
            if matches!(item.vis, syn::Visibility::Inherited) {
                self.paths.push(path.clone());
            }
            self.exports.insert(name, path);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.paths.push(path.segments.iter().map(|it| it.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

/// One circle, from a module back to itself; `None` where there is none.
fn circle(uses: &BTreeMap<String, BTreeMap<String, String>>) -> Option<Vec<String>> {
    fn go(
        at: &str,
        uses: &BTreeMap<String, BTreeMap<String, String>>,
        trail: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = trail.iter().position(|it| it == at) {
            return Some([&trail[start..], &[at.to_owned()]].concat());
        }
        if !done.insert(at.to_owned()) {
            return None;
        }
        trail.push(at.to_owned());
        let found = uses.get(at).and_then(|next| next.keys().find_map(|next| go(next, uses, trail, done)));
        trail.pop();
        found
    }
    let mut done = BTreeSet::new();
    uses.keys().find_map(|start| go(start, uses, &mut Vec::new(), &mut done))
}

#[test]
fn no_modules_use_each_other_in_a_circle() {
    let mut wrong = Vec::new();
    let mut arrows_seen = 0;
    for (name, root) in CRATES {
        let sources = Sources::read(&support::repository().join(root));
        for (folder, mut uses) in sources.arrows() {
            arrows_seen += uses.values().map(BTreeMap::len).sum::<usize>();
            while let Some(circle) = circle(&uses) {
                let place = [&[name.to_owned()], folder.as_slice()].concat().join("::");
                let by: Vec<_> = circle.windows(2).map(|pair| uses[&pair[0]][&pair[1]].clone()).collect();
                wrong.push(format!("{place}: {}\n    {}", circle.join(" -> "), by.join("\n    ")));
                uses.get_mut(&circle[0]).unwrap().remove(&circle[1]);
            }
        }
    }
    assert!(arrows_seen > 500, "{arrows_seen}");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
