//! The main job, from keys to verdicts: `make demo`.
//!
//! Makes throw-away keys, the variables of a firmware that trusts some of them, good extensions and hostile ones,
//! lays them out as an initrd finds them, and runs the real `sextant-agent stage` on that tree. Everything is
//! below target/demo. Fails if a verdict isn't the expected one.
#![allow(clippy::unwrap_used)]

mod samples;

use anyhow::{Context, Result, ensure};
use samples::{Keys, Sample, good_samples, hostile_samples};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// Where everything goes, from the top of the repository.
const DIRECTORY: &str = "target/demo";

fn main() -> Result<ExitCode> {
    let agent = agent()?;
    let base = support::repository().join(DIRECTORY);
    let root = base.join("root");
    if base.exists() {
        fs::remove_dir_all(&base).with_context(|| format!("removing {DIRECTORY} of an earlier run"))?;
    }
    for directory in ["root/.extra/sysext", "root/.extra/confext", "root/run", "root/etc/verity.d", "keys"] {
        fs::create_dir_all(base.join(directory)).with_context(|| format!("making {DIRECTORY}/{directory}"))?;
    }

    println!("Making throw-away keys, firmware variables, good images and hostile ones ...");
    let keys = Keys::new();
    write_keys(&keys, &base.join("keys"))?;
    keys.firmware().write_to(&root.join("sys/firmware/efi/efivars"));
    fs::write(root.join("etc/verity.d/vendor.crt"), keys.vendor.pem())?;
    let samples: Vec<Sample> = good_samples(&keys).into_iter().chain(hostile_samples(&keys)).collect();
    for sample in &samples {
        (sample.place)(&root.join(sample.directory()).join(sample.file));
    }

    println!("$ sextant-agent stage --root {DIRECTORY}/root\n");
    let started = Instant::now();
    let output = Command::new(&agent).arg("stage").arg("--root").arg(&root).stdin(Stdio::null()).output()?;
    let milliseconds = started.elapsed().as_millis();
    fs::write(base.join("agent.log"), &output.stderr)?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "sextant-agent stage failed ({}):\n{log}", output.status);
    let report: Value = serde_json::from_slice(&fs::read(root.join("run/sextant/report.json"))?)?;

    let mut wrong = print_verdicts(&samples, &report);
    println!("\n{} files in {milliseconds} ms, start of the program included.\n", samples.len());
    print_places(&root)?;
    wrong.extend(check_staged(&samples, &root)?);
    if wrong.is_empty() {
        println!("\nEvery verdict is as expected; what is staged is what was built, byte for byte.");
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nNOT as expected:\n  {}", wrong.join("\n  "));
    Ok(ExitCode::FAILURE)
}

/// The program in the first argument, or the one that `make agent` leaves.
fn agent() -> Result<PathBuf> {
    let default = || support::repository().join("target/dist/sextant-agent");
    let agent = std::env::args_os().nth(1).map_or_else(default, PathBuf::from);
    ensure!(agent.is_file(), "there is no {}: `make demo` builds it", agent.display());
    Ok(agent)
}

fn write_keys(keys: &Keys, directory: &Path) -> Result<()> {
    for (name, authority) in keys.all() {
        let options = || {
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            options
        };
        let mut file = options().open(directory.join(format!("{name}.key")))?;
        file.write_all(&authority.key.private_key_to_pem_pkcs8()?)?;
        fs::write(directory.join(format!("{name}.crt")), authority.pem())?;
    }
    Ok(())
}

/// Prints the table; returns what isn't as expected.
fn print_verdicts(samples: &[Sample], report: &Value) -> Vec<String> {
    let rows = report["images"].as_array().map_or(&[][..], Vec::as_slice);
    let mut wrong = Vec::new();
    println!("{:<19}  {:<25}  {:<8} SIGNER OR REASON", "FILE", "WHAT IT IS", "VERDICT");
    for sample in samples {
        let row = rows.iter().find(|row| row["file"] == sample.file).unwrap_or(&Value::Null);
        let verdict = row["verdict"].as_str().unwrap_or("missing");
        let reason = row["reason"].as_str().unwrap_or_default();
        let signer = row["signer"]["subject"].as_str().filter(|_| reason.is_empty()).unwrap_or_default();
        println!("{:<19}  {:<25}  {verdict:<8} {reason}{signer}", sample.file, sample.what);
        let expected = sample.refused.map_or(("staged", ""), |token| ("rejected", token));
        if (verdict, reason) != expected {
            let detail = row["detail"].as_str().unwrap_or("no row in the report");
            wrong.push(format!("{}: {verdict} {reason} where {expected:?} is expected: {detail}", sample.file));
        }
    }
    if rows.len() != samples.len() {
        wrong.push(format!("{} rows in the report for {} files", rows.len(), samples.len()));
    }
    wrong
}

fn print_places(root: &Path) -> Result<()> {
    let names = |directory: &str| -> Result<Vec<String>> {
        let path = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(list(&root.join(directory))?.into_iter().filter_map(path).collect())
    };
    println!("Below {DIRECTORY}/root:");
    for (directory, what) in [
        ("run/extensions", "staged for systemd-sysext"),
        ("run/confexts", "staged for systemd-confext"),
        ("run/verity.d", "certificates for systemd"),
    ] {
        println!("  {:<23} {what}:\n  {:<23}   {}", format!("{directory}/"), "", names(directory)?.join(" "));
    }
    println!("  {:<23} every decision, with the cause as a sentence", "run/sextant/report.json");
    let rejected = names(".extra/rejected/sysext")?.len();
    println!("  {:<23} {rejected} files, out of the way of a merge", ".extra/rejected/sysext/");
    println!("Beside it: keys/ (worth nothing), agent.log (what the agent said). Go on with");
    println!("  jq -r '.images[] | [.file, .verdict, .detail] | @tsv' {DIRECTORY}/root/run/sextant/report.json");
    Ok(())
}

/// What is in a directory, sorted; nothing where there is none.
fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Looks at what is staged without asking the report; returns what isn't as expected.
fn check_staged(samples: &[Sample], root: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let mut expected = Vec::new();
    for sample in samples.iter().filter(|sample| sample.refused.is_none()) {
        // A rejected one has been moved away.
        let Ok(built) = fs::read(root.join(sample.directory()).join(sample.file)) else { continue };
        let (name, class) = sample.file.trim_end_matches(".raw").split_once('.').unwrap();
        let path =
            root.join(if class == "sysext" { "run/extensions" } else { "run/confexts" }).join(format!("{name}.raw"));
        let is_sound = fs::read(&path).is_ok_and(|staged| staged == built)
            && fs::metadata(&path)?.permissions().mode() & 0o7777 == 0o444;
        if !is_sound {
            wrong.push(format!("{} is not staged unchanged with mode 0444", sample.file));
        }
        expected.push(path);
    }
    for directory in ["run/extensions", "run/confexts"] {
        for path in list(&root.join(directory))? {
            if !expected.contains(&path) {
                wrong.push(format!("{} is staged", path.display()));
            }
        }
    }
    Ok(wrong)
}
