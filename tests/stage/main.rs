//! What the agent does with a machine as a whole.
#![allow(clippy::unwrap_used)]

mod adopt;
mod images;
mod merge;
mod room;
mod run;
#[path = "../support/mod.rs"]
mod support;
mod trust;
mod worker;

use support::ddi::Blueprint;
use support::keys::{self, Authority};
use support::trees::Tree;

fn vendor() -> &'static Authority {
    keys::rsa("Vendor")
}

fn confext(name: &str) -> Vec<u8> {
    Blueprint::new(name, &Tree::confext(name).squashfs(), vendor()).render().bytes
}
