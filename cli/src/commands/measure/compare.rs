//! Compares a prediction with the TPM and with an event log.

use super::difference::{Search, Target};
use super::{Arguments, Measured, Prediction};
use crate::measure::{Event, EventLog, Values, compare};
use anyhow::{Context, Result, ensure};
use ddi::bytes::hex;
use ddi::text::Text;
use serde::Serialize;
use sextant::durable;
use sextant::measure::{EVENT_LOG, KERNEL_CONFIG, MAX_LOG, Matched, MatchedState, PLACES, SYSEXTS, TPM, read_pcr};
use std::path::Path;

/// What is known of the boot.
pub(super) struct Evidence {
    /// PCR 13 of the TPM, with `--check`.
    tpm: Option<Values>,
    /// PCR 12 of the TPM.
    kernel_config: Values,
    log: Option<(Text, EventLog)>,
}

/// Comparison with an event log.
#[derive(Serialize)]
pub(super) struct Compared {
    /// The log.
    pub(super) file: Text,
    /// What its events give.
    pub(super) replayed: Vec<Replayed>,
    /// Its events about extensions, and all others of PCR 13.
    pub(super) events: Vec<Matched>,
}

/// A PCR as an event log gives it.
#[derive(Serialize)]
pub(super) struct Replayed {
    pub(super) pcr: u32,
    #[serde(flatten)]
    pub(super) values: Values,
    /// Whether the TPM has that value; `None` without one.
    pub(super) agrees_with_tpm: Option<bool>,
}

impl Evidence {
    pub(super) fn read(arguments: &Arguments) -> Result<Self> {
        let (mut tpm, mut kernel_config) = (None, Values::default());
        if arguments.check {
            let directory = &arguments.tpm;
            let values = read_pcr(directory, SYSEXTS)?;
            ensure!(!values.is_empty(), "no TPM with a SHA-256 or SHA-384 bank in {}", directory.display());
            (tpm, kernel_config) = (Some(values), read_pcr(directory, KERNEL_CONFIG)?);
        }
        let is_this_machine = arguments.check && arguments.tpm == Path::new(TPM);
        let own = (is_this_machine && Path::new(EVENT_LOG).exists()).then(|| Path::new(EVENT_LOG));
        let log = arguments.event_log.as_deref().or(own).map(read_log).transpose()?;
        Ok(Self { tpm, kernel_config, log })
    }
}

fn read_log(path: &Path) -> Result<(Text, EventLog)> {
    let bytes = durable::read(path, MAX_LOG).with_context(|| format!("reading {}", path.display()))?;
    let log = EventLog::parse(&bytes).with_context(|| format!("parsing {}", path.display()))?;
    Ok((Text::from_os(path.as_os_str()), log))
}

/// Completes the row, and returns whether everything is as predicted.
pub(super) fn run(prediction: &mut Prediction, evidence: &Evidence) -> Result<bool> {
    let predicted = Values::from(&prediction.row.pcr13);
    let measured = evidence.tpm.as_ref().map(|tpm| compare_banks(&predicted, tpm));
    let compared = evidence.log.as_ref().map(|(file, log)| compare_log(prediction, evidence, file, log)).transpose()?;
    let mut equal = measured.iter().flatten().all(|bank| bank.as_predicted);
    let mut difference = None;
    if let Some(compared) = &compared {
        let sysexts = compared.replayed.iter().find(|it| it.pcr == SYSEXTS);
        let is_credible = sysexts.is_none_or(|it| it.agrees_with_tpm != Some(false));
        let is_replayed = sysexts.is_some_and(|it| it.values.agrees(&predicted) == Some(true));
        let are_equal = compared.events.iter().all(|event| event.state == MatchedState::AsPredicted);
        equal &= is_credible && is_replayed && are_equal;
        if is_credible && !are_equal {
            difference = by_events(prediction, &compared.events)?;
        }
    }
    if let (None, Some(tpm)) = (&difference, &evidence.tpm)
        && predicted.lead_to(tpm) == Some(false)
    {
        difference = Search::new(prediction).find(&Target::Pcr13(tpm))?;
    }
    prediction.row.measured = measured;
    prediction.row.event_log = compared;
    prediction.row.difference = difference;
    Ok(equal)
}

fn compare_banks(predicted: &Values, tpm: &Values) -> Vec<Measured> {
    let of_bank = |bank| {
        let value = tpm.of(bank)?;
        Some(Measured {
            bank,
            value: hex(value),
            as_predicted: predicted.of(bank).is_some_and(|wanted| bank.leads_to(wanted, value)),
        })
    };
    tpm.banks().filter_map(of_bank).collect()
}

fn compare_log(prediction: &Prediction, evidence: &Evidence, file: &Text, log: &EventLog) -> Result<Compared> {
    let expected: Vec<_> = prediction.row.events.iter().map(Event::expected).collect();
    let none = Values::default();
    let pcrs = [(KERNEL_CONFIG, &evidence.kernel_config), (SYSEXTS, evidence.tpm.as_ref().unwrap_or(&none))];
    let replay = |(pcr, tpm): (u32, &Values)| {
        let values = log.replay(pcr)?;
        Ok(Replayed { pcr, agrees_with_tpm: values.lead_to(tpm), values })
    };
    let replayed = pcrs.into_iter().map(replay).collect::<Result<_>>()?;
    Ok(Compared { file: file.clone(), replayed, events: compare(&expected, log) })
}

/// Looks for the difference in each place whose event is not as predicted.
fn by_events(prediction: &Prediction, events: &[Matched]) -> Result<Option<Text>> {
    let mut search = Search::new(prediction);
    let mut found = Vec::new();
    for event in events.iter().filter(|event| event.state != MatchedState::AsPredicted) {
        let Some(place) = PLACES.iter().find(|place| event.directory == Some(place.directory)) else { continue };
        if let Some(sentence) = search.find(&Target::Place(place, event.logged.as_ref()))? {
            found.push(sentence.to_string());
        }
    }
    Ok((!found.is_empty()).then(|| Text::new(found.join("; "))))
}
