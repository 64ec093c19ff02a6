//! dm-verity devices.

use super::cmdline::ALLOW_USERSPACE;
use super::devices::ImageDevices;
use super::error::{describe, errno};
use super::{DEVICE_PREFIX, KernelError, UUID_PREFIX, signature_key};
use crate::verify::Rooted;
use ddi::bytes::hex;
use devicemapper::{DM, DevId, DmFlags, DmName, DmNameBuf, DmOptions, DmUuidBuf};
use nix::errno::Errno;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Size in bytes of the device mapper's unit.
const SECTOR: u64 = 512;
/// Kernel parameter: `Y` if the kernel refuses an activation without signature.
const REQUIRE_SIGNATURES: &str = "/sys/module/dm_verity/parameters/require_signatures";

/// A device with exactly the bytes that the signed root hash covers. The kernel removes it when its last user closes
/// it.
pub(super) struct VerityDevice {
    dm: DM,
    name: DmNameBuf,
    /// Path of the node, and the descriptor that keeps the device open, once it is marked for removal.
    node: Option<(PathBuf, File)>,
}

impl VerityDevice {
    /// Activates `image`. With `kernel_only` the kernel must accept the signature. Otherwise it gets the signature, which
    /// the agent has verified, only if it refuses an activation without one, as some kernels do: verifying it again
    /// would nearly double the cost of a trial activation.
    pub(super) fn activate(image: Rooted<'_>, devices: &ImageDevices, kernel_only: bool) -> Result<Self, KernelError> {
        let table = Table::new(image, &devices.data()?, &devices.tree()?);
        let dm = DM::new().map_err(|error| KernelError::NoDeviceMapper(error.to_string()))?;
        let (name, uuid) = unique_name()?;
        let readonly = DmOptions::default().set_flags(DmFlags::DM_READONLY);
        let info =
            dm.device_create(&name, Some(&uuid), readonly).map_err(|error| failed("creating a device", &error))?;
        let minor = info.device().minor;
        // From here on, dropping the value removes the device.
        let mut this = Self { dm, name, node: None };
        this.load(image, &table, kernel_only, readonly)?;
        let id = DevId::Name(this.name());
        this.dm.device_suspend(&id, readonly).map_err(|error| failed("resuming the device", &error))?;
        let path = PathBuf::from(format!("/dev/dm-{minor}"));
        let file = File::open(&path)
            .map_err(|error| KernelError::Verity { step: "opening the device", cause: error.to_string() })?;
        this.remove_when_closed().map_err(|error| failed("marking the device for removal", &error))?;
        this.node = Some((path, file));
        Ok(this)
    }

    /// Returns the path of its node in `/dev`.
    pub(super) fn path(&self) -> Option<&Path> {
        self.node.as_ref().map(|(path, _)| path.as_path())
    }

    fn name(&self) -> &DmName {
        &self.name
    }

    fn remove_when_closed(&self) -> Result<(), devicemapper::DmError> {
        let options = DmOptions::default().set_flags(DmFlags::DM_DEFERRED_REMOVE);
        self.dm.device_remove(&DevId::Name(self.name()), options).map(drop)
    }

    fn load(&self, image: Rooted<'_>, table: &Table, kernel_only: bool, options: DmOptions) -> Result<(), KernelError> {
        let id = DevId::Name(self.name());
        let load = |parameters: String| {
            self.dm.table_load(&id, &[(0, table.sectors, "verity".to_owned(), parameters)], options).map(drop)
        };
        let refused = |cause: String| KernelError::Signature { cause, demand: ALLOW_USERSPACE };
        let unsigned = match (!kernel_only).then(|| load(table.parameters.clone())) {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) => Some(error),
            None => None,
        };
        let key = signature_key::add(image.signed().signature());
        let signed = key
            .map_err(|error| refused(error.to_string()))
            .and_then(|()| load(table.with_signature()).map_err(|error| refused(describe(&error))));
        match (signed, unsigned) {
            (Ok(()), _) => Ok(()),
            // What the kernel says to a signature that it need not know is no cause.
            (Err(_), Some(error)) => Err(self.explain(&error)),
            (Err(_), None) if !self.has_verity() => Err(KernelError::NoVerity),
            (Err(error), None) => Err(error),
        }
    }

    fn explain(&self, error: &devicemapper::DmError) -> KernelError {
        if !self.has_verity() {
            return KernelError::NoVerity;
        }
        let insists = fs::read_to_string(REQUIRE_SIGNATURES).is_ok_and(|value| value.trim() == "Y");
        if insists && matches!(errno(error), Some(Errno::ENOKEY | Errno::EKEYREJECTED | Errno::EINVAL)) {
            return KernelError::Signature { cause: describe(error), demand: "dm_verity.require_signatures" };
        }
        failed("loading its table", error)
    }

    /// Returns whether the kernel has the verity target. Valid only after an attempt to load a table with it.
    fn has_verity(&self) -> bool {
        self.dm.list_versions().is_ok_and(|targets| targets.iter().any(|(name, ..)| name == "verity"))
    }
}

impl Drop for VerityDevice {
    fn drop(&mut self) {
        match self.node.take() {
            // The device is marked for removal: the kernel removes it when this descriptor and the mount are closed.
            Some((_, file)) => drop(file),
            // The device is not marked yet. If the removal fails, a later sweep removes it.
            None => drop(self.remove_when_closed()),
        }
    }
}

fn failed(step: &'static str, error: &devicemapper::DmError) -> KernelError {
    KernelError::Verity { step, cause: describe(error) }
}

fn unique_name() -> Result<(DmNameBuf, DmUuidBuf), KernelError> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let unique = format!("{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    let failed = |error| failed("naming a device", &error);
    let name = DmNameBuf::new(format!("{DEVICE_PREFIX}{unique}")).map_err(failed)?;
    Ok((name, DmUuidBuf::new(format!("{UUID_PREFIX}{unique}")).map_err(failed)?))
}

/// A line of a device-mapper table (kernel `Documentation/admin-guide/device-mapper/verity.rst`).
#[derive(Debug, PartialEq, Eq)]
struct Table {
    sectors: u64,
    parameters: String,
}

impl Table {
    fn new(image: Rooted<'_>, data: &Path, (tree, tree_start): &(PathBuf, u64)) -> Self {
        let superblock = image.superblock();
        let salt = match superblock.salt() {
            [] => "-".to_owned(),
            salt => hex(salt),
        };
        let parameters = format!(
            "1 {} {} {} {} {} {tree_start} {} {} {salt}",
            data.display(),
            tree.display(),
            superblock.data_block_size(),
            superblock.hash_block_size(),
            superblock.data_blocks(),
            superblock.algorithm(),
            image.signed().root_hash(),
        );
        Self { sectors: superblock.geometry().data_len() / SECTOR, parameters }
    }

    fn with_signature(&self) -> String {
        format!("{} 2 root_hash_sig_key_desc {}", self.parameters, signature_key::DESCRIPTION)
    }
}
