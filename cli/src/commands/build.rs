//! `sextant build`

use super::interrupt;
use super::output_options::JsonOptions;
use super::progress::{Steps, Waiting};
use super::signing_options::SigningOptions;
use super::target;
use crate::build::format::{Compression, Format, FormatError, default_threads};
use crate::build::source::{self, LayeredImage, Opened, Reference};
use crate::build::tree::{
    FileTree, Layers, Omission, Owners, ReleaseOptions, Time, apply_for, complete_release, left_behind, read_directory,
    select, shadows,
};
use crate::build::{Recipe, SigningKey, Workshop};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use ddi::ExtensionName;
use ddi::text::Text;
use ddi::{Architecture, Class};
use sextant::extension::find_release;
use sextant::size::parse_size;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

/// Lines about what was left out, before the rest is only counted.
const OMISSIONS_SHOWN: usize = 20;

/// Build an extension from a directory or a container image
// Each flag is an option of its own, in any combination.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Args)]
#[command(after_help = "\
Sources:
  DIR, dir:DIR                 directory with usr/ or opt/ (confext: etc/)
  docker-archive:FILE          archive written by `docker save`
  oci:DIR, oci-archive:FILE    OCI image layout: a directory or an archive
  docker-daemon:REF            image of the local Docker or Podman service;
                               Podman names a local build localhost/NAME
  docker://REF                 image in a registry; authenticate with
                               `skopeo login` or `docker login`
  FILE                         Docker or OCI archive
  REF                          image with tag or digest, same as
                               docker-daemon:REF

Examples:
  sextant build k3s ./tree --private-key db.key --certificate db.crt
        write k3s.sysext.raw from tree/usr and tree/opt
  sextant build k3s_1.30.2 oci-archive:k3s.tar --output dist \\
      --private-key db.key --certificate db.crt
        build from the last layer of an image, made with FROM and COPY
  sextant build k3s docker://registry.example.com/k3s:1.30 \\
      --layers all --arch arm64 --unsigned
        write k3s.sysext.unsigned, and k3s.sysext.roothash for external
        signing (see `sextant sign --help`)

If SOURCE_DATE_EPOCH is set, all later times in the image are set to it. The same source then always gives the same \
bytes; only EC signatures differ, because they are random.

Exit status: 0 built; 1 not built; 2 usage.")]
pub(super) struct Arguments {
    /// Name of the extension, with a version if several are kept side by side (`k3s_1.30.2`), or its file name
    /// (`k3s.sysext.raw`)
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: Name,
    /// Directory or container image with the files
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Write to the directory DIR, or to FILE, which must be named NAME.sysext.raw
    #[arg(short, long, value_name = "DIR|FILE", default_value = ".")]
    output: PathBuf,
    /// Overwrite an existing file that is not an extension image
    #[arg(long)]
    force: bool,
    /// Class: sysext extends /usr and /opt, confext extends /etc [default: from NAME, else sysext]
    #[arg(long, value_name = "CLASS", value_enum)]
    class: Option<ClassArgument>,
    /// Target architecture, as systemd or Go name it [default: that of the source, else of this machine]
    #[arg(long, value_name = "ARCH", value_parser = Architecture::parse_any)]
    arch: Option<Architecture>,
    /// Layers of the image to use: all, last, N or N..M, counted from 1
    #[arg(long, value_name = "LAYERS", value_parser = Layers::parse, default_value = "last")]
    layers: Layers,
    /// File system: squashfs; erofs, which keeps extended attributes, POSIX ACLs and file capabilities (needs mkfs.erofs
    /// 1.8 or later); auto, which is erofs if the source has any of these, else squashfs
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "auto")]
    format: FormatArgument,
    /// Compression, with an optional level (zstd:19). squashfs: zstd, gzip. erofs: none, lz4, lz4hc, lzma (Linux 5.16),
    /// deflate (6.6), zstd (6.10) [default: zstd; erofs: lz4hc]
    #[arg(long, value_name = "COMPRESSION")]
    compression: Option<Compression>,
    /// Fail if files of the source would be left out, including those in earlier layers, or if the extension would hide
    /// directories or links of usual hosts
    #[arg(long)]
    strict: bool,
    /// Preserve file ownership of a directory [default: files that you own become root's]
    #[arg(long)]
    keep_owners: bool,
    /// Maximum total size of the files, in bytes or with K, M, G or T (powers of 1024)
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "8G")]
    max_size: u64,
    /// Registry credentials, as `skopeo login` and `docker login` write them [default: the files of these tools]
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Build unsigned and write the root hash for external signing
    #[arg(long, conflicts_with_all = ["private_key", "certificate"])]
    unsigned: bool,
    #[command(flatten)]
    release: ReleaseArguments,
    #[command(flatten)]
    signing: SigningOptions,
    #[command(flatten)]
    json: JsonOptions,
}

/// Fields of the release file
#[derive(Debug, Args)]
#[command(next_help_heading = "Release file (unless the source contains one)")]
struct ReleaseArguments {
    /// Required `ID` of the host's os-release [default: _any]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Required `VERSION_ID` of the host's os-release
    #[arg(long, value_name = "VERSION", requires = "id")]
    version_id: Option<String>,
    /// Required `SYSEXT_LEVEL` (`CONFEXT_LEVEL`) of the host's os-release
    #[arg(long, value_name = "LEVEL", requires = "id", visible_alias = "confext-level")]
    sysext_level: Option<String>,
    /// Scopes of the extension, comma-separated: system (required), initrd, portable
    #[arg(long, value_name = "SCOPE", value_parser = parse_scope)]
    scope: Option<String>,
    /// Make systemd reload its units after the merge
    #[arg(long)]
    reload_manager: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ClassArgument {
    Sysext,
    Confext,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArgument {
    Auto,
    Squashfs,
    Erofs,
}

/// The name of an extension, and what it extends if it was given with the end of its file.
#[derive(Debug, Clone)]
struct Name(ExtensionName, Option<Class>);

fn parse_name(text: &str) -> Result<Name, String> {
    let (name, class) = match Class::of_file_name(text) {
        Some((class, name)) => (name, Some(class)),
        None => (text.strip_suffix(".raw").unwrap_or(text), None),
    };
    ExtensionName::new(name).map(|name| Name(name, class)).map_err(|error| error.to_string())
}

fn parse_scope(text: &str) -> Result<String, String> {
    let words: Vec<&str> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    if words.iter().any(|word| !["system", "initrd", "portable"].contains(word)) {
        return Err("expected system, initrd or portable".into());
    }
    // What is merged at a boot is a system by then; an extension without that word would always be refused.
    if !words.contains(&"system") {
        return Err("the scope must include system; otherwise every boot rejects the extension".into());
    }
    Ok(words.join(" "))
}

impl Arguments {
    fn name(&self) -> &ExtensionName {
        &self.name.0
    }

    fn class(&self) -> Class {
        let given = self.class.map(|class| match class {
            ClassArgument::Sysext => Class::Sysext,
            ClassArgument::Confext => Class::Confext,
        });
        given.or(self.name.1).unwrap_or(Class::Sysext)
    }

    /// What can be wrong with the format before the source is known.
    fn check_format(&self) -> Result<(), FormatError> {
        match self.format {
            FormatArgument::Auto | FormatArgument::Squashfs => Format::squashfs(self.compression).check(),
            FormatArgument::Erofs => Format::erofs(self.compression).check(),
        }
    }

    /// The format for `tree`, and a remark if the tree decided about it.
    fn format(&self, tree: &FileTree) -> Result<(Format, Option<String>), FormatError> {
        match self.format {
            FormatArgument::Auto => Format::for_tree(tree, self.compression),
            FormatArgument::Squashfs => Ok((Format::squashfs(self.compression), None)),
            FormatArgument::Erofs => Ok((Format::erofs(self.compression), None)),
        }
    }

    fn owners(&self) -> Owners {
        if self.keep_owners {
            return Owners::Kept;
        }
        Owners::Mapped { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() }
    }

    fn release(&self) -> ReleaseOptions {
        let release = &self.release;
        ReleaseOptions {
            id: release.id.clone(),
            version_id: release.version_id.clone(),
            level: release.sysext_level.clone(),
            scope: release.scope.clone(),
            reload_manager: release.reload_manager,
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    // All that can be wrong without looking at the source comes first.
    let key = if arguments.unsigned { None } else { Some(arguments.signing.read()?) };
    arguments.check_format()?;
    let epoch = source_date_epoch()?;
    let class = arguments.class();
    if arguments.name.1.is_some_and(|named| named != class) {
        return Err(super::usage(&format!("NAME has the suffix of another class; --class is {class}")));
    }
    let file_name = target::file_name(arguments.name(), class, !arguments.unsigned);
    let output = target::directory(&arguments.output, &file_name)?;
    target::check_replaced(&output.join(file_name), arguments.force)?;
    if arguments.unsigned {
        target::check_replaced(&output.join(root_hash_name(arguments)), arguments.force)?;
    }

    let Obtained { mut tree, architecture, remark } = obtain(arguments)?;
    let omissions = select(&mut tree, class);
    tell(&omissions, arguments.strict).with_context(|| format!("building {}", arguments.name()))?;
    if tree.entries(tree.root()).next().is_none() {
        let wanted = if class == Class::Sysext { "usr or opt" } else { "etc" };
        bail!("building {}: no {wanted} in {}", arguments.name(), arguments.source);
    }
    let time = epoch.unwrap_or_else(|| Time::from_seconds(tree.latest().seconds.max(0)));
    complete_release(&mut tree, class, arguments.name(), architecture, &arguments.release(), time)
        .with_context(|| format!("building {}", arguments.name()))?;
    if let Some(epoch) = epoch {
        tree.clamp_times(epoch);
    }
    let hidden = about_hosts(arguments, &tree)?;
    let mut made = make(arguments, &output, &tree, time, architecture, key.as_ref())?;
    made.remarks.splice(0..0, remark.into_iter().chain(hidden));
    report(arguments, &made, &omissions, class)?;
    Ok(ExitCode::SUCCESS)
}

/// What a source gives.
struct Obtained {
    tree: FileTree,
    architecture: Architecture,
    /// About layers.
    remark: Option<String>,
}

/// The files, and what machines they are for.
fn obtain(arguments: &Arguments) -> Result<Obtained> {
    let context = || format!("reading {}", arguments.source);
    let reference = Reference::parse(&arguments.source).with_context(context)?;
    let steps = Steps::begin();
    let options = source::Options {
        architecture: arguments.arch,
        max_size: arguments.max_size,
        authfile: arguments.authfile.clone(),
        temporary: std::env::temp_dir(),
        progress: Rc::new(move |label, total, bytes| steps.advance(label, total, bytes)),
    };
    let mut remark = None;
    let (tree, named) = match source::open(&reference, &options).with_context(context)? {
        Opened::Directory(path) => {
            let _waiting = Waiting::begin("reading the directory");
            let tree = read_directory(&path, arguments.owners()).with_context(context)?;
            let (found, limit) = (tree.content_len(), arguments.max_size);
            if found > limit {
                bail!("{}: files have {found} bytes; --max-size is {limit}", context());
            }
            (tree, None)
        }
        Opened::Image(mut image) => {
            let (layers, limit, class) = (&arguments.layers, arguments.max_size, arguments.class());
            let tree = apply_for(image.as_mut(), layers, limit, Some(class)).with_context(context)?;
            remark = about_layers(arguments, image.as_mut()).with_context(context)?;
            let name = image.architecture();
            let named = name.and_then(Architecture::from_go_name);
            if let Some(name) = name.filter(|_| named.is_none() && arguments.arch.is_none()) {
                let name = Text::new(name);
                bail!("reading {}: unknown architecture {name}: use --arch", arguments.source);
            }
            (tree, named)
        }
    };
    match (arguments.arch, named) {
        (Some(wanted), Some(found)) if wanted != found => {
            bail!("reading {}: image is for {found}; --arch is {wanted}", arguments.source)
        }
        (wanted, found) => {
            let architecture = wanted.or(found).or_else(Architecture::native);
            let architecture =
                architecture.context("no partition types are defined for this architecture: use --arch")?;
            Ok(Obtained { tree, architecture, remark })
        }
    }
}

/// Which layers were taken, and what the others have that could have been. With `--strict` the last layer has to be all
/// there is; layers that are named by number may have others beside them.
fn about_layers(arguments: &Arguments, image: &mut dyn LayeredImage) -> Result<Option<String>> {
    let (count, class) = (image.count(), arguments.class());
    let taken = arguments.layers.range(count)?;
    if taken.len() == count {
        return Ok(None);
    }
    let of = match taken.len() {
        0 => return Ok(None),
        1 => format!("using layer {} of {count}", taken.end),
        _ => format!("using layers {} to {} of {count}", taken.start.saturating_add(1), taken.end),
    };
    let is_strict = arguments.strict && arguments.layers == Layers::Last;
    if !is_strict && !image.is_here() {
        return Ok(Some(format!("{of}; the others were not downloaded (--layers all uses them)")));
    }
    let others = match left_behind(image, &taken, class) {
        Ok(others) => others,
        Err(error) if is_strict => return Err(error.into()),
        Err(error) => return Ok(Some(format!("{of}; the others could not be read: {error}"))),
    };
    let with_files: Vec<_> = others.iter().filter(|(_, files)| *files > 0).collect();
    let hierarchies = class.hierarchies().join(" and ");
    if with_files.is_empty() {
        return Ok(Some(format!("{of}; the others have no files in {hierarchies}")));
    }
    let each = with_files.iter().map(|(number, files)| format!("layer {number} with {files}"));
    let each = each.collect::<Vec<_>>().join(", ");
    if is_strict {
        bail!(
            "{of} leaves out files in {hierarchies}: {each}; --strict does not allow this: use --layers all, or --layers \
             {count} for this layer only"
        );
    }
    Ok(Some(format!("{of}; left out files in {hierarchies}: {each} (--layers all uses them)")))
}

/// What the extension would hide of usual hosts, which `--strict` forbids.
fn about_hosts(arguments: &Arguments, tree: &FileTree) -> Result<Vec<String>> {
    let class = arguments.class();
    // It has been judged; whatever it doesn't say is `_any`, for which all hosts count.
    let release = find_release(tree, class, arguments.name()).ok();
    let id = release.as_ref().and_then(|release| release.file.get_non_empty("ID")).unwrap_or("_any");
    let shadows = shadows(tree, class, id);
    match shadows.first() {
        Some(first) if arguments.strict => {
            let advice = "--strict forbids that; without it, `sextant plan --host ROOT` compares with a real host";
            bail!("building {}: {first}; {advice}", arguments.name())
        }
        _ => Ok(shadows.iter().map(ToString::to_string).collect()),
    }
}

/// What came of it.
struct Made {
    path: PathBuf,
    root_hash: String,
    root_hash_path: Option<PathBuf>,
    size: u64,
    format: String,
    remarks: Vec<String>,
}

/// The file with the root hash of an unsigned image.
fn root_hash_name(arguments: &Arguments) -> String {
    format!("{}.{}.roothash", arguments.name(), arguments.class())
}

fn make(
    arguments: &Arguments,
    output: &Path,
    tree: &FileTree,
    time: Time,
    architecture: Architecture,
    key: Option<&SigningKey>,
) -> Result<Made> {
    let (class, name) = (arguments.class(), arguments.name());
    let context = || format!("building {name}");
    let (format, remark) = arguments.format(tree).with_context(context)?;
    let workshop = Workshop::open(output)?;
    interrupt::clean_up(workshop.directory().to_owned()).context("listening for signals")?;
    let threads = default_threads();
    let recipe = Recipe { tree, format, time, class, name, architecture, key, threads };
    let steps = Arc::new(Steps::begin());
    let file_name = target::file_name(name, class, key.is_some());
    let made = recipe.make(&workshop, &file_name, &steps.watch()).with_context(context)?;
    steps.end();
    let (path, root_hash, mut remarks) = (made.path, made.root_hash, made.remarks);
    remarks.splice(0..0, remark);
    let root_hash_path = match key {
        Some(_) => None,
        // Exactly the bytes that are signed: no newline.
        None => Some(workshop.note(&root_hash_name(arguments), root_hash.as_bytes())?),
    };
    let size = path.metadata().with_context(context)?.len();
    Ok(Made { path, root_hash, root_hash_path, size, format: format.to_string(), remarks })
}

fn tell(omissions: &[Omission], strict: bool) -> Result<()> {
    for omission in omissions.iter().take(OMISSIONS_SHOWN) {
        super::warn(format_args!("{omission}"));
    }
    if omissions.len() > OMISSIONS_SHOWN {
        super::warn(format_args!("left out {} more", omissions.len() - OMISSIONS_SHOWN));
    }
    if strict && !omissions.is_empty() {
        let (count, s) = (omissions.len(), if omissions.len() == 1 { "" } else { "s" });
        bail!("{count} file{s} would be left out, which --strict does not allow");
    }
    Ok(())
}

fn report(arguments: &Arguments, made: &Made, omissions: &[Omission], class: Class) -> Result<()> {
    for remark in &made.remarks {
        super::warn(format_args!("{remark}"));
    }
    let document = || {
        Ok(serde_json::json!({
            "version": 1,
            "file": made.path.display().to_string(),
            "name": arguments.name().as_str(),
            "class": class,
            "size": made.size,
            "format": made.format,
            "root_hash": made.root_hash,
            "root_hash_file": made.root_hash_path.as_ref().map(|path| path.display().to_string()),
            "signed": !arguments.unsigned,
            "left_out": omissions.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "remarks": made.remarks,
        }))
    };
    let text = || {
        let (image, size) = (made.path.display(), super::size(made.size));
        let mut text = format!("{image}  {size}  root hash {}\n", made.root_hash);
        if let Some(path) = &made.root_hash_path {
            let path = path.display();
            let next = format!("sextant sign {image} --signature FILE --certificate CERT");
            text = format!("{text}{path}  sign this file, then run: {next}\n");
        }
        Ok(text)
    };
    arguments.json.show(document, text)
}

/// The latest time that may be in the image (reproducible-builds.org, "`SOURCE_DATE_EPOCH` specification").
fn source_date_epoch() -> Result<Option<Time>> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|value| !value.is_empty()) else { return Ok(None) };
    let seconds = value.to_str().and_then(|text| text.parse::<u32>().ok());
    let seconds = seconds
        .with_context(|| format!("SOURCE_DATE_EPOCH={} is not a number of seconds since 1970", value.display()))?;
    Ok(Some(Time::from_seconds(i64::from(seconds))))
}
