//! How bash asks, and what it does with the answer.

use clap::Command;
use clap_complete::engine::{CompletionCandidate, complete};
use clap_complete::env::{self, EnvCompleter};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

/// Stands for the files that bash finds itself, which quotes their names.
const FILES: &str = "\0files";

/// The second of the three words that bash takes `--entry=active` for.
pub(super) const SIGN: &str = "=";

pub(super) fn files() -> CompletionCandidate {
    CompletionCandidate::new(FILES)
}

/// As the adapter of `clap_complete`, but files are completed by readline, options are offered only behind a dash, and
/// `--entry=` is completed too.
pub(super) struct Bash;

impl EnvCompleter for Bash {
    fn name(&self) -> &'static str {
        "bash"
    }

    fn is(&self, name: &str) -> bool {
        name == self.name()
    }

    fn write_registration(
        &self,
        variable: &str,
        name: &str,
        bin: &str,
        completer: &str,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let mut script = Vec::new();
        env::Bash.write_registration(variable, name, bin, completer, &mut script)?;
        // `bashdefault` completes variables and users, `default` files.
        out.write_all(String::from_utf8_lossy(&script).replace("-o bashdefault", "-o default").as_bytes())
    }

    fn write_complete(
        &self,
        command: &mut Command,
        words: Vec<OsString>,
        directory: Option<&Path>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let variable = |name: &str| std::env::var(name).ok();
        let index = variable("_CLAP_COMPLETE_INDEX").and_then(|index| index.parse().ok()).unwrap_or(0);
        let separator = variable("_CLAP_IFS").unwrap_or_else(|| "\n".to_owned());
        let (words, index) = without_signs(words, index);
        let is_option = words.get(index).is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"));
        let found = complete(command, words, index, directory)?;
        let values: Vec<_> = found.iter().map(|candidate| candidate.get_value().to_string_lossy()).collect();
        if values.iter().any(|value| value.ends_with(FILES)) {
            return Ok(());
        }
        let shown: Vec<_> = values.into_iter().filter(|value| is_option || !value.starts_with('-')).collect();
        out.write_all(shown.join(&separator).as_bytes())
    }
}

/// The words without [`SIGN`], and where the one to complete is then.
fn without_signs(words: Vec<OsString>, index: usize) -> (Vec<OsString>, usize) {
    let is_sign = |at: usize, word: &OsString| at > 0 && at != index && word == SIGN;
    let before = words.iter().enumerate().take(index).filter(|(at, word)| is_sign(*at, word)).count();
    let words = words.into_iter().enumerate().filter(|(at, word)| !is_sign(*at, word)).map(|(_, word)| word).collect();
    (words, index.saturating_sub(before))
}
