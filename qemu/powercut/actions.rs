//! What is done while the power may be cut, and the files before and after.

use crate::images::Offer;
use crate::keys;
use crate::support::trees::{Tree, noise};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Paths and contents of all files.
pub type Files = BTreeMap<String, Arc<Vec<u8>>>;

const ACTIVE: &str = "EFI/kairos/active.efi.extra.d/";
const PASSIVE: &str = "EFI/kairos/passive.efi.extra.d/";
/// Extensions that are put aside and taken up again.
const KEPT: &str = "observability_1.0.sysext.raw";
const ASIDE: &str = "set-aside_1.0.sysext.raw";

/// One thing that is done.
pub struct Action {
    /// Step of the script, behind the name of the disk.
    pub name: &'static str,
    pub before: Files,
    pub after: Files,
}

/// The extensions that are real ones.
pub struct Images {
    old: Offer,
    new: Offer,
    tools: Offer,
}

impl Images {
    /// New ones.
    pub fn make() -> Self {
        let worker = |age: &str| {
            let name = "kubernetes-worker_1.31";
            Offer::with_tree(name, &Tree::sysext(name).file("usr/share/age", age.as_bytes()), keys::db(), "db")
        };
        let tools = Offer::sysext("kubernetes-worker-tools_2.0", keys::db(), "db");
        Self { old: worker("old"), new: worker("new"), tools }
    }

    /// Those that the script takes from the disk it is on.
    pub fn brought(&self) -> Vec<(String, Vec<u8>)> {
        [&self.new, &self.tools].map(|offer| (offer.file.clone(), offer.bytes.to_vec())).into()
    }

    /// An ESP in use, with so many other files beside the extensions. What isn't looked into is small.
    fn files(&self, others: usize) -> Files {
        let small = |path: String, size| (path, Arc::new(noise(2 * size)[size..].to_vec()));
        let other = |number| small(format!("{ACTIVE}{number}.TXT"), 10);
        let files = [
            (format!("{ACTIVE}{}", self.old.file), Arc::clone(&self.old.bytes)),
            small(format!("{ACTIVE}{KEPT}"), 5000),
            small(format!("{ACTIVE}{ASIDE}.disabled"), 3000),
            small("EFI/kairos/work.efi.extra.d/own.sysext.raw".to_owned(), 4000),
            small("EFI/kairos/active.efi".to_owned(), 7000),
            small("EFI/kairos/passive.efi".to_owned(), 8000),
            small("EFI/kairos/work.efi".to_owned(), 9000),
            small("loader/random-seed".to_owned(), 32),
        ];
        files.into_iter().chain((0..others).map(other)).collect()
    }

    /// What the script does to an ESP with so many other files, in its order: one action begins with what the one before
    /// it has left.
    pub fn actions(&self, others: usize) -> Vec<Action> {
        let mut files = self.files(others);
        let mut actions = Vec::new();
        let mut add = |name, change: &dyn Fn(&mut Files)| {
            let before = files.clone();
            change(&mut files);
            actions.push(Action { name, before, after: files.clone() });
        };
        let put = |files: &mut Files, directory: &str, offer: &Offer| {
            files.insert(format!("{directory}{}", offer.file), Arc::clone(&offer.bytes));
        };
        let rename = |files: &mut Files, from: &str, to: &str| {
            let content = files.remove(&format!("{ACTIVE}{from}")).unwrap();
            files.insert(format!("{ACTIVE}{to}"), content);
        };
        add("install", &|files| [ACTIVE, PASSIVE].iter().for_each(|directory| put(files, directory, &self.tools)));
        add("replace", &|files| put(files, ACTIVE, &self.new));
        add("disable", &|files| rename(files, KEPT, &format!("{KEPT}.disabled")));
        add("enable", &|files| rename(files, &format!("{ASIDE}.disabled"), ASIDE));
        add("remove", &|files| drop(files.remove(&format!("{ACTIVE}{ASIDE}"))));
        actions
    }
}
