//! Partition types: the purpose of a partition and its architecture.
//!
//! The types are those of the UAPI Discoverable Partitions Specification, "Defined Partition Type UUIDs".

use super::Guid;
use super::architecture::{Architecture, TYPES, guid};
use crate::verity::RootHash;

/// The purpose of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PartitionKind {
    /// The file system mounted at `/`; in an extension, the one that is merged.
    Root,
    /// The dm-verity hash tree of the root partition.
    RootVerity,
    /// The signed root hash of the root partition.
    RootVeritySig,
    /// A file system for `/usr` alone.
    Usr,
    /// The dm-verity hash tree of the `/usr` partition.
    UsrVerity,
    /// The signed root hash of the `/usr` partition.
    UsrVeritySig,
    /// The EFI system partition.
    Esp,
    /// The extended boot loader partition.
    Xbootldr,
    /// Swap space.
    Swap,
    /// `/home`
    Home,
    /// `/srv`
    Srv,
    /// `/var`
    Var,
    /// `/var/tmp`
    Tmp,
    /// The home directory of one user, as systemd-homed makes it.
    UserHome,
    /// A Linux file system that is not mounted automatically.
    LinuxGeneric,
    /// A type that the specification does not define.
    Unknown(Guid),
}

/// The kinds with one type per architecture, in the order of the table's columns.
const PER_ARCHITECTURE: [PartitionKind; TYPES] = [
    PartitionKind::Root,
    PartitionKind::RootVerity,
    PartitionKind::RootVeritySig,
    PartitionKind::Usr,
    PartitionKind::UsrVerity,
    PartitionKind::UsrVeritySig,
];

/// The kinds with one type for all architectures.
const COMMON: [(PartitionKind, u128); 9] = [
    (PartitionKind::Esp, 0xc12a_7328_f81f_11d2_ba4b_00a0_c93e_c93b),
    (PartitionKind::Xbootldr, 0xbc13_c2ff_59e6_4262_a352_b275_fd6f_7172),
    (PartitionKind::Swap, 0x0657_fd6d_a4ab_43c4_84e5_0933_c84b_4f4f),
    (PartitionKind::Home, 0x933a_c7e1_2eb4_4f13_b844_0e14_e2ae_f915),
    (PartitionKind::Srv, 0x3b8f_8425_20e0_4f3b_907f_1a25_a76f_98e8),
    (PartitionKind::Var, 0x4d21_b016_b534_45c2_a9fb_5c16_e091_fd2d),
    (PartitionKind::Tmp, 0x7ec6_f557_3bc5_4aca_b293_16ef_5df6_39d1),
    (PartitionKind::UserHome, 0x773f_91ef_66d4_49b5_bd83_d683_bf40_ad16),
    (PartitionKind::LinuxGeneric, 0x0fc6_3daf_8483_4772_8e79_3d69_d847_7de4),
];

impl PartitionKind {
    /// Iterates over all kinds except [`PartitionKind::Unknown`].
    pub fn known() -> impl Iterator<Item = Self> {
        PER_ARCHITECTURE.into_iter().chain(COMMON.into_iter().map(|(kind, _)| kind))
    }

    /// Returns the partition type of this kind on `architecture`. Kinds such as [`PartitionKind::Home`] have one type
    /// for all.
    #[must_use]
    pub fn type_guid(self, architecture: Architecture) -> Guid {
        if let Self::Unknown(guid) = self {
            return guid;
        }
        let own = PER_ARCHITECTURE.into_iter().zip(architecture.types());
        let common = COMMON.into_iter().map(|(kind, number)| (kind, guid(number)));
        own.chain(common).find(|(kind, _)| *kind == self).map_or(Guid::ZERO, |(_, guid)| guid)
    }

    /// Returns systemd's name for the type, such as `root-x86-64-verity`, which is the default name of such a partition
    /// in `systemd-repart` (`gpt_partition_type_uuid_to_string()`). For an unknown type it is the GUID.
    #[must_use]
    pub fn systemd_name(self, architecture: Architecture) -> String {
        match self {
            Self::Root => format!("root-{architecture}"),
            Self::RootVerity => format!("root-{architecture}-verity"),
            Self::RootVeritySig => format!("root-{architecture}-verity-sig"),
            Self::Usr => format!("usr-{architecture}"),
            Self::UsrVerity => format!("usr-{architecture}-verity"),
            Self::UsrVeritySig => format!("usr-{architecture}-verity-sig"),
            Self::Esp => "esp".to_owned(),
            Self::Xbootldr => "xbootldr".to_owned(),
            Self::Swap => "swap".to_owned(),
            Self::Home => "home".to_owned(),
            Self::Srv => "srv".to_owned(),
            Self::Var => "var".to_owned(),
            Self::Tmp => "tmp".to_owned(),
            Self::UserHome => "user-home".to_owned(),
            Self::LinuxGeneric => "linux-generic".to_owned(),
            Self::Unknown(guid) => guid.to_string(),
        }
    }
}

/// Returns kind and architecture of a partition type. The architecture is `None` for kinds with one type for all.
#[must_use]
pub fn classify(type_guid: Guid) -> (PartitionKind, Option<Architecture>) {
    for architecture in Architecture::ALL {
        for (kind, candidate) in PER_ARCHITECTURE.into_iter().zip(architecture.types()) {
            if candidate == type_guid {
                return (kind, Some(*architecture));
            }
        }
    }
    let common = COMMON.into_iter().find(|(_, number)| guid(*number) == type_guid);
    (common.map_or(PartitionKind::Unknown(type_guid), |(kind, _)| kind), None)
}

/// Returns the UUIDs of the root partition and of its hash tree: the first and the last 128 bits of the root hash
/// (Discoverable Partitions Specification, "Partition Names and UUIDs").
#[must_use]
pub fn partition_uuids(root_hash: &RootHash) -> [Guid; 2] {
    let root_hash = root_hash.as_bytes();
    let first = root_hash.first_chunk().copied().unwrap_or_default();
    let last = root_hash.last_chunk().copied().unwrap_or_default();
    [first, last].map(Guid::from_id128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_type_is_told_apart_and_found_again() {
        let mut seen = HashSet::new();
        for architecture in Architecture::ALL {
            for kind in PER_ARCHITECTURE {
                let guid = kind.type_guid(*architecture);
                assert!(seen.insert(guid), "{guid} twice");
                assert_eq!(classify(guid), (kind, Some(*architecture)));
            }
            assert_eq!(Architecture::from_systemd_name(architecture.systemd_name()), Some(*architecture));
        }
        for (kind, _) in COMMON {
            let guid = kind.type_guid(Architecture::Arm64);
            assert!(seen.insert(guid), "{guid} twice");
            assert_eq!(classify(guid), (kind, None));
            assert_eq!(kind.type_guid(Architecture::X86), guid);
        }
        assert_eq!(seen.len(), 24 * 6 + 9);
    }

    #[test]
    fn an_unknown_type_stays_itself() {
        let odd = Guid::from_bytes([0x5a; 16]);
        assert_eq!(classify(odd), (PartitionKind::Unknown(odd), None));
        assert_eq!(PartitionKind::Unknown(odd).type_guid(Architecture::X86_64), odd);
    }

    #[test]
    fn names_are_those_that_repart_writes() {
        assert_eq!(PartitionKind::RootVeritySig.systemd_name(Architecture::X86_64), "root-x86-64-verity-sig");
        assert_eq!(PartitionKind::Usr.systemd_name(Architecture::Ppc64Le), "usr-ppc64-le");
        // The text form of the specification, and the byte order on disk.
        let root = PartitionKind::Root.type_guid(Architecture::X86_64);
        assert_eq!(root.to_string(), "4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
    }
}
