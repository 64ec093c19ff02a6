//! Making extensions: `sextant build` and `sextant sign`, and the library below them.
#![allow(clippy::unwrap_used)]

mod containers;
mod desk;
mod directories;
mod formats;
mod hostile_layers;
mod hostile_registry;
mod layers;
mod peers;
mod registry;
mod reproducible;
mod service;
mod signers;
mod signing;
#[path = "../support/mod.rs"]
mod support;
