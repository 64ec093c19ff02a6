//! Predicts what systemd-stub has measured, in the initrd, and compares it with the TPM, on the host.
//!
//! The prediction hashes every file once more, so the configuration has to ask for it. It is made in the initrd, before anything is
//! moved: later the rejected files are elsewhere, those that were staged may be gone from their directory, and the partition may
//! have other files than those that were booted. The TPM is read on the host, because its driver may not be in the initrd.

use crate::measure::{
    Bank, EVENT_LOG, EventLog, Expected, MAX_LOG, Matched, Member, PLACES, Place, SYSEXTS, TPM, Values, compare,
    digest, read_pcr, replay,
};
use crate::policy::Limits;
use crate::report::{EVENT_ROWS, MeasuredEvent, Measurement, MeasurementState, PcrValues};
use crate::root::Root;
use crate::stamp::Stamp;
use anyhow::{Context, Result, ensure};
use ddi::io::{FileSource, ReadAt};
use ddi::text::{Message, Text};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

/// The bank of the prediction. Every TPM 2.0 of a PC has it (TCG PC Client Platform TPM Profile).
const BANK: Bank = Bank::Sha256;
/// Most files that are measured, all of which are open at the same time.
const MAX_FILES: usize = 512;

/// Predicts PCR 13, and the events of both PCRs. What an earlier run of this boot has predicted is kept, because it saw all files.
pub(super) fn predict(root: &Root, limits: Limits, before: Option<Measurement>) -> Measurement {
    if let Some(before) = before.filter(|before| before.predicted.is_some()) {
        return before;
    }
    predicted(root, limits).unwrap_or_else(|error| Measurement {
        prediction_error: Some(Message::new(format_args!("{error:#}"))),
        ..Measurement::default()
    })
}

fn predicted(root: &Root, limits: Limits) -> Result<Measurement> {
    let (mut sysexts, mut events) = (Vec::new(), Vec::new());
    let (mut bytes, mut count) = (0_u64, 0_usize);
    for place in PLACES.map(Place::of_both_classes) {
        let files = open(root, &place)?;
        count = count.saturating_add(files.len());
        ensure!(count <= MAX_FILES, "{count} files; the limit is {MAX_FILES}");
        bytes = files.iter().map(|file| file.source.len()).fold(bytes, u64::saturating_add);
        let limit = limits.total_size;
        ensure!(bytes <= limit, "files are {bytes} bytes; limits.total_size is {limit}");
        let members: Vec<_> = files.iter().map(|file| Member { name: &file.name, content: &file.source }).collect();
        let Some(digest) = digest(BANK, &place, &members)? else { continue };
        for file in &files {
            let now = Stamp::of(file.source.file()).with_context(|| format!("examining {} again", file.name))?;
            ensure!(now == file.stamp, "{} changed while it was read", Text::new(&file.name));
        }
        if place.pcr() == SYSEXTS {
            sysexts.push(digest.clone());
        }
        events.push(MeasuredEvent {
            pcr: place.pcr(),
            directory: Some(path(place.directory)),
            predicted: PcrValues::of(&[(BANK, digest)].into_iter().collect()),
            ..MeasuredEvent::default()
        });
    }
    let value = replay(BANK, sysexts.iter().map(Vec::as_slice))?;
    let predicted = PcrValues::of(&[(BANK, value)].into_iter().collect());
    Ok(Measurement { predicted, events, ..Measurement::default() })
}

fn path(directory: &str) -> Text {
    Text::new(format_args!("/{directory}"))
}

/// A file that systemd-stub has left in the initrd.
struct Opened {
    name: String,
    source: FileSource,
    stamp: Stamp,
}

fn open(root: &Root, place: &Place) -> Result<Vec<Opened>> {
    let directory = format!("/{}", place.directory);
    let names = root.list_some(&directory, MAX_FILES.saturating_mul(2));
    let names = names.with_context(|| format!("listing {directory}"))?.unwrap_or_default();
    let Some(opened) = root.directory(&directory).with_context(|| format!("opening {directory}"))? else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for name in names.iter().filter_map(|name| name.to_str()).filter(|name| place.takes(name)) {
        let context = || format!("opening {}", Text::new(name));
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(opened.join(name)) {
            // systemd-stub leaves no links.
            Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => continue,
            file => file.with_context(context)?,
        };
        if !file.metadata().with_context(context)?.is_file() {
            continue;
        }
        ensure!(files.len() < MAX_FILES, "more than {MAX_FILES} files in {directory}");
        let stamp = Stamp::of(&file).with_context(context)?;
        files.push(Opened { name: name.to_owned(), source: FileSource::new(file).with_context(context)?, stamp });
    }
    Ok(files)
}

/// Reads TPM and event log, and compares them with the prediction in `before`, if there is one. What cannot be read now, but was read
/// earlier in this boot, is kept: no extension is measured after systemd-stub.
pub(super) fn complete(root: &Root, before: Option<Measurement>) -> Measurement {
    let before = before.unwrap_or_default();
    let mut faults = Vec::new();
    let tpm = read_tpm(root).unwrap_or_else(|error| {
        faults.push(format!("{error:#}"));
        Values::default()
    });
    let log = read_log(root).unwrap_or_else(|error| {
        // A user who may not read it sees what `confirm` has read.
        if before.logged.is_none() {
            faults.push(format!("{error:#}"));
        }
        None
    });
    if tpm.is_empty() && before.tpm.is_some() {
        return before;
    }
    let expected: Vec<Expected> = before.events.iter().filter_map(expected).collect();
    let matched = log.as_ref().map(|log| compare(&expected, log));
    let logged = log.as_ref().and_then(|log| log.replay(SYSEXTS).ok());
    let logged = logged.or_else(|| before.logged.as_ref().map(PcrValues::values)).unwrap_or_default();
    let predicted = before.predicted.as_ref().map(PcrValues::values);
    if matched.is_none() && before.logged.is_some() && PcrValues::of(&tpm) == before.tpm {
        return before;
    }
    let (state, differences) = judge(predicted.as_ref(), &logged, &tpm, matched.as_deref().unwrap_or_default());
    faults.extend(differences);
    let events = match &matched {
        Some(matched) => matched.iter().take(EVENT_ROWS).map(MeasuredEvent::from).collect(),
        None => before.events,
    };
    Measurement {
        state: state.into(),
        detail: (!faults.is_empty()).then(|| Message::new(faults.join("; "))),
        prediction_error: before.prediction_error,
        predicted: before.predicted,
        logged: PcrValues::of(&logged),
        tpm: PcrValues::of(&tpm),
        events,
        rest: before.rest,
    }
}

/// What the event log has to contain for an event that was predicted.
fn expected(event: &MeasuredEvent) -> Option<Expected> {
    let place = PLACES.iter().find(|place| event.directory.as_ref() == Some(&path(place.directory)))?;
    Some(Expected { directory: place.directory, digests: event.predicted.as_ref()?.values() })
}

/// Decides about the TPM, and says what differs.
fn judge(
    predicted: Option<&Values>,
    logged: &Values,
    tpm: &Values,
    matched: &[Matched],
) -> (MeasurementState, Vec<String>) {
    let mut differences = Vec::new();
    if logged.lead_to(tpm) == Some(false) {
        differences.push(format!("the event log does not give the TPM's value of PCR {SYSEXTS}"));
    }
    let Some(predicted) = predicted.filter(|_| !tpm.is_empty()) else {
        let state = if tpm.is_empty() { MeasurementState::NoTpm } else { MeasurementState::NotPredicted };
        return (state, differences);
    };
    let Some(is_same) = predicted.lead_to(tpm) else {
        differences.push(format!("the TPM has no {BANK} bank"));
        return (MeasurementState::NotPredicted, differences);
    };
    // A log that the TPM contradicts explains nothing, and PCR 13 outweighs its own events.
    let is_credible = logged.lead_to(tpm) != Some(false);
    let counts = |event: &&Matched| is_credible && (!is_same || event.pcr != SYSEXTS);
    let events: Vec<String> = matched.iter().filter(counts).filter_map(Matched::difference).collect();
    if is_same && events.is_empty() {
        return (MeasurementState::AsPredicted, differences);
    }
    if events.is_empty() {
        differences.push(format!("PCR {SYSEXTS} has another value than predicted"));
    }
    differences.extend(events);
    (MeasurementState::Differs, differences)
}

fn read_tpm(root: &Root) -> Result<Values> {
    match root.directory(TPM).with_context(|| format!("opening {TPM}"))? {
        Some(directory) => Ok(read_pcr(&directory, SYSEXTS)?),
        None => Ok(Values::default()),
    }
}

fn read_log(root: &Root) -> Result<Option<EventLog>> {
    let Some(bytes) = root.read(EVENT_LOG, MAX_LOG).with_context(|| format!("reading {EVENT_LOG}"))? else {
        return Ok(None);
    };
    EventLog::parse(&bytes).map(Some).with_context(|| format!("parsing {EVENT_LOG}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(bank: Bank, byte: u8) -> Values {
        [(bank, vec![byte; bank.size()])].into_iter().collect()
    }

    #[test]
    fn the_tpm_decides_and_the_log_explains() {
        let (none, one, two) = (Values::default(), values(BANK, 1), values(BANK, 2));
        let state = |predicted: Option<&Values>, logged: &Values, tpm: &Values| judge(predicted, logged, tpm, &[]).0;
        assert_eq!(state(Some(&one), &one, &one), MeasurementState::AsPredicted);
        assert_eq!(state(Some(&one), &none, &one), MeasurementState::AsPredicted);
        assert_eq!(state(Some(&one), &one, &two), MeasurementState::Differs);
        let separator = openssl::sha::sha256(crate::measure::SEPARATOR);
        let separated = openssl::sha::sha256(&[one.of(BANK).unwrap(), &separator[..]].concat());
        let separated = [(BANK, separated.to_vec())].into_iter().collect();
        assert_eq!(state(Some(&one), &one, &separated), MeasurementState::AsPredicted);
        assert_eq!(state(Some(&separated), &none, &one), MeasurementState::Differs);
        assert_eq!(state(None, &one, &one), MeasurementState::NotPredicted);
        assert_eq!(state(Some(&one), &one, &none), MeasurementState::NoTpm);
        let other_bank = values(Bank::Sha384, 1);
        let (state, details) = judge(Some(&one), &none, &other_bank, &[]);
        assert_eq!(
            (state, details.as_slice()),
            (MeasurementState::NotPredicted, &["the TPM has no sha256 bank".into()][..])
        );
        let (_, details) = judge(Some(&one), &two, &one, &[]);
        assert_eq!(details, ["the event log does not give the TPM's value of PCR 13"]);
    }
}
