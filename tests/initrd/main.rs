//! What is put into an image: the layout of `make install`, initrds made with the dracut module, the units as
//! systemd reads them, the message catalogue.
//!
//! Most of it needs the trees that `tests/toolbox/prepare` makes.
#![allow(clippy::unwrap_used)]

mod agent;
mod catalogue;
mod documentation;
mod drop_ins;
mod failures;
mod image;
mod install;
mod installed;
#[path = "../../examples/manual/pages/mod.rs"]
mod pages;
mod stages;
#[path = "../support/mod.rs"]
mod support;
mod trees;
mod units;
