//! Decides, in the initrd of a Trusted Boot machine, which system extensions may become part of `/usr`.

// What is written to a terminal goes through `cli::output`, and what is logged through `report::Event`: both make
// text from outside harmless.
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

pub mod agent;
pub mod build;
mod bytes;
#[cfg(feature = "cli")]
pub mod cli;
pub mod confine;
mod durable;
#[cfg(feature = "cli")]
pub mod esp;
pub mod explanation;
pub mod extension;
pub mod filesystem;
pub mod firmware;
pub mod image;
#[cfg(feature = "cli")]
pub mod inspect;
pub mod io;
pub mod kernel;
#[cfg(feature = "cli")]
pub mod measure;
pub mod merge;
pub mod octets;
#[cfg(feature = "readers")]
pub mod plan;
pub mod policy;
pub mod reason;
pub mod report;
pub mod root;
pub mod size;
pub mod stage;
mod stamp;
pub mod state;
#[cfg(feature = "cli")]
pub mod store;
pub mod text;
pub mod trust;
pub mod verify;
pub mod verity;
pub mod yaml;
