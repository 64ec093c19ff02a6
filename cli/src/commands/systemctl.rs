//! systemctl, and what programs say.

use anyhow::{Context, Result, bail};
use ddi::text::Message;
use std::process::{Command, Output, Stdio};

/// Has systemd do something with a unit, and waits for it.
pub(super) fn systemctl(verb: &str, unit: &str) -> Result<()> {
    let output = Command::new("systemctl").args([verb, unit]).stdin(Stdio::null()).output();
    let output = output.context("starting systemctl")?;
    if output.status.success() { Ok(()) } else { bail!("systemctl {verb}: {}", said(&output)) }
}

/// What a program wrote to standard error, as one line; its exit status if it wrote nothing.
pub(super) fn said(output: &Output) -> Message {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = text.lines().map(|line| line.trim().trim_start_matches("sextant-agent: ")).filter(|it| !it.is_empty());
    let lines = lines.collect::<Vec<_>>().join(" ");
    if lines.is_empty() { Message::new(output.status) } else { Message::new(lines) }
}
