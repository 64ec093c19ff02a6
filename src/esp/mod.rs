//! The EFI system partition as the machine has it: where it is mounted, and how much room is left. What is on it is for the tool.

mod locate;
mod space;

pub use locate::{LocateError, find, find_below, find_mounted};
pub use space::Space;
