//! The policy of systemd-pcrlock: has systemd make it anew, and checks that it admits what is to boot next.

use crate::commands::progress::Waiting;
use crate::commands::store_options::StoreOptions;
use crate::commands::systemctl::systemctl;
use crate::measure::{Bank, SYSEXTS};
use crate::policies::{POLICY, Variant};
use anyhow::{Context, Result, bail};
use ddi::bytes::hex;
use ddi::text::Text;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read};

/// Makes the policy (systemd-pcrlock(8)), with the options that the administrator gave this unit.
const UNIT: &str = "systemd-pcrlock-make-policy.service";
/// Largest policy in bytes. That of a machine has a few KiB.
const MAX_POLICY: u64 = 1 << 20;

/// A policy, as far as it matters here (systemd 257 and 262, `src/pcrlock/pcrlock.c`, `make_policy`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    pcr_bank: String,
    pcr_values: Vec<Values>,
}

#[derive(Debug, Deserialize)]
struct Values {
    pcr: u32,
    values: Vec<String>,
}

/// Has systemd make the policy of this machine anew, if there is one, and makes sure that it admits the next boots of entries.
pub(super) fn renew(options: &StoreOptions, admitted: &[(String, Variant)]) -> Result<()> {
    let path = options.below_root(POLICY);
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("examining {}", path.display())),
        Ok(_) => {}
    }
    if !options.is_machine()? {
        let path = path.display();
        crate::commands::warn(format_args!(
            "{path} is the policy of another machine: run `systemd-pcrlock make-policy` there"
        ));
        return Ok(());
    }
    {
        let _waiting = Waiting::begin(Text::new("making the policy of systemd-pcrlock"));
        systemctl("restart", UNIT)
            .with_context(|| format!("making the policy of systemd-pcrlock (journalctl -b -u {UNIT})"))?;
    }
    let mut content = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_POLICY).read_to_end(&mut content));
    read.with_context(|| format!("reading {}", path.display()))?;
    if check(&content, admitted).with_context(|| format!("checking {}", path.display()))? == Verdict::WithoutPcr {
        crate::commands::warn(format_args!(
            "the policy of systemd-pcrlock does not include PCR {SYSEXTS} (see journalctl -b -u {UNIT})"
        ));
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Admits,
    /// Extensions make no difference to it.
    WithoutPcr,
}

fn check(content: &[u8], admitted: &[(String, Variant)]) -> Result<Verdict> {
    let policy: Policy = serde_json::from_slice(content).context("not a policy of systemd-pcrlock")?;
    let Some(pcr) = policy.pcr_values.iter().find(|values| values.pcr == SYSEXTS) else {
        return Ok(Verdict::WithoutPcr);
    };
    let bank = Bank::ALL.into_iter().find(|bank| bank.to_string() == policy.pcr_bank);
    let bank = bank.with_context(|| format!("policy is about the bank {}", Text::new(&policy.pcr_bank)))?;
    for (entry, variant) in admitted {
        let values = variant.values_in(bank)?.map(|value| hex(&value));
        if !pcr.values.iter().any(|value| values.iter().any(|it| it.eq_ignore_ascii_case(value))) {
            bail!("policy does not admit the new set of boot entry {}", Text::new(entry));
        }
    }
    Ok(Verdict::Admits)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn next() -> Vec<(String, Variant)> {
        vec![("active".to_owned(), Variant::parse(b"{\"records\":[]}").unwrap())]
    }

    fn policy(bank: &str, pcr: u32, value: &str) -> String {
        format!(
            "{{\"pcrBank\":\"{bank}\",\"pcrValues\":[{{\"pcr\":{pcr},\"values\":[\"00\",\"{value}\"]}}],\"nvIndex\":1}}"
        )
    }

    #[test]
    fn a_policy_admits_a_set_with_and_without_the_separator() {
        let [plain, separated] = next()[0].1.values_in(Bank::Sha256).unwrap().map(|value| hex(&value));
        for value in [&plain, &separated] {
            assert_eq!(check(policy("sha256", 13, value).as_bytes(), &next()).unwrap(), Verdict::Admits);
        }
        assert_eq!(check(policy("sha256", 11, &plain).as_bytes(), &next()).unwrap(), Verdict::WithoutPcr);
    }

    #[test]
    fn other_policies_are_errors() {
        let refusal = |content: &str| check(content.as_bytes(), &next()).unwrap_err().to_string();
        let other = "ff".repeat(32);
        assert_eq!(refusal(&policy("sha256", 13, &other)), "policy does not admit the new set of boot entry active");
        assert_eq!(refusal(&policy("sha1", 13, &other)), "policy is about the bank sha1");
        assert_eq!(refusal("{\"pcrBank\":1}"), "not a policy of systemd-pcrlock");
    }
}
