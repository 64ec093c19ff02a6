//! What the kernel's command line says about verity. A UKI's is covered by its signature, and all that it can say
//! here makes the rules stricter.

use crate::bytes::boolean;

/// The switch of systemd (since 256) that leaves the check of signatures to the kernel alone
/// (kernel-command-line(7)).
pub(super) const ALLOW_USERSPACE: &str = "systemd.allow_userspace_verity";

/// Whether only the kernel may say that a signature is good, as systemd decides it: of several values the last counts, the
/// bare word changes none, `-` is as good as `_`, and after a value that it can't understand it lets the kernel alone
/// decide (systemd 257, `src/basic/proc-cmdline.c`, `proc_cmdline_get_key`; `src/shared/dissect-image.c`,
/// `validate_signature_userspace`).
pub(super) fn only_kernel_verifies(cmdline: &str) -> bool {
    let value = |word: &str| {
        let word = word.replace(['"', '\''], "");
        let (key, value) = word.split_once('=')?;
        (key.replace('-', "_") == ALLOW_USERSPACE).then(|| boolean(value.as_bytes()))
    };
    cmdline.split_ascii_whitespace().filter_map(value).next_back().is_some_and(|said| said != Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_no_clear_yes_leaves_the_say_to_the_kernel() {
        for text in [
            "quiet systemd.allow_userspace_verity=0 rw",
            "systemd.allow_userspace_verity systemd.allow_userspace_verity=\"No\"",
            "systemd.allow_userspace_verity=0 systemd.allow_userspace_verity",
            "systemd.allow-userspace-verity=off",
            "\"systemd.allow_userspace_verity=0\"",
            "systemd.allow_userspace_verity=1 systemd.allow_userspace_verity=maybe",
            "systemd.allow_userspace_verity=",
        ] {
            assert!(only_kernel_verifies(text), "{text}");
        }
        for text in [
            "",
            "systemd.allow_userspace_verity",
            "systemd.allow_userspace_verity=1",
            "systemd.allow_userspace_verity=0 systemd.allow_userspace_verity=on",
            "systemd.allow_userspace_verity_not=0",
            "xsystemd.allow_userspace_verity=0",
        ] {
            assert!(!only_kernel_verifies(text), "{text}");
        }
    }
}
