//! Finds the paths that a shell command writes and the programs that it runs, without running it.
//!
//! Not a shell: variables and the output of other programs are not expanded, and commands behind a condition count as run. False
//! negatives are preferred to false positives.

/// Effects of a command.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// Absolute paths that the command writes.
    pub(super) writes: Vec<String>,
    /// Programs that the command runs.
    pub(super) programs: Vec<String>,
    /// Units that systemctl enables or starts.
    pub(super) units: Vec<String>,
}

/// Maximum number of bytes of a command that are read.
const MAX_LEN: usize = 1 << 16;

/// Programs that write all their arguments.
const CHANGE_ALL: [&str; 10] =
    ["mkdir", "touch", "rm", "rmdir", "chmod", "chown", "truncate", "tee", "mkfifo", "unlink"];
/// Programs that write their last argument.
const CHANGE_LAST: [&str; 5] = ["cp", "mv", "ln", "install", "rsync"];
/// Options of programs that name a directory or file to write.
const WRITE_OPTIONS: [(&str, &[&str]); 4] = [
    ("tar", &["-C", "--directory"]),
    ("curl", &["-o", "--output"]),
    ("wget", &["-O", "--output-document", "-P", "--directory-prefix"]),
    ("unzip", &["-d"]),
];
/// Programs that install and remove packages.
const PACKAGE_MANAGERS: [&str; 9] = ["apt", "apt-get", "apk", "dnf", "dpkg", "pacman", "rpm", "yum", "zypper"];
/// Verbs of package managers that change the system.
const PACKAGE_VERBS: [&str; 15] = [
    "install",
    "in",
    "add",
    "remove",
    "rm",
    "del",
    "purge",
    "upgrade",
    "dist-upgrade",
    "update",
    "up",
    "-i",
    "-S",
    "-R",
    "-Syu",
];
/// Where packages install most of their files.
pub(super) const PACKAGES: &str = "/usr";
/// Where systemctl makes and removes links.
pub(super) const UNIT_LINKS: &str = "/etc/systemd/system";
/// Verbs of systemctl that do so.
const LINKING_VERBS: [&str; 8] = ["enable", "disable", "reenable", "preset", "mask", "unmask", "link", "set-default"];
/// Words that are followed by another command.
const PREFIXES: [&str; 16] = [
    "sudo", "exec", "nohup", "time", "env", "command", "if", "then", "else", "elif", "while", "until", "do", "!", "{",
    "setsid",
];

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `;`, `&&`, `|`, a new line: another command begins.
    Separator,
    /// `>` or `>>`: a file follows.
    Redirection,
}

/// Analyzes a command line, or a script of several.
pub(super) fn words(text: &str) -> Words {
    let mut found = Words::default();
    if text.len() > MAX_LEN {
        return found;
    }
    let mut command: Vec<String> = Vec::new();
    let mut redirected = false;
    for token in tokens(text) {
        match token {
            Token::Separator => {
                found.command(&std::mem::take(&mut command));
                redirected = false;
            }
            Token::Redirection => redirected = true,
            Token::Word(word) if redirected => {
                redirected = false;
                found.write(&word);
            }
            Token::Word(word) => command.push(word),
        }
    }
    found.command(&command);
    found
}

impl Words {
    fn write(&mut self, path: &str) {
        if path.starts_with('/') && !path.contains(['$', '`']) && !path.starts_with("/dev/") {
            self.writes.push(path.trim_end_matches('/').to_owned());
        }
    }

    /// One simple command.
    fn command(&mut self, words: &[String]) {
        let is_assignment = |word: &String| word.split_once('=').is_some_and(|(name, _)| is_name(name));
        let mut rest = words.iter().skip_while(|word| is_assignment(word) || PREFIXES.contains(&word.as_str()));
        let Some(program) = rest.next() else { return };
        let arguments: Vec<&str> = rest.map(String::as_str).collect();
        if program.contains(['$', '`', '*']) {
            return;
        }
        self.programs.push(program.clone());
        let name = program.rsplit('/').next().unwrap_or_default();
        let paths: Vec<&str> = arguments.iter().copied().filter(|word| word.starts_with('/')).collect();
        if CHANGE_ALL.contains(&name) || (name == "sed" && arguments.iter().any(|word| word.starts_with("-i"))) {
            for path in paths {
                self.write(path);
            }
        } else if CHANGE_LAST.contains(&name) {
            match option(&arguments, &["-t", "--target-directory"]) {
                Some(path) => self.write(path),
                None => self.write(paths.last().copied().unwrap_or_default()),
            }
        } else if name == "dd" {
            for path in arguments.iter().filter_map(|word| word.strip_prefix("of=")) {
                self.write(path);
            }
        } else if let Some((_, options)) = WRITE_OPTIONS.iter().find(|(program, _)| *program == name) {
            if let Some(path) = option(&arguments, options) {
                self.write(path);
            }
        } else if name == "systemctl" {
            let mut verbs = arguments.iter().copied().filter(|word| !word.starts_with('-'));
            let verb = verbs.next().unwrap_or_default();
            if ["enable", "start", "restart", "reenable"].contains(&verb) {
                self.units.extend(verbs.map(str::to_owned));
            }
            if LINKING_VERBS.contains(&verb) && !arguments.contains(&"--runtime") {
                self.write(UNIT_LINKS);
            }
        } else if PACKAGE_MANAGERS.contains(&name) {
            // `apt-get update` only downloads lists.
            let fetches = name.starts_with("ap") && arguments.contains(&"update");
            if !fetches && arguments.iter().any(|word| PACKAGE_VERBS.contains(word)) {
                self.write(PACKAGES);
            }
        } else if ["sh", "bash", "ash", "dash"].contains(&name)
            && let Some(at) = arguments.iter().position(|word| *word == "-c" || *word == "-ec" || *word == "-xc")
            && let Some(script) = arguments.get(at.saturating_add(1))
        {
            // Each level removes a level of quotes, so the recursion ends.
            let inner = crate::plan::commands::words(script);
            self.writes.extend(inner.writes);
            self.programs.extend(inner.programs);
            self.units.extend(inner.units);
        }
    }
}

/// Returns the value of one of these options, in the next argument or behind an equals sign.
fn option<'a>(arguments: &[&'a str], options: &[&str]) -> Option<&'a str> {
    for (index, word) in arguments.iter().enumerate() {
        if options.contains(word) {
            return arguments.get(index.saturating_add(1)).copied();
        }
        let mut joined = options.iter().filter(|it| it.starts_with("--"));
        if let Some(value) = joined.find_map(|it| word.strip_prefix(it)?.strip_prefix('=')) {
            return Some(value);
        }
    }
    None
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Splits a command into words as a shell does, and removes quotes.
fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars().peekable();
    let flush = |word: &mut Option<String>, found: &mut Vec<Token>| found.extend(word.take().map(Token::Word));
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => {
                let word = word.get_or_insert_default();
                word.extend(letters.by_ref().take_while(|letter| *letter != '\''));
            }
            '"' => {
                let word = word.get_or_insert_default();
                while let Some(letter) = letters.next().filter(|letter| *letter != '"') {
                    match letter {
                        '\\' => word.extend(letters.next()),
                        letter => word.push(letter),
                    }
                }
            }
            '\\' => match letters.next() {
                Some('\n') | None => {}
                Some(letter) => word.get_or_insert_default().push(letter),
            },
            '#' if word.is_none() => while letters.next_if(|letter| *letter != '\n').is_some() {},
            ';' | '&' | '|' | '\n' | '(' | ')' => {
                flush(&mut word, &mut found);
                // `&>` redirects as well.
                if !(letter == '&' && letters.peek() == Some(&'>')) {
                    found.push(Token::Separator);
                }
            }
            '>' => {
                // A number before it selects the file descriptor.
                if word.as_ref().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit())) {
                    word = None;
                }
                flush(&mut word, &mut found);
                while letters.next_if(|letter| *letter == '>' || *letter == '|').is_some() {}
                if letters.next_if_eq(&'&').is_none() {
                    found.push(Token::Redirection);
                } else {
                    while letters.next_if(char::is_ascii_digit).is_some() {}
                }
            }
            letter if letter.is_whitespace() => flush(&mut word, &mut found),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    flush(&mut word, &mut found);
    found
}
