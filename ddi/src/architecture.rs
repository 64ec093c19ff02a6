//! The architectures for which the UAPI Discoverable Partitions Specification has partition types.
//!
//! The types are those of the table "Defined Partition Type UUIDs" in that specification. The names are systemd's
//! (`src/basic/architecture.c`), which `ARCHITECTURE=` of an extension-release file also has.

use super::Guid;
use std::fmt;

/// Number of types per architecture: root, its hash tree, its signature, and the same for `/usr`.
pub(super) const TYPES: usize = 6;

pub(super) const fn guid(number: u128) -> Guid {
    Guid::from_id128(number.to_be_bytes())
}

/// Defines each architecture in one place: variant, systemd's name, and the partition types in the order of [`TYPES`].
macro_rules! architectures {
    ($($(#[$doc:meta])* $variant:ident = $name:literal: [$($number:literal),* $(,)?],)*) => {
        /// An architecture for which partition types are defined.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Architecture { $($(#[$doc])* $variant,)* }

        impl Architecture {
            /// Every architecture of the specification, by name.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns systemd's name, such as `x86-64`.
            #[must_use]
            pub const fn systemd_name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub(super) const fn types(self) -> [Guid; TYPES] {
                match self { $(Self::$variant => [$(guid($number),)*],)* }
            }
        }
    };
}

architectures! {
    /// DEC Alpha
    Alpha = "alpha": [
        0x6523_f8ae_3eb1_4e2a_a05a_18b6_95ae_656f,
        0xfc56_d9e9_e6e5_4c06_be32_e744_07ce_09a5,
        0xd464_95b7_a053_414f_80f7_700c_9992_1ef8,
        0xe18c_f08c_33ec_4c0d_8246_c6c6_fb3d_a024,
        0x8cce_0d25_c0d0_4a44_bd87_4633_1bf1_df67,
        0x5c6e_1c76_076a_457a_a0fe_f3b4_cd21_ce6e,
    ],
    /// Synopsys ARC
    Arc = "arc": [
        0xd27f_46ed_2919_4cb8_bd25_9531_f3c1_6534,
        0x24b2_d975_0f97_4521_afa1_cd53_1e42_1b8d,
        0x143a_70ba_cbd3_4f06_919f_6c05_683a_78bc,
        0x7978_a683_6316_4922_bbee_38bf_f5a2_fecc,
        0xfca0_598c_d880_4591_8c16_4eda_05c7_347c,
        0x94f9_a9a1_9971_427a_a400_50cb_297f_0f35,
    ],
    /// 32-bit ARM
    Arm = "arm": [
        0x69da_d710_2ce4_4e3c_b16c_21a1_d49a_bed3,
        0x7386_cdf2_203c_47a9_a498_f2ec_ce45_a2d6,
        0x42b0_455f_eb11_491d_98d3_5614_5ba9_d037,
        0x7d03_59a3_02b3_4f0a_865c_6544_03e7_0625,
        0xc215_d751_7bcd_4649_be90_6627_490a_4c05,
        0xd7ff_812f_37d1_4902_a810_d76b_a57b_975a,
    ],
    /// 64-bit ARM (`AArch64`)
    Arm64 = "arm64": [
        0xb921_b045_1df0_41c3_af44_4c6f_280d_3fae,
        0xdf33_00ce_d69f_4c92_978c_9bfb_0f38_d820,
        0x6db6_9de6_29f4_4758_a7a5_9621_90f0_0ce3,
        0xb0e0_1050_ee5f_4390_949a_9101_b171_04e9,
        0x6e11_a4e7_fbca_4ded_b9e9_e1a5_12bb_664e,
        0xc23c_e4ff_44bd_4b00_b2d4_b41b_3419_e02a,
    ],
    /// Itanium
    Ia64 = "ia64": [
        0x993d_8d3d_f80e_4225_855a_9daf_8ed7_ea97,
        0x86ed_10d5_b607_45bb_8957_d350_f23d_0571,
        0xe98b_36ee_32ba_4882_9b12_0ce1_4655_f46a,
        0x4301_d2a6_4e3b_4b2a_bb94_9e0b_2c42_25ea,
        0x6a49_1e03_3be7_4545_8e38_8332_0e0e_a880,
        0x8de5_8bc2_2a43_460d_b14e_a76e_4a17_b47f,
    ],
    /// 64-bit `LoongArch`
    Loongarch64 = "loongarch64": [
        0x7705_5800_792c_4f94_b39a_98c9_1b76_2bb6,
        0xf339_3b22_e9af_4613_a948_9d3b_fbd0_c535,
        0x5afb_67eb_ecc8_4f85_ae8e_ac1e_7c50_e7d0,
        0xe611_c702_575c_4cbe_9a46_434f_a0bf_7e3f,
        0xf46b_2c26_59ae_48f0_9106_c50e_d47f_673d,
        0xb024_f315_d330_444c_8461_44bb_de52_4e99,
    ],
    /// Motorola 68000
    M68k = "m68k": [
        0x0cf1_91c8_3b54_433a_b715_68c6_fa40_86de,
        0x843e_63a4_c1ff_476e_a8a4_1b72_e399_475f,
        0xd6e4_b0ae_10f8_46d9_9f36_d8fd_1a14_b51f,
        0xa639_b810_a02d_44bc_b579_d23e_7bff_dede,
        0x267d_a076_7f71_445b_961f_f97b_817d_fd11,
        0x3b93_5677_dd33_4d7d_8b30_e602_e316_499e,
    ],
    /// 32-bit MIPS, big-endian
    Mips = "mips": [
        0xe943_4544_6e2c_47cc_bae2_12d6_deaf_b44c,
        0x7a43_0799_f711_4c7e_8e5b_1d68_5bd4_8607,
        0xbba2_10a2_9c5d_45ee_9e87_ff2c_cbd0_02d0,
        0x773b_2abc_2a99_4398_8bf5_03ba_ac40_d02b,
        0x6e5a_1bc8_d223_49b7_bca8_37a5_fcce_b996,
        0x97ae_158d_f216_497b_8057_f7f9_0577_0f54,
    ],
    /// 32-bit MIPS, little-endian
    MipsLe = "mips-le": [
        0x37c5_8c8a_d913_4156_a25f_48b1_b64e_07f0,
        0xd7d1_50d2_2a04_4a33_8f12_1665_1205_ff7b,
        0xc919_cc1f_4456_4eff_918c_f75e_9452_5ca5,
        0x0f48_68e9_9952_4706_979f_3ed3_a473_e947,
        0x46b9_8d8d_b55c_4e8f_aab3_37fc_a7f8_0752,
        0x3e23_ca0b_a4bc_4b4e_8087_5ab6_a26a_a8a9,
    ],
    /// 64-bit MIPS, big-endian
    Mips64 = "mips64": [
        0xd113_af76_80ef_41b4_bdb6_0cff_4d3d_4a25,
        0x5795_36f8_6a33_4055_a95a_df2d_5e2c_42a8,
        0x43ce_94d4_0f3d_4999_8250_b9de_afd9_8e6e,
        0x57e1_3958_7331_4365_8e6e_35ee_ee17_c61b,
        0x81cf_9d90_7458_4df4_8dcf_c8a3_a404_f09b,
        0x0581_6ce2_dd40_4ac6_a61d_37d3_2dc1_ba7d,
    ],
    /// 64-bit MIPS, little-endian
    Mips64Le = "mips64-le": [
        0x700b_da43_7a34_4507_b179_eeb9_3d7a_7ca3,
        0x16b4_17f8_3e06_4f57_8dd2_9b52_32f4_1aa6,
        0x904e_58ef_5c65_4a31_9c57_6af5_fc7c_5de7,
        0xc97c_1f32_ba06_40b4_9f22_2360_61b0_8aa8,
        0x3c3d_61fe_b5f3_414d_bb71_8739_a694_a4ef,
        0xf2c2_c7ee_adcc_4351_b5c6_ee98_16b6_6e16,
    ],
    /// HP PA-RISC
    Parisc = "parisc": [
        0x1aac_db3b_5444_4138_bd9e_e5c2_239b_2346,
        0xd212_a430_fbc5_49f9_a983_a7fe_ef2b_8d0e,
        0x15de_6170_65d3_431c_916e_b0dc_d839_3f25,
        0xdc4a_4480_6917_4262_a4ec_db93_8494_9f25,
        0x5843_d618_ec37_48d7_9f12_cea8_e087_68b2,
        0x450d_d7d1_3224_45ec_9cf2_a43a_346d_71ee,
    ],
    /// 32-bit `PowerPC`
    Ppc = "ppc": [
        0x1de3_f1ef_fa98_47b5_8dcd_4a86_0a65_4d78,
        0x98cf_e649_1588_46dc_b2f0_add1_4742_4925,
        0x1b31_b5aa_add9_463a_b2ed_bd46_7fc8_57e7,
        0x7d14_fec5_cc71_415d_9d6c_06bf_0b3c_3eaf,
        0xdf76_5d00_270e_49e5_bc75_f47b_b211_8b09,
        0x7007_891d_d371_4a80_86a4_5cb8_75b9_302e,
    ],
    /// 64-bit `PowerPC`, big-endian
    Ppc64 = "ppc64": [
        0x912a_de1d_a839_4913_8964_a10e_ee08_fbd2,
        0x9225_a9a3_3c19_4d89_b4f6_eeff_88f1_7631,
        0xf5e2_c20c_45b2_4ffa_bce9_2a60_737e_1aaf,
        0x2c97_39e2_f068_46b3_9fd0_01c5_a9af_bcca,
        0xbdb5_28a5_a259_475f_a87d_da53_fa73_6a07,
        0x0b88_8863_d7f8_4d9e_9766_239f_ce4d_58af,
    ],
    /// 64-bit `PowerPC`, little-endian
    Ppc64Le = "ppc64-le": [
        0xc31c_45e6_3f39_412e_80fb_4809_c498_0599,
        0x906b_d944_4589_4aae_a4e4_dd98_3917_446a,
        0xd4a2_36e7_e873_4c07_bf1d_bf6c_f7f1_c3c6,
        0x15bb_03af_77e7_4d4a_b12b_c0d0_84f7_491c,
        0xee2b_9983_21e8_4153_86d9_b690_1a54_d1ce,
        0xc8bf_bd1e_268e_4521_8bba_bf31_4c39_9557,
    ],
    /// 32-bit RISC-V
    Riscv32 = "riscv32": [
        0x60d5_a7fe_8e7d_435c_b714_3dd8_1621_44e1,
        0xae02_53be_1167_4007_ac68_4392_6c14_c5de,
        0x3a11_2a75_8729_4380_b4cf_764d_7993_4448,
        0xb933_fb22_5c3f_4f91_af90_e2bb_0fa5_0702,
        0xcb1e_e4e3_8cd0_4136_a0a4_aa61_a32e_8730,
        0xc383_6a13_3137_45ba_b583_b16c_50fe_5eb4,
    ],
    /// 64-bit RISC-V
    Riscv64 = "riscv64": [
        0x72ec_70a6_cf74_40e6_bd49_4bda_08e8_f224,
        0xb6ed_5582_440b_4209_b8da_5ff7_c419_ea3d,
        0xefe0_f087_ea8d_4469_821a_4c2a_96a8_386a,
        0xbeae_c34b_8442_439b_a40b_9843_81ed_097d,
        0x8f10_56be_9b05_47c4_81d6_be53_128e_5b54,
        0xd2f9_000a_7a18_453f_b5cd_4d32_f77a_7b32,
    ],
    /// 32-bit S/390
    S390 = "s390": [
        0x08a7_acea_624c_4a20_91e8_6e0f_a67d_23f9,
        0x7ac6_3b47_b25c_463b_8df8_b4a9_4e6c_90e1,
        0x3482_388e_4254_435a_a241_766a_065f_9960,
        0xcd0f_869b_d0fb_4ca0_b141_9ea8_7cc7_8d66,
        0xb663_c618_e7bc_4d6d_90aa_11b7_56bb_1797,
        0x1744_0e4f_a8d0_467f_a46e_3912_ae6e_f2c5,
    ],
    /// 64-bit S/390 (z/Architecture)
    S390x = "s390x": [
        0x5eea_d9a9_fe09_4a1e_a1d7_520d_0053_1306,
        0xb325_bfbe_c7be_4ab8_8357_139e_652d_2f6b,
        0xc801_87a5_73a3_491a_901a_017c_3fa9_53e9,
        0x8a4f_5770_50aa_4ed3_874a_99b7_10db_6fea,
        0x3174_1cc4_1a2a_4111_a581_e00b_447d_2d06,
        0x3f32_4816_667b_46ae_86ee_9b0c_0c6c_11b4,
    ],
    /// `SuperH` (sh4)
    Sh4 = "sh": [
        0x7b8f_86b1_397a_4e1c_9eb0_8509_83ba_edc4,
        0x4a6c_2f25_be67_45c5_95ac_2554_24f9_4f89,
        0xc628_4716_c0b3_4c93_b349_a386_d6bd_ee62,
        0x0b6d_8f08_1548_4183_a6fa_22fe_95bc_5422,
        0x7dd6_26a2_f8a9_4e38_b8aa_8ced_fef0_f0ee,
        0x71bb_ee31_fc3c_4ba4_8050_0b75_ed32_b466,
    ],
    /// 64-bit SPARC
    Sparc64 = "sparc64": [
        0xf7b4_d167_1e51_42a9_8151_ec96_c2e9_9478,
        0x4a42_d3da_9a55_4973_beff_1734_96de_e76f,
        0x795c_f80b_dcbf_4952_9c7b_4fd4_729d_fd97,
        0xdb8c_e399_787c_460a_80e3_6910_4c1c_e375,
        0xc94c_ddd2_694d_4ce1_bf7b_8b6f_29ba_feb1,
        0x0beb_c110_9e89_4e17_9e52_6f39_7388_9b2b,
    ],
    /// TILE-Gx
    Tilegx = "tilegx": [
        0xc50c_dd70_3862_4cc3_90e1_809a_8c93_ee2c,
        0x9660_61ec_28e4_4b2e_b4a5_1f0a_825a_1d84,
        0xb367_1439_97b0_4a53_90f7_2d5a_8f3a_d47b,
        0x5549_7029_c7c1_44cc_aa39_815e_d155_8630,
        0x2fb4_bf56_07fa_42da_8132_6b13_9f20_26ae,
        0x4ede_75e2_6ccc_4cc8_b9c7_7033_4b08_7510,
    ],
    /// 32-bit x86
    X86 = "x86": [
        0x4447_9540_f297_41b2_9af7_d131_d5f0_458a,
        0xd13c_5d3b_b5d1_422a_b29f_9454_fdc8_9d76,
        0x5996_fc05_109c_48de_808b_23fa_0830_b676,
        0x7525_0d76_8cc6_458e_bd66_bd47_cc81_a812,
        0x8f46_1b0d_14ee_4e81_9aa9_049b_6fb9_7abd,
        0x974a_71c0_de41_43c3_be5d_5c5c_cd1a_d2c0,
    ],
    /// 64-bit x86 (AMD64)
    X86_64 = "x86-64": [
        0x4f68_bce3_e8cd_4db1_96e7_fbca_f984_b709,
        0x2c73_57ed_ebd2_46d9_aec1_23d4_37ec_2bf5,
        0x4109_2b05_9fc8_4523_994f_2def_0408_b176,
        0x8484_680c_9521_48c6_9c11_b072_0656_f69e,
        0x77ff_5f63_e7b6_4633_acf4_1565_b864_c0e6,
        0xe7bb_33fb_06cf_4e81_8273_e543_b413_e2e2,
    ],
}

impl Architecture {
    /// Returns the architecture that this program was compiled for. `None` if the specification has no types for it.
    #[must_use]
    pub const fn native() -> Option<Self> {
        let little = cfg!(target_endian = "little");
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") && little {
            Some(Self::Arm64)
        } else if cfg!(target_arch = "riscv64") {
            Some(Self::Riscv64)
        } else if cfg!(target_arch = "x86") {
            Some(Self::X86)
        } else if cfg!(target_arch = "arm") && little {
            Some(Self::Arm)
        } else if cfg!(target_arch = "loongarch64") {
            Some(Self::Loongarch64)
        } else if cfg!(target_arch = "powerpc64") {
            Some(if little { Self::Ppc64Le } else { Self::Ppc64 })
        } else if cfg!(target_arch = "s390x") {
            Some(Self::S390x)
        } else if cfg!(target_arch = "riscv32") {
            Some(Self::Riscv32)
        } else if cfg!(target_arch = "mips") {
            Some(if little { Self::MipsLe } else { Self::Mips })
        } else if cfg!(target_arch = "mips64") {
            Some(if little { Self::Mips64Le } else { Self::Mips64 })
        } else if cfg!(target_arch = "powerpc") && !little {
            Some(Self::Ppc)
        } else if cfg!(target_arch = "sparc64") {
            Some(Self::Sparc64)
        } else if cfg!(target_arch = "m68k") {
            Some(Self::M68k)
        } else {
            None
        }
    }

    /// Parses systemd's name of an architecture on a command line.
    ///
    /// # Errors
    /// A sentence that lists the names.
    pub fn parse(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.iter().map(|architecture| architecture.systemd_name()).collect::<Vec<_>>().join(", ");
        Self::from_systemd_name(name).ok_or_else(|| format!("systemd names architectures: {}", names()))
    }

    /// Parses a name of systemd, Go (which container images use) or `uname`.
    ///
    /// # Errors
    /// A sentence that lists systemd's names.
    pub fn parse_any(name: &str) -> Result<Self, String> {
        match Self::from_go_name(name) {
            Some(architecture) => Ok(architecture),
            None => Self::parse(&name.replace('_', "-")),
        }
    }

    /// Returns the architecture that Go (`go tool dist list`) or, where it differs from systemd, `uname -m` calls
    /// `name`.
    #[must_use]
    pub fn from_go_name(name: &str) -> Option<Self> {
        Some(match name {
            "amd64" => Self::X86_64,
            "386" | "i386" | "i686" => Self::X86,
            "arm" => Self::Arm,
            "arm64" | "aarch64" => Self::Arm64,
            "loong64" => Self::Loongarch64,
            "mips64le" => Self::Mips64Le,
            "mipsle" => Self::MipsLe,
            "ppc64le" => Self::Ppc64Le,
            "riscv64" => Self::Riscv64,
            "s390x" => Self::S390x,
            _ => return None,
        })
    }

    /// Returns Go's name, `None` if Go does not support the architecture.
    #[must_use]
    pub fn go_name(self) -> Option<&'static str> {
        const NAMES: [&str; 10] =
            ["amd64", "386", "arm", "arm64", "loong64", "mips64le", "mipsle", "ppc64le", "riscv64", "s390x"];
        NAMES.into_iter().find(|name| Self::from_go_name(name) == Some(self))
    }

    /// Returns the architecture that systemd calls `name`.
    #[must_use]
    pub fn from_systemd_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|architecture| architecture.systemd_name() == name)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.systemd_name())
    }
}
