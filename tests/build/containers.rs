//! Container images as sources, in every form in which the real tools keep them.

use crate::desk::{Desk, hex};
use crate::layers::Layer;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use support::keys;
use support::toolbox::Toolbox;
use tar::EntryType;

/// An image of four layers by `umoci`, among them a whiteout and an opaque directory, and copies of it by `skopeo`.
const MAKE: &str = r#"
cd "$1"
umoci init --layout layout
umoci new --image layout:1
umoci config --image layout:1 --architecture amd64 --os linux
umoci insert --image layout:1 lower /usr
umoci insert --image layout:1 --whiteout /usr/share/gone
umoci insert --image layout:1 --opaque new /usr/share/swept
umoci insert --image layout:1 upper /opt/tool
copy() { skopeo --insecure-policy copy --quiet "$@"; }
copy oci:layout:1 oci-archive:oci.tar:1
copy oci:layout:1 docker-archive:docker.tar:acme/tool:1
copy --dest-compress-format zstd oci:layout:1 oci:zstd:1
gzip --keep oci.tar
"#;

/// A desk with that image. `None` without a toolbox.
pub(crate) fn desk() -> Option<(Desk, Toolbox)> {
    let toolbox = Toolbox::find()?;
    let desk = Desk::of(keys::rsa("Vendor"));
    for (path, content) in [
        ("lower/bin/tool", "tool"),
        ("lower/share/gone/a", "gone"),
        ("lower/share/swept/old", "old"),
        ("lower/share/kept", "kept"),
        ("new/new", "new"),
        ("upper/data", "data"),
    ] {
        desk.file(path, content.as_bytes());
    }
    toolbox.succeed(MAKE, &[desk.path(".").as_os_str()]);
    Some((desk, toolbox))
}

/// Builds from a source, always to the same name, and returns the root hash.
pub(crate) fn root_hash(desk: &Desk, source: &str, more: &[&str]) -> String {
    let said = desk.build("tool", source, &[&["--json"], more].concat()).good();
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    value["root_hash"].as_str().unwrap().to_owned()
}

/// Paths of what isn't a directory in the image that was built last.
pub(crate) fn files(desk: &Desk) -> Vec<String> {
    let said = desk.run(&["inspect", "--json", "--list", "--certificate", "crt.pem", "--", "tool.sysext.raw"]);
    let value: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let rows = value["files"].as_array().unwrap().iter().filter(|row| row["kind"] != "directory");
    let paths = rows.map(|row| row["path"].as_str().unwrap().to_owned());
    paths.filter(|path| !path.contains("extension-release")).collect()
}

pub(crate) fn every_form_of_an_image_gives_the_same_extension() {
    let Some((desk, _)) = desk() else { return };
    let forms = ["oci:layout:1", "oci:layout", "oci-archive:oci.tar:1", "oci-archive:oci.tar.gz", "oci:zstd:1"];
    let archives = ["docker-archive:docker.tar", "docker-archive:docker.tar:acme/tool:1"];
    let all: Vec<_> =
        forms.iter().chain(&archives).map(|source| root_hash(&desk, source, &["--layers", "all"])).collect();
    assert!(all.iter().all(|hash| *hash == all[0]), "{all:?}");
    assert_eq!(files(&desk), ["/opt/tool/data", "/usr/bin/tool", "/usr/share/kept", "/usr/share/swept/new"]);
    let last: Vec<_> = forms.iter().chain(&archives).map(|source| root_hash(&desk, source, &[])).collect();
    assert!(last.iter().all(|hash| *hash == last[0] && *hash != all[0]), "{last:?}");
    assert_eq!(files(&desk), ["/opt/tool/data"]);
    root_hash(&desk, "oci:layout", &["--layers", "1..2"]);
    assert_eq!(files(&desk), ["/usr/bin/tool", "/usr/share/kept", "/usr/share/swept/old"]);
    desk.build("tool", "oci:layout", &["--layers", "5"]).refuses(&["layers 5..5 requested; the image has 4"]);
    desk.build("tool", "oci:layout:2", &[]).refuses(&["no image 2; available: 1"]);
    desk.build("tool", "docker-archive:docker.tar:acme/tool:2", &[]).refuses(&["no image acme/tool:2"]);
    desk.build("tool", "oci:lower", &[]).refuses(&["reading oci:lower: opening index.json: No such file"]);
    desk.build("tool", "oci-archive:nowhere.tar", &[]).refuses(&["opening nowhere.tar: No such file"]);
    desk.build("tool", "docker-archive:crt.pem", &[]).refuses(&["parsing crt.pem"]);
}

/// A blob of a layout that fits.
fn blob(desk: &Desk, layout: &str, fits: impl Fn(&[u8]) -> bool) -> PathBuf {
    let blobs = desk.path(layout).join("blobs/sha256");
    let mut found = fs::read_dir(blobs).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| fits(&fs::read(path).unwrap())).unwrap()
}

pub(crate) fn what_is_not_what_its_digest_says_is_refused() {
    let Some((desk, _)) = desk() else { return };
    let is_layer: fn(&[u8]) -> bool = |bytes| bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    let is_manifest: fn(&[u8]) -> bool = |bytes| bytes.windows(8).any(|it| it == b"\"layers\"");
    let is_configuration: fn(&[u8]) -> bool = |bytes| bytes.windows(8).any(|it| it == b"diff_ids");
    // `skopeo` copies what is needed and nothing else; `umoci` leaves what was there before.
    let build = || desk.build("tool", "oci:zstd", &["--layers", "all"]);
    for fits in [is_layer, is_manifest, is_configuration] {
        let path = blob(&desk, "zstd", fits);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        *bad.last_mut().unwrap() ^= 1;
        for (bytes, words) in [
            (bad, "the data was damaged or replaced"),
            (good[..good.len() - 1].to_vec(), "its descriptor says"),
            ([good.as_slice(), b" "].concat(), "its descriptor says"),
        ] {
            fs::write(&path, bytes).unwrap();
            build().refuses(&[words]);
        }
        // A link out of the layout, to something that has the right digest.
        fs::write(desk.path("outside"), &good).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(desk.path("outside"), &path).unwrap();
        build().refuses(&["opening blobs/sha256/"]);
        fs::remove_file(&path).unwrap();
        fs::write(&path, good).unwrap();
    }
    build().good();
}

/// Puts a blob into a layout and returns its descriptor.
pub(crate) fn store(layout: &Path, media_type: &str, content: &[u8]) -> Value {
    let digest = hex(&openssl::sha::sha256(content));
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    fs::write(layout.join("blobs/sha256").join(&digest), content).unwrap();
    json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": content.len()})
}

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIGURATION: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image of one layer. `diff_id` is the digest that the unpacked layer is said to have.
pub(crate) fn image(layout: &Path, architecture: &str, layer: &[u8], media_type: &str, diff_id: &str) -> Value {
    let configuration = json!({
        "architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let configuration = store(layout, CONFIGURATION, configuration.to_string().as_bytes());
    let layer = store(layout, media_type, layer);
    let manifest =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": configuration, "layers": [layer]}).to_string();
    store(layout, MANIFEST, manifest.as_bytes())
}

/// Makes these the images of a layout.
pub(crate) fn index(layout: &Path, manifests: &[Value]) {
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(layout.join("index.json"), json!({"schemaVersion": 2, "manifests": manifests}).to_string()).unwrap();
}

pub(crate) fn diff_id(layer: &[u8]) -> String {
    format!("sha256:{}", hex(&openssl::sha::sha256(layer)))
}

/// A layout `multi` with an image for each of these machines, in an index within the index.
pub(crate) fn multi(desk: &Desk, architectures: &[&str]) {
    let layout = desk.path("multi");
    let manifests: Vec<_> = architectures
        .iter()
        .map(|architecture| {
            let layer = Layer::new().file("usr/for", architecture).bytes();
            let mut entry = image(&layout, architecture, &layer, LAYER, &diff_id(&layer));
            entry["platform"] = json!({"os": "linux", "architecture": architecture});
            entry
        })
        .collect();
    let inner = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
    let mut entry = store(&layout, INDEX, inner.as_bytes());
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "1"});
    index(&layout, &[entry]);
}

/// `ARCHITECTURE=` and the partitions' architecture of the image that was built last.
pub(crate) fn architectures(desk: &Desk) -> [String; 2] {
    let said = desk.run(&["inspect", "--json", "--certificate", "crt.pem", "tool.sysext.raw"]);
    let value: Value = serde_json::from_str(&said.stdout).unwrap();
    [&value["release"]["fields"]["ARCHITECTURE"], &value["architecture"]].map(|it| it.as_str().unwrap().to_owned())
}

pub(crate) fn the_image_for_the_machine_is_taken_and_the_extension_is_for_that() {
    let desk = Desk::of(keys::ec("Vendor"));
    let names = [
        ("amd64", "x86-64"),
        ("386", "x86"),
        ("arm64", "arm64"),
        ("arm", "arm"),
        ("riscv64", "riscv64"),
        ("loong64", "loongarch64"),
        ("ppc64le", "ppc64-le"),
        ("s390x", "s390x"),
    ];
    multi(&desk, &names.map(|(go, _)| go));
    for (go, systemd) in names {
        for arch in [go, systemd] {
            desk.build("tool", "oci:multi:1", &["--arch", arch]).good();
            assert_eq!(architectures(&desk), [systemd, systemd], "{arch}");
        }
    }
    let native = ddi::Architecture::native().unwrap().to_string();
    desk.build("tool", "oci:multi", &[]).good();
    assert_eq!(architectures(&desk), [native.as_str(), &native]);
    desk.build("tool", "oci:multi", &["--arch", "mips64le"])
        .refuses(&["no image for linux/mips64le; available: linux/amd64, linux/386"]);
}

pub(crate) fn an_image_is_never_passed_off_as_one_for_another_machine() {
    let desk = Desk::of(keys::ec("Vendor"));
    let layer = Layer::new().file("usr/x", "x").bytes();
    for (architecture, systemd) in [("arm64", "arm64"), ("arm", "arm"), ("riscv64", "riscv64")] {
        index(&desk.path("one"), &[image(&desk.path("one"), architecture, &layer, LAYER, &diff_id(&layer))]);
        desk.build("tool", "oci:one", &[]).good();
        assert_eq!(architectures(&desk), [systemd, systemd]);
        let said = desk.build("tool", "oci:one", &["--arch", "amd64"]);
        said.refuses(&[&format!("image is for {systemd}; --arch is x86-64")]);
    }
    index(&desk.path("one"), &[image(&desk.path("one"), "wasm", &layer, LAYER, &diff_id(&layer))]);
    desk.build("tool", "oci:one", &[]).refuses(&["unknown architecture wasm", "use --arch"]);
    desk.build("tool", "oci:one", &["--arch", "arm64"]).good();
}

pub(crate) fn what_unpacks_into_too_much_is_given_up() {
    let desk = Desk::of(keys::ec("Vendor"));
    let zeros = Layer::new().entry(EntryType::Regular, "usr/zeros", "", &vec![0; 20 << 20]).bytes();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, &zeros).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(zeros.as_slice(), 3).unwrap();
    for (number, packed) in [gzip, zstd].into_iter().enumerate() {
        assert!(packed.len() < 1 << 20);
        let layout = desk.path(format!("bomb{number}"));
        index(&layout, &[image(&layout, "amd64", &packed, LAYER, &diff_id(&zeros))]);
        let source = format!("oci:bomb{number}");
        let said = desk.build("tool", &source, &["--max-size", "10M", "--arch", "amd64"]);
        said.refuses(&["larger than 10485760 bytes; raise the limit with --max-size"]);
        desk.build("tool", &source, &["--arch", "amd64"]).good();
        // What it unpacks to isn't what the configuration says.
        index(&layout, &[image(&layout, "amd64", &packed, LAYER, &diff_id(b"other"))]);
        desk.build("tool", &source, &["--arch", "amd64"]).refuses(&["the data was damaged or replaced"]);
    }
    // The same layer a hundred times is a hundred layers.
    let layout = desk.path("many");
    let configuration = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": vec![diff_id(&zeros); 100]},
    });
    let configuration = store(&layout, CONFIGURATION, configuration.to_string().as_bytes());
    let packed = zstd::encode_all(zeros.as_slice(), 3).unwrap();
    let layers = vec![store(&layout, LAYER, &packed); 100];
    let manifest = json!({"schemaVersion": 2, "config": configuration, "layers": layers}).to_string();
    index(&layout, &[store(&layout, MANIFEST, manifest.as_bytes())]);
    let said = desk.build("tool", "oci:many", &["--layers", "all", "--max-size", "100M", "--arch", "amd64"]);
    said.refuses(&["the layers together are larger than 104857600 bytes", "--max-size"]);
}

pub(crate) fn layers_that_can_not_be_read_are_refused_by_what_they_are() {
    let desk = Desk::of(keys::ec("Vendor"));
    let layer = Layer::new().file("usr/x", "x").bytes();
    for (media_type, words) in [
        ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "encrypted layers are not supported"),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "layers that must not be distributed are not supported",
        ),
    ] {
        let layout = desk.path("layout");
        index(&layout, &[image(&layout, "amd64", &layer, media_type, &diff_id(&layer))]);
        desk.build("tool", "oci:layout", &["--arch", "amd64"]).refuses(&[words, media_type]);
    }
    // xz, as some tools write it.
    let layout = desk.path("layout");
    let packed = [&[0xfd, b'7', b'z', b'X', b'Z', 0][..], &[0; 600]].concat();
    index(&layout, &[image(&layout, "amd64", &packed, LAYER, &diff_id(&packed))]);
    desk.build("tool", "oci:layout", &["--arch", "amd64"]).refuses(&["compressed with xz", "gzip or zstd"]);
}
