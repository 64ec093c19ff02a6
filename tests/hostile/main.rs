//! Every way to be wrong, each between good neighbours.
//!
//! One row is one file. It is put beside two good extensions, one before and one after it in the order in
//! which the agent looks at them; the agent must reject it for the right reason and stage the good ones.
//! Then all rows are put on one machine together.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc, clippy::must_use_candidate)]

mod details;

use support::hostile as rows;

use rows::{NAME, Row, rows, vendor};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use support::ddi::good_image;
use support::efi::Firmware;
use support::machine::{Machine, Outcome};

fn machine() -> Machine {
    Machine::new()
        .firmware(&Firmware::enforcing().db(&rows::db()).dbx(&rows::dbx()).entry("active.conf"))
        .config(&rows::config())
        .file("sysroot/etc/os-release", b"ID=testos\nVERSION_ID=1.0\n")
        .sysext("aaa-good.sysext.raw", &good_image("aaa-good", vendor()))
        .sysext("zzz-good.sysext.raw", &good_image("zzz-good", vendor()))
}

/// Checks one row of a report against what is expected; returns what is wrong.
fn judge(outcome: &Outcome, row: &Row, file: &OsString) -> Option<String> {
    let shown = ddi::text::Text::from_os(file);
    let found = outcome.rows().iter().find(|found| found["file"] == shown.as_str());
    let Some(found) = found else { return Some(format!("{}: no row for {shown}", row.what)) };
    let verdict = (found["verdict"].as_str().unwrap_or_default(), found["reason"].as_str().unwrap_or_default());
    let detail = found["detail"].as_str().unwrap_or_default();
    if verdict != ("rejected", row.token) {
        return Some(format!("{}: expected {}, found {verdict:?}: {detail}", row.what, row.token));
    }
    if detail.len() < 10 || !outcome.stderr.contains(&format!("({})", row.token)) {
        return Some(format!("{}: said too little: {detail:?}\n{}", row.what, outcome.stderr));
    }
    None
}

#[test]
fn each_hostile_image_is_refused_for_its_own_reason_and_harms_nobody() {
    let rows = rows();
    assert!(rows.len() >= 70, "{} rows", rows.len());
    let half = rows.len() / 2;
    let check = |rows: &[Row]| rows.iter().flat_map(check_alone).collect::<Vec<_>>();
    let wrong = std::thread::scope(|scope| {
        let first = scope.spawn(|| check(&rows[..half]));
        let second = check(&rows[half..]);
        [first.join().unwrap(), second].concat()
    });
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    println!("{} hostile images", rows.len());
}

fn check_alone(row: &Row) -> Vec<String> {
    let machine = machine();
    (row.place)(&machine.path(".extra/sysext").join(&row.file));
    let outcome = machine.stage();
    let mut wrong: Vec<_> = judge(&outcome, row, &row.file).into_iter().collect();
    if outcome.status != Some(0) || machine.staged_names() != ["aaa-good", "zzz-good"] {
        let staged = machine.staged_names();
        wrong.push(format!("{}: status {:?}, staged {staged:?}\n{}", row.what, outcome.status, outcome.stderr));
    }
    if machine.left_in_extra() != ["aaa-good.sysext.raw", "zzz-good.sysext.raw"] {
        wrong.push(format!("{}: left in the way: {:?}", row.what, machine.left_in_extra()));
    }
    wrong
}

#[test]
fn all_of_them_together_harm_nobody_either() {
    let machine = machine();
    let mut placed = Vec::new();
    for (number, row) in rows().into_iter().enumerate() {
        // What is wrong with some is their very name; the others get names that keep them apart.
        let usual = row.file == *format!("{NAME}.sysext.raw");
        let file = if usual { OsString::from(format!("{NAME}_{number}.sysext.raw")) } else { row.file.clone() };
        (row.place)(&machine.path(".extra/sysext").join(&file));
        placed.push((row, file));
    }
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    let wrong: Vec<_> = placed.iter().filter_map(|(row, file)| judge(&outcome, row, file)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(machine.staged_names(), ["aaa-good", "zzz-good"]);
    assert_eq!(outcome.rows().len(), placed.len() + 2, "one row for each file found");
    assert!(placed.iter().all(|(_, file)| !file.as_bytes().is_empty()));
}

#[test]
fn the_files_are_found_again_where_they_were_moved() {
    let machine = machine().sysext("junk.sysext.raw", b"junk");
    machine.stage();
    assert_eq!(std::fs::read(machine.path(".extra/rejected/sysext/junk.sysext.raw")).unwrap(), b"junk");
}
