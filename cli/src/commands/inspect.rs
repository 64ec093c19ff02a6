//! `sextant inspect`

use super::inspect_system::{self, Found};
use super::machine::Machine;
use super::output_options::OutputOptions;
use super::progress::Waiting;
use super::trust_options::RootedTrustOptions;
use crate::inspect::{Inspection, list, text};
use anyhow::{Context, Result};
use clap::Args;
use ddi::ExtensionName;
use ddi::io::FileSource;
use ddi::text::{Message, Text};
use ddi::verity::default_threads;
use ddi::{Architecture, Class};
use sextant::report::{Image, evidence};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Describe an image, or check a UKI or an initrd
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant inspect k3s.sysext.raw
        show partitions, root hash, signer, release file and verdict
  sextant inspect --list k3s.sysext.raw
        list the files as well
  sextant inspect --certificate db.crt --json k3s.sysext.raw \\
      | jq .verity.root_hash
        read the root hash in a script
  sextant inspect /efi/EFI/kairos/active.efi
        check whether a boot of this UKI verifies and merges extensions
  sextant inspect -v initrd.img
        show the checks that passed as well
  sextant inspect --json initrd.img | jq '.checks[] | select(.effect)'
        list the problems of an initrd in a script

A UKI, an initrd and the root directory of one are checked: whether the agent, its units or stage files, kernel modules, \
configuration and certificates are there and as they have to be, and what a boot would do about each problem. Nothing in \
them is run.

Needs no root privileges and no mount. Without trust anchors, everything but the verdict is shown. Who signed a \
UKI is not judged: use sbverify(1).

Exit status: 0 image intact and accepted, or UKI or initrd ready; 1 damaged, rejected, not ready or of unknown format, or an \
error occurred; 2 usage.")]
pub(super) struct Arguments {
    /// Image (signed or not), bare file system (squashfs or erofs), UKI, initrd, or root directory of an initrd
    #[arg(value_name = "FILE|DIR")]
    image: PathBuf,
    /// List the files of the image
    #[arg(long)]
    list: bool,
    /// Show the evidence behind the verdict on an image; of a UKI or an initrd, all checks, also those that passed
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,
    #[command(flatten)]
    trust: RootedTrustOptions,
    #[command(flatten)]
    output: OutputOptions,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let path = &arguments.image;
    let context = || format!("inspecting {}", path.display());
    let name = name(path);
    if path.is_dir() {
        return inspect_system(arguments, &inspect_system::directory(path)?);
    }
    let source = FileSource::new(File::open(path).with_context(context)?).with_context(context)?;
    // A file that is named as an image is one, whatever it begins with.
    let source = match if name.is_none() { inspect_system::detect(path, source)? } else { Err(source) } {
        Ok(system) => return inspect_system(arguments, &system),
        Err(source) => source,
    };
    let waiting = Waiting::begin("computing the hash tree");
    let found = Inspection::read(&source, name.as_ref().map(|(name, class)| (name, *class)), default_threads());
    drop(waiting);
    let verdict = judge(arguments, &found)?;
    let files = if arguments.list { Some(found.files(&source).with_context(context)?) } else { None };
    let file = Text::from_os(path.as_os_str());
    let document = || {
        let mut value = serde_json::to_value(&found)?;
        value["file"] = file.as_str().into();
        value["name"] = name.as_ref().map(|(name, _)| name.as_str()).into();
        value["class"] = name.as_ref().map(|(_, class)| class.as_str()).into();
        value["files"] = serde_json::to_value(&files)?;
        value["verdict"] = serde_json::to_value(verdict.as_ref().ok())?;
        value["no_verdict"] = serde_json::to_value(verdict.as_ref().err())?;
        Ok(value)
    };
    let shown = || {
        let what = match &name {
            Some((name, class)) => Text::new(format_args!("{name}, a {class}")),
            None => "unknown: the file name is neither NAME.sysext.raw nor NAME.confext.raw".into(),
        };
        let mut shown = text(&found, &file, &what, verdict.as_ref(), &super::size, super::style());
        if let Some(image) = verdict.as_ref().ok().filter(|_| arguments.verbose) {
            shown.push_str("\nEvidence\n");
            shown.extend(evidence(image).iter().map(|line| format!("  {line}\n")));
        }
        if let Some(files) = &files {
            shown.push('\n');
            shown.push_str(&list(files));
        }
        Ok(shown)
    };
    arguments.output.show(document, shown)?;
    let whole = found.problems.is_empty() && found.verity.as_ref().is_none_or(|verity| verity.intact);
    let good = whole && verdict.as_ref().map_or(true, Image::is_good);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a boot would say, or why that can't be told.
fn judge(arguments: &Arguments, found: &Inspection) -> Result<Result<Image, Message>> {
    if arguments.image.extension().is_some_and(|extension| extension == "unsigned") && found.signature.is_none() {
        return Ok(Err("image is not signed (use `sextant sign`)".into()));
    }
    let Some(architecture) = found.architecture.or_else(Architecture::native) else {
        return Ok(Err("no partition types are defined for this architecture".into()));
    };
    match Machine::read(&arguments.trust, &[], architecture) {
        Ok(machine) => Ok(Ok(machine.verify(&arguments.image))),
        // Without anybody to ask all the rest is still worth showing.
        Err(error) if !arguments.trust.is_given() => Ok(Err(Message::new(format_args!("{error:#}")))),
        Err(error) => Err(error),
    }
}

fn inspect_system(arguments: &Arguments, found: &Found) -> Result<ExitCode> {
    if arguments.list || arguments.trust.is_given() {
        return Err(super::usage("--list and trust options are for images; this is a UKI, an initrd or a directory"));
    }
    inspect_system::run(&arguments.image, found, arguments.verbose, &arguments.output)
}

/// What the file name says, with or without a signature.
fn name(path: &Path) -> Option<(ExtensionName, Class)> {
    let file = path.file_name()?.to_str()?;
    let (class, stem) = Class::of_file_name(file).or_else(|| Class::of_unsigned_file_name(file))?;
    Some((ExtensionName::new(stem).ok()?, class))
}
