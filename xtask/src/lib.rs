//! What programs and tests share of what is made here.

#[cfg(feature = "pages")]
pub mod pages;
