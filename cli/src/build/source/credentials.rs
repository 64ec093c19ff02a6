//! Reads credentials for registries from the files of the container tools (containers-auth.json(5)).

use super::{Options, SourceError};
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use std::env;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Maximum size of a file with credentials, in bytes.
const MAX_LEN: u64 = 1 << 20;

/// Docker's own name for its registry in such files.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Returns the files in the order in which they are read, and for each whether it must exist.
fn files(options: &Options) -> Vec<(PathBuf, bool)> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = options.authfile.clone().or_else(|| variable("REGISTRY_AUTH_FILE")) {
        return vec![(path, true)];
    }
    let home = variable("HOME");
    let below = |directory: Option<PathBuf>, path: &str| directory.map(|directory| (directory.join(path), false));
    let docker = variable("DOCKER_CONFIG").or_else(|| home.as_ref().map(|home| home.join(".docker")));
    let config = variable("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
    [
        below(variable("XDG_RUNTIME_DIR"), "containers/auth.json"),
        below(config, "containers/auth.json"),
        below(docker, "config.json"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Credentials for a registry.
pub(super) enum Login {
    Anonymous,
    Password { user: String, password: Zeroizing<String> },
}

/// Finds the credentials for `registry`.
pub(super) fn find(registry: &str, options: &Options) -> Result<Login, SourceError> {
    let wrong = |path: &Path, cause: &dyn std::fmt::Display| SourceError::Credentials {
        registry: registry.to_owned(),
        cause: format!("{}: {cause}", path.display()),
    };
    let names: &[&str] = match registry {
        "docker.io" | "index.docker.io" => &["docker.io", "index.docker.io", DOCKER_HUB],
        other => &[other],
    };
    for (path, named) in files(options) {
        let mut content = Zeroizing::new(Vec::new());
        match File::open(&path) {
            Ok(file) => {
                let file = BufReader::new(file).take(MAX_LEN + 1);
                { file }.read_to_end(&mut content).map_err(|error| wrong(&path, &error))?
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !named => continue,
            Err(error) => return Err(wrong(&path, &error)),
        };
        if content.len() as u64 > MAX_LEN {
            return Err(wrong(&path, &format_args!("larger than {MAX_LEN} bytes")));
        }
        for name in names {
            match get_credential_from_reader(content.as_slice(), name) {
                Ok(DockerCredential::UsernamePassword(user, password)) => {
                    return Ok(Login::Password { user, password: Zeroizing::new(password) });
                }
                Ok(DockerCredential::IdentityToken(_)) => {
                    return Err(wrong(&path, &"identity tokens are not supported: log in with a password"));
                }
                // Helpers report an unknown name in different ways, so each of their errors counts as that.
                Err(
                    CredentialRetrievalError::NoCredentialConfigured | CredentialRetrievalError::HelperFailure { .. },
                ) => {}
                Err(error) => return Err(wrong(&path, &error)),
            }
        }
    }
    Ok(Login::Anonymous)
}
