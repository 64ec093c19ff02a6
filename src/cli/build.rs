//! `sextant build`

use super::interrupt;
use super::progress::{Progress, Waiting};
use super::signing_options::SigningOptions;
use crate::build::format::{Algorithm, Compression, Format};
use crate::build::source::{self, Opened, Reference};
use crate::build::tree::{
    FileTree, Layers, Omission, Owners, ReleaseOptions, Time, apply, complete_release, read_directory, select,
};
use crate::build::{DdiBuilder, SigningKey, Workshop, derive_uuid};
use crate::extension::ExtensionName;
use crate::image::{Architecture, Class};
use crate::io::FileSource;
use crate::size::parse_size;
use crate::text::Text;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use std::cell::RefCell;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

/// Lines about what was left out, before the rest is only counted.
const OMISSIONS_SHOWN: usize = 20;

/// Make an extension out of a directory or a container image
// Each flag is an option of its own, in any combination.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Args)]
#[command(after_help = "\
SOURCE is one of
  DIR, dir:DIR                  a directory with usr/ or opt/ in it (for a confext: etc/)
  docker-archive:FILE           what `docker save` writes
  oci:DIR, oci-archive:FILE     an OCI layout, as a directory or an archive of one
  docker-daemon:REF             an image of the Docker or Podman service on this machine; what `podman build -t k3s`
                                makes is called localhost/k3s
  docker://REF                  an image in a registry; log in with `skopeo login` or `docker login`
  REF                           the service is asked first, then the registry

Examples:
  sextant build k3s ./tree --private-key db.key --certificate db.crt
        k3s.sysext.raw out of tree/usr and tree/opt
  sextant build k3s_1.30.2 oci-archive:k3s.tar --private-key db.key --certificate db.crt --output dist
        out of the last layer of an image, for which FROM and COPY are all it takes
  sextant build k3s docker://registry.example.com/k3s:1.30 --layers all --arch arm64 --unsigned
        without the key at hand: k3s.sysext.unsigned, and k3s.sysext.roothash to be signed elsewhere; then
        sextant sign k3s.sysext.unsigned --signature k3s.sysext.roothash.p7s --certificate db.crt

If SOURCE_DATE_EPOCH is set, no time in the image is later. The same source then gives the same bytes, whoever
builds it and where (but for an EC key's signature, which is random each time).

Exit status: 0 built; 1 it could not be; 2 usage.")]
pub(super) struct Arguments {
    /// Name of the extension, with a version if there are to be several, as in `k3s_1.30.2`
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: ExtensionName,
    /// Where its files come from
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Write into DIR
    #[arg(long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// What it extends: /usr and /opt, or /etc
    #[arg(long, value_name = "CLASS", value_enum, default_value = "sysext")]
    class: ClassArgument,
    /// Architecture of the machines, as systemd or Go name it [default: the source's, else this machine's]
    #[arg(long, value_name = "ARCH", value_parser = Architecture::parse_any)]
    arch: Option<Architecture>,
    /// Layers of the image to take: all, last, N or N..M, counted from 1
    #[arg(long, value_name = "LAYERS", value_parser = Layers::parse, default_value = "last")]
    layers: Layers,
    /// File system: squashfs needs no program, erofs needs mkfs.erofs 1.8 or newer
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "squashfs")]
    format: FormatArgument,
    /// How it is compressed, with a level if wanted: zstd:19, gzip:9; for erofs also none, lz4, lz4hc, and for kernels
    /// that can read them lzma (Linux 5.16), deflate (6.6), zstd (6.10) [default: zstd; for erofs lz4hc]
    #[arg(long, value_name = "COMPRESSION")]
    compression: Option<Compression>,
    /// Fail if anything of the source would be left out
    #[arg(long)]
    strict: bool,
    /// Keep owners of a directory as they are; else what is yours becomes root's
    #[arg(long)]
    keep_owners: bool,
    /// Maximum total size of the files, in bytes or with K, M, G or T (KiB, MiB, GiB, TiB)
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "8G")]
    max_size: u64,
    /// Credentials for registries, as `skopeo login` and `docker login` write them [default: where those tools keep them]
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// Leave the signature out, and write the root hash for somebody else to sign
    #[arg(long, conflicts_with_all = ["private_key", "certificate"])]
    unsigned: bool,
    /// Print for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    release: ReleaseArguments,
    #[command(flatten)]
    signing: SigningOptions,
}

/// What the extension says of itself
#[derive(Debug, Args)]
#[command(next_help_heading = "Release file (unless the source brings one)")]
struct ReleaseArguments {
    /// `ID` that the host's os-release must have [default: _any]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// `VERSION_ID` that the host's os-release must have
    #[arg(long, value_name = "VERSION", requires = "id")]
    version_id: Option<String>,
    /// `SYSEXT_LEVEL` (`CONFEXT_LEVEL`) that the host's os-release must have
    #[arg(long, value_name = "LEVEL", requires = "id", visible_alias = "confext-level")]
    sysext_level: Option<String>,
    /// Where it may be used: words out of system, initrd, portable. A boot wants system among them
    #[arg(long, value_name = "SCOPE", value_parser = parse_scope)]
    scope: Option<String>,
    /// Have systemd reload its units when it is merged
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
    Squashfs,
    Erofs,
}

fn parse_name(text: &str) -> Result<ExtensionName, String> {
    ExtensionName::new(text).map_err(|error| error.to_string())
}

fn parse_scope(text: &str) -> Result<String, String> {
    let words: Vec<&str> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    if words.iter().any(|word| !["system", "initrd", "portable"].contains(word)) {
        return Err("the words are system, initrd and portable".into());
    }
    // What is merged at a boot is a system by then; an extension without that word would always be refused.
    if !words.contains(&"system") {
        return Err("without the word system every boot would refuse it".into());
    }
    Ok(words.join(" "))
}

impl Arguments {
    fn class(&self) -> Class {
        match self.class {
            ClassArgument::Sysext => Class::Sysext,
            ClassArgument::Confext => Class::Confext,
        }
    }

    fn format(&self) -> Format {
        let compression = self.compression.unwrap_or(self.usual_compression());
        match self.format {
            FormatArgument::Squashfs => Format::Squashfs(compression),
            FormatArgument::Erofs => Format::Erofs(compression),
        }
    }

    /// What all kernels can read that are in use: of those that know erofs, many know no other algorithm.
    fn usual_compression(&self) -> Compression {
        Compression::of(match self.format {
            FormatArgument::Squashfs => Algorithm::Zstd,
            FormatArgument::Erofs => Algorithm::Lz4hc,
        })
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
    arguments.format().check()?;
    let epoch = source_date_epoch()?;
    let class = arguments.class();

    let (mut tree, architecture) = obtain(arguments)?;
    let omissions = select(&mut tree, class);
    tell(&omissions, arguments.strict).with_context(|| format!("building {}", arguments.name))?;
    if tree.entries(tree.root()).next().is_none() {
        let wanted = if class == Class::Sysext { "usr or opt" } else { "etc" };
        bail!(
            "building {}: there is no {wanted} in {}, so there is nothing to extend",
            arguments.name,
            arguments.source
        );
    }
    let time = epoch.unwrap_or_else(|| Time::from_seconds(tree.latest().seconds.max(0)));
    complete_release(&mut tree, class, &arguments.name, architecture, &arguments.release(), time)
        .with_context(|| format!("building {}", arguments.name))?;
    if let Some(epoch) = epoch {
        tree.clamp_times(epoch);
    }
    let made = make(arguments, &tree, time, architecture, key.as_ref())?;
    report(arguments, &made, &omissions, class)?;
    Ok(ExitCode::SUCCESS)
}

/// The files, and what machines they are for.
fn obtain(arguments: &Arguments) -> Result<(FileTree, Architecture)> {
    let context = || format!("reading {}", arguments.source);
    let reference = Reference::parse(&arguments.source).with_context(context)?;
    let bar: RefCell<Option<Progress>> = RefCell::new(None);
    let options = source::Options {
        architecture: arguments.arch,
        max_size: arguments.max_size,
        authfile: arguments.authfile.clone(),
        temporary: std::env::temp_dir(),
        progress: Rc::new(move |label, total, bytes| {
            let mut bar = bar.borrow_mut();
            if bar.as_ref().is_none_or(|bar| !bar.is_about(label, total)) {
                *bar = Some(Progress::begin(label, total));
            }
            if let Some(bar) = &*bar {
                bar.advance(bytes);
            }
        }),
    };
    let (tree, named) = match source::open(&reference, &options).with_context(context)? {
        Opened::Directory(path) => {
            let _waiting = Waiting::begin("reading the directory");
            (read_directory(&path, arguments.owners()).with_context(context)?, None)
        }
        Opened::Image(mut image) => {
            let tree = apply(image.as_mut(), &arguments.layers, arguments.max_size).with_context(context)?;
            let name = image.architecture();
            let named = name.and_then(Architecture::from_go_name);
            if let Some(name) = name.filter(|_| named.is_none() && arguments.arch.is_none()) {
                let name = Text::new(name);
                bail!("reading {}: it is for {name}, which is no known architecture: use --arch", arguments.source);
            }
            (tree, named)
        }
    };
    match (arguments.arch, named) {
        (Some(wanted), Some(found)) if wanted != found => {
            bail!("reading {}: it is for {found}, and --arch says {wanted}", arguments.source)
        }
        (wanted, found) => {
            let architecture = wanted.or(found).or_else(Architecture::native);
            let architecture =
                architecture.context("no partition types are defined for this architecture: use --arch")?;
            Ok((tree, architecture))
        }
    }
}

/// What came of it.
struct Made {
    path: PathBuf,
    root_hash: String,
    root_hash_path: Option<PathBuf>,
    size: u64,
    remarks: Vec<String>,
}

fn make(
    arguments: &Arguments,
    tree: &FileTree,
    time: Time,
    architecture: Architecture,
    key: Option<&SigningKey>,
) -> Result<Made> {
    let (class, name) = (arguments.class(), &arguments.name);
    let context = || format!("building {name}");
    let workshop = Workshop::open(&arguments.output)?;
    interrupt::clean_up(workshop.directory().to_owned()).context("listening for signals")?;
    let path = workshop.path("filesystem");
    let progress = Progress::begin("making the file system", Some(tree.content_len()));
    let uuid = derive_uuid("file system", name.as_str().as_bytes());
    let written = arguments.format().write(tree, &path, time, uuid, &|bytes| progress.advance(bytes));
    let remarks = written.with_context(context)?;
    drop(progress);

    let _waiting = Waiting::begin("protecting, writing and verifying the image");
    let filesystem = FileSource::new(File::open(&path).with_context(context)?).with_context(context)?;
    let parts = DdiBuilder::new(name.as_str()).architecture(architecture).protect(&filesystem).with_context(context)?;
    let root_hash = parts.root_hash.to_string();
    let (path, root_hash_path) = if let Some(key) = key {
        let parts = parts.sign(&key.signer()).with_context(context)?;
        (workshop.finish(&parts, class, name, key.certificate()).with_context(context)?, None)
    } else {
        let stem = format!("{name}.{class}");
        let path = workshop.finish_unsigned(&parts, &format!("{stem}.unsigned")).with_context(context)?;
        // Exactly the bytes that are signed: no newline.
        (path, Some(workshop.note(&format!("{stem}.roothash"), root_hash.as_bytes())?))
    };
    let size = path.metadata().with_context(context)?.len();
    Ok(Made { path, root_hash, root_hash_path, size, remarks })
}

fn tell(omissions: &[Omission], strict: bool) -> Result<()> {
    for omission in omissions.iter().take(OMISSIONS_SHOWN) {
        super::warn(format_args!("{omission}"));
    }
    if omissions.len() > OMISSIONS_SHOWN {
        super::warn(format_args!("and left out {} more", omissions.len() - OMISSIONS_SHOWN));
    }
    if strict && !omissions.is_empty() {
        bail!("{} things would be left out, and --strict forbids that", omissions.len());
    }
    Ok(())
}

fn report(arguments: &Arguments, made: &Made, omissions: &[Omission], class: Class) -> Result<()> {
    for remark in &made.remarks {
        super::warn(format_args!("{remark}"));
    }
    if arguments.json {
        let value = serde_json::json!({
            "version": 1,
            "file": made.path.display().to_string(),
            "name": arguments.name.as_str(),
            "class": class,
            "size": made.size,
            "root_hash": made.root_hash,
            "root_hash_file": made.root_hash_path.as_ref().map(|path| path.display().to_string()),
            "signed": !arguments.unsigned,
            "left_out": omissions.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "remarks": made.remarks,
        });
        return super::output::json(&value);
    }
    let size = super::size(made.size);
    super::print(&format!("{}  {size}  root hash {}\n", made.path.display(), made.root_hash))?;
    if let Some(path) = &made.root_hash_path {
        super::print(&format!(
            "{}  to be signed; then: sextant sign {} --signature FILE --certificate CERT\n",
            path.display(),
            made.path.display()
        ))?;
    }
    Ok(())
}

/// The latest time that may be in the image (reproducible-builds.org, "`SOURCE_DATE_EPOCH` specification").
fn source_date_epoch() -> Result<Option<Time>> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|value| !value.is_empty()) else { return Ok(None) };
    let seconds = value.to_str().and_then(|text| text.parse::<u32>().ok());
    let seconds =
        seconds.with_context(|| format!("SOURCE_DATE_EPOCH={} is no number of seconds since 1970", value.display()))?;
    Ok(Some(Time::from_seconds(i64::from(seconds))))
}
