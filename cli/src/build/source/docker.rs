//! Archives of `docker save` (moby, `image/tarexport`), in its old and new format.

use super::archive::{self, Index};
use super::blobs::MAX_LAYERS;
use super::document;
use super::unpack::unpack;
use super::unpacked::Unpacked;
use super::{LayeredImage, Options, SourceError, Spool};
use oci_spec::image::ImageConfiguration;
use serde::Deserialize;
use std::path::Path;

/// Entry of an image in `manifest.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

struct SavedImage {
    index: Index,
    layers: Vec<String>,
    configuration: ImageConfiguration,
    architecture: String,
    options: Options,
    unpacked: Unpacked,
}

pub(super) fn open(path: &Path, tag: Option<&str>, options: &Options) -> Result<Box<dyn LayeredImage>, SourceError> {
    of(Index::open(path, options)?, tag, options)
}

/// Opens the image in an archive of `docker save` or of an OCI layout.
pub(super) fn open_found(
    path: &Path,
    tag: Option<&str>,
    options: &Options,
) -> Result<Box<dyn LayeredImage>, SourceError> {
    let no_archive = |cause: String| SourceError::NoArchive { file: path.display().to_string(), cause };
    let index = Index::open(path, options).map_err(|error| match error {
        SourceError::Document { cause, .. } => no_archive(cause),
        error => error,
    })?;
    if index.file("manifest.json").is_none() && index.file("index.json").is_none() {
        let cause =
            "no manifest.json or index.json; to build from the files in it, unpack it and use the directory as source";
        return Err(no_archive(cause.to_owned()));
    }
    of(index, tag, options)
}

/// Opens the image of this name in an archive, or the only one.
pub(super) fn of(index: Index, tag: Option<&str>, options: &Options) -> Result<Box<dyn LayeredImage>, SourceError> {
    let Some(manifest) = index.file("manifest.json") else {
        // Since Docker 25 the archive is an OCI layout too, and other tools may write only that.
        return Ok(Box::new(archive::layout(index, tag, options)?));
    };
    let entries: Vec<Entry> = document::parse(&document::bytes(&manifest, "manifest.json")?, "manifest.json")?;
    let entry = pick(&entries, tag)?;
    if entry.layers.len() > MAX_LAYERS {
        let cause = format!("{} layers; the limit is {MAX_LAYERS}", entry.layers.len());
        return Err(SourceError::Document { what: "manifest.json".into(), cause });
    }
    let what = format!("configuration {}", entry.config);
    let configuration = document::bytes(&index.need(&entry.config)?, &what)?;
    let configuration: ImageConfiguration = document::parse_go(&configuration, &what, &["/rootfs/diff_ids"])?;
    let architecture = configuration.architecture().to_string();
    let unpacked = Unpacked::new(entry.layers.len(), options);
    Ok(Box::new(SavedImage {
        index,
        layers: entry.layers,
        configuration,
        architecture,
        options: options.clone(),
        unpacked,
    }))
}

fn pick(entries: &[Entry], tag: Option<&str>) -> Result<Entry, SourceError> {
    let names = || entries.iter().flat_map(|entry| entry.repo_tags.iter().flatten().cloned()).collect::<Vec<_>>();
    match (tag, entries) {
        (Some(tag), _) => {
            let full = |name: &str| name.parse::<oci_spec::distribution::Reference>().map(|name| name.whole()).ok();
            let wanted = full(tag);
            let fits = |name: &String| name == tag || (wanted.is_some() && full(name) == wanted);
            let found = entries.iter().find(|entry| entry.repo_tags.iter().flatten().any(fits));
            found.cloned().ok_or_else(|| SourceError::NoSuchImage { wanted: tag.to_owned(), names: names() })
        }
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(SourceError::Missing { what: "image in manifest.json".into() }),
        (None, _) => Err(SourceError::Ambiguous { names: names() }),
    }
}

impl LayeredImage for SavedImage {
    fn count(&self) -> usize {
        self.unpacked.count()
    }

    fn layer(&mut self, index: usize) -> Result<Spool, SourceError> {
        let Self { index: archive, layers, configuration, options, unpacked, .. } = self;
        unpacked.layer(index, |left| {
            let missing = || SourceError::Missing { what: format!("layer {}", index.saturating_add(1)) };
            let name = layers.get(index).ok_or_else(missing)?;
            let options = Options { max_size: left, ..options.clone() };
            let spool = unpack(&archive.need(name)?, &format!("layer {name}"), &options)?;
            // The configuration has the digests of the layers; the names of their files prove nothing.
            let diff_id = configuration.rootfs().diff_ids().get(index).ok_or_else(missing)?;
            document::check_digest(&spool, diff_id)?;
            Ok(spool)
        })
    }

    fn architecture(&self) -> Option<&str> {
        Some(&self.architecture).filter(|name| !name.is_empty()).map(String::as_str)
    }
}
