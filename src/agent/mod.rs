//! The program in the initrd.

mod cli;
mod stage;

pub use cli::{Cli, run};
pub use stage::{Options, stage};
