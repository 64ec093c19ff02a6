//! What is done while the power may be cut, and the files before and after.

use crate::images::Offer;
use crate::keys;
use std::collections::BTreeMap;
use std::sync::Arc;
use support::trees::{Tree, noise};

/// Paths and contents of all files.
pub type Files = BTreeMap<String, Arc<Vec<u8>>>;

const ACTIVE: &str = "EFI/kairos/active.efi.extra.d/";
const PASSIVE: &str = "EFI/kairos/passive.efi.extra.d/";
const WORK: &str = "EFI/kairos/work.efi.extra.d/";
/// Directory of the set on the disk that is brought.
const SET: &str = "set";
/// Extensions that are put aside and taken up again.
const KEPT: &str = "observability_1.0.sysext.raw";
const ASIDE: &str = "set-aside_1.0.sysext.raw";

/// One thing that is done.
pub struct Action {
    /// Step of the script, behind the name of the disk.
    pub name: &'static str,
    pub before: Files,
    pub after: Files,
    /// The order in which the files of a set change: no state may have one of them as it is afterwards while an earlier one
    /// isn't. Empty where there is no set.
    pub order: Vec<Change>,
}

/// One step of a set.
pub enum Change {
    /// The file at this path is there, with this content.
    Comes(String, Arc<Vec<u8>>),
    /// No file is at this path any more.
    Goes(String),
}

/// The extensions that are real ones.
pub struct Images {
    old: Offer,
    new: Offer,
    tools: Offer,
    /// Of the set: one that replaces, and one that is new.
    newest: Offer,
    kept: Offer,
}

impl Images {
    /// New ones.
    pub fn make() -> Self {
        let worker = |age: &str| {
            let name = "kubernetes-worker_1.31";
            Offer::with_tree(name, &Tree::sysext(name).file("usr/share/age", age.as_bytes()), keys::db(), "db")
        };
        let tools = Offer::sysext("kubernetes-worker-tools_2.0", keys::db(), "db");
        let kept = Offer::sysext("observability_1.0", keys::db(), "db");
        assert_eq!(kept.file, KEPT);
        Self { old: worker("old"), new: worker("new"), tools, newest: worker("newest"), kept }
    }

    /// Those that the script takes from the disk it is on.
    pub fn brought(&self) -> Vec<(String, Vec<u8>)> {
        let alone = [&self.new, &self.tools].map(|offer| (offer.file.clone(), offer));
        let set = [&self.newest, &self.kept].map(|offer| (format!("{SET}/{}", offer.file), offer));
        alone.into_iter().chain(set).map(|(path, offer)| (path, offer.bytes.to_vec())).collect()
    }

    /// An ESP in use, with so many other files beside the extensions. What isn't looked into is small.
    fn files(&self, others: usize) -> Files {
        let small = |path: String, size| (path, Arc::new(noise(2 * size)[size..].to_vec()));
        let other = |number| small(format!("{ACTIVE}{number}.TXT"), 10);
        let files = [
            (format!("{ACTIVE}{}", self.old.file), Arc::clone(&self.old.bytes)),
            small(format!("{ACTIVE}{KEPT}"), 5000),
            small(format!("{ACTIVE}{ASIDE}.disabled"), 3000),
            small(format!("{WORK}own.sysext.raw"), 4000),
            (format!("{WORK}{}.disabled", self.newest.file), Arc::clone(&self.newest.bytes)),
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
            actions.push(Action { name, before, after: files.clone(), order: Vec::new() });
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
        // For two entries: one file replaces, one is new in place of a disabled one, one is new, one is enabled.
        let aside = (format!("{ACTIVE}{KEPT}.disabled"), format!("{WORK}{}.disabled", self.newest.file));
        add("set", &|files| {
            put(files, ACTIVE, &self.newest);
            put(files, ACTIVE, &self.kept);
            files.remove(&aside.0).unwrap();
            put(files, WORK, &self.kept);
            let content = files.remove(&aside.1).unwrap();
            files.insert(format!("{WORK}{}", self.newest.file), content);
        });
        let comes =
            |directory, offer: &Offer| Change::Comes(format!("{directory}{}", offer.file), Arc::clone(&offer.bytes));
        actions.last_mut().unwrap().order = vec![
            comes(ACTIVE, &self.newest),
            comes(ACTIVE, &self.kept),
            Change::Goes(aside.0),
            comes(WORK, &self.kept),
            comes(WORK, &self.newest),
        ];
        actions
    }
}
