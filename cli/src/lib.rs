//! The tool of those who build extensions, put them on machines, and ask what became of them.

// What is written to a terminal goes through `commands::output`, which makes text from outside harmless.
#![deny(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod base;
pub mod build;
pub mod bundle;
mod capture;
pub mod commands;
pub mod esp;
pub mod initrd;
pub mod inspect;
pub mod measure;
pub mod plan;
pub mod plot;
pub mod policies;
mod similar;
pub mod store;
pub mod system;
