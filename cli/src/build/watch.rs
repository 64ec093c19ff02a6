//! Shows how far the work is.

use std::sync::Arc;

/// Is called while an image is made: with the name of the step, the number of bytes of the whole step, and the number of bytes
/// that were done since the last call. A step without bytes can't tell how far it is.
pub type Watch = Arc<dyn Fn(&str, u64, u64) + Send + Sync>;
