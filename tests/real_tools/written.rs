//! What our writer writes, in the eyes of the tools that others use.

use crate::reason;
use crate::verify;
use ddi::PartitionKind::{Root, RootVerity};
use ddi::gpt::Table;
use ddi::verity::HashAlgorithm;
use ddi::write::{DdiBuilder, VerityParams};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use support::ddi::{Blueprint, RawImage};
use support::keys::{self, Authority, Key};
use support::toolbox::{Toolbox, directory};
use support::trees::{Tree, noise};

/// Two file systems of the tree `$1/tree`.
const FILESYSTEMS: &str = r#"
cd "$1"
mkfs.erofs --quiet -zlz4hc --all-root erofs tree
mksquashfs tree squashfs -quiet -no-progress -all-root -comp zstd >/dev/null
"#;

/// Asks every tool about each image, and notes what it says and its exit status.
const QUESTIONS: &str = r#"
cd "$1"
note() { # TOOL COMMAND...
  local tool=$1
  shift
  local status=0
  "$@" >"$name.$tool.out" 2>"$name.$tool.err" || status=$?
  echo "$status" >"$name.$tool.rc"
}
for image in *.sysext.raw; do
  name=${image%.sysext.raw}
  note verity veritysetup verify "$name.root" "$name.hashes" "$(cat "$name.content")"
  note smime openssl smime -verify -binary -inform DER -in "$name.p7s" -content "$name.content" \
    -nointern -noverify -certfile "$name.crt"
  note cms openssl cms -verify -binary -inform DER -in "$name.p7s" -content "$name.content" \
    -nointern -noverify -certfile "$name.crt"
  note sfdisk sfdisk --json --sector-size "$(cat "$name.sector")" "$image"
  note blkid blkid -p -o export "$image"
  note blkid-root blkid -p -o export "$name.root"
  note blkid-hashes blkid -p -o export "$name.hashes"
  note validate systemd-dissect --validate --image-policy=root=signed "$image"
  if [[ $2 == loop ]]; then
    note dissect systemd-dissect --json=short "$image"
  fi
done
"#;

struct Case {
    name: String,
    filesystem: &'static str,
    authority: &'static Authority,
    image: RawImage,
    blueprint: Blueprint,
}

fn cases(directory: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for filesystem in ["erofs", "squashfs"] {
        let bytes = fs::read(directory.join(filesystem)).unwrap();
        for (key, label) in [(Key::Rsa(2048), "rsa"), (Key::P256, "ec")] {
            for (algorithm, sector_size) in [(HashAlgorithm::Sha256, 4096), (HashAlgorithm::Sha512, 512)] {
                // Each value of each setting with each of the others, in half of the combinations.
                let sector_size = if filesystem == "erofs" { sector_size } else { 4608 - sector_size };
                // What follows the underscore is a version to systemd, so one tree serves them all.
                let name = format!("written_{filesystem}-{label}-{algorithm}-{sector_size}");
                let verity = VerityParams { algorithm, ..VerityParams::derived(name.as_bytes()) };
                let builder = DdiBuilder::new(&name).sector_size(sector_size).verity(verity);
                let authority = keys::self_signed(&format!("Writer {label}"), key);
                let blueprint = Blueprint::build(&builder, &bytes, Some(authority));
                cases.push(Case { name, filesystem, authority, image: blueprint.render(), blueprint });
            }
        }
    }
    cases
}

impl Case {
    fn write_to(&self, directory: &Path) {
        let write = |suffix: &str, content: &[u8]| {
            fs::write(directory.join(format!("{}.{suffix}", self.name)), content).unwrap();
        };
        let bytes = &self.image.bytes;
        write("sysext.raw", bytes);
        write("root", &bytes[self.image.place(Root)]);
        write("hashes", &bytes[self.image.place(RootVerity)]);
        write("p7s", &self.blueprint.pkcs7());
        write("content", self.blueprint.root_hash.to_string().as_bytes());
        write("crt", &self.authority.pem());
        write("sector", self.image.sector_size.to_string().as_bytes());
    }

    /// What a tool printed. Fails where it didn't like the image.
    fn answer(&self, directory: &Path, tool: &str) -> String {
        let read = |suffix: &str| fs::read_to_string(directory.join(format!("{}.{tool}.{suffix}", self.name))).unwrap();
        assert_eq!(read("rc").trim(), "0", "{}: {tool}: {}{}", self.name, read("out"), read("err"));
        read("out")
    }

    fn check_sfdisk(&self, answer: &str) {
        let table = Table::read(&self.image.bytes).unwrap();
        let answer: Value = serde_json::from_str(answer).unwrap();
        let found = &answer["partitiontable"];
        assert_eq!(found["label"], "gpt", "{}", self.name);
        assert_eq!(found["id"], table.disk_guid.to_string().to_uppercase());
        assert_eq!(found["sectorsize"], json!(table.sector_size));
        let sector = u64::from(table.sector_size);
        let expected = table.partitions.iter().map(|partition| {
            let mut row = json!({
                "start": partition.start / sector, "size": partition.len / sector,
                "type": partition.type_guid.to_string().to_uppercase(), "name": partition.name,
                "uuid": partition.uuid.to_string().to_uppercase(),
            });
            // systemd-repart, too, marks all as read-only but the signature; sfdisk shows no flags where there are none.
            if !partition.name.ends_with("-sig") {
                row["attrs"] = json!("GUID:60");
            }
            row
        });
        let strip = |row: &Value| {
            let mut row = row.clone();
            row.as_object_mut().unwrap().remove("node");
            row
        };
        let rows: Vec<_> = found["partitions"].as_array().unwrap().iter().map(strip).collect();
        assert_eq!(rows, expected.collect::<Vec<_>>(), "{}", self.name);
    }

    fn check_blkid(&self, directory: &Path) {
        let table = Table::read(&self.image.bytes).unwrap();
        let whole = self.answer(directory, "blkid");
        assert!(!whole.lines().any(|line| line.starts_with("TYPE=")), "{}: {whole}", self.name);
        if table.sector_size == 512 {
            // A plain file has sectors of 512 bytes; at any other size blkid sees just the protective MBR.
            let expected = format!("PTUUID={}", table.disk_guid);
            assert!(whole.lines().any(|line| line == expected), "{}: {whole}", self.name);
            assert!(whole.lines().any(|line| line == "PTTYPE=gpt"), "{}: {whole}", self.name);
        }
        for (tool, kind) in [("blkid-root", self.filesystem), ("blkid-hashes", "DM_verity_hash")] {
            let answer = self.answer(directory, tool);
            assert!(answer.lines().any(|line| line == format!("TYPE={kind}")), "{}: {answer}", self.name);
        }
    }

    fn check_dissect(&self, answer: &str) {
        let table = Table::read(&self.image.bytes).unwrap();
        let answer: Value = serde_json::from_str(answer).unwrap();
        assert_eq!(answer["sectorSize"], json!(table.sector_size), "{}", self.name);
        assert_eq!(answer["imageUuid"], table.disk_guid.to_string(), "{}", self.name);
        let architecture = support::ddi::native().systemd_name();
        let rows: Vec<_> = answer["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                let fields = ["designator", "fstype", "partition_uuid", "partition_label", "partno"];
                assert_eq!(row["architecture"], architecture, "{}", self.name);
                fields.map(|field| row[field].clone())
            })
            .collect();
        let designators = ["root", "root-verity", "root-verity-sig"];
        let types = [self.filesystem, "DM_verity_hash", "verity_hash_signature"];
        let expected = table.partitions.iter().zip(designators).zip(types).map(|((partition, designator), kind)| {
            let uuid = partition.uuid.to_string();
            [json!(designator), json!(kind), json!(uuid), json!(partition.name), json!(partition.index)]
        });
        assert_eq!(rows, expected.collect::<Vec<_>>(), "{}", self.name);
        assert_eq!(answer["mounts"][0]["verity"], "signed", "{}", self.name);
    }
}

pub(crate) fn what_we_write_is_good_to_every_tool() {
    let Some(toolbox) = Toolbox::find() else { return };
    let scratch = directory();
    let path = scratch.path();
    Tree::sysext("written").file("usr/share/noise", &noise(300_000)).write_to(&path.join("tree"));
    toolbox.succeed(FILESYSTEMS, &[path.as_os_str()]);
    let cases = cases(path);
    assert_eq!(cases.len(), 8);
    for case in &cases {
        case.write_to(path);
    }
    let with_loop = toolbox.has_loop_devices();
    let attach = if with_loop { "loop" } else { "" };
    toolbox.succeed(QUESTIONS, &[path.as_os_str(), attach.as_ref()]);
    for case in &cases {
        for tool in ["verity", "validate"] {
            case.answer(path, tool);
        }
        for tool in ["smime", "cms"] {
            assert_eq!(case.answer(path, tool), case.blueprint.root_hash.to_string(), "{}: {tool}", case.name);
        }
        case.check_sfdisk(&case.answer(path, "sfdisk"));
        case.check_blkid(path);
        if with_loop {
            case.check_dissect(&case.answer(path, "dissect"));
        }
    }
    let files =
        |suffix: &str| cases.iter().map(|case| path.join(format!("{}.{suffix}", case.name))).collect::<Vec<_>>();
    let certificates = files("crt").into_iter().flat_map(|file| ["--certificate".into(), file.into_os_string()]);
    let images = files("sysext.raw").into_iter().map(OsString::from);
    let (status, rows) = verify(certificates.chain(images));
    let refused: Vec<_> = rows.iter().filter(|(_, row)| !reason(row).is_empty()).collect();
    assert_eq!((status, rows.len(), refused), (Some(0), cases.len(), Vec::new()));
}
