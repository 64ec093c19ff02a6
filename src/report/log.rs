//! The journal: one entry for each event, with fields that programs can match.
//!
//! Entries go to journald in its native protocol where it runs, to the kernel's log where it doesn't,
//! and to standard error when the agent works on a tree instead of a machine. On a machine, standard error gets them too if
//! it is a terminal; that the agent could not do its work it is told unless it is the journal.

use super::{Image, Verdict};
use crate::explanation::{Explanation, MANUAL};
use ddi::Class;
use ddi::text::{Message, Text};
use log::kv::{Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::fmt::{Display, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Stderr, Write as _};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use systemd_journal_logger::JournalLog;

/// What `journalctl -t` shows.
const IDENTIFIER: &str = "sextant-agent";
/// Entries about single images that the kernel's log gets at most: it is a ring, and what else happened in this boot
/// must not be pushed out of it by a directory full of junk.
const KERNEL_ENTRIES: usize = 100;

/// The kinds of event, each with its fixed `MESSAGE_ID` (systemd.journal-fields(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// An image was staged.
    Staged,
    /// An image was rejected.
    Rejected,
    /// More images were rejected than have an entry each.
    Omitted,
    /// All images have been processed.
    Summary,
    /// The agent could not do its work.
    Failed,
    /// A certificate of the firmware or the initrd is not a trust anchor.
    CertificateIgnored,
    /// A certificate that another program wrote was removed from `/run/verity.d`.
    CertificateRemoved,
    /// A part of dbx cannot be read: a revocation may be missing.
    DbxUnreadable,
    /// A rejected image could not be moved to the quarantine.
    NotQuarantined,
    /// A staged extension was withdrawn before the merge.
    Withdrawn,
    /// The gate was opened: the host may merge.
    MergeRequested,
    /// The report could not be completed.
    ReportIncomplete,
    /// The host has merged.
    Merged,
    /// An extension was staged and is not merged.
    NotMerged,
    /// An extension is merged and was not staged.
    UnexpectedlyMerged,
    /// systemd refused all extensions because of one image.
    MergeRefused,
    /// An extension is not merged, as an administrator configured.
    LeftOut,
    /// A directory of the host is merged; no signature covers it.
    DirectoryMerged,
    /// An extension that the configuration requires is not merged.
    RequiredMissing,
}

impl Event {
    /// Every kind.
    pub const ALL: [Self; 19] = [
        Self::Staged,
        Self::Rejected,
        Self::Omitted,
        Self::Summary,
        Self::Failed,
        Self::CertificateIgnored,
        Self::CertificateRemoved,
        Self::DbxUnreadable,
        Self::NotQuarantined,
        Self::Withdrawn,
        Self::MergeRequested,
        Self::ReportIncomplete,
        Self::Merged,
        Self::NotMerged,
        Self::UnexpectedlyMerged,
        Self::MergeRefused,
        Self::LeftOut,
        Self::DirectoryMerged,
        Self::RequiredMissing,
    ];

    /// The fixed 128-bit number.
    #[must_use]
    pub const fn message_id(self) -> &'static str {
        match self {
            Self::Staged => "6c2b5fd9a6d84a0c9d1e0a3f8b7c4e51",
            Self::Rejected => "b1f0a3c27e5d4f6a8c93d2e1470b9a68",
            Self::Omitted => "0ef4961e13764609a5dae0f2c8db484d",
            Self::Summary => "0f7d41e8c35b4b2fa61c9be2d8a05374",
            Self::Failed => "e94a6d1b70c34c8fb25f83a7d61e0c92",
            Self::CertificateIgnored => "3a8e57c1f2d946b0a7d4c6095be1f83d",
            Self::CertificateRemoved => "3f9d27557c5b413597ddf71a6941e0c3",
            Self::DbxUnreadable => "5be20d6f8a9147c3b04f7e13c2d96a18",
            Self::NotQuarantined => "d75c0b9e41f84e3796a2f1c83b6d50ea",
            Self::Withdrawn => "81f2d6c04b9e4e7fa35d7c1e92b06a48",
            Self::MergeRequested => "27c9e4a15d8f4b60b3f1086ed5a7924c",
            Self::ReportIncomplete => "c52b1365e06949889efc14938e24ceb1",
            Self::Merged => "f50b3d9172ac4c8e96e4d5a80c6b1f37",
            Self::NotMerged => "4ad81e7c3f604d25b9c07a6f52e1d893",
            Self::UnexpectedlyMerged => "c36f90b85e174a0d8b2de4f71a95c06e",
            Self::MergeRefused => "9d0a4f6c2be1473f8a57c3e690d1b82e",
            Self::LeftOut => "27b6e81d90f34c5aa1c8540ef76d3b19",
            Self::DirectoryMerged => "e5137ac8d6024b9f93b04e2a8cf15d70",
            Self::RequiredMissing => "67fcfd29801849d59c3e861d58cf44e6",
        }
    }

    /// Logs an event that isn't about an image.
    pub fn emit(self, message: impl Display) {
        let message = Message::new(message);
        log::log!(self.level(), MESSAGE_ID = self.message_id(); "{message}");
    }

    /// Logs an event about the extension called `name`.
    pub fn emit_about(self, name: &Text, message: impl Display) {
        let message = Message::new(message);
        log::log!(self.level(), MESSAGE_ID = self.message_id(), SEXTANT_EXTENSION = name.as_str(); "{message}");
    }

    /// Logs an event about the file called `file`, beside the entry that says what was decided about it.
    pub fn emit_about_file(self, file: &Text, message: impl Display) {
        let message = Message::new(message);
        log::log!(self.level(), MESSAGE_ID = self.message_id(), SEXTANT_IMAGE = file.as_str(); "{message}");
    }

    const fn level(self) -> Level {
        match self {
            Self::Rejected
            | Self::Omitted
            | Self::Failed
            | Self::DbxUnreadable
            | Self::NotQuarantined
            | Self::Withdrawn
            | Self::NotMerged
            | Self::UnexpectedlyMerged
            | Self::MergeRefused
            | Self::RequiredMissing => Level::Error,
            Self::CertificateIgnored | Self::ReportIncomplete | Self::DirectoryMerged => Level::Warn,
            Self::Staged
            | Self::CertificateRemoved
            | Self::Summary
            | Self::MergeRequested
            | Self::Merged
            | Self::LeftOut => Level::Info,
        }
    }

    /// Logs what was decided about an image: exactly one entry.
    pub fn emit_image(image: &Image) {
        let signer = image.trusted_signer().map(Message::new).unwrap_or_default();
        let name = image.name.as_ref().map_or("", Text::as_str);
        // Of bounded pieces, so that the token behind a long detail isn't cut off.
        let mut text = if image.is_good() {
            format!("staged {}, signed by {signer}", image.file)
        } else {
            let detail = image.detail.as_ref().map_or("", Message::as_str);
            let reason = image.reason.as_ref().map_or("", |reason| reason.as_str());
            format!("rejected {}: {detail} ({reason})", image.file)
        };
        if let Some(coverage) = image.coverage.as_ref().filter(|it| image.is_good() && it.is_partial()) {
            let _ = write!(text, "; {coverage}");
        }
        for warning in &image.warnings {
            let _ = write!(text, "; warning: {warning}");
        }
        let (event, level) = match (image.is_good(), image.warnings.is_empty()) {
            (true, true) => (Self::Staged, Level::Info),
            (true, false) => (Self::Staged, Level::Warn),
            (false, _) => (Self::Rejected, Level::Error),
        };
        let verdict = if image.is_good() { Verdict::Staged } else { Verdict::Rejected };
        let explanation = image.reason().map(Explanation::of);
        let explained = |pick: fn(&Explanation) -> &str| explanation.as_ref().map_or("", pick);
        log::log!(
            level,
            MESSAGE_ID = event.message_id(),
            SEXTANT_IMAGE = image.file.as_str(),
            SEXTANT_EXTENSION = name,
            SEXTANT_VERDICT = verdict.as_str(),
            SEXTANT_REASON = image.reason.as_ref().map_or("", |reason| reason.as_str()),
            SEXTANT_MEANING = explained(|explanation| &explanation.meaning),
            SEXTANT_REMEDY = explained(|explanation| &explanation.remedy),
            SEXTANT_ROOT_HASH = image.root_hash.as_ref().map_or("", Text::as_str),
            SEXTANT_SIGNER = signer.as_str(),
            SEXTANT_COVERAGE = image.coverage.as_ref().map_or("", |coverage| coverage.verify.as_str()),
            DOCUMENTATION = explained(|_| MANUAL);
            "{text}"
        );
    }

    /// Logs that a staged extension was taken back.
    pub fn emit_withdrawn(extension: &Withdrawn<'_>, cause: &Message) {
        let text = format!("{}.raw ({}) will not be merged: {cause}", extension.name, extension.class);
        // What its owner wanted is no fault.
        let level = if extension.is_removed { Level::Info } else { Self::Withdrawn.level() };
        log::log!(
            level,
            MESSAGE_ID = Self::Withdrawn.message_id(),
            SEXTANT_IMAGE = extension.file.as_str(),
            SEXTANT_EXTENSION = extension.name.as_str(),
            SEXTANT_VERDICT = Verdict::Withdrawn.as_str(),
            SEXTANT_REASON = "",
            SEXTANT_ROOT_HASH = extension.root_hash.map_or("", Text::as_str),
            SEXTANT_SIGNER = extension.signer.map_or("", Message::as_str),
            SEXTANT_COVERAGE = "";
            "{text}"
        );
    }
}

/// What is told of an extension that was withdrawn.
#[derive(Debug, Clone, Copy)]
pub struct Withdrawn<'a> {
    /// What it extends.
    pub class: Class,
    /// Its name.
    pub name: &'a Text,
    /// The file in which it was found.
    pub file: &'a Text,
    /// Its signed root hash.
    pub root_hash: Option<&'a Text>,
    /// Subject and source of its signer.
    pub signer: Option<&'a Message>,
    /// Whether its owner removed the file that it was adopted from.
    pub is_removed: bool,
}

/// Decides once where entries go. `machine` says whether this is one, rather than a tree.
pub fn install(machine: bool) {
    let journal = || {
        JournalLog::new().ok().map(|journal| journal.with_syslog_identifier(IDENTIFIER.to_owned())).map(Sink::Journal)
    };
    let kernel = || kernel_log().is_ok().then(|| Sink::Kernel(AtomicUsize::new(0)));
    let sink = if machine { journal().or_else(kernel) } else { None };
    let mirror = match &sink {
        Some(_) if !stderr().is_terminal() && is_journal() => Mirror::Nothing,
        Some(_) if !stderr().is_terminal() => Mirror::Failure,
        _ => Mirror::Everything,
    };
    // A second logger can't be installed; the first one then keeps its place.
    if log::set_boxed_logger(Box::new(Logger { sink, mirror })).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Tells a person what is of no interest afterwards.
pub(crate) fn tell_terminal(text: &'static str) {
    if stderr().is_terminal() {
        write_line(format_args!("{text}"));
    }
}

/// Whether standard error is the journal's (systemd.exec(5), `$JOURNAL_STREAM`).
fn is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let identity = std::fs::metadata("/proc/self/fd/2").map(|found| format!("{}:{}", found.dev(), found.ino()));
    identity.is_ok_and(|identity| identity == stream)
}

#[expect(clippy::disallowed_methods, reason = "what is written here is bounded and escaped")]
fn stderr() -> Stderr {
    std::io::stderr()
}

fn write_line(text: std::fmt::Arguments<'_>) {
    // If standard error is closed, the report says the same.
    let _ = writeln!(stderr(), "{IDENTIFIER}: {text}");
}

/// Opened anew for each line: unless systemd or the command line has lifted it, the kernel silently drops what comes after
/// ten lines in five seconds, and counts for each open file by itself (Linux 6.12, `kernel/printk/printk.c`,
/// `devkmsg_open`, `devkmsg_write`). How much we say is bounded here.
fn kernel_log() -> std::io::Result<File> {
    OpenOptions::new().write(true).open("/dev/kmsg")
}

/// Where entries are kept.
enum Sink {
    Journal(JournalLog),
    /// `/dev/kmsg`, and how many entries about images it got.
    Kernel(AtomicUsize),
}

/// What standard error gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mirror {
    Everything,
    /// Why the agent could not do its work.
    Failure,
    Nothing,
}

impl Mirror {
    fn wants(self, record: &Record<'_>) -> bool {
        let failed = || {
            let id = record.key_values().get(Key::from("MESSAGE_ID"));
            id.is_some_and(|id| id.to_borrowed_str() == Some(Event::Failed.message_id()))
        };
        self == Self::Everything || self == Self::Failure && failed()
    }
}

struct Logger {
    sink: Option<Sink>,
    mirror: Mirror,
}

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Our own entries are made of `Text` and `Message`; what other crates say is made so here.
        if record.target().split("::").next() == Some(env!("CARGO_CRATE_NAME")) {
            self.write(record);
        } else {
            let text = Message::new(record.args());
            self.write(&Record::builder().level(record.level()).args(format_args!("{text}")).build());
        }
    }

    fn flush(&self) {}
}

impl Logger {
    fn write(&self, record: &Record<'_>) {
        // A log that can't be written is no reason to stop: the report says the same.
        match &self.sink {
            Some(Sink::Journal(journal)) => journal.log(record),
            Some(Sink::Kernel(entries)) => {
                if let (Some(line), Ok(mut file)) = (bounded_kernel_line(record, entries), kernel_log()) {
                    let _ = file.write_all(line.as_bytes());
                }
            }
            None => {}
        }
        if self.mirror.wants(record) {
            write_line(*record.args());
        }
    }
}

/// What the kernel's log is told: everything that isn't about a single image, and so many of those.
fn bounded_kernel_line(record: &Record<'_>, entries: &AtomicUsize) -> Option<String> {
    let is_about = |field| record.key_values().get(Key::from_str(field)).is_some();
    if !is_about("SEXTANT_IMAGE") && !is_about("SEXTANT_EXTENSION") {
        return Some(kernel_line(record));
    }
    match entries.fetch_add(1, Ordering::Relaxed) {
        count if count < KERNEL_ENTRIES => Some(kernel_line(record)),
        KERNEL_ENTRIES => {
            let text =
                format_args!("more than {KERNEL_ENTRIES} entries about images; the others are in {}", super::PATH);
            Some(kernel_line(&Record::builder().level(Level::Warn).args(text).build()))
        }
        _ => None,
    }
}

/// One record of `/dev/kmsg` (kernel Documentation/ABI/testing/dev-kmsg): priority, prefix, and at most
/// the 992 bytes that a record holds.
fn kernel_line(record: &Record<'_>) -> String {
    const FACILITY_DAEMON: u8 = 3;
    let severity = match record.level() {
        Level::Error => 3,
        Level::Warn => 4,
        // As the journal has it.
        Level::Info => 5,
        Level::Debug | Level::Trace => 7,
    };
    let mut line = format!("<{}>{IDENTIFIER}: {}", FACILITY_DAEMON << 3 | severity, record.args());
    let mut fields = Suffix(String::new());
    let _ = record.key_values().visit(&mut fields);
    // The verdict stays, however long the sentence is.
    let room = 900_usize.saturating_sub(fields.0.len());
    if line.len() > room {
        let end = (0..=room).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line.truncate(end);
    }
    line.push_str(&fields.0);
    line
}

/// The kernel's log has no fields of ours, so those that scripts look for go into the text: `[staged]`,
/// `[rejected: bad-gpt]`.
struct Suffix(String);

impl<'kvs> VisitSource<'kvs> for Suffix {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), log::kv::Error> {
        match key.as_str() {
            "SEXTANT_VERDICT" => {
                let _ = write!(self.0, " [{value}]");
            }
            // It comes after the verdict.
            "SEXTANT_REASON" if !value.to_string().is_empty() && self.0.pop().is_some() => {
                let _ = write!(self.0, ": {value}]");
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_ids_are_distinct_128_bit_numbers() {
        let mut ids: Vec<_> = Event::ALL.iter().map(|event| event.message_id()).collect();
        assert!(ids.iter().all(|id| u128::from_str_radix(id, 16).is_ok() && id.len() == 32));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Event::ALL.len());
    }

    #[test]
    fn junk_does_not_fill_the_kernel_log() {
        let entries = AtomicUsize::new(0);
        let about_image = [("SEXTANT_IMAGE", "junk.raw")];
        let line = |values: &[(&str, &str)]| {
            let record = Record::builder().level(Level::Info).args(format_args!("text")).key_values(&values).build();
            bounded_kernel_line(&record, &entries)
        };
        let written: Vec<_> = (0..1000).filter_map(|_| line(&about_image)).collect();
        assert_eq!(written.len(), KERNEL_ENTRIES + 1);
        assert!(written[KERNEL_ENTRIES].contains("; the others are in /run/sextant/report.json"));
        assert!(line(&[]).is_some(), "the summary gets through");
    }

    #[test]
    fn a_kernel_line_has_priority_prefix_and_bounded_length() {
        let long = "ä".repeat(1000);
        let verdict = [("SEXTANT_VERDICT", "rejected")];
        let line = kernel_line(
            &Record::builder().level(Level::Error).args(format_args!("{long}")).key_values(&verdict).build(),
        );
        assert!(line.starts_with("<27>sextant-agent: ä") && line.ends_with("ä [rejected]"), "{line}");
        assert!(line.len() <= 900);
    }
}
