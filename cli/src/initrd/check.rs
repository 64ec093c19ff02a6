//! The rows that checks result in.

use ddi::text::{Message, Text};
use serde::Serialize;

/// Most rows; what is beyond is a row of its own.
const MAX_ROWS: usize = 1000;

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// The EFI program
    Uki,
    /// The kernel's command line
    CommandLine,
    /// The archive and what runs in it
    Initrd,
    /// The agent's program
    Agent,
    /// Units, drop-ins and settings for systemd
    Units,
    /// Stage files of yip
    Stages,
    /// Programs and kernel modules that the agent relies on
    Requirements,
    /// The sealed configuration
    Configuration,
    /// Sealed certificates
    Certificates,
}

impl Group {
    /// Every group, in the order of a table.
    pub const ALL: [Self; 9] = [
        Self::Uki,
        Self::CommandLine,
        Self::Initrd,
        Self::Agent,
        Self::Units,
        Self::Stages,
        Self::Requirements,
        Self::Configuration,
        Self::Certificates,
    ];

    /// Its name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Uki => "UKI",
            Self::CommandLine => "command line",
            Self::Initrd => "initrd",
            Self::Agent => "agent",
            Self::Units => "units",
            Self::Stages => "stage files",
            Self::Requirements => "requirements",
            Self::Configuration => "configuration",
            Self::Certificates => "certificates",
        }
    }
}

/// The result of a check, better ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it has to be
    Ok,
    /// Worth knowing; a boot works
    Note,
    /// It can't be checked
    Unknown,
    /// There, and not as it has to be
    Wrong,
    /// Not there
    Missing,
}

impl State {
    /// Whether a boot works all the same.
    #[must_use]
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Ok | Self::Note)
    }

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Wrong => "wrong",
            Self::Missing => "missing",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is about
    pub group: Group,
    /// A path, or what else is checked
    pub subject: Text,
    /// The result
    pub state: State,
    /// What was found
    pub detail: Option<Message>,
    /// What a boot would do about it
    pub effect: Option<&'static str>,
}

/// Checks so far.
#[derive(Debug, Default)]
pub(super) struct Checks {
    pub(super) rows: Vec<Check>,
}

impl Checks {
    pub(super) fn add(
        &mut self,
        group: Group,
        subject: &str,
        state: State,
        detail: Option<Message>,
        effect: Option<&'static str>,
    ) {
        if self.rows.len() < MAX_ROWS {
            self.rows.push(Check { group, subject: Text::new(subject), state, detail, effect });
        } else if self.rows.len() == MAX_ROWS {
            let detail = Some(Message::new(format_args!("more than {MAX_ROWS} checks")));
            let subject = "further checks".into();
            self.rows.push(Check { group, subject, state: State::Unknown, detail, effect: None });
        }
    }

    pub(super) fn ok(&mut self, group: Group, subject: &str, detail: Option<Message>) {
        self.add(group, subject, State::Ok, detail, None);
    }

    pub(super) fn note(&mut self, group: Group, subject: &str, detail: impl Into<Message>) {
        self.add(group, subject, State::Note, Some(detail.into()), None);
    }

    pub(super) fn wrong(&mut self, group: Group, subject: &str, detail: impl Into<Message>, effect: &'static str) {
        self.add(group, subject, State::Wrong, Some(detail.into()), Some(effect));
    }

    pub(super) fn missing(&mut self, group: Group, subject: &str, effect: &'static str) {
        self.add(group, subject, State::Missing, None, Some(effect));
    }
}
