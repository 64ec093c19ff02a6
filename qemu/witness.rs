//! What the witness in the machine wrote down.

use serde_json::Value;
use std::collections::HashSet;
use std::fmt::Debug;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

/// Files that it left.
pub struct Findings {
    pub directory: PathBuf,
}

/// A step of a boot's script.
#[derive(Debug)]
pub struct Step {
    /// Exit status.
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Step {
    /// Its output, having ended so.
    pub fn ended(&self, status: i32) -> &str {
        assert_eq!(self.status, status, "{self:#?}");
        &self.out
    }

    /// The same as JSON.
    pub fn json(&self, status: i32) -> Value {
        serde_json::from_str(self.ended(status)).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

impl Findings {
    /// A file as text. It has to be there: what the witness didn't find and what it didn't look for are not the same.
    pub fn text(&self, file: &str) -> String {
        self.optional(file).unwrap_or_else(|| panic!("the witness left no {file}"))
    }

    /// A file as text, where it may be missing.
    pub fn optional(&self, file: &str) -> Option<String> {
        match fs::read(self.directory.join(file)) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => panic!("{file}: {error}"),
        }
    }

    /// What a command printed that had to succeed.
    pub fn printed(&self, file: &str) -> String {
        let status = self.text(&format!("status/{file}"));
        assert_eq!(status.trim(), "0", "exit status of what printed {file}");
        self.text(file)
    }

    /// The lines of a file that aren't empty.
    pub fn lines(&self, file: &str) -> Vec<String> {
        self.text(file).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Whether the boot's script got to its end.
    ///
    /// # Errors
    /// What it said.
    pub fn script(&self) -> Result<(), String> {
        let status = self.optional("script.status").unwrap_or_default();
        let said = || ["script.out", "script.err"].map(|file| self.optional(file).unwrap_or_default()).concat();
        if status.trim() == "0" { Ok(()) } else { Err(format!("the script ended with {status}{}", said())) }
    }

    /// What came of a step of the boot's script.
    pub fn step(&self, name: &str) -> Step {
        let text = |end| self.text(&format!("steps/{name}.{end}"));
        let status = self.optional(&format!("steps/{name}.status")).unwrap_or_else(|| {
            panic!("there was no step {name}; the script said: {}{}", self.text("script.out"), self.text("script.err"))
        });
        let status = status.trim().parse().unwrap_or_else(|error| panic!("step {name}: {error}: {status:?}"));
        Step { status, out: text("out"), err: text("err") }
    }

    /// The report; none without the agent.
    pub fn report(&self) -> Option<Value> {
        let text = self.optional("report.json")?;
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("report: {error}\n{text}")))
    }

    /// The journal of the whole boot, initrd included. systemd 254 shows an entry of the initrd from the files in /run and from those
    /// on the disk, where journald has copied it: it is there once.
    pub fn journal(&self) -> Vec<Value> {
        let text = self.printed("journal.json");
        let entry = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("journal: {error}\n{line}"));
        let mut entries: Vec<Value> = text.lines().map(entry).collect();
        let mut seen = HashSet::new();
        // A copy has another number in the sequence only, `i=`.
        entries.retain(|entry| {
            let Some(cursor) = entry["__CURSOR"].as_str() else { return true };
            seen.insert(cursor.split(';').filter(|part| !part.starts_with("i=")).collect::<Vec<_>>().join(";"))
        });
        assert!(!entries.is_empty(), "the journal is empty");
        entries
    }

    /// What sextant said in the journal.
    pub fn said(&self) -> Vec<Value> {
        let ours = |entry: &Value| entry["SYSLOG_IDENTIFIER"] == "sextant-agent";
        self.journal().into_iter().filter(ours).collect()
    }

    /// Names that `systemd-sysext status` (or `confext`) shows, sorted. It has to name the hierarchies: of none it would
    /// say that nothing is merged, too.
    pub fn merged(&self, class: &str) -> Vec<String> {
        let text = self.printed(&format!("{class}.json"));
        let status = serde_json::from_str(&text).unwrap_or_else(|error| panic!("systemd-{class}: {error}: {text}"));
        Self::names(&status)
    }

    /// The names in such a status.
    pub fn names(status: &Value) -> Vec<String> {
        let unlike = |what: &dyn Debug| -> ! { panic!("status of extensions: {what:?}: {status}") };
        let hierarchies =
            status.as_array().filter(|rows| !rows.is_empty()).unwrap_or_else(|| unlike(&"no hierarchies"));
        let mut names: Vec<String> = Vec::new();
        for hierarchy in hierarchies {
            if !hierarchy["hierarchy"].as_str().is_some_and(|path| path.starts_with('/')) {
                unlike(&"a row without a hierarchy");
            }
            match &hierarchy["extensions"] {
                Value::Array(list) => names.extend(list.iter().map(|name| match name.as_str() {
                    Some(name) => name.to_owned(),
                    None => unlike(name),
                })),
                // Where nothing is merged, 257 says so; 262 has an empty array.
                Value::String(name) if name == "none" => {}
                Value::String(name) => names.push(name.clone()),
                other => unlike(other),
            }
        }
        names.sort();
        names.dedup();
        names
    }

    /// A property of a unit; empty where systemd shows none.
    pub fn property(&self, unit: &str, property: &str) -> String {
        self.properties(unit, property).into_iter().next().unwrap_or_default()
    }

    /// The values of a property of which systemd shows one in each line.
    pub fn properties(&self, unit: &str, property: &str) -> Vec<String> {
        let id = format!("Id={unit}");
        let text = self.printed("units");
        let of_unit = text.split("\n\n").find(|block| block.lines().any(|line| line == id));
        let of_unit = of_unit.unwrap_or_else(|| panic!("the witness found nothing about {unit}: {text}"));
        let values = of_unit.lines().filter_map(|line| line.strip_prefix(property)?.strip_prefix('='));
        values.map(str::to_owned).collect()
    }

    /// Whether block devices were listed there, `initrd/` or nothing: the disks are in every such list.
    pub fn assert_block_devices_listed(&self, directory: &str) {
        let devices = self.lines(&format!("{directory}block"));
        assert!(devices.iter().any(|device| device == "vda"), "{directory}block: {devices:?}");
    }

    /// Places in the journal of the entries that are so.
    pub fn places(&self, is_so: impl Fn(&Value) -> bool) -> Vec<usize> {
        self.journal().iter().enumerate().filter(|(_, entry)| is_so(entry)).map(|(place, _)| place).collect()
    }

    /// Memory in use with nothing cached that could be dropped, in bytes.
    pub fn memory_used(&self) -> u64 {
        let meminfo = self.text("meminfo");
        let field = |name: &str| {
            let line = meminfo.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
        };
        field("MemTotal:") - field("MemFree:")
    }
}
