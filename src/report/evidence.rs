//! The evidence behind a verdict, as lines for people (`--verbose`).

use super::{Image, PhaseTime, Signer};
use ddi::text::Message;
use x509_parser::time::ASN1Time;

/// Returns what was found out about an image, in the order of the verification: its size, the signed root hash, the signer,
/// how much was verified, and how long each phase took. What a rejected image did not come to is not there.
#[must_use]
pub fn evidence(image: &Image) -> Vec<Message> {
    let size = image.size.map(|size| Message::new(format_args!("size: {size} bytes")));
    let root_hash = image.root_hash.as_ref().map(|hash| Message::new(format_args!("root hash: {hash}")));
    let coverage = image.coverage.as_ref().filter(|coverage| !coverage.is_partial());
    let coverage = coverage.map(|coverage| Message::new(format_args!("coverage: {coverage}")));
    let mut lines: Vec<Message> = size.into_iter().chain(root_hash).collect();
    if let Some(signer) = &image.signer {
        lines.extend(certificate(signer));
    }
    lines.extend(coverage);
    lines.extend(times(image));
    lines
}

fn certificate(signer: &Signer) -> [Message; 2] {
    let serial = signer.serial.as_ref().map(|serial| format!(", serial number {serial}")).unwrap_or_default();
    let expiry = signer.not_after.and_then(date).map(|date| format!(", expires {date}")).unwrap_or_default();
    [
        Message::new(format_args!("signer: {signer}{serial}{expiry}")),
        Message::new(format_args!("signer's certificate: SHA-256 {}", signer.sha256)),
    ]
}

/// The day of a time in seconds since 1970, in UTC: `2036-01-31`.
#[must_use]
pub fn date(seconds: i64) -> Option<String> {
    Some(ASN1Time::from_timestamp(seconds).ok()?.to_datetime().date().to_string())
}

fn times(image: &Image) -> Option<Message> {
    let phase = |time: &PhaseTime| {
        format!("{} {}", time.phase, super::milliseconds(time.end_usec.saturating_sub(time.begin_usec)))
    };
    let phases: Vec<String> = image.phases.iter().map(phase).collect();
    if image.verify_usec == 0 && phases.is_empty() {
        return None;
    }
    let all = super::milliseconds(image.verify_usec.saturating_add(image.stage_usec));
    let parts = if phases.is_empty() { String::new() } else { format!(" ({})", phases.join(", ")) };
    Some(Message::new(format_args!("time: {all}{parts}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn image(more: &serde_json::Value) -> Image {
        let mut value = serde_json::to_value(Image::new("a.sysext.raw".as_ref(), ddi::Class::Sysext)).unwrap();
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    fn lines(more: &serde_json::Value) -> Vec<String> {
        evidence(&image(more)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_that_was_found_out_is_there_and_nothing_else() {
        assert_eq!(lines(&json!({})), Vec::<String>::new());
        let shown = lines(&json!({
            "size": 8192,
            "root_hash": "ab12",
            "signer": {"source": "db", "subject": "CN=Acme", "serial": "0a", "sha256": "cd34", "not_after": 2_085_436_800_i64},
            "coverage": {"verify": "full", "bytes_checked": 8192, "bytes": 8192},
            "verify_usec": 2500,
            "stage_usec": 100,
            "phases": [
                {"phase": "read", "begin_usec": 100, "end_usec": 600},
                {"phase": "hash", "begin_usec": 600, "end_usec": 2600},
            ],
        }));
        let expected = [
            "size: 8192 bytes",
            "root hash: ab12",
            "signer: CN=Acme (db), serial number 0a, expires 2036-02-01",
            "signer's certificate: SHA-256 cd34",
            "coverage: full, 8192 of 8192 bytes verified before the merge",
            "time: 2.6 ms (read 0.5 ms, hash 2.0 ms)",
        ];
        assert_eq!(shown, expected);
        // Who is not trusted is named as such; and a report comes from elsewhere, with any time in it.
        let unknown =
            json!({"source": "untrusted", "trusted": false, "subject": "CN=X", "sha256": "ef", "not_after": i64::MAX});
        let shown = lines(&json!({"signer": unknown}));
        assert_eq!(shown, ["signer: CN=X (untrusted)", "signer's certificate: SHA-256 ef"]);
    }
}
