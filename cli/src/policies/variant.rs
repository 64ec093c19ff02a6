//! What one boot measures into PCR 13, as a file for systemd-pcrlock.
//!
//! systemd-pcrlock reads a subset of TCG's Canonical Event Log in JSON (systemd.pcrlock(5); systemd 257 and 262,
//! `src/pcrlock/pcrlock.c`, `event_log_record_parse_json`). It looks for the records of a variant in the event log of the boot, in
//! this order. Digests of other banks than that of the log are ignored, so each record has all that sextant knows.

use crate::measure::{ArchiveError, Bank, Digests, Event, SYSEXTS};
use ddi::bytes::hex;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Maximum number of records. A boot has at most one for each directory of extensions.
const MAX_RECORDS: usize = 16;

/// Error of reading a variant.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VariantError {
    /// The file is not JSON of this form.
    #[error("not a list of records")]
    Syntax(#[from] serde_json::Error),
    /// There are more records than a boot measures.
    #[error("{0} records; a boot has at most {MAX_RECORDS}")]
    Count(usize),
    /// A record is about another PCR.
    #[error("record of PCR {0}; expected PCR {SYSEXTS}")]
    Pcr(u32),
    /// A record lacks the digest of a bank, has it twice, or it has another length.
    #[error("record has not one digest of {0}")]
    Digest(Bank),
}

/// The measurements of one boot into PCR 13, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant(Vec<Digests>);

#[derive(Serialize, Deserialize)]
struct File {
    records: Vec<Record>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    pcr: u32,
    digests: Vec<Digest>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Digest {
    hash_alg: String,
    digest: String,
}

impl Variant {
    /// Returns the variant of a boot with these measurements. Those of other PCRs are not in it: PCR 12 also holds the command line
    /// and credentials, among them the policy of systemd-pcrlock itself, so no such policy can include it.
    #[must_use]
    pub fn of(events: &[Event]) -> Self {
        Self(events.iter().filter(|event| event.pcr == SYSEXTS).map(|event| event.digests.clone()).collect())
    }

    /// Parses the content of a file that [`Variant::to_json`] wrote.
    ///
    /// # Errors
    /// [`VariantError`]
    pub fn parse(content: &[u8]) -> Result<Self, VariantError> {
        let file: File = serde_json::from_slice(content)?;
        if file.records.len() > MAX_RECORDS {
            return Err(VariantError::Count(file.records.len()));
        }
        let record = |record: &Record| {
            if record.pcr != SYSEXTS {
                return Err(VariantError::Pcr(record.pcr));
            }
            let of_bank = |bank: Bank| {
                let mut found = record.digests.iter().filter(|digest| digest.hash_alg == bank.to_string());
                found.next().filter(|_| found.next().is_none()).and_then(|digest| unhex(&digest.digest))
            };
            let of = |bank: Bank| of_bank(bank).filter(|it| it.len() == bank.size()).ok_or(VariantError::Digest(bank));
            let [sha256, sha384] = Bank::ALL;
            Digests::new(of(sha256)?, of(sha384)?).ok_or(VariantError::Digest(sha384))
        };
        Ok(Self(file.records.iter().map(record).collect::<Result<_, _>>()?))
    }

    /// Returns the content of its file.
    ///
    /// # Errors
    /// Errors of serde, which do not occur.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let digest =
            |digests: &Digests, bank: Bank| Digest { hash_alg: bank.to_string(), digest: hex(digests.of(bank)) };
        let digests = |of: &Digests| Bank::ALL.into_iter().map(|bank| digest(of, bank)).collect();
        let record = |of: &Digests| Record { pcr: SYSEXTS, digests: digests(of) };
        let mut json = serde_json::to_vec(&File { records: self.0.iter().map(record).collect() })?;
        json.push(b'\n');
        Ok(json)
    }

    /// Returns the value of PCR 13 after these measurements.
    ///
    /// # Errors
    /// [`ArchiveError`] if OpenSSL fails to hash.
    pub fn value(&self) -> Result<Digests, ArchiveError> {
        self.0.iter().try_fold(Digests::zero(), |value, digest| value.extended(digest))
    }

    /// Returns the values that PCR 13 may have in a bank later in the boot: as the stub left it, and after the separator.
    ///
    /// # Errors
    /// [`ArchiveError`] if OpenSSL fails to hash.
    pub fn values_in(&self, bank: Bank) -> Result<[Vec<u8>; 2], ArchiveError> {
        let value = self.value()?.of(bank).to_vec();
        let separated = bank.separated(&value)?;
        Ok([value, separated])
    }
}

/// Decodes hexadecimal digits; `None` if there is another character, or an odd number.
#[must_use]
pub fn unhex(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use openssl::hash::{MessageDigest, hash};
    use sextant::measure::SEPARATOR;

    fn digests(byte: u8) -> Digests {
        Digests::new(vec![byte; 32], vec![byte; 48]).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        for variant in [Variant(vec![]), Variant(vec![digests(1)]), Variant(vec![digests(1), digests(2)])] {
            assert_eq!(Variant::parse(&variant.to_json().unwrap()).unwrap(), variant);
        }
        let json = String::from_utf8(Variant(vec![digests(0xab)]).to_json().unwrap()).unwrap();
        let (short, long) = ("ab".repeat(32), "ab".repeat(48));
        let expected = format!(
            "{{\"records\":[{{\"pcr\":13,\"digests\":[{{\"hashAlg\":\"sha256\",\"digest\":\"{short}\"}},\
             {{\"hashAlg\":\"sha384\",\"digest\":\"{long}\"}}]}}]}}\n"
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn other_files_are_refused_with_a_sentence() {
        let good = String::from_utf8(Variant(vec![digests(1)]).to_json().unwrap()).unwrap();
        let refusal = |content: &str| Variant::parse(content.as_bytes()).unwrap_err().to_string();
        assert_eq!(refusal("{\"rec"), "not a list of records");
        assert_eq!(refusal("[]"), "not a list of records");
        assert_eq!(refusal(&good.replace(":13,", ":99,")), "record of PCR 99; expected PCR 13");
        assert_eq!(refusal(&good.replace("sha384", "sha512")), "record has not one digest of sha384");
        assert_eq!(refusal(&good.replace("sha384", "sha256")), "record has not one digest of sha256");
        assert_eq!(refusal(&good.replace("0101\"", "01\"")), "record has not one digest of sha256");
        assert_eq!(refusal(&good.replace("01\"", "+1\"")), "record has not one digest of sha256");
        let record = good.trim().trim_start_matches("{\"records\":[").strip_suffix("]}").unwrap().to_owned();
        let many = format!("{{\"records\":[{}]}}", vec![record; 17].join(","));
        assert_eq!(refusal(&many), "17 records; a boot has at most 16");
    }

    #[test]
    fn a_pcr_is_extended_in_the_order_of_the_records() {
        let value = Variant(vec![digests(1)]).value().unwrap();
        let expected = hash(MessageDigest::sha256(), &[[0; 32], [1; 32]].concat()).unwrap();
        assert_eq!(value.of(Bank::Sha256), &*expected);
        let both = Variant(vec![digests(1), digests(2)]).value().unwrap();
        assert_ne!(both, Variant(vec![digests(2), digests(1)]).value().unwrap());
        assert_eq!(Variant(vec![]).value().unwrap(), Digests::zero());
    }

    #[test]
    fn the_separator_is_that_of_systemd() {
        // `src/pcrlock/pcrlock.d/750-os-separator.pcrlock` of systemd 262.
        let expected = "ff5b9d73dad709633ae76adf444012b57e913a12ed7403c3931145862f35f841";
        assert_eq!(hex(&openssl::sha::sha256(SEPARATOR)), expected);
    }
}
