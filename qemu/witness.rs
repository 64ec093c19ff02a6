//! What the witness in the machine wrote down.

use serde_json::Value;
use std::fs;
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
    /// A file as text; empty where it isn't there.
    pub fn text(&self, file: &str) -> String {
        fs::read(self.directory.join(file))
            .map_or_else(|_| String::new(), |it| String::from_utf8_lossy(&it).into_owned())
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
        let status = self.text("script.status");
        let said = || [self.text("script.out"), self.text("script.err")].concat();
        if status.trim() == "0" { Ok(()) } else { Err(format!("the script ended with {status}{}", said())) }
    }

    /// What came of a step of the boot's script.
    pub fn step(&self, name: &str) -> Step {
        let text = |end| self.text(&format!("steps/{name}.{end}"));
        let status = text("status").trim().parse().unwrap_or_else(|_| {
            panic!("there was no step {name}; the script said: {}{}", self.text("script.out"), self.text("script.err"))
        });
        Step { status, out: text("out"), err: text("err") }
    }

    /// The report; none without the agent.
    pub fn report(&self) -> Option<Value> {
        let text = self.text("report.json");
        (!text.is_empty())
            .then(|| serde_json::from_str(&text).unwrap_or_else(|error| panic!("report: {error}\n{text}")))
    }

    /// The journal of the whole boot, initrd included.
    pub fn journal(&self) -> Vec<Value> {
        let entries = self.lines("journal.json");
        entries.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What sextant said in the journal.
    pub fn said(&self) -> Vec<Value> {
        let ours = |entry: &Value| entry["SYSLOG_IDENTIFIER"] == "sextant-agent";
        self.journal().into_iter().filter(ours).collect()
    }

    /// Names that `systemd-sysext status` (or `confext`) shows, sorted.
    pub fn merged(&self, class: &str) -> Vec<String> {
        let status: Value = serde_json::from_str(&self.text(&format!("{class}.json"))).unwrap_or_default();
        let hierarchies = status.as_array().cloned().unwrap_or_default();
        let mut names: Vec<String> = Vec::new();
        for hierarchy in hierarchies {
            match &hierarchy["extensions"] {
                Value::Array(list) => names.extend(list.iter().filter_map(Value::as_str).map(str::to_owned)),
                Value::String(name) if name != "none" => names.push(name.clone()),
                _ => {}
            }
        }
        names.sort();
        names.dedup();
        names
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, property: &str) -> String {
        let id = format!("Id={unit}");
        let text = self.text("units");
        let of_unit = text.split("\n\n").find(|block| block.lines().any(|line| line == id)).unwrap_or_default();
        let value = of_unit.lines().find_map(|line| line.strip_prefix(property)?.strip_prefix('='));
        value.unwrap_or_default().to_owned()
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
