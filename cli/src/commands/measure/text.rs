//! What `sextant measure` shows to people.

use super::Row;
use super::compare::{Compared, Replayed};
use crate::commands::size;
use crate::measure::Bank;
use ddi::bytes::hex;
use ddi::text::Text;
use sextant::measure::{KERNEL_CONFIG, Matched, MatchedState};
use sextant::report::table::wrap;
use std::fmt::{Error, Write};

/// Columns of paragraphs, which are indented by two.
const WIDTH: usize = 78;

/// The rows, at most 80 columns wide.
pub(super) fn text(rows: &[Row]) -> Result<String, Error> {
    let mut out = String::new();
    for row in rows {
        if !out.is_empty() {
            out.push('\n');
        }
        if let (Some(entry), Some(uki)) = (&row.entry, &row.uki) {
            let stub = row.stub.as_ref().map_or("an unknown version", Text::as_str);
            writeln!(out, "Entry {entry}: {uki}, systemd-stub {stub}")?;
        }
        writeln!(out, "PCR 13")?;
        for bank in Bank::ALL {
            writeln!(out, "  {bank}  {}", split(&hex(row.pcr13.of(bank))))?;
        }
        for measured in row.measured.iter().flatten() {
            let verdict = if measured.as_predicted { "as predicted" } else { "differs" };
            writeln!(out, "  TPM, {}: {verdict}", measured.bank)?;
            if !measured.as_predicted {
                writeln!(out, "          {}", split(&measured.value))?;
            }
        }
        if let Some(compared) = &row.event_log {
            log(&mut out, compared)?;
        }
        let is_different = |event: &Matched| event.state != MatchedState::AsPredicted;
        let differs = row.measured.iter().flatten().any(|measured| !measured.as_predicted)
            || row.event_log.iter().flat_map(|log| &log.events).any(is_different);
        if let Some(difference) = &row.difference {
            paragraph(&mut out, &format!("When the machine booted, {difference}."))?;
        } else if differs {
            paragraph(
                &mut out,
                "No change of up to three known files makes the difference: more files differ, or the content of one.",
            )?;
        }
        if row.events.is_empty() {
            writeln!(out, "No extension is measured.")?;
        }
        for event in &row.events {
            let bytes = size(event.size);
            let (count, s) = (event.files.len(), if event.files.len() == 1 { "" } else { "s" });
            writeln!(out, "PCR {}: /{}, {count} file{s}, {bytes}", event.pcr, event.directory)?;
            for bank in Bank::ALL {
                writeln!(out, "  {bank}  {}", split(&hex(event.digests.of(bank))))?;
            }
            for file in &event.files {
                writeln!(out, "  {file}")?;
            }
        }
    }
    Ok(out)
}

/// Digests longer than a line's 80 columns go on in the next one.
fn split(digits: &str) -> String {
    match digits.split_at_checked(64) {
        Some((first, rest)) if !rest.is_empty() => format!("{first}\n          {rest}"),
        _ => digits.to_owned(),
    }
}

/// The comparison with the event log.
fn log(out: &mut String, compared: &Compared) -> Result<(), Error> {
    for Replayed { pcr, agrees_with_tpm, .. } in &compared.replayed {
        match agrees_with_tpm {
            Some(true) => writeln!(out, "  Event log, PCR {pcr}: gives the TPM's value")?,
            Some(false) if *pcr == KERNEL_CONFIG => {
                paragraph(
                    out,
                    "Event log, PCR 12: does not give the TPM's value. The host has measured too, or the log was changed.",
                )?;
            }
            Some(false) => paragraph(
                out,
                "Event log, PCR 13: does not give the TPM's value. The log is incomplete, or was changed.",
            )?,
            None => {}
        }
    }
    for event in &compared.events {
        match (event.difference(), event.directory) {
            (Some(difference), _) => paragraph(out, &format!("Event log: {difference}"))?,
            (None, Some(directory)) => writeln!(out, "  Event log, /{directory}: as predicted")?,
            (None, None) => {}
        }
    }
    Ok(())
}

/// Text in lines of at most 80 columns.
fn paragraph(out: &mut String, text: &str) -> Result<(), Error> {
    for line in wrap(text, WIDTH) {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}
