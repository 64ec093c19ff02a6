//! What a machine runs: versions, and the words of its command line that concern extensions.

use anyhow::{Context, Result};
use ddi::text::Text;
use nix::sys::utsname::uname;
use serde::Serialize;
use sextant::root::Root;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;
/// Members of os-release that are taken; of distributions' own ones, those of Kairos.
const MEMBERS: [&str; 12] = [
    "ID",
    "ID_LIKE",
    "NAME",
    "PRETTY_NAME",
    "VERSION",
    "VERSION_ID",
    "VERSION_CODENAME",
    "VARIANT_ID",
    "IMAGE_ID",
    "IMAGE_VERSION",
    "BUILD_ID",
    "SYSEXT_LEVEL",
];
const KAIROS: &str = "KAIROS_";
/// Words of the command line that are taken, with what follows their `=`. Others may be secrets.
const WORDS: [&str; 7] = [
    "systemd.sysext",
    "systemd.confext",
    "systemd.allow_userspace_verity",
    "systemd.image_policy",
    "dm-verity.require_signatures",
    "rd.immucore.uki",
    "rd.immucore.debug",
];

#[derive(Serialize)]
struct Versions {
    sextant: &'static str,
    kernel: Text,
    architecture: Text,
    /// The first line of `systemctl --version`.
    systemd: Option<Text>,
    os: BTreeMap<Text, Text>,
    command_line: Vec<Text>,
}

pub(super) fn json(root: &Root) -> Result<Vec<u8>> {
    let names = uname().context("asking the kernel for its version")?;
    let read = |path: &str| root.read(path, MAX_FILE).ok().flatten().unwrap_or_default();
    let os = ["/etc/os-release", "/usr/lib/os-release"].iter().map(|path| read(path)).find(|text| !text.is_empty());
    let versions = Versions {
        sextant: env!("CARGO_PKG_VERSION"),
        kernel: Text::from_os(names.release()),
        architecture: Text::from_os(names.machine()),
        systemd: systemd(),
        os: members(&String::from_utf8_lossy(&os.unwrap_or_default())),
        command_line: words(&String::from_utf8_lossy(&read("/proc/cmdline"))),
    };
    let mut text = serde_json::to_vec_pretty(&versions).context("encoding the versions")?;
    text.push(b'\n');
    Ok(text)
}

fn systemd() -> Option<Text> {
    let mut command = Command::new("systemctl");
    let (output, _) = crate::capture::capture(command.arg("--version"), 4096, Duration::from_secs(5), &[0]).ok()?;
    String::from_utf8_lossy(&output).lines().next().map(Text::new)
}

fn members(text: &str) -> BTreeMap<Text, Text> {
    let member = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let is_taken = MEMBERS.contains(&name) || name.starts_with(KAIROS);
        is_taken.then(|| (Text::new(name), Text::new(value.trim_matches(['"', '\'']))))
    };
    text.lines().filter_map(member).collect()
}

fn words(text: &str) -> Vec<Text> {
    let is_taken = |word: &&str| WORDS.contains(&word.split('=').next().unwrap_or_default());
    text.split_ascii_whitespace().filter(is_taken).map(Text::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_are_no_secrets_are_taken() {
        let line = "root=LABEL=X rd.luks.key=abc systemd.sysext=0 rd.immucore.uki systemd.sysexts=1 password\n";
        assert_eq!(words(line), ["systemd.sysext=0", "rd.immucore.uki"].map(Text::new));
        let os = members("ID=debian\nTOKEN=abc\nNAME=\"A b\"\nKAIROS_VERSION=v3\nodd\nVERSION_ID='1\u{1b}'\n");
        let shown: Vec<String> = os.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["ID=debian", "KAIROS_VERSION=v3", "NAME=A b", "VERSION_ID=1\\u{1b}"]);
    }
}
