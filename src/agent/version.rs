//! The version, in a form that can be found in the program without running it.

/// The version of the agent.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version between words that are in no other program, as systemd-stub names its own (`#### LoaderInfo: systemd-stub 257.13
/// ####`). `sextant inspect` reads the version of the agent in an initrd from it.
pub const MARKER: &str = concat!("#### sextant-agent ", env!("CARGO_PKG_VERSION"), " ####");

/// The version, cut out of the marker: so no compiler and no linker leaves the marker out.
pub(super) fn shown() -> &'static str {
    let marker = std::hint::black_box(MARKER);
    marker.split(' ').nth(2).unwrap_or(VERSION)
}

#[cfg(test)]
mod tests {
    use super::{MARKER, VERSION, shown};

    #[test]
    fn the_marker_has_the_version() {
        assert_eq!(MARKER, format!("#### sextant-agent {VERSION} ####"));
        assert_eq!(shown(), VERSION);
    }
}
