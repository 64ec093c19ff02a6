//! Registries that mean harm: endless answers, and questions for credentials that aren't theirs.

use crate::desk::{Desk, Said};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use support::keys;

/// What a client is answered.
struct Answer {
    status: &'static str,
    headers: Vec<String>,
    body: Body,
}

enum Body {
    Text(&'static str),
    /// Until the client goes away.
    Endless,
}

fn answer(status: &'static str, headers: &[String], body: Body) -> Answer {
    Answer { status, headers: headers.to_vec(), body }
}

/// A server of its own for each test; its threads end with the process.
struct Server {
    address: String,
    /// Bytes of endless bodies that clients took.
    taken: Arc<AtomicU64>,
    /// Heads of requests.
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers by the path of each request and what stands in its `Authorization`.
    fn start(respond: impl Fn(&str, Option<&str>) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (taken, heads) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let server = Self { address, taken: Arc::clone(&taken), heads: Arc::clone(&heads) };
        let respond = Arc::new(respond);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (taken, heads, respond) = (Arc::clone(&taken), Arc::clone(&heads), Arc::clone(&respond));
                thread::spawn(move || {
                    let request = head_of(&stream);
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    let lines = request.lines().filter_map(|line| line.split_once(": "));
                    let authorization = lines
                        .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
                        .map(|(_, value)| value)
                        .next();
                    let answer = respond(&path, authorization);
                    heads.lock().unwrap().push(request);
                    let _ = send(&stream, &answer, &taken);
                });
            }
        });
        server
    }

    fn heard(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn head_of(stream: &TcpStream) -> String {
    let mut lines = BufReader::new(stream).lines();
    let mut head = String::new();
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() {
            break;
        }
        head = format!("{head}{line}\n");
    }
    head
}

fn send(mut stream: &TcpStream, answer: &Answer, taken: &AtomicU64) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {}\r\nConnection: close\r\n", answer.status)?;
    for header in &answer.headers {
        write!(stream, "{header}\r\n")?;
    }
    write!(stream, "\r\n")?;
    match answer.body {
        Body::Text(text) => stream.write_all(text.as_bytes()),
        Body::Endless => loop {
            let brackets = vec![b'['; 1 << 16];
            stream.write_all(&brackets)?;
            if taken.fetch_add(1 << 16, Ordering::Relaxed) > 2 << 30 {
                return Ok(());
            }
        },
    }
}

fn desk(server: &Server) -> Desk {
    let desk = Desk::of(keys::rsa("Vendor"));
    // acme:secret
    let auth = format!(r#"{{"auths": {{"{}": {{"auth": "YWNtZTpzZWNyZXQ="}}}}}}"#, server.address);
    desk.file("auth.json", auth.as_bytes());
    desk
}

/// Builds from the server with 512 MiB of address space.
fn build(desk: &Desk, server: &Server) -> Said {
    let source = format!("docker://{}/acme/tool:1", server.address);
    let arguments = ["build", "tool", &source, "--unsigned", "--authfile", "auth.json"];
    let limited = desk.command(&arguments);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -v 524288; exec \"$0\" \"$@\""]).arg(limited.get_program()).args(limited.get_args());
    command.current_dir(desk.path("."));
    for (name, value) in limited.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Said::from(command.output().unwrap())
}

fn challenge(realm: &str) -> Vec<String> {
    vec![format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"test\"")]
}

/// Manifest, token and error, with and without a length.
pub(crate) fn endless_answers_are_cut_while_they_are_read() {
    let huge = vec!["Content-Length: 99999999999".to_owned()];
    let none: Vec<String> = Vec::new();
    for (what, words) in [
        ("manifest", "manifest is larger than 4194304 bytes"),
        ("length", "manifest is larger than 4194304 bytes"),
        ("token", "token is larger than 65536 bytes"),
        ("denial", "401 Unauthorized"),
        ("error", "404 Not Found"),
    ] {
        let (huge, none) = (huge.clone(), none.clone());
        let server = Server::start(move |path, _| match (what, path) {
            ("token" | "denial", "/v2/") => answer("401 Unauthorized", &[], Body::Text("")),
            ("error", "/v2/acme/tool/manifests/1") => answer("404 Not Found", &none, Body::Endless),
            ("length", "/v2/acme/tool/manifests/1") => answer("200 OK", &huge, Body::Endless),
            ("manifest", "/v2/acme/tool/manifests/1") => answer("200 OK", &none, Body::Endless),
            (_, "/v2/") => answer("200 OK", &none, Body::Text("{}")),
            ("denial", _) => answer("401 Unauthorized", &none, Body::Endless),
            ("token", path) if path.starts_with("/token") => answer("200 OK", &none, Body::Endless),
            _ => answer(
                "401 Unauthorized",
                &challenge(&format!("http://{}/token", HOST.lock().unwrap())),
                Body::Text(""),
            ),
        });
        HOST.lock().unwrap().clone_from(&server.address);
        let begun = Instant::now();
        build(&desk(&server), &server).refuses(&[words]);
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}: {:?}", begun.elapsed());
        // What lies in the buffers of the system comes on top.
        let taken = server.taken.load(Ordering::Relaxed);
        assert!(taken < 64 << 20, "{what}: {taken}");
    }
}

/// The server in which tokens are asked for.
static HOST: Mutex<String> = Mutex::new(String::new());

pub(crate) fn credentials_go_nowhere_without_tls_and_only_where_the_registry_says() {
    // A registry on this machine is spoken to without TLS, but its password doesn't leave the machine that way.
    let server = Server::start(|_, _| answer("401 Unauthorized", &challenge("http://192.0.2.1/token"), Body::Text("")));
    build(&desk(&server), &server).refuses(&["asks to send credentials to http://192.0.2.1/token without TLS"]);

    // What a registry redirects to is told nothing, even if it asks.
    let basic = "WWW-Authenticate: Basic realm=\"x\"".to_owned();
    let asked = basic.clone();
    let other = Server::start(move |_, _| answer("401 Unauthorized", std::slice::from_ref(&asked), Body::Text("")));
    let location = format!("Location: http://{}/elsewhere", other.address);
    let server = Server::start(move |path, authorization| match (path, authorization) {
        ("/v2/", None) => answer("401 Unauthorized", std::slice::from_ref(&basic), Body::Text("")),
        _ => answer("307 Temporary Redirect", std::slice::from_ref(&location), Body::Text("")),
    });
    build(&desk(&server), &server).refuses(&["401 Unauthorized", "log in with"]);
    let mine = server.heard();
    assert!(mine.iter().any(|head| head.contains("Basic YWNtZTpzZWNyZXQ=")), "{mine:?}");
    let theirs = other.heard();
    assert_eq!(theirs.len(), 1, "{theirs:?}");
    assert!(!theirs[0].to_ascii_lowercase().contains("authorization"), "{theirs:?}");
}

pub(crate) fn redirections_end_and_words_of_a_registry_are_harmless() {
    let server = Server::start(|path, _| match path {
        "/v2/" => answer("200 OK", &[], Body::Text("")),
        path => answer("307 Temporary Redirect", &[format!("Location: {path}x")], Body::Text("")),
    });
    build(&desk(&server), &server).refuses(&["redirect"]);
    assert!(server.heard().len() <= 8, "{:?}", server.heard());
    let server = Server::start(|path, _| match path {
        "/v2/" => answer("200 OK", &[], Body::Text("")),
        _ => answer(
            "403 Forbidden",
            &[],
            Body::Text(r#"{"errors": [{"code": "DENIED", "message": "no\u001b[2J\u202e more"}]}"#),
        ),
    });
    build(&desk(&server), &server).refuses(&["403 Forbidden: DENIED: no\\u{1b}[2J\\u{202e} more", "log in with"]);
}
