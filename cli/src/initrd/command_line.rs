//! Options on the kernel's command line that decide about merges.

use super::Kind;
use super::check::{Checks, Group};
use ddi::text::{Message, Text};
use sextant::kernel::{is_off, only_kernel_verifies, words};

/// Checks each command line of a UKI: that of the program itself, and those of its profiles.
pub(super) fn check(command_lines: &[Text], kind: Option<Kind>, checks: &mut Checks) {
    for (number, text) in command_lines.iter().enumerate() {
        let text = text.as_str();
        let before = checks.rows.len();
        let subject = |word: &str| match number {
            0 => word.to_owned(),
            number => format!("{word} (profile command line {number})"),
        };
        for (key, class) in [("systemd.sysext", "system"), ("systemd.confext", "configuration")] {
            if is_off(text, key) {
                let detail = Message::new(format_args!("no {class} extension is to be merged"));
                let effect = "systemd 261 and later merge none of them";
                checks.wrong(Group::CommandLine, &subject(&format!("{key}=0")), detail, effect);
            }
        }
        if only_kernel_verifies(text) {
            let detail = "only the kernel verifies signatures: the key has to be in the firmware's db";
            checks.note(Group::CommandLine, &subject("systemd.allow_userspace_verity=0"), detail);
        }
        for word in words(text) {
            let (key, value) = word.split_once('=').unwrap_or((&word, ""));
            match key.replace('-', "_").as_str() {
                "dm_verity.require_signatures" if matches!(value, "1" | "Y" | "y") => {
                    let detail = "the kernel refuses images that no key of its keyring signed";
                    checks.note(Group::CommandLine, &subject(key), detail);
                }
                "rd.systemd.mask" | "systemd.mask" if masks(value) => {
                    let effect = "the unit does not run: no extension is merged";
                    let word = Text::new(&word);
                    checks.wrong(Group::CommandLine, &subject(word.as_str()), "a unit is masked", effect);
                }
                _ => {}
            }
        }
        if kind == Some(Kind::Kairos) && !text.contains("rd.immucore.uki") {
            let effect = "immucore does not boot from the UKI, and the agent refuses to work: nothing is merged";
            checks.missing(Group::CommandLine, &subject("rd.immucore.uki"), effect);
        }
        if checks.rows.len() == before {
            checks.ok(Group::CommandLine, &subject("options"), None);
        }
    }
}

/// Whether a masked unit is one that the merge needs.
fn masks(unit: &str) -> bool {
    let stem = unit.strip_suffix(".service").unwrap_or(unit);
    matches!(stem, "sextant-stage" | "sextant-merge" | "systemd-sysext" | "systemd-confext" | "systemd-modules-load")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::check::State;
    use super::*;

    #[test]
    fn options_that_prevent_a_merge_are_found() {
        let states = |text: &str, kind| {
            let mut checks = Checks::default();
            check(&[Text::new(text)], Some(kind), &mut checks);
            checks.rows.iter().map(|row| (row.subject.to_string(), row.state)).collect::<Vec<_>>()
        };
        let row = |subject: &str, state| vec![(subject.to_owned(), state)];
        assert_eq!(states("quiet systemd.sysext=1", Kind::Systemd), row("options", State::Ok));
        assert_eq!(states("systemd.sysext=0", Kind::Systemd), row("systemd.sysext=0", State::Wrong));
        assert_eq!(states("a=\"b systemd.sysext=0\"", Kind::Systemd), row("options", State::Ok));
        assert_eq!(states("systemd.confext=no", Kind::Systemd), row("systemd.confext=0", State::Wrong));
        let kernel = "systemd.allow_userspace_verity=0";
        assert_eq!(states("systemd.allow-userspace-verity=0", Kind::Systemd), row(kernel, State::Note));
        let parameter = "dm-verity.require_signatures";
        assert_eq!(states("dm-verity.require_signatures=1", Kind::Systemd), row(parameter, State::Note));
        let mask = "rd.systemd.mask=sextant-stage.service";
        assert_eq!(states(mask, Kind::Systemd), row(mask, State::Wrong));
        assert_eq!(states("systemd.mask=other.service", Kind::Systemd), row("options", State::Ok));
        assert_eq!(states("quiet", Kind::Kairos), row("rd.immucore.uki", State::Missing));
        assert_eq!(states("rd.immucore.uki", Kind::Kairos), row("options", State::Ok));
    }
}
