//! What the witness in the machine wrote down.

use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// Files that it left.
pub struct Findings {
    pub directory: PathBuf,
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
