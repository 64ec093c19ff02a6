//! Decides, in the initrd of a Trusted Boot machine, which system extensions may become part of `/usr`.

// All log messages go through `report::Event`, which escapes text from outside.
#![deny(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

pub mod agent;
pub mod clock;
pub mod confine;
pub mod durable;
pub mod esp;
pub mod explanation;
pub mod extension;
pub mod firmware;
pub mod kernel;
pub mod measure;
pub mod merge;
pub mod policy;
pub mod reason;
pub mod report;
pub mod root;
pub mod size;
pub mod stage;
pub mod stamp;
pub mod state;
mod sys;
pub mod trust;
pub mod verify;
pub mod yaml;
