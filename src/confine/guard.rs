//! Confinement of a panic to the image that caused it.

use crate::reason::{Reason, Refusal};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `attempt`, and turns a panic in it into a refusal.
///
/// # Errors
/// The error of `attempt`, or [`Reason::InternalError`] after a panic.
pub fn guard<T>(attempt: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(Refusal::new(Reason::InternalError, format_args!("internal error: {message}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::panic)]
    fn a_panic_is_a_refusal_with_its_message() {
        let refusal = guard::<()>(|| panic!("block {}", 7)).err();
        assert_eq!(refusal, Some(Refusal::new(Reason::InternalError, "internal error: block 7")));
        assert_eq!(guard(|| Ok(3)), Ok(3));
    }
}
