//! Messages about bad input of `build` and `plan`, in one place.

use super::tables::{Desk, image, vendor};
use ddi::Architecture;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use support::keys::{self, Key, Recipe};

/// Command lines that fail, one for each kind of error that needs no network, service or other program.
const LINES: [&str; 41] = [
    // Names of sources
    "build k3s ./absent --unsigned",
    "build k3s absent --unsigned",
    "build k3s dir: --unsigned",
    "build k3s Upper/Case:1 --unsigned",
    "build k3s docker:// --unsigned",
    // Images
    "build k3s oci:tree --unsigned",
    "build k3s text.txt --unsigned",
    "build k3s docker-archive:text.txt --unsigned",
    "build k3s oci:empty --unsigned",
    "build k3s oci:several --unsigned",
    "build k3s oci:several:3 --unsigned",
    "build k3s oci:platforms --arch s390x --unsigned",
    "build k3s oci:missing --unsigned",
    "build k3s oci:damaged --unsigned",
    "build k3s oci:deep --unsigned",
    // Trees
    "build k3s nothing --unsigned",
    "build k3s link --unsigned",
    "build k3s odd --unsigned --strict",
    "build k3s tree --unsigned --max-size 1",
    "build other named --unsigned",
    "build k3s foreign --unsigned",
    "build k3s tree --unsigned --id a/b",
    "build k3s sbin --unsigned --strict",
    // Options
    "build k3s tree --unsigned --layers 0",
    "build k3s tree --unsigned --compression brotli",
    "build k3s tree --unsigned --compression lzma",
    "build k3s long --unsigned --format squashfs",
    "build k3s tree --unsigned --scope portable",
    "build k3s.confext.raw tree --unsigned --class sysext",
    // Keys
    "build k3s tree",
    "build k3s tree --private-key absent --certificate vendor.crt",
    "build k3s tree --private-key text.txt --certificate vendor.crt",
    "build k3s tree --private-key crt.key --certificate vendor.crt",
    "build k3s tree --private-key other.key --certificate vendor.crt",
    "build k3s tree --private-key ed25519.key --certificate ed25519.crt",
    "build k3s tree --private-key pkcs11:object=x?pin-source=|x --certificate vendor.crt",
    // Plans
    "plan absent --certificate vendor.crt",
    "plan extra --certificate text.txt",
    "plan extra --certificate vendor.crt --stages oem",
    "plan extra --certificate vendor.crt --host text.txt",
    "plan extra --certificate vendor.crt --host nothing",
];

pub(super) fn errors() -> String {
    let desk = desk();
    let text = LINES.map(|line| desk.run(line)).concat();
    text.replace(Architecture::native().unwrap().systemd_name(), "ARCH")
}

fn desk() -> Desk {
    let desk = Desk::new();
    let directory = |path: &str| std::fs::create_dir_all(desk.path().join(path)).unwrap();
    let link = |target: &str, path: &str| symlink(target, desk.path().join(path)).unwrap();
    desk.file("tree/usr/bin/k3s", b"k3s");
    directory("nothing/srv");
    directory("link");
    link("../tree/usr", "link/usr");
    desk.file("odd/usr/lib/os-release", b"ID=x\n");
    desk.file("odd/usr/bin/k3s", b"k3s");
    desk.file("odd/home/user", b"x");
    desk.file("sbin/usr/sbin/k3s", b"k3s");
    directory("long/usr");
    link(&"x".repeat(256), "long/usr/link");
    desk.file("named/usr/lib/extension-release.d/extension-release.k3s", b"ID=_any\n");
    desk.file("foreign/usr/lib/extension-release.d/extension-release.k3s", b"ID=_any\nARCHITECTURE=alpha\n");
    layouts(&desk);
    let secret = |name: &str, content: &[u8]| {
        desk.file(name, content);
        std::fs::set_permissions(desk.path().join(name), Permissions::from_mode(0o600)).unwrap();
    };
    secret("text.txt", b"no image, no key, no stage\n");
    secret("crt.key", &vendor().pem());
    secret("other.key", &keys::ec("Stranger").key.private_key_to_pem_pkcs8().unwrap());
    let edwards = Recipe::new("Edwards").key(Key::Ed25519).make();
    secret("ed25519.key", &edwards.key.private_key_to_pem_pkcs8().unwrap());
    desk.file("ed25519.crt", &edwards.pem());
    desk.file("extra/k3s.sysext.raw", &image("k3s", &[("usr/bin/k3s", "k3s")], vendor()));
    desk.file("oem/10.yaml", b"stages: {boot: []}\nstages: {}\n");
    desk.file("oem/20.yaml", b"stages: [\n");
    desk
}

/// OCI layouts whose indexes lead to no usable image.
fn layouts(desk: &Desk) {
    let digest = |byte: u8| format!("sha256:{}", format!("{byte:02x}").repeat(32));
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let entry = |digest: &str, size: usize, more: &str| {
        format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}{more}}}"#)
    };
    let layout = |name: &str, entries: &str| {
        desk.file(&format!("{name}/oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
        desk.file(&format!("{name}/index.json"), index.as_bytes());
    };
    let named = |name: &str| format!(r#","annotations":{{"org.opencontainers.image.ref.name":"{name}"}}"#);
    let platform = |arch: &str| format!(r#","platform":{{"os":"linux","architecture":"{arch}"}}"#);
    layout("empty", "");
    layout("several", &[entry(&digest(1), 2, &named("1")), entry(&digest(2), 2, &named("2"))].join(","));
    layout(
        "platforms",
        &[entry(&digest(1), 2, &platform("amd64")), entry(&digest(2), 2, &platform("arm64"))].join(","),
    );
    layout("missing", &entry(&digest(1), 2, ""));
    layout("damaged", &entry(&digest(1), 2, ""));
    desk.file(&format!("damaged/blobs/sha256/{}", "01".repeat(32)), b"{}");
    layout("deep", &entry(&digest(1), 8 << 20, ""));
    desk.file(&format!("deep/blobs/sha256/{}", "01".repeat(32)), b"{}");
}
