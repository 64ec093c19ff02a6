//! The program in the initrd.

mod cli;
mod confirm;
mod environment;
mod lock;
mod merge;
mod stage;

pub use cli::{Cli, run};
pub use confirm::confirm;
pub use environment::Environment;
pub use merge::merge;
pub use stage::{BUDGET, Options, stage};
