//! What `systemd-repart` wrote, on the machine whose variables `virt-fw-vars` wrote.

use crate::{reason, verify};
use serde_json::{Value, json};
use sextant::trust::Fingerprint;
use std::ffi::OsString;
use std::path::PathBuf;
use support::machine::Machine;
use support::toolbox::{FixtureImage, Fixtures};

fn place(machine: Machine, fixtures: &Fixtures, image: &FixtureImage) -> Machine {
    machine.file(format!(".extra/{}/{}", image.class, image.file), &fixtures.image(&image.file))
}

fn paths(fixtures: &Fixtures, images: &[FixtureImage]) -> Vec<PathBuf> {
    images.iter().map(|image| fixtures.path(&format!("images/{}", image.file))).collect()
}

/// What a row has to say about a good image.
fn check_good(row: &Value, image: &FixtureImage, fixtures: &Fixtures, verdict: &str) {
    let certificate = fixtures.read(&format!("keys/{}.der", image.signer));
    let fingerprint = Fingerprint::of(&certificate).to_string();
    let source = match image.signer.as_str() {
        "pk" => "PK",
        "kek" => "KEK",
        _ => "db",
    };
    assert_eq!(row["verdict"], verdict, "{row:#}");
    assert_eq!(row["name"], json!(image.name()));
    assert_eq!(row["class"], json!(image.class));
    assert_eq!(row["warnings"], json!([]), "{}: repart does everything as it should be", image.file);
    assert_eq!((&row["signer"]["source"], &row["signer"]["sha256"]), (&json!(source), &json!(fingerprint)));
    assert_eq!(row["size"], json!(fixtures.image(&image.file).len()));
}

pub(crate) fn the_agent_gives_every_image_its_verdict_and_stages_the_good_ones() {
    let Some(fixtures) = Fixtures::find() else { return };
    let images = fixtures.images();
    let machine = Machine::new().with(|root| fixtures.install_variables("efivars", root));
    let machine = images.iter().fold(machine, |machine, image| place(machine, &fixtures, image));
    let outcome = machine.stage();
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert_eq!(outcome.rows().len(), images.len());
    for image in &images {
        let row = outcome.row(&image.file);
        assert_eq!(reason(row), image.reason, "{}: {}", image.file, row["detail"]);
        if image.reason.is_empty() {
            check_good(row, image, &fixtures, "staged");
            let (directory, name) = (format!("{}s", image.class), image.name());
            let directory = directory.replace("sysexts", "extensions");
            let staged = std::fs::read(machine.path(format!("run/{directory}/{name}.raw"))).unwrap();
            assert!(staged == fixtures.image(&image.file), "{name} was staged with other bytes");
        }
    }
    let expected = |class: &str| {
        let good = images.iter().filter(|image| image.class == class && image.reason.is_empty());
        let mut names: Vec<_> = good.map(FixtureImage::name).collect();
        names.sort();
        names
    };
    assert_eq!(machine.staged_names(), expected("sysext"));
    assert_eq!(machine.staged_confexts(), expected("confext"));
    assert!(machine.staged_names().len() >= 15 && machine.staged_confexts().len() >= 2);
}

pub(crate) fn a_sealed_certificate_is_what_the_vendors_image_lacks() {
    let Some(fixtures) = Fixtures::find() else { return };
    let images = fixtures.images();
    let wanted = ["repart-db", "repart-vendor", "repart-stranger"];
    let machine = Machine::new()
        .with(|root| fixtures.install_variables("efivars", root))
        .file("etc/verity.d/vendor.crt", &fixtures.read("verity.d/vendor.crt"));
    let chosen = images.iter().filter(|image| wanted.contains(&image.name().as_str()));
    let machine = chosen.fold(machine, |machine, image| place(machine, &fixtures, image));
    let outcome = machine.stage();
    assert_eq!(machine.staged_names(), ["repart-db", "repart-vendor"], "{}", outcome.stderr);
    assert_eq!(outcome.row("repart-vendor.sysext.raw")["signer"]["source"], "sealed");
    let exported = machine.path("run/verity.d/sealed-1.crt");
    assert_eq!(std::fs::read(exported).unwrap(), fixtures.read("keys/vendor.crt"), "as openssl writes it");
}

pub(crate) fn sextant_verify_says_the_same_about_these_variables() {
    let Some(fixtures) = Fixtures::find() else { return };
    let images = fixtures.images();
    let mut arguments = vec![OsString::from("--efivars"), fixtures.path("efivars").into()];
    arguments.extend(paths(&fixtures, &images).into_iter().map(OsString::from));
    let (status, rows) = verify(&arguments);
    assert_eq!(status, Some(1), "some are bad");
    for image in &images {
        let row = &rows[&image.file];
        assert_eq!(reason(row), image.reason, "{}: {}", image.file, row["detail"]);
        if image.reason.is_empty() {
            check_good(row, image, &fixtures, "accepted");
        }
    }
    let good: Vec<_> = images.into_iter().filter(|image| image.reason.is_empty()).collect();
    arguments.truncate(2);
    arguments.extend(paths(&fixtures, &good).into_iter().map(OsString::from));
    assert_eq!(verify(&arguments).0, Some(0), "all are good");
}

pub(crate) fn a_certificate_or_a_directory_of_them_stands_in_for_a_firmware() {
    let Some(fixtures) = Fixtures::find() else { return };
    let certificate = fixtures.path("verity.d/vendor.crt");
    let directory = fixtures.path("verity.d");
    for (option, value) in [("--certificate", certificate), ("--verity-dir", directory)] {
        let mut arguments = vec![OsString::from(option), value.into()];
        let images = fixtures.images();
        arguments.extend(paths(&fixtures, &images).into_iter().map(OsString::from));
        let (status, rows) = verify(&arguments);
        assert_eq!(status, Some(1));
        for image in &images {
            let expected = match (image.signer.as_str(), image.reason.as_str()) {
                ("vendor", _) => "",
                // What is wrong with the partitions shows before anybody asks who signed.
                (_, shape @ ("no-signature" | "usr-partition")) => shape,
                _ => "unknown-signer",
            };
            assert_eq!(reason(&rows[&image.file]), expected, "{option}: {}", image.file);
        }
        assert_eq!(rows["repart-vendor.sysext.raw"]["signer"]["source"], "file");
    }
}
