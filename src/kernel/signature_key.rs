//! Keyring entries for dm-verity, which reads a signature from a keyring.

use linux_keyutils::{KeyError, KeyRing, KeyRingIdentifier};

/// Name of the signature in the keyring.
pub(super) const DESCRIPTION: &str = "sextant:root-hash-signature";

/// Adds a signature to the keyring of this thread. Other threads have no access to it, and it ends with the thread
/// (Linux 6.12, `drivers/md/dm-verity-verify-sig.c`: `request_key` for a key of type `user`).
pub(super) fn add(signature: &[u8]) -> Result<(), KeyError> {
    KeyRing::from_special_id(KeyRingIdentifier::Thread, true)?.add_key(DESCRIPTION, signature).map(drop)
}
