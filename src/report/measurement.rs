//! What was measured of the extensions, in the report.

use super::word::{Vocabulary, Word};
use crate::measure::{Bank, Matched, Values};
use ddi::bytes::hex;
use ddi::text::{Message, Text};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Most rows of events.
pub const EVENT_ROWS: usize = 16;

/// Comparison of the TPM with the extensions that systemd-stub loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    /// Result.
    pub state: Word<MeasurementState>,
    /// What differs, or why something was not read; `null` if there is nothing to say.
    pub detail: Option<Message>,
    /// Why nothing was predicted although the configuration asks for it.
    pub prediction_error: Option<Message>,
    /// PCR 13 as predicted from the files in the initrd; `null` unless the configuration asks for it.
    pub predicted: Option<PcrValues>,
    /// PCR 13 as the event log gives it; `null` if there is no log.
    pub logged: Option<PcrValues>,
    /// PCR 13 of the TPM; `null` if there is no TPM.
    pub tpm: Option<PcrValues>,
    /// Events of extensions that were predicted or are in the log, at most [`EVENT_ROWS`].
    pub events: Vec<MeasuredEvent>,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Result of the comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MeasurementState {
    /// The TPM was not read yet.
    #[default]
    Pending,
    /// TPM and prediction agree.
    AsPredicted,
    /// They don't.
    Differs,
    /// There is a TPM and no prediction.
    NotPredicted,
    /// There is no value of a TPM.
    NoTpm,
}

impl Vocabulary for MeasurementState {
    const ALL: &'static [Self] = &[Self::Pending, Self::AsPredicted, Self::Differs, Self::NotPredicted, Self::NoTpm];

    fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::AsPredicted => "as-predicted",
            Self::Differs => "differs",
            Self::NotPredicted => "not-predicted",
            Self::NoTpm => "no-tpm",
        }
    }
}

impl Default for Word<MeasurementState> {
    fn default() -> Self {
        MeasurementState::default().into()
    }
}

/// Values by bank, in hexadecimal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PcrValues {
    /// SHA-256.
    pub sha256: Option<Text>,
    /// SHA-384.
    pub sha384: Option<Text>,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl PcrValues {
    /// `None` if there is no value at all.
    #[must_use]
    pub fn of(values: &Values) -> Option<Self> {
        let text = |bank| values.of(bank).map(|value| Text::new(hex(value)));
        let all = Self { sha256: text(Bank::Sha256), sha384: text(Bank::Sha384), rest: Map::new() };
        (!values.is_empty()).then_some(all)
    }

    /// Returns the values. Those that are none of their bank are left out.
    #[must_use]
    pub fn values(&self) -> Values {
        let value = |bank: Bank, text: &Option<Text>| Some((bank, bank.parse(text.as_ref()?.as_str())?));
        let all = [value(Bank::Sha256, &self.sha256), value(Bank::Sha384, &self.sha384)];
        all.into_iter().flatten().collect()
    }
}

/// An event of extensions in PCR 12 or 13, or another one in PCR 13.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredEvent {
    /// 12 or 13.
    pub pcr: u32,
    /// The directory in the initrd; `null` for an event that is not about extensions.
    pub directory: Option<Text>,
    /// Digests as predicted.
    pub predicted: Option<PcrValues>,
    /// Digests in the event log.
    pub logged: Option<PcrValues>,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl From<&Matched> for MeasuredEvent {
    fn from(matched: &Matched) -> Self {
        let values = |values: &Option<Values>| values.as_ref().and_then(PcrValues::of);
        Self {
            pcr: matched.pcr,
            directory: matched.directory.map(|directory| Text::new(format_args!("/{directory}"))),
            predicted: values(&matched.predicted),
            logged: values(&matched.logged),
            rest: Map::new(),
        }
    }
}
