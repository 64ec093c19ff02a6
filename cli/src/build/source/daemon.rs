//! Exports images from a Docker or Podman service on this machine (Docker Engine API, "Export an image").

use super::archive::Index;
use super::unpack::Sink;
use super::{LayeredImage, Options, SourceError, docker};
use crate::build::error::{causes, with_causes};
use ddi::text::Text;
use std::env;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Maximum number of bytes of an error message that are read.
const MAX_WORDS: usize = 4096;
/// Longest time without a byte. The service needs time to prepare a large image.
const SILENCE: Duration = Duration::from_mins(5);

/// Returns the sockets of possible services: only that in `DOCKER_HOST` if it is set, as for `docker`.
fn sockets() -> Result<Vec<PathBuf>, SourceError> {
    if let Some(host) = env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()) {
        let path = host.strip_prefix("unix://").map(PathBuf::from);
        return path.map(|path| vec![path]).ok_or(SourceError::DaemonAddress { host });
    }
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(|directory| PathBuf::from(directory).join("podman/podman.sock"));
    let usual = [Some("/var/run/docker.sock".into()), runtime, Some("/run/podman/podman.sock".into())];
    Ok(usual.into_iter().flatten().collect())
}

/// Opens the image of the first service that has it.
pub(super) fn open(name: &str, options: &Options) -> Result<Box<dyn LayeredImage>, SourceError> {
    let sockets = sockets()?;
    let mut absent = None;
    for socket in &sockets {
        if !socket.metadata().is_ok_and(|metadata| metadata.file_type().is_socket()) {
            continue;
        }
        match export(socket, name, options) {
            Ok(index) => return docker::of(index, None, options),
            Err(error) if error.is_absent() => absent = absent.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    let tried = sockets.iter().map(|socket| socket.display().to_string()).collect();
    Err(absent.unwrap_or(SourceError::NoDaemon { tried }))
}

fn export(socket: &Path, name: &str, options: &Options) -> Result<Index, SourceError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(SourceError::io("starting the runtime"))?;
    let shown = socket.display().to_string();
    let failed = |error: reqwest::Error| SourceError::Io {
        what: format!("requesting {name} from the service at {shown}"),
        error: std::io::Error::other(with_causes(&error)),
    };
    // The `@` before a digest has to be escaped; slashes must not be.
    let address = format!("http://localhost/images/{}/get", name.replace('@', "%40"));
    let spool = runtime.block_on(async {
        let client = reqwest::Client::builder().unix_socket(socket).read_timeout(SILENCE).build();
        let client = client.map_err(failed)?;
        let mut response = client.get(&address).send().await.map_err(|error| {
            if is_absent(&error) { SourceError::NoDaemon { tried: vec![shown.clone()] } } else { failed(error) }
        })?;
        let status = response.status();
        if !status.is_success() {
            let mut words = Vec::new();
            while let Some(piece) = response.chunk().await.map_err(failed)? {
                words.extend_from_slice(&piece);
                if words.len() > MAX_WORDS {
                    break;
                }
            }
            return Err(SourceError::Daemon {
                socket: shown.clone(),
                status: status.as_u16(),
                message: message(&words),
            });
        }
        let mut sink = Sink::new(&format!("archive from the service at {shown}"), options)?;
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            sink.write(&piece)?;
            (options.progress)("exporting", None, piece.len() as u64);
        }
        sink.finish()
    })?;
    Index::of(&spool, &format!("archive from the service at {shown}"), options)
}

/// Returns the message in an answer of the form `{"message": …}`, else the whole answer.
fn message(answer: &[u8]) -> Text {
    let document: Option<serde_json::Value> = serde_json::from_slice(answer).ok();
    let message = document.as_ref().and_then(|document| document.get("message")).and_then(|text| text.as_str());
    let text = message.map_or_else(|| String::from_utf8_lossy(answer).into_owned(), str::to_owned);
    Text::new(text.trim())
}

/// Returns whether no service listens at the socket any more. Missing permission is not that: the image must not come from
/// another service of lower rank then.
fn is_absent(error: &reqwest::Error) -> bool {
    let system = causes(error).find_map(|cause| cause.downcast_ref::<std::io::Error>());
    system.is_some_and(|error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused))
}
