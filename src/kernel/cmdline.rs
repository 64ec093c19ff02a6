//! What the kernel's command line says about verity. A UKI's is covered by its signature, and all that it can say
//! here makes the rules stricter.

use crate::bytes::boolean;

/// The switch of systemd (since 256) that leaves the check of signatures to the kernel alone
/// (kernel-command-line(7)).
pub(super) const ALLOW_USERSPACE: &str = "systemd.allow_userspace_verity";

/// Whether only the kernel may say that a signature is good. As in systemd, the last word counts, and one that can't be
/// understood doesn't.
pub(super) fn only_kernel_verifies(cmdline: &str) -> bool {
    let words = cmdline.split_ascii_whitespace().filter_map(|word| word.strip_prefix(ALLOW_USERSPACE));
    let mut said = words.filter_map(|rest| match rest.strip_prefix('=') {
        None => rest.is_empty().then_some(true),
        Some(value) => boolean(value.trim_matches('"').as_bytes()),
    });
    said.next_back() == Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_no_leaves_the_say_to_the_kernel() {
        assert!(only_kernel_verifies("quiet systemd.allow_userspace_verity=0 rw"));
        assert!(only_kernel_verifies("systemd.allow_userspace_verity systemd.allow_userspace_verity=\"No\""));
        for text in [
            "",
            "systemd.allow_userspace_verity",
            "systemd.allow_userspace_verity=1",
            "systemd.allow_userspace_verity=0 systemd.allow_userspace_verity=on",
            "systemd.allow_userspace_verity=maybe",
            "systemd.allow_userspace_verity_not=0",
            "xsystemd.allow_userspace_verity=0",
        ] {
            assert!(!only_kernel_verifies(text), "{text}");
        }
    }
}
