#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
use super::*;
use proptest::prelude::*;
use serde::Deserialize;
use serde_yaml::Value;
use std::time::{Duration, Instant};

fn deepest(text: &str) -> usize {
    let mut scanner = Scanner::of(text);
    while scanner.token().unwrap_or(false) {}
    scanner.deepest
}

#[test]
fn nesting_is_refused_in_brackets_and_by_indentation() {
    let brackets = |count: usize| "[".repeat(count) + &"]".repeat(count);
    let indented = |count: usize| (0..count).map(|level| " ".repeat(level) + "a:\n").collect::<String>();
    for text in
        [brackets, indented, |count| "- ".repeat(count), |count| "? ".repeat(count), |count| "{a: ".repeat(count)]
    {
        check(&text(MAX_NESTING)).unwrap();
        assert!(matches!(check(&text(MAX_NESTING + 1)), Err(YamlLimit::TooDeep { .. })), "{}", text(3));
    }
    assert_eq!(check(&format!("a: 1\nb:\n{}", indented(65).replace("a:", " a:"))).unwrap_err().line(), 66);
    assert_eq!(check(&"a".repeat(MAX_LEN + 1)), Err(YamlLimit::TooLong { found: MAX_LEN + 1 }));
    // A mapping in brackets at a position reached by indentation.
    assert!(check(&format!("{}{}{}", indented(33), " ".repeat(40), brackets(32))).is_err());
}

#[test]
fn brackets_that_open_nothing_do_not_count() {
    let many = "[{".repeat(100);
    for text in [
        format!("# {many}\na: 1"),
        format!("a: b {many}"),
        format!("a: \"{many}\\\"{many}\"\nb: '{many}''{many}'"),
        format!("a: |\n  {many}\n\n   {many}\nb: >-\n {many}\n"),
        format!("- |2\n    {many}\n  {many}\n- a"),
        format!("a:\n  - if [[ x ]]; then {many}\n  - 'it''s' # {many}\n"),
        format!("plain\n  goes on {many}\n"),
        format!("!<tag:x,[> a{many}"),
        format!("{{\"a\": \"{many}\"}}"),
    ] {
        assert!(deepest(&text) <= 2, "{text}");
    }
    // And brackets that do, after a construct that looks like text.
    assert!(check(&format!("[!<x,'> a, {many}")).is_err());
    assert!(check(&format!("- |\n a\n- {many}")).is_err());
    assert!(check(&format!("it's:\n {many}")).is_err());
}

#[test]
fn aliases_are_counted() {
    let text = |count: usize| format!("a: &a [x]\nb:\n{}", "- *a\n".repeat(count));
    check(&text(MAX_ALIASES)).unwrap();
    assert!(matches!(check(&text(MAX_ALIASES + 1)), Err(YamlLimit::TooManyAliases { line: 19 })));
    check(&format!("a: |\n{}", " *a\n".repeat(100))).unwrap();
    let long = format!("{}c: {}", text(1), "x".repeat(MAX_LEN_WITH_ALIASES));
    assert!(matches!(check(&long), Err(YamlLimit::TooLongForAliases { .. })));
}

/// Structures without nesting that slow down the parser of stage files must have an end, too.
#[test]
fn nothing_else_keeps_the_parser_busy() {
    for piece in [
        "? ",
        "- ",
        "&a ",
        "!a ",
        "a,",
        "[],",
        "a: b\n",
        "'",
        "\"\\n",
        "|\n",
        "%TAG !a! b\n",
        "---\n",
        "\n",
        "\u{feff}",
        ": ",
        "{a: b}, ",
        "&a a\n",
        "- *a\n",
        "a:\n- ",
    ] {
        for start in ["", "[", "a: "] {
            let started = Instant::now();
            let text = start.to_owned() + &piece.repeat(MAX_LEN / 4 / piece.len());
            if check(&text).is_ok() {
                let _ = Value::deserialize(deserializer(&text).unwrap());
            }
            // A quarter of the largest document, with a parser that is compiled without optimization.
            assert!(started.elapsed() < Duration::from_secs(5), "{start:?} {piece:?}: {:?}", started.elapsed());
        }
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Sequence(list) => 1 + list.iter().map(depth).max().unwrap_or_default(),
        Value::Mapping(map) => {
            1 + map.iter().map(|(key, value)| depth(key).max(depth(value))).max().unwrap_or_default()
        }
        Value::Tagged(tagged) => depth(&tagged.value),
        _ => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..Default::default() })]

    /// The nesting that the parser finds was counted. It may be twice as deep: pairs in lists have no brackets of their
    /// own, and lists may have the indentation of the mapping that contains them.
    #[test]
    fn no_nesting_is_overlooked(pieces in prop::collection::vec(
        prop::sample::select(vec![
            "[", "]", "{", "}", ", ", ": ", ":\n", "- ", "? ", "a", "b: ", "\n", "\n  ", "\n    ", " ", "'", "\"", "\\", "|\n",
            ">-\n", "|1\n", "#", " #", "&x ", "!t ", "!<x,> ", "---\n", "\t", "\r\n", "\u{85}", "ä", "\u{feff}",
        ]), 0..24)) {
        let text = pieces.concat();
        if let Ok(value) = serde_yaml::from_str::<Value>(&text) {
            prop_assert!(depth(&value) <= 2 * deepest(&text) + 1, "{text:?}: {value:?}");
            prop_assert!(deepest(&text) <= depth(&value), "{text:?}: {value:?}");
        }
    }
}
