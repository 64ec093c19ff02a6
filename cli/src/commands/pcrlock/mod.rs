//! `--pcrlock` of the commands that change extensions on the EFI system partition.
//!
//! The policy of systemd-pcrlock has to admit the new set before the first file changes; else volumes would stay closed at the next
//! boot. So the values of all states of the change are recorded, systemd makes its policy anew, and the policy is read,
//! before anything is renamed. The old set stays admitted until the new one has booted (`sextant measure --booted`).

mod policy;
mod states;

pub(super) use states::Step;

use super::measure_policies::{waiting, warn_of_others};
use super::store_options::StoreOptions;
use crate::esp::{Entry, Esp};
use crate::policies::{Component, DIRECTORY, Recorded, Variant};
use crate::store::Store;
use anyhow::{Context, Result, ensure};
use clap::Args;
use ddi::text::Text;
use std::path::{Path, PathBuf};

/// Policy of systemd-pcrlock
#[derive(Debug, Args)]
pub(super) struct PcrlockOptions {
    /// Have the policy of systemd-pcrlock admit the new set first, with variants in DIR/670-sextant.pcrlock.d [default DIR:
    /// /var/lib/pcrlock.d]. The old set stays admitted until the new one has booted
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    #[expect(clippy::option_option, reason = "clap's form of an option with an optional value")]
    pcrlock: Option<Option<PathBuf>>,
}

impl PcrlockOptions {
    /// Whether states of the partition are wanted.
    pub(super) const fn is_given(&self) -> bool {
        self.pcrlock.is_some()
    }

    /// Has the policy admit each state of the partition from now to after the last of `steps`. What is returned keeps others from
    /// changing what is recorded until the change is done.
    pub(super) fn admit(&self, options: &StoreOptions, store: &Store, steps: &[Step]) -> Result<Option<Component>> {
        let Some(named) = &self.pcrlock else { return Ok(None) };
        let Some(path) = store.esp() else {
            return Err(super::usage("--pcrlock: extensions in Kairos' store are not measured"));
        };
        let esp = Esp::open(path).with_context(|| format!("opening {}", path.display()))?;
        let directory = named.clone().unwrap_or_else(|| options.below_root(DIRECTORY));
        let component = Component::create(&directory, waiting(&directory))?;
        let recorded = component.read()?;
        warn_of_others(&component, &recorded);
        let mut admitted = Vec::new();
        for entry in esp.entries().context("reading the boot entries")?.found {
            let context = || format!("measuring the states of boot entry {}", Text::new(&entry.name));
            let Some(states) = states::of(&esp, &entry, steps).with_context(context)? else { continue };
            let is_other = |(name, last): &(String, Variant)| *name == entry.name && *last != states.last;
            ensure!(!admitted.iter().any(is_other), "two boot entries are called {}", Text::new(&entry.name));
            check_known(&recorded, &entry, &states.now, &directory)?;
            component.record(&entry.name, &states.last, &states.others)?;
            admitted.push((entry.name, states.last));
        }
        if !admitted.is_empty() {
            policy::renew(options, &admitted)?;
        }
        Ok(Some(component))
    }
}

/// Makes sure that what lies beside the UKI now was recorded, if anything was: the partition is not authenticated, and recording must
/// not admit what another person put there.
fn check_known(recorded: &Recorded, entry: &Entry, now: &Variant, directory: &Path) -> Result<()> {
    let mut known = recorded.rows.iter().filter(|row| row.entry == entry.name).peekable();
    ensure!(
        known.peek().is_none() || known.any(|row| row.variant == *now),
        "the extensions of boot entry {name} are not those that were recorded; if they are as intended, record them: sextant \
         measure --entry {name} --pcrlock {}",
        directory.display(),
        name = Text::new(&entry.name)
    );
    Ok(())
}
