//! Why an extension that is there isn't merged.

use super::OfHost;
use crate::agent::Environment;
use crate::merge::{self, Found, Hidden, Obstacle, Origin, Service};
use crate::report::{Event, MERGE_ROWS, Merge};
use crate::root::Root;
use crate::stage;
use crate::state::{HostImage, Judgement, StagedExtension, State};
use ddi::Class;
use ddi::text::{Message, Text};
use std::fmt::Display;

/// Most files that one cause names.
const NAMED: usize = 3;
const UNMERGED: &str = "it was merged in this boot and unmerged later";

/// Why an extension isn't merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) text: Message,
    /// Whether an administrator had that in mind.
    pub(super) meant: bool,
    /// Whether another entry of the journal says it.
    pub(super) is_told: bool,
}

impl Cause {
    fn fault(text: impl Display) -> Self {
        Self { text: Message::new(text), meant: false, is_told: false }
    }

    fn meant(text: impl Display) -> Self {
        Self { meant: true, ..Self::fault(text) }
    }
}

/// An extension that is there and not merged.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) name: Text,
    pub(super) file: Text,
    pub(super) staged: bool,
    pub(super) cause: Cause,
}

/// What tells causes for the extensions of one class.
#[derive(Debug)]
pub(super) struct Causes<'c> {
    of_host: &'c OfHost,
    /// Whether nothing of the class is merged.
    is_empty: bool,
    obstacle: Option<Obstacle>,
    service: Option<Service>,
    /// Images of the host's own.
    host: Vec<&'c HostImage>,
    /// What an earlier comparison in this boot found.
    before: &'c Merge,
}

impl<'c> Causes<'c> {
    pub(super) fn new(
        environment: &Environment,
        state: &'c State,
        before: &'c Merge,
        of_host: &'c OfHost,
        found: &[Found],
    ) -> Self {
        let (root, class) = (environment.root(), of_host.class);
        let is_merged = |name: &Text| found.iter().any(|found| found.name == *name);
        let is_complete = state.left().filter(|it| it.class == class).all(|it| is_merged(&it.name));
        let too_old = || if is_complete { None } else { merge::too_old(root) };
        Self {
            of_host,
            is_empty: found.is_empty(),
            obstacle: merge::obstacle(root, class, &environment.command_line()).or_else(too_old),
            // Where all is well systemd isn't asked.
            service: if is_complete { None } else { environment.service(class) },
            host: state.host.iter().filter(|image| image.class == class).collect(),
            before,
        }
    }

    /// Names the images for whose sake systemd refused the merge.
    pub(super) fn tell_refusal(&self) {
        for (image, cause) in self.refused_for() {
            let text = format_args!(
                "systemd merged no extension ({}) because of {}: {cause}. Remove it, sign it, or set \
                 merge.quarantine",
                self.of_host.class, image.path
            );
            Event::MergeRefused.emit_about(&image.name, text);
        }
    }

    /// Images of the host's own that systemd refuses, if it refused the merge.
    fn refused_for(&self) -> Vec<(&'c HostImage, &'c Message)> {
        let has_failed = self.service.as_ref().map_or(self.is_empty, Service::has_failed);
        let bad = self.host.iter().filter_map(|image| match &image.judgement {
            Judgement::Bad(cause) => Some((*image, cause)),
            _ => None,
        });
        if self.obstacle.is_none() && self.is_empty && has_failed { bad.collect() } else { Vec::new() }
    }

    /// Why `extension` isn't merged. `merged` is what is, under its name.
    pub(super) fn of_staged(&self, root: &Root, extension: &StagedExtension, merged: Option<&Found>) -> Cause {
        let name = &extension.name;
        if let Some(cause) = &extension.withdrawn {
            let text = format_args!("it was withdrawn: {cause} (journalctl -b -t sextant-agent)");
            return if extension.is_removed { Cause::meant(text) } else { Cause::fault(text) };
        }
        match merged {
            Some(found) => Cause::fault(another(found, extension.root_hash.as_ref())),
            None => self.of_class().unwrap_or_else(|| self.of_one(root, name)),
        }
    }

    /// What holds for all of the class.
    fn of_class(&self) -> Option<Cause> {
        let obstacle = self.obstacle.as_ref().filter(|_| self.is_empty)?;
        Some(if obstacle.is_meant() { Cause::meant(obstacle) } else { Cause::fault(obstacle) })
    }

    fn of_one(&self, root: &Root, name: &Text) -> Cause {
        let unit = self.of_host.class.unit();
        match self.of_host.hidden.get(name) {
            Some(Hidden { path, is_mask: true, .. }) => {
                return Cause::meant(format_args!("it is masked by {path}, an empty directory"));
            }
            Some(Hidden { path, .. }) => {
                return Cause::fault(format_args!("{path} has the same name, and systemd prefers it"));
            }
            None => {}
        }
        if let Some(cause) = self.of_refusal() {
            return cause;
        }
        let path = super::staged_path(self.of_host.class, name);
        if root.metadata(path.as_str()).is_err() {
            return Cause::fault(format_args!("{path} does not exist any more, as after a soft reboot"));
        }
        match &self.service {
            Some(service) if service.has_failed() => {
                Cause::fault(format_args!("{unit} failed ({}): see its journal", service.result()))
            }
            Some(service) if self.is_empty && self.was_merged(name) => {
                let stopped = if service.has_succeeded() { "" } else { " with its unit, which was stopped" };
                Cause::meant(format_args!("{UNMERGED}{stopped}"))
            }
            Some(service) if self.is_empty && !service.has_succeeded() => {
                Cause::fault(format_args!("{unit} is not active: see its journal"))
            }
            _ => Cause::fault(format_args!("see the journal of {unit}")),
        }
    }

    fn of_refusal(&self) -> Option<Cause> {
        let refused = self.refused_for();
        let paths: Vec<&str> = refused.iter().take(NAMED).map(|(image, _)| image.path.as_str()).collect();
        let more = if refused.len() > NAMED { " and others" } else { "" };
        let text = format!("systemd refused all extensions because of {}{more}", paths.join(", "));
        (!paths.is_empty()).then(|| Cause::fault(text))
    }

    /// Whether `name` was merged when this was last compared, or was unmerged by then.
    fn was_merged(&self, name: &Text) -> bool {
        let is_it = |class: Class, found: &Text| class == self.of_host.class && found == name;
        let staged = Origin::Staged.as_str();
        self.before.extensions.iter().any(|it| is_it(it.class, &it.name) && it.origin == *staged)
            || self
                .before
                .not_merged
                .iter()
                .any(|it| is_it(it.class, &it.name) && it.meant && it.cause.as_str().starts_with(UNMERGED))
    }

    /// Other extensions that are there and not merged: images and directories of the host, and foreign entries of the
    /// staging directory.
    pub(super) fn of_others(&self, root: &Root, found: &[Found]) -> Vec<Missing> {
        let mut missing = Vec::new();
        let merged = |name: &Text| found.iter().find(|found| found.name == *name);
        for image in self.host.iter().filter(|image| root.metadata(image.path.as_str()).is_ok()) {
            let merged = merged(&image.name);
            if merged.is_some_and(|found| found.origin == Origin::Host) {
                continue;
            }
            let cause = self.of_host(image, merged);
            let (name, file) = (image.name.clone(), image.path.clone());
            missing.push(Missing { name, file, staged: false, cause });
        }
        for (name, path) in &self.of_host.directories {
            if merged(name).is_none() && !merge::is_empty(root, path) {
                let none = || Cause::meant("systemd skips a directory without a release file for this host");
                let cause = self.of_class().or_else(|| self.of_refusal()).unwrap_or_else(none);
                let (name, cause) = (name.clone(), Cause { meant: true, ..cause });
                missing.push(Missing { name, file: Text::new(path), staged: false, cause });
            }
        }
        let directory = self.of_host.class.staging_directory();
        for file in stage::foreign(root, self.of_host.class, MERGE_ROWS).unwrap_or_default() {
            let Some(file) = file.to_str() else { continue };
            let name = Text::new(merge::image_name(self.of_host.class, file));
            if merged(&name).is_none() {
                let advice = format_args!("it was not verified: run systemctl restart systemd-{}", self.of_host.class);
                let cause = self.of_class().unwrap_or_else(|| Cause::fault(advice));
                missing.push(Missing {
                    name,
                    file: Text::new(format_args!("{directory}/{file}")),
                    staged: false,
                    cause,
                });
            }
        }
        missing
    }

    /// Why an image of the host's own isn't merged. `merged` is what is, under its name.
    fn of_host(&self, image: &HostImage, merged: Option<&Found>) -> Cause {
        match (&image.judgement, merged) {
            // The agent has told so before the merge.
            (Judgement::Bad(cause) | Judgement::Excluded(cause), _) => Cause { is_told: true, ..Cause::fault(cause) },
            (Judgement::PassedOver(cause), _) => Cause::meant(format_args!("systemd skips it: {cause}")),
            (Judgement::Good, Some(found)) if found.origin == Origin::Staged => {
                Cause::meant("the staged extension of this name was merged")
            }
            (Judgement::Good, Some(found)) => Cause::fault(another(found, image.root_hash.as_ref())),
            (Judgement::Good, None) => self
                .of_class()
                .or_else(|| self.of_refusal())
                .unwrap_or_else(|| Cause::fault(format_args!("see the journal of {}", self.of_host.class.unit()))),
        }
    }
}

/// What was merged under the name of an extension with the root hash `expected`.
fn another(found: &Found, expected: Option<&Text>) -> Message {
    let root_hash = found.root_hash.as_ref().map(|it| format!(", root hash {it},")).unwrap_or_default();
    match (&found.file, found.origin) {
        (Some(file), Origin::Directory) => {
            Message::new(format_args!("the directory {file} was merged under its name, which systemd prefers"))
        }
        (Some(file), _) => Message::new(format_args!("{file}{root_hash} was merged under its name")),
        (None, _) if found.root_hash.is_some() => {
            Message::new(format_args!("another image{root_hash} was merged under its name"))
        }
        (None, _) => {
            let expected = expected.map(|it| format!(": no device has its root hash {it}")).unwrap_or_default();
            Message::new(format_args!("something else was merged under its name{expected}"))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::{MergedExtension, NotMerged};
    use serde_json::Map;
    use std::collections::BTreeMap;

    fn service(active: &str, result: &str) -> Option<Service> {
        Service::parse(&format!("ActiveState={active}\nResult={result}\n"))
    }

    /// The cause for "app", which is staged where the unit is so, and whether it was meant.
    fn cause(service: Option<Service>, before: &Merge, host: &[HostImage]) -> (String, bool) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("run/extensions")).unwrap();
        std::fs::write(dir.path().join("run/extensions/app.raw"), "").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let (hidden, directories) = (BTreeMap::new(), BTreeMap::new());
        let of_host = OfHost { class: Class::Sysext, hidden, directories };
        let causes =
            Causes { of_host: &of_host, is_empty: true, obstacle: None, service, host: host.iter().collect(), before };
        let cause = causes.of_one(&root, &"app".into());
        (cause.text.to_string(), cause.meant)
    }

    #[test]
    fn what_became_of_the_unit_tells_faults_from_wishes() {
        let never = Merge::default();
        let merged = MergedExtension {
            class: Class::Sysext,
            name: "app".into(),
            origin: "staged".into(),
            root_hash: None,
            file: None,
            rest: Map::new(),
        };
        let once = Merge { extensions: vec![merged], ..Merge::default() };
        let of = |service, before: &Merge| cause(service, before, &[]);
        let told = |text: &str, meant| (text.to_owned(), meant);
        let failed = told("systemd-sysext.service failed (exit-code): see its journal", false);
        assert_eq!(of(service("failed", "exit-code"), &never), failed);
        assert_eq!(of(service("failed", "exit-code"), &once), failed);
        let elsewhere = told("see the journal of systemd-sysext.service", false);
        assert_eq!(of(service("active", "success"), &never), elsewhere);
        assert_eq!(of(None, &once), elsewhere);
        assert_eq!(of(service("active", "success"), &once), told(UNMERGED, true));
        let stopped = format!("{UNMERGED} with its unit, which was stopped");
        assert_eq!(of(service("inactive", "success"), &once), told(&stopped, true));
        assert_eq!(
            of(service("inactive", "success"), &never),
            told("systemd-sysext.service is not active: see its journal", false)
        );
        // It stays so however often it is compared.
        let row = NotMerged {
            class: Class::Sysext,
            name: "app".into(),
            file: "/run/extensions/app.raw".into(),
            staged: true,
            cause: UNMERGED.into(),
            meant: true,
            rest: Map::new(),
        };
        let again = Merge { not_merged: vec![row], ..Merge::default() };
        assert_eq!(of(service("active", "success"), &again), told(UNMERGED, true));
    }

    #[test]
    fn only_a_merge_that_failed_was_refused_for_the_sake_of_an_image() {
        let image = |name: &str, judgement| HostImage {
            class: Class::Sysext,
            name: name.into(),
            path: Text::new(format_args!("/var/lib/extensions/{name}.raw")),
            root_hash: None,
            judgement,
        };
        let host = [
            image("good", Judgement::Good),
            image("other", Judgement::PassedOver("it is for another host".into())),
            image("bad", Judgement::Bad("it is unsigned".into())),
            image("worse", Judgement::Bad("it is damaged".into())),
        ];
        let refused = "systemd refused all extensions because of /var/lib/extensions/bad.raw, \
                       /var/lib/extensions/worse.raw";
        let never = Merge::default();
        assert_eq!(cause(service("failed", "exit-code"), &never, &host), (refused.to_owned(), false));
        assert_eq!(cause(None, &never, &host).0, refused);
        assert!(!cause(service("active", "success"), &never, &host).0.contains("refused"));
        assert!(!cause(service("failed", "timeout"), &never, &host[..2]).0.contains("refused"));
    }
}
