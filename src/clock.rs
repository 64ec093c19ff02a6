//! The clock of a boot: `CLOCK_MONOTONIC` in microseconds, by which systemd counts as well
//! (`InactiveExitTimestampMonotonic` and its like, org.freedesktop.systemd1(5)).

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Microseconds since the kernel started, without time in suspend; 0 if the clock can't be read.
#[must_use]
pub fn now() -> u64 {
    let Ok(time) = clock_gettime(ClockId::CLOCK_MONOTONIC) else { return 0 };
    u64::try_from(Duration::from(time).as_micros()).unwrap_or(u64::MAX)
}

/// A span of time on that clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When it began, in microseconds.
    pub begin: u64,
    /// When it ended, in microseconds; not before it began.
    pub end: u64,
}

impl Span {
    /// The span from `begin` until now.
    #[must_use]
    pub fn since(begin: u64) -> Self {
        Self { begin, end: now().max(begin) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_that_of_the_kernel_since_it_started() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let seconds: u64 = uptime.split('.').next().and_then(|text| text.parse().ok()).unwrap_or_default();
        let before = now();
        let span = Span::since(before);
        assert!(before > 0 && span.begin == before && span.end >= before);
        // That of /proc counts time in suspend too.
        assert!(before / 1_000_000 <= seconds + 1, "{before} {seconds}");
        assert_eq!(Span::since(u64::MAX).end, u64::MAX);
    }
}
