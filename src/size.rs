//! Parser of sizes in the configuration and on the command line.

use thiserror::Error;

/// The error for text that is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a size is a number of bytes, or a number with K, M, G or T (KiB, MiB, GiB, TiB) for powers of 1024, such as 64M"
)]
pub struct SizeError;

/// Parses a number of bytes: `67108864`, `64M`, `64MiB`, `2 GiB`. Units are powers of 1024 in upper case, as in
/// `parse_size()` of systemd 257's `src/basic/parse-util.c`. `KiB` is the same as `K`, and so on.
///
/// # Errors
/// [`SizeError`] if the text is not a size, or exceeds 64 bits.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let text = text.trim();
    let digits = text.len().saturating_sub(text.trim_start_matches(|character: char| character.is_ascii_digit()).len());
    let (digits, unit) = text.split_at_checked(digits).ok_or(SizeError)?;
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        _ => return Err(SizeError),
    };
    let number: u64 = digits.parse().map_err(|_| SizeError)?;
    number.checked_mul(factor).ok_or(SizeError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024_in_upper_case() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("7B", 7),
            ("3K", 3 << 10),
            ("3KiB", 3 << 10),
            ("500M", 500 << 20),
            ("64 MiB", 64 << 20),
            ("8G", 8 << 30),
            (" 2 GiB ", 2 << 30),
            ("1T", 1 << 40),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "K", "-1", "+1", "1k", "1kib", "1KB", "1Kib", "1 K iB", "1.5G", "0x10", "17179869184G", "1ä", "50%"]
        {
            assert_eq!(parse_size(text), Err(SizeError), "{text}");
        }
    }
}
