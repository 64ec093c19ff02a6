//! The header of a record in an archive of the form *newc*: numbers as hexadecimal digits.

/// Its size in bytes.
pub(super) const SIZE: usize = 110;

/// What of a header matters.
pub(super) struct Header {
    pub(super) mode: u32,
    pub(super) size: u64,
    pub(super) name_size: u64,
    /// Device and inode of a file that has several names.
    pub(super) identity: Option<[u64; 3]>,
}

impl Header {
    pub(super) fn parse(header: &[u8; SIZE]) -> Option<Self> {
        let (magic, numbers) = header.split_at_checked(6)?;
        if !matches!(magic, b"070701" | b"070702") {
            return None;
        }
        let number = |index: usize| {
            let digits = numbers.get(index.checked_mul(8)?..)?.first_chunk::<8>()?;
            digits
                .iter()
                .try_fold(0_u32, |value, digit| value.checked_mul(16)?.checked_add(char::from(*digit).to_digit(16)?))
        };
        let identity = [number(7)?, number(8)?, number(0)?].map(u64::from);
        Some(Self {
            mode: number(1)?,
            size: u64::from(number(6)?),
            name_size: u64::from(number(11)?),
            identity: (number(4)? > 1).then_some(identity),
        })
    }
}
