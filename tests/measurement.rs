//! Event logs of a TPM: what the parser keeps, refuses and replays, and how it is compared with a prediction.
#![allow(clippy::unwrap_used)]

use openssl::hash::{MessageDigest, hash};
use proptest::prelude::*;
use sextant::measure::{
    Bank, Entry, EventLog, Expected, KERNEL_CONFIG, LogError, Matched, MatchedState, PLACES, SYSEXTS, Values, compare,
};
use support::event_log::{self as log, EV_EVENT_TAG, EV_IPL, EV_NO_ACTION, EV_SEPARATOR, SHA1, SHA256, SHA384, utf16};

const SYSEXT: &str = "System extension initrd";
const CONFEXT: &str = "Configuration extension initrd";

fn new() -> log::EventLog {
    log::EventLog::new(&[SHA1, SHA256, SHA384])
}

fn parse(log: &log::EventLog) -> EventLog {
    EventLog::parse(&log.bytes).unwrap()
}

fn error(log: &log::EventLog) -> LogError {
    EventLog::parse(&log.bytes).unwrap_err()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    hash(MessageDigest::sha256(), bytes).unwrap().to_vec()
}

fn described(entries: Vec<&Entry>) -> Vec<Option<&str>> {
    entries.into_iter().map(|entry| entry.description.as_ref().map(ddi::text::Text::as_str)).collect()
}

#[test]
fn events_of_two_pcrs_are_kept_with_their_descriptions() {
    let tagged = [&7_u32.to_le_bytes()[..], &4_u32.to_le_bytes(), &utf16("tagged")].concat();
    let log = new()
        .stub(0, "firmware", &[1; 32])
        .described(SYSEXTS, EV_NO_ACTION, &utf16("nothing"), &[2; 32])
        .stub(SYSEXTS, SYSEXT, &[3; 32])
        .described(KERNEL_CONFIG, EV_EVENT_TAG, &tagged, &[4; 32])
        .described(KERNEL_CONFIG, EV_SEPARATOR, &utf16("no text"), &[5; 32])
        // Without the NUL, with one in the middle, with half a character, and of odd length.
        .described(SYSEXTS, EV_IPL, &utf16("cut")[..6], &[6; 32])
        .described(SYSEXTS, EV_IPL, &utf16("a\0b"), &[6; 32])
        .described(SYSEXTS, EV_IPL, &[0x00, 0xd8, 0, 0], &[6; 32])
        .described(SYSEXTS, EV_IPL, b"abc", &[6; 32])
        .described(SYSEXTS, EV_IPL, b"", &[6; 32]);
    let parsed = parse(&log);
    assert_eq!(described(parsed.of(SYSEXTS).collect()), [Some(SYSEXT), None, None, None, None, None]);
    assert_eq!(described(parsed.of(KERNEL_CONFIG).collect()), [Some("tagged"), None]);
    let first = parsed.of(SYSEXTS).next().unwrap();
    assert_eq!(first.digests.of(Bank::Sha256), Some(&[3; 32][..]));
    assert_eq!(first.digests.of(Bank::Sha384), Some(&[1; 48][..]));
}

#[test]
fn a_replay_gives_what_a_tpm_has() {
    let log = parse(&new().stub(SYSEXTS, SYSEXT, &[3; 32]).stub(0, "other", &[9; 32]).stub(SYSEXTS, "x", &[4; 32]));
    let value = sha256(&[sha256(&[[0; 32], [3; 32]].concat()), vec![4; 32]].concat());
    assert_eq!(log.replay(SYSEXTS).unwrap().of(Bank::Sha256), Some(value.as_slice()));
    assert_eq!(log.replay(KERNEL_CONFIG).unwrap().of(Bank::Sha256), Some(&[0; 32][..]));
    // No value in a bank that the log doesn't have, or in which an event has no digest.
    let only_sha256 = parse(&log::EventLog::new(&[SHA256]).stub(SYSEXTS, SYSEXT, &[3; 32]));
    assert_eq!(only_sha256.replay(SYSEXTS).unwrap().banks().collect::<Vec<_>>(), [Bank::Sha256]);
    let partial = parse(&new().event(SYSEXTS, EV_IPL, &[(SHA384.0, &[3; 48])], b""));
    assert_eq!(partial.replay(SYSEXTS).unwrap().banks().collect::<Vec<_>>(), [Bank::Sha384]);
}

#[test]
fn a_log_that_breaks_a_rule_is_refused() {
    let start = new().bytes.len();
    assert_eq!(EventLog::parse(b""), Err(LogError::NoHeader));
    let old = log::EventLog::first(EV_SEPARATOR, b"Spec ID Event03\0");
    assert_eq!(EventLog::parse(&old), Err(LogError::NoHeader));
    assert_eq!(EventLog::parse(&log::EventLog::first(EV_NO_ACTION, b"Spec ID Event02\0")), Err(LogError::NoHeader));
    let short = log::EventLog::first(EV_NO_ACTION, b"Spec ID Event03\0");
    assert_eq!(EventLog::parse(&short), Err(LogError::Truncated { offset: 0 }));
    assert_eq!(error(&log::EventLog::new(&[])), LogError::AlgorithmCount { count: 0 });
    let many: Vec<_> = (100..117).map(|id| (id, 20)).collect();
    assert_eq!(error(&log::EventLog::new(&many)), LogError::AlgorithmCount { count: 17 });
    assert_eq!(error(&log::EventLog::new(&[SHA1, SHA1])), LogError::AlgorithmTwice { algorithm: SHA1.0 });
    for size in [0, 31, 65] {
        let wrong = log::EventLog::new(&[(SHA256.0, size)]);
        assert_eq!(error(&wrong), LogError::DigestSize { algorithm: SHA256.0, size });
    }
    let event = |digests: &[(u16, &[u8])]| error(&new().event(SYSEXTS, EV_IPL, digests, b"x"));
    let count = |count| LogError::DigestCount { offset: start, count, algorithms: 3 };
    assert_eq!(event(&[]), count(0));
    assert_eq!(event(&[(SHA1.0, &[0; 20][..]); 4]), count(4));
    assert_eq!(event(&[(SHA1.0, &[0; 20][..]); 2]), LogError::DigestTwice { offset: start, algorithm: SHA1.0 });
    assert_eq!(event(&[(0x12, &[0; 32])]), LogError::UnknownAlgorithm { offset: start, algorithm: 0x12 });
    let many = (0..1025).fold(new(), |log, _| log.stub(SYSEXTS, "x", &[1; 32]));
    assert_eq!(error(&many), LogError::TooManyEvents);
    // Any number of others.
    let many = (0..5000).fold(new(), |log, _| log.stub(0, "x", &[1; 32]));
    assert_eq!(parse(&many).of(SYSEXTS).count(), 0);
}

#[test]
fn an_event_that_is_cut_is_refused_and_zeros_are_the_end() {
    let log = new().stub(SYSEXTS, SYSEXT, &[3; 32]);
    let (start, end) = (new().bytes.len(), log.bytes.len());
    for len in start + 1..end {
        let result = EventLog::parse(&log.bytes[..len]);
        // The first byte that isn't zero is the number of the PCR.
        assert_eq!(result, Err(LogError::Truncated { offset: start }), "{len} of {end}");
    }
    for zeros in [1, 4, 11, 12, 16, 4096] {
        let padded = [log.bytes.clone(), vec![0; zeros]].concat();
        assert_eq!(EventLog::parse(&padded), Ok(parse(&log)), "{zeros}");
    }
    let garbage = [log.bytes.clone(), vec![0; 64], vec![1]].concat();
    assert_eq!(EventLog::parse(&garbage), Err(LogError::DigestCount { offset: end, count: 0, algorithms: 3 }));
    // A size beyond the end, as large as possible.
    let mut huge = log.bytes;
    let size = huge.len() - utf16(SYSEXT).len() - 4;
    huge[size..size + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(EventLog::parse(&huge), Err(LogError::Truncated { offset: start }));
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(tail in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>()) {
        let mut bytes = new().stub(SYSEXTS, SYSEXT, &[3; 32]).stub(KERNEL_CONFIG, CONFEXT, &[3; 32]).bytes;
        let at = at.index(bytes.len());
        bytes.truncate(at);
        bytes.extend(tail);
        if let Ok(log) = EventLog::parse(&bytes) {
            log.replay(SYSEXTS).unwrap();
        }
    }
}

fn values(byte: u8) -> Values {
    [(Bank::Sha256, vec![byte; 32])].into_iter().collect()
}

fn states(expected: &[(&'static str, u8)], log: &log::EventLog) -> Vec<(Option<&'static str>, MatchedState)> {
    let expected: Vec<_> =
        expected.iter().map(|(directory, byte)| Expected { directory, digests: values(*byte) }).collect();
    compare(&expected, &parse(log)).iter().map(|matched| (matched.directory, matched.state)).collect()
}

#[test]
fn each_event_is_compared_with_that_of_its_place() {
    use MatchedState::{AsPredicted, Differs, NotComparable, NotLogged, NotPredicted};
    let [sysext, global, confext, _] = PLACES.map(|place| place.directory);
    let log = new().stub(KERNEL_CONFIG, "quiet", &[9; 32]).stub(SYSEXTS, SYSEXT, &[1; 32]);
    assert_eq!(states(&[(sysext, 1)], &log), [(Some(sysext), AsPredicted)]);
    assert_eq!(states(&[(sysext, 2)], &log), [(Some(sysext), Differs)]);
    assert_eq!(states(&[], &log), [(Some(sysext), NotPredicted)]);
    let expected = [(Some(sysext), AsPredicted), (Some(global), NotLogged), (Some(confext), NotLogged)];
    assert_eq!(states(&[(confext, 1), (sysext, 1), (global, 1)], &log), expected);
    // Twice, by something else, and under a description of another PCR.
    let twice = log.clone().stub(SYSEXTS, SYSEXT, &[1; 32]);
    assert_eq!(states(&[(sysext, 1)], &twice), [(Some(sysext), AsPredicted), (Some(sysext), NotPredicted)]);
    let other = log.stub(SYSEXTS, "something", &[1; 32]).stub(SYSEXTS, CONFEXT, &[1; 32]);
    let expected = [(Some(sysext), AsPredicted), (None, NotPredicted), (None, NotPredicted)];
    assert_eq!(states(&[(sysext, 1)], &other), expected);
    let other_bank = log::EventLog::new(&[SHA384]).stub(SYSEXTS, SYSEXT, &[]);
    assert_eq!(states(&[(sysext, 1)], &other_bank), [(Some(sysext), NotComparable)]);
}

#[test]
fn a_difference_is_told_in_a_sentence() {
    let log = new().stub(SYSEXTS, "\u{202e}evil", &[1; 32]).described(SYSEXTS, EV_SEPARATOR, b"", &[1; 32]);
    let expected = [Expected { directory: PLACES[0].directory, digests: values(1) }];
    let told: Vec<_> = compare(&expected, &parse(&log)).iter().filter_map(Matched::difference).collect();
    assert_eq!(
        told,
        [
            "/.extra/sysext was not measured",
            "an event \"\\u{202e}evil\" in PCR 13 was measured and is not predicted",
            "an event without description in PCR 13 was measured and is not predicted",
        ]
    );
}
