//! The boot entry of this boot.
//!
//! systemd-boot publishes the entry that it started (`LoaderEntrySelected`), systemd-stub the file from which it was
//! loaded (`StubImageIdentifier`). Both are part of systemd's Boot Loader Interface. Neither is authenticated, so they
//! can select a policy ("a recovery system gets no extensions") but never establish trust.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use ddi::bytes::strip_suffix_ignore_case;

/// Maximum length of a name, in UTF-16 units. Longer names are truncated.
const MAX_UNITS: usize = 1024;

/// The names of the boot entry from the boot loader and from the stub.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootEntry {
    /// Name from `LoaderEntrySelected`.
    pub loader: Option<String>,
    /// Name from `StubImageIdentifier`.
    pub stub: Option<String>,
}

impl BootEntry {
    /// Returns the name to show: the loader's, which was selected in the menu, else the stub's.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.loader.as_deref().or(self.stub.as_deref())
    }

    /// Returns the first name that matches one of `patterns`. Both names count: an entry `work.conf` may start
    /// `recovery.efi`.
    ///
    /// A pattern matches the name itself and names that a boot menu derives from it with an underscore (`recovery`
    /// matches `recovery_serial`). Case is ignored, as in FAT names.
    #[must_use]
    pub fn matched_by(&self, patterns: &[String]) -> Option<&str> {
        [self.loader.as_deref(), self.stub.as_deref()].into_iter().flatten().find(|name| {
            let stem = name.split('_').next().unwrap_or_default();
            patterns.iter().any(|pattern| pattern.eq_ignore_ascii_case(name) || pattern.eq_ignore_ascii_case(stem))
        })
    }
}

/// Parses `LoaderEntrySelected`: an entry identifier such as `active.conf`. Returns the name without suffix and boot
/// counter.
#[must_use]
pub fn from_loader(data: &[u8]) -> Option<String> {
    let id = utf16(data)?;
    let id = strip_suffix_ignore_case(&id, ".conf").or_else(|| strip_suffix_ignore_case(&id, ".efi")).unwrap_or(&id);
    named(strip_counter(id))
}

/// Parses `StubImageIdentifier`: the path of a UKI such as `\EFI\kairos\active.efi`. Returns the name without
/// directory, suffix and boot counter.
#[must_use]
pub fn from_stub(data: &[u8]) -> Option<String> {
    let path = utf16(data)?;
    let file = path.rsplit(['\\', '/']).next().unwrap_or_default();
    named(strip_counter(strip_suffix_ignore_case(file, ".efi").unwrap_or(file)))
}

/// The path in `StubImageIdentifier` with slashes, from the root of the partition: `EFI/kairos/active.efi`. `None` where it is no
/// such path, as after a boot from the network.
#[must_use]
pub fn uki_path(data: &[u8]) -> Option<String> {
    let path = utf16(data)?.replace('\\', "/");
    let path = path.trim_start_matches('/');
    let is_plain = path.split('/').all(|component| !matches!(component, "" | "." | "..")) && !path.contains(':');
    is_plain.then(|| path.to_owned())
}

/// The directory from the root of the EFI system partition from which systemd-stub takes extensions for all boot entries
/// (systemd-stub(7), since systemd 258).
pub const GLOBAL_EXTRA_DIRECTORY: &str = "loader/extensions";

/// The directory from which systemd-stub takes the extensions of the UKI at this path: `active.efi.extra.d` for `active.efi` and
/// for `active+3.efi` (systemd-stub(7); boot counters are left out since systemd 255).
#[must_use]
pub fn extra_directory(uki: &str) -> String {
    let (parent, file) = uki.rsplit_once('/').map_or(("", uki), |(parent, file)| (parent, file));
    let stem = strip_suffix_ignore_case(file, ".efi").unwrap_or(file);
    let suffix = file.strip_prefix(stem).unwrap_or_default();
    let slash = if parent.is_empty() { "" } else { "/" };
    format!("{parent}{slash}{}{suffix}.extra.d", strip_counter(stem))
}

/// Returns the name for a file name: `active` for `active+3.conf` and for `active.efi`.
#[must_use]
pub fn from_file_name(file: &str) -> Option<String> {
    let stem =
        strip_suffix_ignore_case(file, ".conf").or_else(|| strip_suffix_ignore_case(file, ".efi")).unwrap_or(file);
    named(strip_counter(stem))
}

/// Parses `LoaderDevicePartUUID`. Returns the UUID in lower case, as udev writes it.
#[must_use]
pub fn partition_uuid(data: &[u8]) -> Option<String> {
    let text = utf16(data)?.to_ascii_lowercase();
    let is_part = |part: &str, len: usize| part.len() == len && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts: Vec<&str> = text.split('-').collect();
    let is_uuid = parts.len() == 5 && parts.iter().zip([8, 4, 4, 4, 12]).all(|(part, len)| is_part(part, len));
    is_uuid.then_some(text)
}

fn named(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}

/// Decodes a string of the Boot Loader Interface: UTF-16LE up to a NUL.
fn utf16(data: &[u8]) -> Option<String> {
    let units: Vec<u16> = data
        .chunks_exact(2)
        .filter_map(|pair| pair.first_chunk().copied().map(u16::from_le_bytes))
        .take_while(|unit| *unit != 0)
        .take(MAX_UNITS)
        .collect();
    String::from_utf16(&units).ok()
}

/// Removes a boot counter, `+LEFT` or `+LEFT-DONE` (systemd, Automatic Boot Assessment).
fn strip_counter(name: &str) -> &str {
    let Some((stem, counter)) = name.rsplit_once('+') else { return name };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_counter = counter.split_once('-').map_or_else(|| digits(counter), |(a, b)| digits(a) && digits(b));
    if is_counter { stem } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> Vec<u8> {
        text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn names_lose_suffix_and_counter_and_nothing_else() {
        for (id, name) in [
            ("active.conf", "active"),
            ("active+3.conf", "active"),
            ("active+2-1.CONF", "active"),
            ("auto-reboot", "auto-reboot"),
            ("c++-kit.conf", "c++-kit"),
            ("k+1x.efi", "k+1x"),
        ] {
            assert_eq!(from_loader(&units(id)).as_deref(), Some(name), "{id}");
        }
        assert_eq!(from_stub(&units("\\EFI\\kairos\\recovery.EFI")).as_deref(), Some("recovery"));
        assert_eq!(from_stub(&units("EFI/Linux/a.b+1-2.efi")).as_deref(), Some("a.b"));
    }

    #[test]
    fn extensions_lie_beside_the_uki_that_was_loaded() {
        for (stub, uki, extra) in [
            ("\\EFI\\kairos\\active.efi", "EFI/kairos/active.efi", "EFI/kairos/active.efi.extra.d"),
            ("\\EFI\\Linux\\a+3-1.EFI", "EFI/Linux/a+3-1.EFI", "EFI/Linux/a.EFI.extra.d"),
            ("uki", "uki", "uki.extra.d"),
        ] {
            assert_eq!(uki_path(&units(stub)).as_deref(), Some(uki));
            assert_eq!(extra_directory(uki), extra);
        }
        for stub in ["", "\\", "\\EFI\\", "\\EFI\\..\\a.efi", "\\EFI\\\\a.efi", "http://server/a.efi"] {
            assert_eq!(uki_path(&units(stub)), None, "{stub}");
        }
    }

    #[test]
    fn nonsense_is_no_name() {
        assert_eq!(from_loader(&[]), None);
        assert_eq!(from_loader(&units(".conf")), None);
        assert_eq!(from_loader(&[0, 0xd8, 0x41, 0]), None);
        assert_eq!(from_stub(&units("\\EFI\\")), None);
    }

    #[test]
    fn a_partition_is_named_by_a_uuid_and_by_nothing_else() {
        let uuid = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
        assert_eq!(partition_uuid(&units(uuid)), Some(uuid.to_ascii_lowercase()));
        for text in ["", "../../sda1", "c12a7328-f81f-11d2-ba4b-00a0c93ec93", "c12a7328f81f11d2ba4b00a0c93ec93b"] {
            assert_eq!(partition_uuid(&units(text)), None, "{text}");
        }
    }

    #[test]
    fn either_name_can_deny() {
        let denied = ["recovery".to_owned(), "autoreset".to_owned()];
        let entry = |loader: &str, stub: &str| BootEntry { loader: named(loader), stub: named(stub) };
        assert_eq!(entry("active", "active").matched_by(&denied), None);
        assert_eq!(entry("recoveryx", "").matched_by(&denied), None);
        assert_eq!(entry("Recovery", "").matched_by(&denied), Some("Recovery"));
        assert_eq!(entry("recovery_serial", "").matched_by(&denied), Some("recovery_serial"));
        assert_eq!(entry("work", "recovery").matched_by(&denied), Some("recovery"));
        assert_eq!(entry("", "autoreset").matched_by(&denied), Some("autoreset"));
    }
}
