//! Handing a signature to dm-verity, which takes it from a keyring.

use linux_keyutils::{KeyError, KeyRing, KeyRingIdentifier};

/// Under which name the signature lies in the keyring.
pub(super) const DESCRIPTION: &str = "sextant:root-hash-signature";

/// Puts a signature into the keyring of this thread, where nobody else finds it and which ends with the thread
/// (Linux 6.12, `drivers/md/dm-verity-verify-sig.c`: `request_key` for a key of type `user`).
pub(super) fn add(signature: &[u8]) -> Result<(), KeyError> {
    KeyRing::from_special_id(KeyRingIdentifier::Thread, true)?.add_key(DESCRIPTION, signature).map(drop)
}
