//! What has to hold after every boot, judged from what the witness found.

use crate::images::{Expected, Offer};
use crate::witness::Findings;
use serde_json::Value;
use sextant::explanation::Explanation;
use sextant::reason::Reason;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Fixed `MESSAGE_ID`s: an interface.
const STAGED: &str = "6c2b5fd9a6d84a0c9d1e0a3f8b7c4e51";
const REJECTED: &str = "b1f0a3c27e5d4f6a8c93d2e1470b9a68";
/// The only policy under which nothing unsigned is merged.
const POLICY: &str = "--image-policy=root=signed+absent:usr=signed+absent";

/// Where the agent did its work: report, journal, merge and leftovers.
pub fn judge(findings: &Findings, offers: &[Offer]) {
    judge_runs(findings, offers, 1);
}

/// The same where the agent ran so many times.
pub fn judge_runs(findings: &Findings, offers: &[Offer], runs: usize) {
    let report = findings.report().expect("there is no report");
    assert_eq!(report["version"], 1);
    rows(&report, offers);
    journal(findings, offers, runs);
    merged(findings, &report, offers);
    status(findings, &report, offers);
    policy(findings);
    no_leftovers(findings, staged(offers));
}

/// The same where there was no journald while the agent verified: it told the kernel's log.
pub fn judge_kernel_log(findings: &Findings, offers: &[Offer]) {
    let report = findings.report().expect("there is no report");
    rows(&report, offers);
    let said = findings.said();
    let lines: Vec<_> = said.iter().filter(|entry| entry["_TRANSPORT"] == "kernel").collect();
    for offer in offers {
        let about = |entry: &&&Value| entry["MESSAGE"].as_str().is_some_and(|text| text.contains(&offer.file));
        let entries: Vec<_> = lines.iter().filter(about).collect();
        let (end, priority) = match offer.expected {
            Expected::Rejected(token) => (format!("[rejected: {token}]"), "3"),
            _ => ("[staged]".to_owned(), "5"),
        };
        let [entry] = entries.as_slice() else { panic!("{}: {entries:?} among {said:?}", offer.file) };
        assert!(entry["MESSAGE"].as_str().unwrap().ends_with(&end), "{entry}");
        assert_eq!(entry["PRIORITY"], priority, "{entry}");
    }
    merged(findings, &report, offers);
    policy(findings);
    no_leftovers(findings, staged(offers));
}

/// Where there was no agent, or none to the end: nothing is merged, and the machine is up.
pub fn judge_closed(findings: &Findings) {
    for class in classes(findings) {
        assert_eq!(findings.merged(class), Vec::<String>::new(), "merged with the gate closed");
        let unit = format!("systemd-{class}.service");
        assert!(findings.property(&unit, "DropInPaths").contains("/run/systemd/system"), "no drop-in for {unit}");
    }
    // The directories above them may have been made in the attempt to copy them.
    let copied = files(&findings.directory.join("merged"));
    assert!(copied.iter().any(|path| path.ends_with("usr/lib/os-release")), "nothing was copied: {copied:?}");
    let of_extension =
        |path: &&PathBuf| ["hello.txt", "hello.conf"].map(OsStr::new).iter().any(|name| path.file_name() == Some(name));
    let found: Vec<_> = copied.iter().filter(of_extension).collect();
    assert!(found.is_empty(), "files of extensions: {found:?}");
    policy(findings);
    no_leftovers(findings, 0);
}

/// One row for each file, with its verdict.
fn rows(report: &Value, offers: &[Offer]) {
    let rows = report["images"].as_array().unwrap();
    let mut wrong = Vec::new();
    for offer in offers {
        let found: Vec<_> = rows.iter().filter(|row| row["file"] == offer.file.as_str()).collect();
        if found.is_empty() && offer.expected == Expected::Unseen {
            continue;
        }
        let [row] = found.as_slice() else {
            wrong.push(format!("{} ({}): {} rows", offer.file, offer.what, found.len()));
            continue;
        };
        let fits = match offer.expected {
            Expected::Merged { source } => row["verdict"] == "staged" && row["signer"]["source"] == source,
            Expected::Rejected(token) => row["verdict"] == "rejected" && row["reason"] == token,
            Expected::Unseen => false,
        };
        if !fits {
            wrong.push(format!("{} ({}): expected {:?}, found {row}", offer.file, offer.what, offer.expected));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), offers.len(), wrong.join("\n"));
    let seen = offers.iter().filter(|offer| offer.expected != Expected::Unseen).count();
    // What the host has of its own is for `check` to look at.
    let is_hosts = |row: &&Value| row["directory"].as_str().is_some_and(|directory| directory.starts_with("/var/lib/"));
    let of_others = rows.iter().filter(is_hosts).count();
    assert_eq!(rows.len() - of_others, seen, "rows for files that nobody offered");
}

/// What the journal advises about a reason.
fn remedy(token: &str) -> String {
    let reason = Reason::ALL.iter().find(|reason| reason.token() == token);
    reason.map_or_else(String::new, |reason| Explanation::of(*reason).remedy)
}

/// One entry for each file and run, with its fields.
fn journal(findings: &Findings, offers: &[Offer], runs: usize) {
    let said = findings.said();
    let mut wrong = Vec::new();
    for offer in offers {
        let about =
            |entry: &&Value| entry["SEXTANT_IMAGE"] == offer.file.as_str() && entry["SEXTANT_VERDICT"].is_string();
        let entries: Vec<_> = said.iter().filter(about).collect();
        let (verdict, reason, id) = match offer.expected {
            Expected::Rejected(token) => ("rejected", token, REJECTED),
            Expected::Merged { .. } => ("staged", "", STAGED),
            Expected::Unseen if entries.is_empty() => continue,
            Expected::Unseen => ("", "", ""),
        };
        let fits = |entry: &Value| {
            entry["SEXTANT_VERDICT"] == verdict
                && entry["SEXTANT_REASON"].as_str().unwrap_or_default() == reason
                && entry["MESSAGE_ID"] == id
                && entry["SEXTANT_REMEDY"].as_str().unwrap_or_default() == remedy(reason)
                && !entry["MESSAGE"].as_str().unwrap_or_default().is_empty()
        };
        if entries.len() != runs || !entries.iter().all(|entry| fits(entry)) {
            wrong.push(format!("{} ({}): {entries:?}", offer.file, offer.what));
        }
    }
    assert!(wrong.is_empty(), "journal entries of {} of {} files:\n{}", wrong.len(), offers.len(), wrong.join("\n"));
}

/// What is merged is what was staged, by systemd's account, by the report's, and to whoever reads the files.
fn merged(findings: &Findings, report: &Value, offers: &[Offer]) {
    let good: Vec<_> = offers.iter().filter(|offer| matches!(offer.expected, Expected::Merged { .. })).collect();
    let names = |confext: bool| -> Vec<&str> {
        let names = good.iter().filter(|offer| offer.is_confext() == confext).map(|offer| offer.name());
        names.collect::<BTreeSet<_>>().into_iter().collect()
    };
    assert_eq!(findings.merged("sysext"), names(false), "systemd-sysext status");
    assert_eq!(findings.merged("confext"), names(true), "systemd-confext status");
    for offer in &good {
        let name = offer.name();
        let path = if offer.is_confext() {
            format!("merged/etc/{name}/hello.conf")
        } else {
            format!("merged/usr/share/{name}/hello.txt")
        };
        assert_eq!(findings.text(&path), format!("hello from {name}\n"), "{path}");
    }
    let merge = &report["merge"];
    assert_eq!(merge["requested"], true, "{merge}");
    let reported: BTreeSet<_> = merge["merged"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(reported, good.iter().map(|offer| offer.name()).collect(), "merge.merged");
    assert_eq!(merge["missing"], Value::Array(Vec::new()), "merge.missing");
    let rows = |list: &Value, is_it: &dyn Fn(&Value) -> bool| -> BTreeSet<String> {
        let rows = list.as_array().unwrap_or_else(|| panic!("no list: {list}")).iter().filter(|row| is_it(row));
        rows.map(|row| format!("{} {} {}", row["class"], row["name"], row["root_hash"])).collect()
    };
    let staged = rows(&report["images"], &|row| row["verdict"] == "staged");
    assert_eq!(staged.len(), good.len(), "root hashes of {staged:?}");
    assert_eq!(rows(&merge["extensions"], &|row| row["origin"] == "staged"), staged, "merge.extensions: {merge}");
    assert_eq!(findings.property("sextant-confirm.service", "Result"), "success");
    assert_eq!(findings.property("sextant-confirm.service", "ActiveState"), "active");
    let ours = ["systemd-sysext", "systemd-confext", "sextant-merge", "sextant-confirm"];
    let failed = |line: &&str| ours.iter().any(|unit| line.starts_with(unit));
    assert_eq!(findings.printed("failed").lines().filter(failed).collect::<Vec<_>>(), Vec::<&str>::new());
}

/// The agent on the host tells what became of each file, where it is on the ESP, and ends as monitoring needs it.
fn status(findings: &Findings, report: &Value, offers: &[Offer]) {
    let rows = report["images"].as_array().unwrap();
    let is_empty = |list: &Value| list.as_array().is_some_and(Vec::is_empty);
    let expected = match () {
        // The agent was stopped before it had processed all files.
        () if !report["error"].is_null() => "1",
        () if !is_empty(&report["merge"]["unexpected"]) => "4",
        () if rows.iter().any(|row| row["verdict"] == "rejected") => "3",
        () => "0",
    };
    for file in ["agent-status", "metrics"] {
        assert_eq!(findings.text(&format!("status/{file}")).trim(), expected, "{file}: {}", findings.text(file));
    }
    let (text, metrics) = (findings.text("agent-status"), findings.text("metrics"));
    // systemd-stub says which UKI it belongs to from 257 on.
    let is_told = !findings.text("systemd").starts_with("systemd 254");
    assert_eq!(report["firmware"]["uki"].is_string(), is_told, "{}", report["firmware"]);
    for row in rows.iter().filter(|row| row["directory"] == "/.extra/sysext") {
        if !is_told {
            assert_eq!(row["esp_path"], Value::Null, "{row}");
            continue;
        }
        let path = row["esp_path"].as_str().unwrap_or_else(|| panic!("no path on the ESP: {row}"));
        let end = format!(".efi.extra.d/{}", row["file"].as_str().unwrap());
        assert!(path.to_lowercase().ends_with(&end.to_lowercase()), "{row}");
        // A long path is broken into lines.
        assert!(path.len() > 60 || text.contains(&format!("ESP: {path}\n")), "{path}: {text}");
    }
    let good = staged(offers);
    assert!(metrics.contains(&format!("\nsextant_images{{state=\"merged\"}} {good}\n")), "{metrics}");
}

/// The host's units can't merge by another policy, whatever is asked of them: one command of theirs merges, and the others
/// are the agent's.
pub fn policy(findings: &Findings) {
    for class in classes(findings) {
        for property in ["ExecStart", "ExecReload"] {
            let commands = findings.properties(&format!("systemd-{class}.service"), property);
            let ours = |command: &&String| command.contains("argv[]=/run/sextant/sextant-agent adopt ;");
            let others: Vec<_> = commands.iter().filter(|command| !ours(command)).collect();
            let [merge] = others.as_slice() else { panic!("{property} of systemd-{class}: {commands:?}") };
            assert!(merge.contains(POLICY), "{property} of systemd-{class}: {merge}");
            assert_eq!(merge.matches("argv[]=").count(), 1, "{property} of systemd-{class}: {merge}");
        }
    }
}

/// The classes of extensions that the host's systemd knows.
fn classes(findings: &Findings) -> &'static [&'static str] {
    if findings.text("systemd").starts_with("systemd 252") { &["sysext"] } else { &["sysext", "confext"] }
}

fn staged(offers: &[Offer]) -> usize {
    offers.iter().filter(|offer| matches!(offer.expected, Expected::Merged { .. })).count()
}

/// Nothing that the agent needed for looking at images is left, right before the switch of root and after it, where so many
/// were staged.
pub fn no_leftovers(findings: &Findings, staged: usize) {
    findings.assert_block_devices_listed("initrd/");
    findings.assert_block_devices_listed("");
    for list in ["initrd/loops", "initrd/dm"] {
        let found = findings.lines(list);
        // systemd-sysext has merged into the initrd too, from 258 on; not more than was staged.
        assert!(found.len() <= staged, "{list}: {found:?}");
    }
    for mounts in ["initrd/mounts", "mounts"] {
        let lines = findings.lines(mounts);
        assert!(lines.iter().any(|line| line.contains(" /run ")), "{mounts}: {lines:?}");
        let ours = lines.into_iter().filter(|line| line.contains("/run/sextant/"));
        let ours: Vec<_> = ours.filter(|line| !line.contains(" /run/sextant/sextant-agent ")).collect();
        assert_eq!(ours, Vec::<String>::new(), "{mounts}");
    }
    let (loops, dm) = (findings.lines("loops"), findings.lines("dm"));
    assert_eq!((loops.len(), dm.len()), (staged, staged), "loop devices {loops:?}, device-mapper {dm:?}");
    let listing = findings.text("listing");
    assert!(listing.lines().any(|line| line == "/run:") && listing.contains("systemd"), "{listing}");
    assert!(!listing.contains("staging"), "{listing}");
}

/// All files below a directory, which has to be there.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(|entry| below(entry.unwrap().path())).collect()
}
