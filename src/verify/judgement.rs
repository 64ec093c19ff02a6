//! Judgement of a file system: whether it is an extension for this host.

use crate::extension::{self, Compatible, HostRelease, LookupError};
use crate::policy::Policy;
use crate::reason::{Reason, Refusal};
use ddi::filesystem::{Filesystem, Tree};
use ddi::text::Text;
use ddi::{Architecture, Class, ExtensionName};

/// The required scope of an extension: a booted system, as opposed to an initrd or a portable service (os-release(5),
/// `SYSEXT_SCOPE`).
const SCOPE: &str = "system";

/// The rules for reading images. They contain no secrets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) architecture: Architecture,
    pub(super) policy: &'a Policy,
    pub(super) host: Option<&'a HostRelease>,
    pub(super) threads: usize,
}

/// Judges the file system of an image that has not been verified: release file, names and hierarchies, but not
/// compatibility with a host.
///
/// # Errors
/// The refusal of a boot for an image with this file system.
pub fn judge_unverified(
    policy: &Policy,
    architecture: Architecture,
    filesystem: &Filesystem<'_>,
    name: &ExtensionName,
    class: Class,
) -> Result<Compatible, Refusal> {
    judge_filesystem(Rules { architecture, policy, host: None, threads: 1 }, filesystem, name, class)
}

/// Judges a file system by all rules of [`judge_tree`], and refuses overlayfs markers that would hide files of the host.
pub(super) fn judge_filesystem(
    rules: Rules<'_>,
    filesystem: &Filesystem<'_>,
    name: &ExtensionName,
    class: Class,
) -> Result<Compatible, Refusal> {
    let compatible = judge_tree(rules, filesystem, name, class)?;
    let hierarchies = class.hierarchies().iter().copied().chain(rules.policy.hierarchies.paths(class));
    let tops: Vec<&str> = hierarchies.filter_map(|path| path.split('/').find(|name| !name.is_empty())).collect();
    let masks = filesystem.masks(&tops, 1).map_err(|error| Refusal::new(Reason::NotMountable, error))?;
    match masks.first() {
        None => Ok(compatible),
        Some((path, mask)) => {
            let path = Text::from_bytes(path);
            Err(Refusal::new(Reason::BadHierarchy, format_args!("/{path} {mask}")))
        }
    }
}

/// Judges a file system by the rules that can be checked on a mounted one.
pub(super) fn judge_tree(
    rules: Rules<'_>,
    tree: &dyn Tree,
    name: &ExtensionName,
    class: Class,
) -> Result<Compatible, Refusal> {
    let lookup = |error: LookupError| Refusal::new(error.reason(), &error);
    let release = extension::find_release(tree, class, name).map_err(lookup)?;
    let judge = |host| {
        extension::judge(&release.file, class, host, SCOPE, rules.architecture)
            .map_err(|error| Refusal::new(error.reason(), &error))
    };
    // Faults of the extension itself come before incompatibility with this host.
    judge(None)?;
    extension::refuse_os_release(tree, class).map_err(lookup)?;
    extension::refuse_odd_metadata(tree, class, name).map_err(lookup)?;
    extension::refuse_odd_hierarchies(tree, rules.policy.hierarchies.paths(class)).map_err(lookup)?;
    let (possible, longest) = (rules.policy.host_hierarchies.possible(class), rules.policy.overlay(class).hierarchy());
    extension::refuse_possible_hierarchies(tree, possible, longest).map_err(lookup)?;
    let compatible = judge(rules.host)?;
    rules.policy.minimum.admit(class, name, release.name(), &release.file)?;
    Ok(compatible)
}
