//! Noticing that a file isn't what it was.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;

/// Which file it is, and when it was last touched. Every write, truncation and change of attributes sets the time of
/// change to the present (POSIX, `st_ctime`), and nobody can set it to anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    /// Of an open file.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            seconds: metadata.ctime(),
            nanoseconds: metadata.ctime_nsec(),
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {} {}", self.device, self.inode, self.size, self.seconds, self.nanoseconds)
    }
}

/// The text isn't that of a stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAStamp;

impl FromStr for Stamp {
    type Err = NotAStamp;

    fn from_str(text: &str) -> Result<Self, NotAStamp> {
        let mut words = text.split_ascii_whitespace();
        let mut next = || words.next().ok_or(NotAStamp);
        let number = |text: &str| text.parse().map_err(|_| NotAStamp);
        let time = |text: &str| text.parse().map_err(|_| NotAStamp);
        let stamp = Self {
            device: number(next()?)?,
            inode: number(next()?)?,
            size: number(next()?)?,
            seconds: time(next()?)?,
            nanoseconds: time(next()?)?,
        };
        if words.next().is_some() { Err(NotAStamp) } else { Ok(stamp) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stamp_survives_being_written_down() {
        let file = tempfile::tempfile().unwrap();
        let stamp = Stamp::of(&file).unwrap();
        assert_eq!(stamp.to_string().parse(), Ok(stamp));
        for text in ["", "1 2 3 4", "1 2 3 4 5 6", "1 2 3 4 x", "-1 2 3 4 5"] {
            assert_eq!(text.parse::<Stamp>(), Err(NotAStamp), "{text}");
        }
    }
}
