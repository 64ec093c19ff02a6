//! The UKI: a whole root file system with immucore as its `/init`.

use crate::cpio::Archive;
use crate::guest::Guest;
use crate::platform::PC;
use crate::toolbox::{Tree, cached, contents, repository, succeed, work};
use crate::uki::{self, Signed};
use crate::{initrd, keys};
use std::fs;
use std::path::{Path, PathBuf};
use support::toolbox::immucore_path;

/// What `AuroraBoot` puts there (`pkg/constants/constants.go`), with the serial console last.
const COMMAND_LINE: &str = "console=tty1 console=ttyS0 net.ifnames=1 rd.immucore.oemlabel=COS_OEM rd.immucore.oemtimeout=2 \
    rd.immucore.uki selinux=0 rd.shell=0 systemd.crash_reboot=yes";
/// A boot that breaks ends by itself and without delay; nothing is done that only takes time under emulation.
const EMULATED: &str = "rd.immucore.debug quiet loglevel=4 systemd.show_status=no oops=panic panic=-1 mitigations=off audit=0 \
    lsm=capability systemd.default_device_timeout_sec=60 random.trust_cpu=on tsc=reliable fsck.mode=skip";

/// The root file system without anything of sextant's, made once for all machines of `guest`.
///
/// # Errors
/// What the tools said.
fn root(guest: Guest) -> Result<PathBuf, String> {
    let output = work().join(format!("kairos-{}.cpio.zst", guest.name()));
    let scripts = ["make-kairos", "quick"].map(|name| repository().join("qemu/guest").join(name));
    let includes = ["host", "kairos"].map(|name| repository().join("qemu/guest").join(name));
    let immucore = immucore_path();
    let mut inputs = vec![guest.tree().stamp(), fs::read(immucore.with_file_name(".stamp")).unwrap()];
    inputs.extend(scripts.iter().map(|script| fs::read(script).unwrap()));
    inputs.extend(includes.iter().flat_map(|include| contents(include)));
    cached(&output, &inputs, || {
        // A tree sees the repository, but not where immucore lies.
        let copy = work().join("immucore");
        fs::copy(&immucore, &copy).map_err(|error| format!("copying {}: {error}", immucore.display()))?;
        let mut command = guest.tree().command(&scripts[0]);
        let plain = work().join(format!("kairos-{}.cpio", guest.name()));
        succeed(command.arg(&copy).arg(&plain).args(&includes))?;
        // Only the toolbox has it.
        let mut compress = Tree::Trixie.command("zstd");
        compress.args(["--quiet", "-10", "--threads=2", "--force", "--rm", "-o"]);
        succeed(compress.arg(&output).arg(&plain)).map(drop)
    })
}

/// Makes the UKI with `image` laid over the root file system, and the boot loader, in `directory`.
///
/// # Errors
/// What the tools said.
pub fn make(guest: Guest, image: &Archive, words: &str, directory: &Path) -> Result<Signed, String> {
    let (root, over) = (root(guest)?, directory.join("image.cpio"));
    fs::write(&over, image.encode()).unwrap();
    let command_line = format!("{COMMAND_LINE} {EMULATED} {words}");
    let parts = uki::Parts { guest, initrds: &[&root, &over], command_line: &command_line };
    uki::build(&parts, keys::db(), directory)
}

/// What `make install` leaves for an image of Kairos, and the vendor's certificate, sealed.
///
/// # Errors
/// If the agent can't be had.
pub fn sextant() -> Result<Archive, String> {
    let tree = initrd::layer(&PC)?.join("usr/lib/sextant/kairos");
    Ok(Archive::new().directory(&tree).file("etc/verity.d/vendor.crt", keys::vendor().pem()))
}

/// The file that has yip call the agent.
pub const STAGES: &str = "system/oem/zz-sextant.yaml";

/// The same image with marks (`qemu/guest/kairos/usr/lib/witness/mark`) `before-VERB` and `after-VERB` of each call of the
/// agent; or an image without the agent, with the same marks.
///
/// # Errors
/// If the agent can't be had.
pub fn marked(with_agent: bool) -> Result<Archive, String> {
    let path = repository().join("systemd-units/kairos/zz-sextant.yaml");
    let text = fs::read_to_string(&path).map_err(|error| format!("reading {}: {error}", path.display()))?;
    let mut marked = String::new();
    for line in text.lines() {
        let call = line.split_once("- /usr/lib/sextant/sextant-agent ");
        let mark = |when: &str| match call {
            Some((indent, verb)) => format!("{indent}- /usr/lib/witness/mark {when}-{verb}\n"),
            None => String::new(),
        };
        marked.push_str(&mark("before"));
        if with_agent || call.is_none() {
            marked.push_str(line);
            marked.push('\n');
        }
        marked.push_str(&mark("after"));
    }
    let image = if with_agent { sextant()? } else { Archive::new() };
    Ok(image.file(STAGES, marked))
}
