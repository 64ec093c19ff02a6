//! What can be done about an error.

use crate::esp::change;

/// The error, and what can be done about it.
pub(super) fn advised(error: std::io::Error) -> anyhow::Error {
    let advice = change::advice(&error);
    if advice.is_empty() { error.into() } else { anyhow::anyhow!("{error}{advice}") }
}
