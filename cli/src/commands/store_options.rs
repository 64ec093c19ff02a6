//! Options that select the store and the boot entries.

use crate::esp::{self, Esp};
use crate::store::{Kairos, Kind, Running, Slot, Slots, Store, running};
use anyhow::{Context, Result, bail};
use clap::{ArgMatches, Args};
use sextant::policy::{self, Policy};
use sextant::root::Root;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Store of the extensions
#[derive(Debug, Clone, Default, Args)]
pub(super) struct StoreOptions {
    /// Store of the extensions [default: kairos if immucore booted with such a store, else esp]
    #[arg(long, value_name = "STORE", value_enum)]
    store: Option<Kind>,
    /// Short for --store global; needs systemd-stub 258 or later
    #[arg(long, conflicts_with = "store")]
    global: bool,
    /// Mount point of the EFI system partition [default: `$SYSTEMD_ESP_PATH`, else the one that this machine booted from]
    #[arg(long, alias = "esp-path", value_name = "DIR")]
    esp: Option<PathBuf>,
    /// Operate on the tree at DIR [default: /]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// What names the mount point of the EFI system partition for systemd's tools (systemd's `docs/ENVIRONMENT.md`).
const ESP_PATH: &str = "SYSTEMD_ESP_PATH";

/// Opens the EFI system partition at `named`, or else the mounted one of the machine or of the tree at `root`.
pub(super) fn open_esp(named: Option<&Path>, root: Option<&Path>) -> Result<Esp> {
    let context = "locating the EFI system partition (--esp overrides this)";
    let path = match (named, root) {
        (Some(path), _) => path.to_owned(),
        (None, Some(root)) => esp::find_below(root).context(context)?,
        (None, None) => match std::env::var_os(ESP_PATH).filter(|path| !path.is_empty()).map(PathBuf::from) {
            Some(path) if path.is_relative() => bail!("{ESP_PATH}={} is not an absolute path", path.display()),
            Some(path) => path,
            None => esp::find().context(context)?,
        },
    };
    Esp::open(&path).with_context(|| format!("opening the EFI system partition {}", path.display()))
}

impl StoreOptions {
    /// The options in an incomplete command line, of a command that may have some of them only.
    pub(super) fn of(matches: &ArgMatches) -> Self {
        let path = |id| matches.try_get_one::<PathBuf>(id).ok().flatten().cloned();
        Self {
            store: matches.try_get_one("store").ok().flatten().copied(),
            global: matches.try_get_one("global").ok().flatten().copied().unwrap_or(false),
            esp: path("esp"),
            root: path("root"),
        }
    }

    /// The store, without a word about one that is not as it should be.
    pub(super) fn find(&self) -> Option<Store> {
        let has_kairos =
            || self.esp.is_none() && self.running().ok().flatten().is_some_and(|running| running.has_store);
        match self.named() {
            Some(Kind::Kairos) => self.open_kairos().ok(),
            None if has_kairos() => self.open_kairos().ok(),
            Some(Kind::Global) => self.open_esp().ok().map(Store::global),
            Some(Kind::Esp) | None => self.open_esp().ok().map(Store::beside),
        }
    }

    /// The root of the machine.
    fn root(&self) -> &Path {
        self.root.as_deref().unwrap_or(Path::new("/"))
    }

    /// Whether the root is that of this machine, not of another tree.
    pub(super) fn is_machine(&self) -> Result<bool> {
        let context = || format!("opening {}", self.root().display());
        Ok(Root::open(self.root()).with_context(context)?.is_machine())
    }

    /// A path of the machine.
    pub(super) fn below_root(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// The store that the option names.
    pub(super) const fn named(&self) -> Option<Kind> {
        if self.global { Some(Kind::Global) } else { self.store }
    }

    /// What immucore says about this boot.
    pub(super) fn running(&self) -> Result<Option<Running>> {
        let context = || format!("reading the boot state of immucore in {}", self.root().display());
        Root::open(self.root()).and_then(|root| running(&root)).with_context(context)
    }

    /// The EFI system partition.
    pub(super) fn open_esp(&self) -> Result<Esp> {
        open_esp(self.esp.as_deref(), self.root.as_deref())
    }

    /// Kairos' store.
    pub(super) fn open_kairos(&self) -> Result<Store> {
        let context = || format!("opening {}", self.root().display());
        Ok(Store::kairos(Kairos::open(self.root()).with_context(context)?))
    }

    /// Opens the store, and warns where this machine doesn't use it. `named` tells whether the boot entries that are
    /// meant are named, which only the global store needs not.
    pub(super) fn open(&self, named: bool) -> Result<Store> {
        let running = self.running()?;
        let uses_kairos = running.is_some_and(|running| running.has_store);
        let kind = match (self.named(), &self.esp) {
            (Some(Kind::Kairos), Some(_)) => {
                return Err(super::usage("--esp: Kairos' store is not on the EFI system partition"));
            }
            (Some(kind), _) => kind,
            (None, None) if uses_kairos => Kind::Kairos,
            (None, _) => Kind::Esp,
        };
        match kind {
            Kind::Esp if !named => return Err(super::usage("no boot entry given: use --entry NAME")),
            Kind::Kairos if !named => {
                let states = "active, passive, recovery, common";
                return Err(super::usage(&format!("no boot state given: use --entry NAME ({states})")));
            }
            _ => {}
        }
        Ok(match kind {
            Kind::Esp => Store::beside(self.open_esp()?),
            Kind::Global => Store::global(self.open_esp()?),
            Kind::Kairos => {
                if !uses_kairos {
                    super::warn(
                        "this machine has no store in /var/lib/kairos (Kairos 3.4 or later): a boot may not load extensions \
                         from there",
                    );
                }
                self.open_kairos()?
            }
        })
    }

    /// The configuration that decides which entries may have extensions: that in `files`, else what the machine has. (On a machine
    /// whose UKI holds the whole system that is what the UKI seals.)
    pub(super) fn policy(&self, files: &[PathBuf]) -> Result<Policy> {
        let context = || format!("opening {}", self.root().display());
        Ok(match files {
            [] => policy::load(&Root::open(self.root()).with_context(context)?)?,
            files => policy::load_files(files)?,
        })
    }

    /// Warns where immucore will move what lies beside the UKIs of `slots`.
    pub(super) fn warn_of_moves(&self, store: &Store, slots: &[Slot]) -> Result<()> {
        if store.kind() != Kind::Esp {
            return Ok(());
        }
        let Some(running) = self.running()? else { return Ok(()) };
        for slot in slots.iter().filter(|slot| running.moves(&slot.directory)) {
            super::warn(format_args!(
                "immucore moves the files in {} to /var/lib/kairos/extensions at the next boot without verifying them \
                 (use `sextant migrate`, or install with --store kairos)",
                slot.directory
            ));
        }
        Ok(())
    }
}

/// Selection of boot entries
#[derive(Debug, Args)]
#[group(multiple = true)]
pub(super) struct EntryOptions {
    /// Apply to the boot entry NAME, or to the boot state active, passive, recovery or common of Kairos' store;
    /// repeatable
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    entry: Vec<String>,
    /// Apply to all boot entries
    #[arg(long)]
    all: bool,
}

impl EntryOptions {
    /// Whether no entry is named.
    pub(super) fn is_all(&self) -> bool {
        self.all
    }

    /// Whether it is said which are meant.
    pub(super) fn is_given(&self) -> bool {
        self.all || !self.entry.is_empty()
    }

    /// The slots that are meant.
    pub(super) fn slots(&self, store: &Store) -> Result<Vec<Slot>> {
        if self.all { all_slots(store) } else { slots(store, &self.entry) }
    }
}

/// All slots. What had to be left out is said on standard error.
pub(super) fn all_slots(store: &Store) -> Result<Vec<Slot>> {
    Ok(list_slots(store)?.found)
}

fn list_slots(store: &Store) -> Result<Slots> {
    let slots = store.slots().with_context(|| listing(store))?;
    for line in &slots.left_out {
        super::warn(line);
    }
    Ok(slots)
}

/// The slots of these names, each set once. Where none is named, that of the global store.
pub(super) fn slots(store: &Store, names: &[String]) -> Result<Vec<Slot>> {
    if names.is_empty() && store.kind() == Kind::Global {
        return all_slots(store);
    }
    list_slots(store)?.named(names).with_context(|| listing(store))
}

/// Has the store to itself, until what is returned is dropped.
pub(super) fn lock(store: &Store) -> Result<File> {
    let path = store.path().display();
    let waiting = || super::warn(format_args!("waiting for another sextant process to release {path}"));
    store.lock(waiting).with_context(|| format!("locking {path}"))
}

/// What is being done while slots are looked for.
pub(super) fn listing(store: &Store) -> String {
    match store.kind() {
        Kind::Kairos => format!("reading {}", store.path().display()),
        Kind::Esp | Kind::Global => format!("listing the boot entries of {}", store.path().display()),
    }
}

/// The store as it is shown: where, and of which kind.
pub(super) fn shown(store: &Store) -> String {
    format!("{} ({})", store.path().display(), store.kind().as_str())
}
