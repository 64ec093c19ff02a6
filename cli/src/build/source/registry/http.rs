//! HTTP client for a registry. Every answer is bounded while it is read.
//!
//! Credentials are sent to the registry, and to the service for tokens that it names (the *realm* of its challenge, as in Docker
//! and containerd). That service needs TLS, unless it and the registry are on this machine. A server to which the registry
//! redirects can't name one.

use super::Login;
use crate::build::error::with_causes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ddi::text::{Message, Text};
use http_auth::{ChallengeRef, parse_challenges};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;
use std::cell::RefCell;
use std::fmt::Display;
use std::time::Duration;
use zeroize::Zeroizing;

/// Longest time without a byte.
const SILENCE: Duration = Duration::from_mins(1);
/// Longest time for making a connection.
const CONNECT: Duration = Duration::from_secs(20);
/// Longest time for a whole manifest or token.
const DOCUMENT_TIME: Duration = Duration::from_mins(2);
/// Maximum number of redirections of one request.
const MAX_REDIRECTS: usize = 5;
/// Maximum size of the answer with a token, in bytes. Tokens are sent in headers, which servers limit to 8 to 32 KiB.
const MAX_TOKEN: u64 = 64 << 10;
/// Maximum number of bytes of an error that are read.
const MAX_ERROR: usize = 16 << 10;

/// Failure of a request.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) message: Message,
    /// Whether other credentials could help.
    pub(super) denied: bool,
    /// Whether it may succeed a moment later.
    pub(super) transient: bool,
}

impl Failure {
    fn new(message: impl Display) -> Self {
        Self { message: Message::new(message), denied: false, transient: false }
    }

    fn denied(message: impl Display) -> Self {
        Self { denied: true, ..Self::new(message) }
    }

    /// Wraps an error of the transport.
    pub(super) fn of(error: &reqwest::Error) -> Self {
        Self { transient: error.is_connect() || error.is_timeout(), ..Self::new(with_causes(error)) }
    }
}

/// Client for one repository of a registry.
pub(super) struct Http {
    client: Client,
    /// `scheme://host[:port]/v2/`
    base: Url,
    login: Login,
    scope: String,
    /// Value of the header `Authorization`, after a challenge of the registry.
    authorization: RefCell<Option<HeaderValue>>,
}

/// A request to the registry.
pub(super) struct Request<'a> {
    /// Path below `/v2/`.
    pub(super) path: String,
    /// Accepted media types.
    pub(super) accept: &'a [&'a str],
    /// Whether [`DOCUMENT_TIME`] applies to the answer.
    pub(super) is_document: bool,
}

impl Http {
    /// Creates a client. `scheme` is `http` only for a registry on this machine.
    pub(super) fn new(scheme: &str, registry: &str, repository: &str, login: Login) -> Result<Self, Failure> {
        let client = Client::builder()
            .user_agent(concat!("sextant/", env!("CARGO_PKG_VERSION")))
            .https_only(scheme == "https")
            .redirect(Policy::limited(MAX_REDIRECTS))
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .build()
            .map_err(|error| Failure::of(&error))?;
        let base = Url::parse(&format!("{scheme}://{registry}/v2/")).map_err(Failure::new)?;
        let scope = format!("repository:{repository}:pull");
        Ok(Self { client, base, login, scope, authorization: RefCell::new(None) })
    }

    /// Sends a first request, and answers the registry's challenge if it sends one.
    pub(super) async fn log_in(&self) -> Result<(), Failure> {
        let answer = self.client.get(self.base.clone()).timeout(DOCUMENT_TIME).send().await;
        let answer = answer.map_err(|error| Failure::of(&error))?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.authorize(&answer).await?;
        }
        Ok(())
    }

    /// Sends a request and returns its answer if it succeeded.
    pub(super) async fn get(&self, wanted: &Request<'_>) -> Result<Response, Failure> {
        let url = self.base.join(&wanted.path).map_err(Failure::new)?;
        let mut authorized = false;
        loop {
            let mut request = self.client.get(url.clone());
            for kind in wanted.accept {
                request = request.header(ACCEPT, *kind);
            }
            let authorization = self.authorization.borrow().clone();
            if let Some(authorization) = authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
            if wanted.is_document {
                request = request.timeout(DOCUMENT_TIME);
            }
            let answer = request.send().await.map_err(|error| Failure::of(&error))?;
            // A token may have expired while another blob was fetched.
            if answer.status() == StatusCode::UNAUTHORIZED && !authorized && self.authorize(&answer).await? {
                authorized = true;
                continue;
            }
            return if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) };
        }
    }

    /// Answers a challenge of the registry; `false` if there is none that can be answered.
    async fn authorize(&self, answer: &Response) -> Result<bool, Failure> {
        if !is_same_origin(answer.url(), &self.base) {
            return Ok(false);
        }
        let headers = answer.headers().get_all(WWW_AUTHENTICATE);
        let texts: Vec<&str> = headers.iter().filter_map(|header| header.to_str().ok()).collect();
        let challenges: Vec<ChallengeRef> =
            texts.iter().filter_map(|text| parse_challenges(text).ok()).flatten().collect();
        let with = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme));
        let authorization = if let Some(challenge) = with("Bearer") {
            self.token(challenge).await?
        } else if let (Some(_), Some(basic)) = (with("Basic"), self.login.basic()) {
            basic
        } else {
            return Ok(false);
        };
        let mut header = HeaderValue::from_str(&authorization).map_err(Failure::new)?;
        header.set_sensitive(true);
        *self.authorization.borrow_mut() = Some(header);
        Ok(true)
    }

    /// Fetches a token from the service that a challenge names (distribution/distribution, `docs/content/spec/auth/token.md`).
    async fn token(&self, challenge: &ChallengeRef<'_>) -> Result<Zeroizing<String>, Failure> {
        let parameter = |name: &str| {
            let found = challenge.params.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        let realm = parameter("realm").unwrap_or_default();
        let mut url = Url::parse(&realm).map_err(|error| {
            Failure::new(format_args!("parsing the realm {} of the registry: {error}", Text::new(&realm)))
        })?;
        if !self.may_have_credentials(&url) {
            return Err(Failure::new(format_args!(
                "registry asks to send credentials to {} without TLS",
                Text::new(&realm)
            )));
        }
        if let Some(service) = parameter("service") {
            url.query_pairs_mut().append_pair("service", &service);
        }
        url.query_pairs_mut().append_pair("scope", &self.scope);
        let mut request = self.client.get(url).timeout(DOCUMENT_TIME);
        if let Some(basic) = self.login.basic() {
            let mut header = HeaderValue::from_str(&basic).map_err(Failure::new)?;
            header.set_sensitive(true);
            request = request.header(AUTHORIZATION, header);
        }
        let answer = request.send().await.map_err(|error| Failure::of(&error))?;
        if !answer.status().is_success() {
            let refused = refusal(answer).await;
            return Err(if refused.transient { refused } else { Failure::denied(refused.message) });
        }
        let content = Zeroizing::new(document(answer, "token", MAX_TOKEN).await?);
        // The parser's message could contain a part of the token.
        let token: Token =
            serde_json::from_slice(&content).map_err(|_| Failure::new("answer of the token service is not JSON"))?;
        let token = token.token.or(token.access_token).map(Zeroizing::new);
        let token = token.ok_or_else(|| Failure::new("answer of the token service contains no token"))?;
        Ok(Zeroizing::new(format!("Bearer {}", *token)))
    }

    /// Returns whether credentials may be sent to a realm: over TLS, or if realm and registry are both on this machine.
    fn may_have_credentials(&self, realm: &Url) -> bool {
        let is_local = |url: &Url| url.scheme() == "http" && url.host_str().is_some_and(super::is_loopback);
        realm.scheme() == "https" || is_local(realm) && is_local(&self.base)
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

fn is_same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

/// Reads an answer of at most `limit` bytes. `what` names it in errors.
pub(super) async fn document(mut answer: Response, what: &str, limit: u64) -> Result<Vec<u8>, Failure> {
    let too_long = || Failure::new(format_args!("{what} is larger than {limit} bytes"));
    if answer.content_length().is_some_and(|len| len > limit) {
        return Err(too_long());
    }
    let mut content = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| Failure::of(&error))? {
        content.extend_from_slice(&piece);
        if content.len() as u64 > limit {
            return Err(too_long());
        }
    }
    Ok(content)
}

/// Converts an error answer (OCI Distribution Specification, "Error Codes").
async fn refusal(mut answer: Response) -> Failure {
    let status = answer.status();
    let mut content = Vec::new();
    while content.len() < MAX_ERROR {
        match answer.chunk().await {
            Ok(Some(piece)) => content.extend_from_slice(&piece),
            Ok(None) | Err(_) => break,
        }
    }
    let Errors { errors } = serde_json::from_slice(&content).unwrap_or_default();
    let each = errors.iter().map(|error| format!("{}: {}", error.code, error.message));
    let words: Vec<String> = std::iter::once(status.to_string()).chain(each).collect();
    let is_denial = |error: &RegistryError| matches!(error.code.as_str(), "UNAUTHORIZED" | "DENIED");
    Failure {
        message: Message::new(words.join(": ")),
        denied: matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) || errors.iter().any(is_denial),
        transient: status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS,
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Errors {
    errors: Vec<RegistryError>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RegistryError {
    code: String,
    message: String,
}

impl Login {
    /// Returns the header `Authorization` for a user and password.
    fn basic(&self) -> Option<Zeroizing<String>> {
        let Self::Password { user, password } = self else { return None };
        let pair = Zeroizing::new(format!("{user}:{}", **password));
        let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
        Some(Zeroizing::new(format!("Basic {}", *encoded)))
    }
}
