//! `sextant plan`

use super::images;
use super::machine::{Machine, class_of};
use super::output_options::OutputOptions;
use super::progress::Waiting;
use super::trust_options::TrustOptions;
use crate::esp::GLOBAL;
use crate::inspect::Inspection;
use crate::plan::host::{self, Comparison};
use crate::plan::page::Page;
use crate::plan::{Extension, LeftOut, Plan, StageFile, Unreadable, merge_order, parse, paths, text};
use crate::system::{Directory, System};
use anyhow::{Context, Result, bail};
use clap::Args;
use ddi::Architecture;
use ddi::ExtensionName;
use ddi::filesystem::Filesystem;
use ddi::io::FileSource;
use ddi::text::{Message, Text};
use sextant::durable;
use sextant::policy::{self, Hierarchies, HierarchyList, Policy};
use sextant::reason::Reason;
use sextant::report::Word;
use sextant::verify::extension_name;
use sextant::verify::judge_unverified;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Largest file of a stage in bytes.
const MAX_STAGE_FILE: u64 = 1 << 20;
/// Most files of stages.
const MAX_STAGE_FILES: usize = 4096;
/// Most directories of stages within each other.
const MAX_STAGE_DEPTH: usize = 32;

/// Preview the merge of a set of extensions
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sextant plan k3s.sysext.raw tailscale.sysext.raw
        show merge order, overrides and directories that become read-only
  sextant plan /efi/EFI/kairos/active.efi.extra.d \\
      --stages /system/oem --stages /oem
        plan the extensions of a boot entry, and check the yip stages
  sextant plan --config sextant.yaml *.raw
        plan for a machine whose initrd seals this configuration
  sextant plan --hierarchies /usr/local/bin:/usr/local/lib --json *.raw
        plan for a machine that limits the hierarchies, in a script
  sextant plan --host / k3s.sysext.raw
        show the files and links of this machine that k3s would hide
  sextant plan --host /efi/EFI/kairos/active.efi \\
      /efi/EFI/kairos/active.efi.extra.d
        compare with a Kairos machine, whose UKI holds the whole root
  sextant plan --html plan.html --host / --stages /oem *.raw
        write a page for a browser, with search, in addition to the text

A step of a stage is reported if it writes to a directory that an extension makes read-only, writes a file that an \
extension overrides, or uses a program or unit of an extension before the merge. Commands are parsed, not run: paths \
that are built from variables are not detected. See docs/plan.md.

With trust options, or on a machine with Secure Boot, images that a boot would reject are left out of the plan.

Exit status: 0 no findings; 1 findings, or an error occurred; 2 usage.")]
pub(super) struct Arguments {
    /// Images, or directories of images
    #[arg(required = true, value_name = "IMAGE|DIR")]
    images: Vec<PathBuf>,
    /// Check the steps of the *.yaml and *.yml files in DIR, as yip reads them; repeatable
    #[arg(long, value_name = "DIR")]
    stages: Vec<PathBuf>,
    /// Compare with the host in ROOT, and list its files that extensions hide: a root directory, or a UKI or initrd that
    /// holds the whole root, as on Kairos machines
    #[arg(long, value_name = "ROOT")]
    host: Option<PathBuf>,
    /// Apply `merge`, and the keys that `verify` applies, of the configuration FILE (format: sextant.yaml(5)); can be repeated, and later files apply over earlier ones [default: built-in values]
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Hierarchies of sysexts, as in `$SYSTEMD_SYSEXT_HIERARCHIES` [default: from the configuration, else `/usr:/opt`]
    #[arg(long, value_name = "PATHS")]
    hierarchies: Option<HierarchyList>,
    /// Architecture of the machine, as systemd names it [default: that of each image]
    #[arg(long, value_name = "ARCH", value_parser = Architecture::parse)]
    arch: Option<Architecture>,
    /// Write the plan to FILE as well, as one HTML page that needs no network; `-`: to standard output, instead of the text
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustOptions,
    #[command(flatten)]
    output: OutputOptions,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let is_page_only = arguments.html.as_deref() == Some(Path::new("-"));
    if is_page_only && arguments.output.is_json() {
        return Err(super::usage("--html - and --json cannot be used together: both are written to standard output"));
    }
    let policy = policy::load_files(&arguments.config)?;
    let mut hierarchies = policy.hierarchies.clone();
    if let Some(list) = &arguments.hierarchies {
        hierarchies.sysext = Some(list.clone());
    }
    let mut extensions: Vec<Extension> = Vec::new();
    let mut left_out = Vec::new();
    let mut judge = judge(arguments, &policy)?;
    for path in images::find(&arguments.images)? {
        let shown = Text::from_os(path.as_os_str());
        match read(arguments, &policy, judge.as_mut().ok(), &path) {
            Ok(Ok(extension)) => {
                if extensions.iter().any(|it| it.name == extension.name && it.class == extension.class) {
                    let detail =
                        Message::new(format_args!("the plan already contains an extension named {}", extension.name));
                    left_out.push(LeftOut { file: shown, reason: Some(Reason::DuplicateName.into()), detail });
                } else {
                    extensions.push(extension);
                }
            }
            Ok(Err((reason, detail))) => left_out.push(LeftOut { file: shown, reason: Some(reason), detail }),
            Err(error) => {
                let detail = Message::new(format_args!("{error:#}"));
                left_out.push(LeftOut { file: shown, reason: None, detail });
            }
        }
    }
    let (files, unreadable) = stages(&arguments.stages)?;
    let mut plan = Plan::of(&extensions, &hierarchies, &files);
    plan.left_out = left_out;
    plan.unreadable = unreadable;
    if let Some(root) = &arguments.host {
        plan.host = Some(compare(root, &extensions, &hierarchies)?);
    }
    if let Some(file) = &arguments.html {
        let paths = paths(&merge_order(&extensions), &hierarchies);
        let page = Page { plan: &plan, paths: &paths, stages: &files, not_verified: judge.as_ref().err() }.render();
        if is_page_only {
            super::output::print(&page)?;
        } else {
            durable::write(file, page.as_bytes(), 0o644).with_context(|| format!("writing {}", file.display()))?;
        }
    }
    let document = || {
        let mut value = serde_json::to_value(&plan)?;
        value["verified"] = judge.is_ok().into();
        value["not_verified"] = serde_json::to_value(judge.as_ref().err())?;
        Ok(value)
    };
    if !is_page_only {
        arguments.output.show(document, || Ok(text(&plan, super::style())))?;
    }
    for path in &arguments.images {
        if let Some(line) = of_all_entries(path, &arguments.images) {
            super::warn(line);
        }
    }
    if let Err(cause) = &judge {
        super::warn(format_args!("images were not verified: {cause}"));
    }
    Ok(if plan.is_calm() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Compares the extensions with the host at `root`.
fn compare(root: &Path, extensions: &[Extension], hierarchies: &Hierarchies) -> Result<Comparison> {
    let context = || format!("reading host {}", root.display());
    let host: Box<dyn System> = if root.is_dir() {
        let directory = Directory::open(root).with_context(context)?;
        if directory.entry(b"usr").with_context(context)?.is_none() {
            bail!("{}: directory has no usr, so it is no root of a host", context());
        }
        Box::new(directory)
    } else {
        let _waiting = Waiting::begin("reading the initrd of the host");
        let source = File::open(root).and_then(FileSource::new).with_context(context)?;
        Box::new(host::read_root(&source).with_context(context)?)
    };
    if let Some(hierarchy) = host::is_merged(hierarchies, host.as_ref()).with_context(context)? {
        super::warn(format_args!(
            "extensions are merged into {hierarchy} of {} at present: what they hide already can't be compared",
            root.display()
        ));
    }
    let ordered = merge_order(extensions);
    host::compare(&ordered, hierarchies, host.as_ref(), Text::from_os(root.as_os_str())).with_context(context)
}

/// What a boot takes besides the directory of an entry: that for all entries of the same partition, since systemd 258
/// (systemd-stub(7)). `None` where it is empty or among `named`, or `path` is no such directory.
fn of_all_entries(path: &Path, named: &[PathBuf]) -> Option<Message> {
    let path = path.canonicalize().ok()?;
    let is_extra = path.file_name()?.to_str()?.to_ascii_lowercase().ends_with(".efi.extra.d");
    let is_partition = |above: &&Path| above.join("EFI").is_dir();
    let partition = path.ancestors().skip(1).find(is_partition).filter(|_| is_extra)?;
    let directory = partition.join(GLOBAL.trim_start_matches('/'));
    let found = images::find(std::slice::from_ref(&directory)).ok().filter(|_| directory.is_dir())?;
    let is_file = |path: &&PathBuf| path.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
    let count = found.iter().filter(is_file).count();
    let shown = Text::from_os(directory.as_os_str());
    let is_named = named.iter().any(|path| path.canonicalize().is_ok_and(|path| path == directory));
    (count > 0 && !is_named).then(|| {
        Message::new(format_args!(
            "systemd-stub 258 and later also loads the extensions in {shown} ({count}) for all boot entries: add this directory to plan with them"
        ))
    })
}

/// Why a boot would not take an image: token and sentence.
type Refused = (Word<Reason>, Message);

/// Reads the trust anchors, once for all images. What keeps them from being read is fatal if they were named; otherwise
/// it is why images can't be verified.
fn judge(arguments: &Arguments, policy: &Policy) -> Result<Result<Machine, Message>> {
    // Each image says itself what it is for, unless it has to be for one architecture.
    let Some(architecture) = arguments.arch.or_else(Architecture::native) else {
        return Ok(Err("no partition types are defined for this architecture: use --arch".into()));
    };
    match Machine::with_policy(&arguments.trust, policy.clone(), architecture) {
        Ok(machine) => Ok(Ok(machine)),
        Err(error) if arguments.trust.is_given() => Err(error),
        Err(error) => Ok(Err(Message::new(format_args!("{error:#}")))),
    }
}

/// Reads an image, if a boot would take it.
fn read(
    arguments: &Arguments,
    policy: &Policy,
    machine: Option<&mut Machine>,
    path: &Path,
) -> Result<Result<Extension, Refused>> {
    let class = class_of(path);
    let source = FileSource::new(File::open(path)?)?;
    let name: ExtensionName = match extension_name(path.file_name().unwrap_or_default(), class) {
        Ok(name) => name,
        Err(refusal) => return Ok(Err((refusal.reason().into(), refusal.message().clone()))),
    };
    let architecture = arguments.arch.or(Inspection::architecture(&source)).or_else(Architecture::native);
    let architecture = architecture.context("no partition types are defined for this architecture: use --arch")?;
    let is_verified = machine.is_some();
    if let Some(machine) = machine {
        machine.set_architecture(architecture);
        let image = machine.verify(path);
        if let Some(reason) = image.reason {
            return Ok(Err((reason, image.detail.unwrap_or_default())));
        }
    }
    let data = Inspection::filesystem_of(&source)?;
    let filesystem = Filesystem::open(&data)?;
    // Without trust anchors nothing is known of its signature, but what is in it can be judged.
    if !is_verified && let Err(refusal) = judge_unverified(policy, architecture, &filesystem, &name, class) {
        return Ok(Err((refusal.reason().into(), refusal.message().clone())));
    }
    let nodes = filesystem.walk()?;
    Ok(Ok(Extension { name: name.as_str().to_owned(), class, nodes }))
}

/// Reads the files of all stages, in the order in which yip would.
fn stages(directories: &[PathBuf]) -> Result<(Vec<StageFile>, Vec<Unreadable>)> {
    let (mut files, mut unreadable) = (Vec::new(), Vec::new());
    for directory in directories {
        let mut paths = Vec::new();
        find_stage_files(directory, 0, &mut paths)?;
        for path in paths {
            let shown = Text::from_os(path.as_os_str());
            match read_stage_file(&path).and_then(|content| Ok(parse(&shown, &content)?)) {
                Ok(file) => {
                    if let Some(cause) = file.refused {
                        let advice = "yip rejects this file, and with it all files of its directory";
                        let cause = Message::new(format_args!("{advice}: {cause}"));
                        unreadable.push(Unreadable { file: shown, cause });
                    }
                    files.push(file);
                }
                Err(error) => {
                    let cause = Message::new(format_args!("{error:#}"));
                    unreadable.push(Unreadable { file: shown, cause });
                }
            }
        }
    }
    Ok((files, unreadable))
}

/// Goes through directories in the order of names, as Go's `filepath.Walk` does. Links are not followed.
fn find_stage_files(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let context = || format!("listing {}", directory.display());
    if depth > MAX_STAGE_DEPTH {
        bail!("listing {}: directories are nested more than {MAX_STAGE_DEPTH} deep", directory.display());
    }
    let mut entries = Vec::new();
    for entry in directory.read_dir().with_context(context)? {
        entries.push(entry.with_context(context)?);
    }
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().with_context(context)?.is_dir() {
            find_stage_files(&path, depth + 1, found)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            if found.len() >= MAX_STAGE_FILES {
                bail!("listing {}: more than {MAX_STAGE_FILES} stage files", directory.display());
            }
            found.push(path);
        }
    }
    Ok(())
}

fn read_stage_file(path: &Path) -> Result<String> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        bail!("not a regular file");
    }
    let mut text = String::new();
    file.take(MAX_STAGE_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_STAGE_FILE {
        bail!("more than {MAX_STAGE_FILE} bytes");
    }
    Ok(text)
}
