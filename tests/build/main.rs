//! Making extensions: `sextant build` and `sextant sign`, and the library below them.
#![allow(clippy::unwrap_used)]

mod desk;
mod directories;
mod formats;
mod hostile_layers;
mod layers;
mod peers;
mod reproducible;
mod signing;
#[path = "../support/mod.rs"]
mod support;
