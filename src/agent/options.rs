//! What a run is told.

use ddi::Architecture;
use std::path::PathBuf;
use std::time::Duration;

/// How long the whole run may take: below the timeout of its unit (`TimeoutStartSec=` of sextant-stage.service), so that what has
/// been staged by then is handed over, and not lost with an agent that systemd has to kill.
pub const BUDGET: Duration = Duration::from_mins(4);

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// Files of a configuration to read instead of the sealed one, none for the sealed one. Later ones apply over earlier
    /// ones.
    pub config: Vec<PathBuf>,
    /// Architecture of the machine.
    pub architecture: Architecture,
    /// Read images in processes of their own. Without it a benchmark sees what that costs.
    pub confined: bool,
    /// How long the run may take. Files that are left then are refused, and what has been staged is handed over.
    pub budget: Duration,
}
