//! Bounds on YAML from outside, checked before it is parsed.
//!
//! libyaml, on which `serde_yaml` is based, visits every open bracket again at each token: 60 kB of `[` take ten
//! seconds. It also expands an alias every time it is used. So documents are scanned here first, by the rules by which
//! `src/scanner.c` of libyaml 0.2.5 finds tokens, without storing any. The parser stops at an error, so counts after
//! that position do not matter.
#![deny(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use thiserror::Error;

/// Maximum length of a document in bytes.
pub const MAX_LEN: usize = 1 << 20;
/// Maximum nesting of lists and mappings, by brackets or indentation. Stage files need ten levels.
pub const MAX_NESTING: usize = 64;
/// Maximum number of aliases (`*name`) in a document. Each may stand for a list of other aliases.
pub const MAX_ALIASES: usize = 16;
/// Maximum length of a document with aliases, in bytes.
pub const MAX_LEN_WITH_ALIASES: usize = 64 << 10;

/// The bound that a document exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum YamlLimit {
    /// The document is longer than [`MAX_LEN`].
    #[error("document is {found} bytes; the limit is {MAX_LEN}")]
    TooLong {
        /// Length in bytes.
        found: usize,
    },
    /// The nesting is deeper than [`MAX_NESTING`].
    #[error("lists and mappings are nested more than {MAX_NESTING} deep at line {line}")]
    TooDeep {
        /// Line, from 1.
        line: usize,
    },
    /// There are more than [`MAX_ALIASES`] aliases.
    #[error("more than {MAX_ALIASES} aliases at line {line}")]
    TooManyAliases {
        /// Line, from 1.
        line: usize,
    },
    /// The document has aliases and is longer than [`MAX_LEN_WITH_ALIASES`].
    #[error("document with aliases is {found} bytes; the limit is {MAX_LEN_WITH_ALIASES}")]
    TooLongForAliases {
        /// Length in bytes.
        found: usize,
    },
}

impl YamlLimit {
    /// Returns the line at which the bound is exceeded, from 1.
    #[must_use]
    pub const fn line(self) -> usize {
        match self {
            Self::TooDeep { line } | Self::TooManyAliases { line } => line,
            Self::TooLong { .. } | Self::TooLongForAliases { .. } => 1,
        }
    }
}

/// Returns a parser for `text` after checking all bounds.
///
/// # Errors
/// [`YamlLimit`] for the first bound that is exceeded.
pub fn deserializer(text: &str) -> Result<serde_yaml::Deserializer<'_>, YamlLimit> {
    check(text)?;
    Ok(serde_yaml::Deserializer::from_str(text))
}

/// Checks the bounds of a document, which may not be valid YAML.
///
/// # Errors
/// [`YamlLimit`] for the first bound that is exceeded.
pub fn check(text: &str) -> Result<(), YamlLimit> {
    if text.len() > MAX_LEN {
        return Err(YamlLimit::TooLong { found: text.len() });
    }
    let mut scanner = Scanner::of(text);
    while scanner.token()? {}
    if scanner.aliases > 0 && text.len() > MAX_LEN_WITH_ALIASES {
        return Err(YamlLimit::TooLongForAliases { found: text.len() });
    }
    Ok(())
}

/// The beginning of a token that may be a key.
#[derive(Clone, Copy)]
struct Key {
    line: usize,
    index: usize,
    column: usize,
}

struct Scanner<'a> {
    text: &'a [u8],
    /// Position in bytes.
    at: usize,
    /// Position in characters.
    index: usize,
    /// Line, from 0.
    line: usize,
    /// Column in characters, from 0.
    column: usize,
    /// Number of open brackets.
    flow: usize,
    /// Columns, plus one, of the lists and mappings opened by indentation.
    indents: Vec<usize>,
    /// Whether a key may begin at the position.
    key_allowed: bool,
    /// A possible key, outside of brackets, that may end at the position.
    key: Option<Key>,
    aliases: usize,
    /// Maximum nesting so far.
    deepest: usize,
}

/// Maximum length in characters of a key without `?`.
const MAX_KEY: usize = 1024;

impl<'a> Scanner<'a> {
    fn of(text: &'a str) -> Self {
        Self {
            text: text.as_bytes(),
            at: 0,
            index: 0,
            line: 0,
            column: 0,
            flow: 0,
            indents: Vec::new(),
            key_allowed: true,
            key: None,
            aliases: 0,
            deepest: 0,
        }
    }

    /// Returns the byte `offset` bytes after the position, NUL at the end of the text, as in the parser.
    fn peek(&self, offset: usize) -> u8 {
        self.at.checked_add(offset).and_then(|at| self.text.get(at)).copied().unwrap_or_default()
    }

    fn is_end(&self) -> bool {
        self.peek(0) == 0
    }

    fn is_blank(&self, offset: usize) -> bool {
        matches!(self.peek(offset), b' ' | b'\t')
    }

    /// Returns the length in bytes of a line end (2 for `\r\n`), 0 if there is none.
    fn line_end(&self, offset: usize) -> usize {
        let behind = |more: usize| self.peek(offset.saturating_add(more));
        match behind(0) {
            b'\r' if behind(1) == b'\n' => 2,
            b'\r' | b'\n' => 1,
            0xc2 if behind(1) == 0x85 => 2,
            0xe2 if behind(1) == 0x80 && matches!(behind(2), 0xa8 | 0xa9) => 3,
            _ => 0,
        }
    }

    fn is_line_end(&self) -> bool {
        self.line_end(0) > 0
    }

    /// Returns whether there is a blank, a line end or the end of the text.
    fn is_space(&self, offset: usize) -> bool {
        self.is_blank(offset) || self.line_end(offset) > 0 || self.peek(offset) == 0
    }

    /// Skips a character.
    fn skip(&mut self) {
        let width = match self.peek(0) {
            0..0x80 => 1,
            0x80..0xe0 => 2,
            0xe0..0xf0 => 3,
            _ => 4,
        };
        self.at = self.at.saturating_add(width);
        self.index = self.index.saturating_add(1);
        self.column = self.column.saturating_add(1);
    }

    /// Skips a line end, if there is one.
    fn skip_line_end(&mut self) {
        let width = self.line_end(0);
        if width > 0 {
            self.index = self.index.saturating_add(if self.peek(1) == b'\n' && width == 2 { 2 } else { 1 });
            self.at = self.at.saturating_add(width);
            self.column = 0;
            self.line = self.line.saturating_add(1);
        }
    }

    fn skip_to_line_end(&mut self) {
        while !self.is_line_end() && !self.is_end() {
            self.skip();
        }
    }

    fn is_document_mark(&self) -> bool {
        let is_mark = |byte| (0..3).all(|offset| self.peek(offset) == byte);
        self.column == 0 && (is_mark(b'-') || is_mark(b'.')) && self.is_space(3)
    }

    /// Returns the column, plus one, of the innermost list or mapping opened by indentation, 0 if there is none.
    fn indent(&self) -> usize {
        self.indents.last().copied().unwrap_or_default()
    }

    /// Opens a list or mapping at a column, unless one is open there.
    fn open(&mut self, column: usize) -> Result<(), YamlLimit> {
        let indent = column.saturating_add(1);
        if self.flow == 0 && self.indent() < indent {
            self.indents.push(indent);
            self.check_nesting()?;
        }
        Ok(())
    }

    /// Closes the lists and mappings that are indented more than the next token.
    fn close(&mut self, columns: usize) {
        while self.flow == 0 && self.indent() > columns {
            self.indents.pop();
        }
    }

    fn check_nesting(&mut self) -> Result<(), YamlLimit> {
        self.deepest = self.deepest.max(self.indents.len().saturating_add(self.flow));
        if self.deepest > MAX_NESTING {
            return Err(YamlLimit::TooDeep { line: self.line.saturating_add(1) });
        }
        Ok(())
    }

    /// Records that the token at the position may be a key.
    fn may_be_key(&mut self) {
        if self.flow == 0 {
            if self.key_allowed {
                self.key = Some(Key { line: self.line, index: self.index, column: self.column });
            }
            self.key_allowed = false;
        }
    }

    /// Records that the token at the position is not a key, and whether a key may follow it.
    fn is_no_key(&mut self, key_allowed: bool) {
        if self.flow == 0 {
            (self.key, self.key_allowed) = (None, key_allowed);
        }
    }

    /// Skips the next token. Returns `false` if the parser stops there.
    fn token(&mut self) -> Result<bool, YamlLimit> {
        self.skip_to_token();
        if self.key.is_some_and(|key| key.line < self.line || key.index.saturating_add(MAX_KEY) < self.index) {
            self.key = None;
        }
        self.close(self.column.saturating_add(1));
        if self.is_end() {
            return Ok(false);
        }
        if self.column == 0 && self.peek(0) == b'%' {
            self.close(0);
            self.is_no_key(false);
            self.skip_to_line_end();
            return Ok(true);
        }
        if self.is_document_mark() {
            self.close(0);
            self.is_no_key(false);
            (0..3).for_each(|_| self.skip());
            return Ok(true);
        }
        let ends_here = self.is_space(1);
        match self.peek(0) {
            b'[' | b'{' => {
                self.may_be_key();
                self.flow = self.flow.saturating_add(1);
                self.skip();
                self.check_nesting()?;
            }
            b']' | b'}' => {
                self.is_no_key(false);
                self.flow = self.flow.saturating_sub(1);
                if self.flow == 0 {
                    self.key_allowed = false;
                }
                self.skip();
            }
            b',' => {
                self.is_no_key(true);
                self.skip();
            }
            b'-' if ends_here => {
                self.open(self.column)?;
                self.is_no_key(true);
                self.skip();
            }
            b'?' if self.flow > 0 || ends_here => {
                self.open(self.column)?;
                self.is_no_key(true);
                self.skip();
            }
            b':' if self.flow > 0 || ends_here => {
                let key = self.key.filter(|_| self.flow == 0);
                self.open(key.map_or(self.column, |key| key.column))?;
                self.is_no_key(key.is_none());
                self.skip();
            }
            b'*' => {
                self.aliases = self.aliases.saturating_add(1);
                if self.aliases > MAX_ALIASES {
                    return Err(YamlLimit::TooManyAliases { line: self.line.saturating_add(1) });
                }
                self.name();
            }
            b'&' => self.name(),
            b'!' => self.tag(),
            b'|' | b'>' if self.flow == 0 => return Ok(self.block_scalar()),
            quote @ (b'\'' | b'"') => return Ok(self.quoted(quote)),
            b'\t' | b'|' | b'>' | b'%' | b'@' | b'`' => return Ok(false),
            _ => return Ok(self.plain()),
        }
        Ok(true)
    }

    fn skip_to_token(&mut self) {
        loop {
            if self.column == 0 && self.text.get(self.at..).is_some_and(|rest| rest.starts_with("\u{feff}".as_bytes()))
            {
                self.skip();
            }
            while self.peek(0) == b' ' || (self.flow > 0 || !self.key_allowed) && self.peek(0) == b'\t' {
                self.skip();
            }
            if self.peek(0) == b'#' {
                self.skip_to_line_end();
            }
            if !self.is_line_end() {
                return;
            }
            self.skip_line_end();
            if self.flow == 0 {
                self.key_allowed = true;
            }
        }
    }

    /// Skips an anchor or alias.
    fn name(&mut self) {
        self.may_be_key();
        self.skip();
        while matches!(self.peek(0), b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'-') {
            self.skip();
        }
    }

    fn tag(&mut self) {
        self.may_be_key();
        self.skip();
        if self.peek(0) == b'<' {
            while !self.is_space(0) && self.peek(0) != b'>' {
                self.skip();
            }
        }
        while !(self.is_space(0) || self.flow > 0 && self.peek(0) == b',') {
            self.skip();
        }
    }

    /// Skips a scalar without quotes. Returns `false` if there is none.
    fn plain(&mut self) -> bool {
        self.may_be_key();
        let (start, mut new_line) = (self.at, false);
        loop {
            if self.is_document_mark() || self.peek(0) == b'#' {
                break;
            }
            while !self.is_space(0) {
                let byte = self.peek(0);
                if byte == b':' && self.is_space(1) || self.flow > 0 && matches!(byte, b',' | b'[' | b']' | b'{' | b'}')
                {
                    break;
                }
                new_line = false;
                self.skip();
            }
            if !self.is_blank(0) && !self.is_line_end() {
                break;
            }
            while self.is_blank(0) || self.is_line_end() {
                if self.is_blank(0) {
                    self.skip();
                } else {
                    self.skip_line_end();
                    new_line = true;
                }
            }
            if self.flow == 0 && self.column < self.indent() {
                break;
            }
        }
        if new_line && self.flow == 0 {
            self.key_allowed = true;
        }
        self.at > start
    }

    /// Skips a scalar in quotes. Returns `false` if the closing quote is missing.
    fn quoted(&mut self, quote: u8) -> bool {
        self.may_be_key();
        self.skip();
        loop {
            if self.is_end() || self.is_document_mark() {
                return false;
            }
            if self.is_line_end() {
                self.skip_line_end();
            } else if self.peek(0) == quote {
                self.skip();
                if quote == b'"' || self.peek(0) != quote {
                    return true;
                }
                self.skip();
            } else if quote == b'"' && self.peek(0) == b'\\' {
                self.skip();
                if self.is_line_end() { self.skip_line_end() } else { self.skip() }
            } else {
                self.skip();
            }
        }
    }

    /// Skips a block scalar, which ends with its indentation. Returns `false` if its header is invalid.
    fn block_scalar(&mut self) -> bool {
        self.is_no_key(true);
        self.skip();
        let mut increment = 0_usize;
        for _ in 0..2 {
            match self.peek(0) {
                b'+' | b'-' => self.skip(),
                digit @ b'1'..=b'9' if increment == 0 => {
                    increment = usize::from(digit.saturating_sub(b'0'));
                    self.skip();
                }
                _ => {}
            }
        }
        while self.is_blank(0) {
            self.skip();
        }
        if self.peek(0) == b'#' {
            self.skip_to_line_end();
        }
        if !self.is_line_end() && !self.is_end() {
            return false;
        }
        self.skip_line_end();
        let wanted =
            if increment == 0 { None } else { Some(self.indent().saturating_sub(1).saturating_add(increment)) };
        let widest = self.empty_lines(wanted);
        let indent = wanted.unwrap_or_else(|| widest.max(self.indent()).max(1));
        while self.column == indent && !self.is_end() {
            self.skip_to_line_end();
            self.skip_line_end();
            self.empty_lines(Some(indent));
        }
        true
    }

    /// Skips lines without text, and the indentation, up to `indent`, of the first line with text. Returns the largest
    /// indentation.
    fn empty_lines(&mut self, indent: Option<usize>) -> usize {
        let mut widest = 0;
        loop {
            while indent.is_none_or(|indent| self.column < indent) && self.peek(0) == b' ' {
                self.skip();
            }
            widest = widest.max(self.column);
            if !self.is_line_end() {
                return widest;
            }
            self.skip_line_end();
        }
    }
}

#[cfg(test)]
mod tests;
