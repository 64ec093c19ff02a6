//! The program in the initrd.

mod adopt;
mod cli;
mod confirm;
mod environment;
mod lock;
mod measurement;
mod merge;
mod metrics;
mod options;
mod preparation;
mod run;
mod stage;
pub mod status;
mod unmerge;
mod version;
mod withdrawal;

pub use adopt::{adopt, preview};
pub use cli::{Cli, run, run_here};
pub use confirm::confirm;
pub use environment::Environment;
pub use merge::merge;
pub use options::{BUDGET, Options};
pub use stage::stage;
pub use unmerge::unmerge;
pub use version::{MARKER, VERSION};
