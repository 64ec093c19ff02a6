//! Running work on hostile bytes in a process that can do nothing else.
//!
//! The process is forked and executes no program. Before it looks at a byte it gives up its capabilities, its descriptors and
//! nearly every system call; what is left is to read the image that it is handed, to compute, and to answer (`lockdown`). Its memory,
//! its processor time and the time that it is waited for are bounded. So whatever an image makes of our parsers (a crash, an
//! endless loop, a memory bomb, even code of the attacker's choice) costs the verdict about this image and nothing else: an
//! answer is data of bounded size, and the caller believes it about this image alone.
//!
//! What runs in there takes no lock that another thread of the parent may have held, and does not log: it has no descriptor to
//! log to.

pub mod fault;
mod filter;
mod guard;
mod lockdown;
mod message;
mod worker;

pub use guard::guard;
pub use worker::{Worker, WorkerError};

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

/// The descriptor through which a worker is asked and answers. Nothing writes to standard input by mistake.
const SOCKET: RawFd = 0;

/// Where hostile bytes are read.
#[derive(Debug, Clone, Copy, Default)]
pub enum Confinement {
    /// In a process of its own, which is not waited for longer than this, whatever its [`Bounds`] say.
    Worker {
        /// When the whole run has to hand over what it has; `None` for no limit.
        until: Option<Instant>,
    },
    /// In this process: for tests and fuzzing, which are such a process themselves.
    #[default]
    InProcess,
}

/// What one piece of work may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Processor time of all threads together.
    pub processor: Duration,
    /// Time on the clock.
    pub clock: Duration,
}

/// Address space that a worker may have beyond that of the process it was forked from, in bytes.
pub const MEMORY: u64 = 256 << 20;

impl Bounds {
    /// Processor seconds for work whose extent does not depend on the size of the image.
    const BASE: u64 = 5;
    /// Bytes of an image that are hashed in a processor second even by a processor that is emulated in software.
    const BYTES_PER_SECOND: u64 = 4 << 20;

    /// For looking at what an image consists of.
    #[must_use]
    pub fn of_structure() -> Self {
        Self::of_contents(0)
    }

    /// For reading all of an image of `size` bytes.
    #[must_use]
    pub fn of_contents(size: u64) -> Self {
        let seconds = Self::BASE.saturating_add(size / Self::BYTES_PER_SECOND);
        // Other processes want the processor too.
        Self { processor: Duration::from_secs(seconds), clock: Duration::from_secs(seconds.saturating_mul(2)) }
    }
}

#[cfg(test)]
mod tests;
