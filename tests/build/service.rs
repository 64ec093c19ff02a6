//! Images of a Docker or Podman service on this machine.

use crate::desk::{Desk, Said};
use crate::layers::Layer;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::keys;
use support::podman::is_installed;

/// A service that answers every request in the same way, and notes what was asked for.
pub(crate) struct Service {
    pub(crate) socket: PathBuf,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    pub(crate) fn start(desk: &Desk, status: &'static str, body: Vec<u8>) -> Self {
        let socket = desk.path("service.sock");
        let _ = fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = Arc::clone(&asked);
        // It ends with the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                notes.lock().unwrap().push(request(&mut stream));
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        Self { socket, asked }
    }

    pub(crate) fn build(&self, desk: &Desk, source: &str, more: &[&str]) -> Said {
        build(desk, &self.socket, source, more)
    }
}

/// The first line of a request, which is read up to its end.
fn request(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        bytes.push(byte[0]);
    }
    String::from_utf8_lossy(&bytes).lines().next().unwrap_or_default().to_owned()
}

fn build(desk: &Desk, socket: &Path, source: &str, more: &[&str]) -> Said {
    let fixed = ["build", "tool", source, "--private-key", "key.pem", "--certificate", "crt.pem"];
    let mut command = desk.command(&[&fixed[..], more].concat());
    Said::from(command.env("DOCKER_HOST", format!("unix://{}", socket.display())).output().unwrap())
}

/// What a service sends for an image of one layer.
fn exported(desk: &Desk) -> Vec<u8> {
    crate::reproducible::docker_archive(desk, "exported.tar", &Layer::new().file("usr/from", "service").bytes());
    fs::read(desk.path("exported.tar")).unwrap()
}

pub(crate) fn a_service_is_asked_for_the_image_by_its_full_name() {
    let desk = Desk::of(keys::ec("Vendor"));
    let service = Service::start(&desk, "200 OK", exported(&desk));
    for source in ["docker-daemon:acme/tool:1", "acme/tool:1"] {
        service.build(&desk, source, &[]).good();
        assert_eq!(crate::containers::files(&desk), ["/usr/from"]);
    }
    let digest = format!("acme/tool@sha256:{}", "a".repeat(64));
    service.build(&desk, &format!("docker-daemon:{digest}"), &[]).good();
    let asked = service.asked.lock().unwrap();
    assert_eq!(asked[0], "GET /images/docker.io/acme/tool:1/get HTTP/1.1");
    assert_eq!(asked[1], asked[0]);
    assert!(asked[2].starts_with("GET /images/docker.io/acme/tool%40sha256:aaa"), "{asked:?}");
}

pub(crate) fn a_bare_name_is_looked_for_in_the_service_and_nowhere_else() {
    let desk = Desk::of(keys::ec("Vendor"));
    // Nobody listens at this port any more.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bare = format!("127.0.0.1:{port}/acme/tool:1");
    let absent = Service::start(&desk, "404 Not Found", br#"{"message":"No such image"}"#.to_vec());
    absent
        .build(&desk, &bare, &[])
        .refuses(&["answered: No such image; to use a registry, write docker://", "/acme/tool:1"]);
    let said = absent.build(&desk, &format!("docker-daemon:{bare}"), &[]);
    said.refuses(&["answered: No such image"]);
    assert!(!said.stderr.contains("registry"), "{said:?}");
    // Another answer than that it has none isn't passed over.
    let broken = Service::start(&desk, "500 Internal Server Error", b"out of \x1b[2J order".to_vec());
    let said = broken.build(&desk, &bare, &[]);
    said.refuses(&["answered: out of \\u{1b}[2J order"]);
    assert!(!said.stderr.contains("registry"), "{said:?}");
    build(&desk, Path::new("/nowhere"), &bare, &[])
        .refuses(&["no Docker or Podman service answers at /nowhere; to use a registry, write"]);
    // A socket that outlived its service.
    drop(UnixListener::bind(desk.path("stale.sock")).unwrap());
    build(&desk, &desk.path("stale.sock"), &format!("docker-daemon:{bare}"), &[])
        .refuses(&["no Docker or Podman service answers at ", "stale.sock"]);
}

/// What a person may not ask, or asks in vain for another reason than that it isn't there, is no reason to sign somebody
/// else's image of the same name.
pub(crate) fn a_service_that_is_there_and_does_not_answer_is_not_passed_over() {
    let desk = Desk::of(keys::ec("Vendor"));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bare = format!("127.0.0.1:{port}/acme/tool:1");
    // Connecting fails with EPROTOTYPE.
    let socket = desk.path("datagrams.sock");
    let _held = UnixDatagram::bind(&socket).unwrap();
    let said = build(&desk, &socket, &bare, &[]);
    said.refuses(&["from the service at", "datagrams.sock"]);
    assert!(!said.stderr.contains("registry"), "{said:?}");
    // And one that is elsewhere isn't asked, nor the registry in its place.
    let mut command = desk.command(&["build", "tool", &bare, "--private-key", "key.pem", "--certificate", "crt.pem"]);
    let said = Said::from(command.env("DOCKER_HOST", "tcp://127.0.0.1:2375").output().unwrap());
    said.refuses(&["DOCKER_HOST is tcp://127.0.0.1:2375", "unix://"]);
    // A socket that nobody listens at any more is nobody.
    let gone = desk.path("gone.sock");
    drop(UnixListener::bind(&gone).unwrap());
    build(&desk, &gone, &bare, &[]).refuses(&["no Docker or Podman service answers", "to use a registry, write"]);
}

pub(crate) fn what_a_service_sends_is_bounded_and_not_believed() {
    let desk = Desk::of(keys::ec("Vendor"));
    let service = Service::start(&desk, "200 OK", vec![0; 2 << 20]);
    service.build(&desk, "docker-daemon:a/b", &["--max-size", "1M"]).refuses(&["is larger than 1048576 bytes"]);
    service.build(&desk, "docker-daemon:a/b", &[]).refuses(&["no "]);
    let mut damaged = exported(&desk);
    let at = damaged.windows(7).position(|it| it == b"service").unwrap();
    damaged[at] ^= 1;
    Service::start(&desk, "200 OK", damaged).build(&desk, "docker-daemon:a/b", &[]).refuses(&["damaged or replaced"]);
}

/// `podman system service`, which ends with this.
struct Podman {
    child: Child,
    socket: PathBuf,
}

impl Podman {
    const STORAGE: [&str; 2] = ["--storage-driver=vfs", "--events-backend=none"];

    fn command(desk: &Desk) -> Command {
        let mut command = Command::new("podman");
        command.args(Self::STORAGE).arg("--root").arg(desk.path("podman/root"));
        command.arg("--runroot").arg(desk.path("podman/run")).stdin(Stdio::null());
        command
    }

    /// `None`, and the test is ignored, where there is no Podman.
    fn start(desk: &Desk) -> Option<Self> {
        if !is_installed() {
            return None;
        }
        let socket = desk.path("podman.sock");
        let mut command = Self::command(desk);
        command.args(["system", "service", "--time=0"]).arg(format!("unix://{}", socket.display()));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let podman = Self { child, socket };
        let begun = Instant::now();
        while !podman.socket.exists() {
            assert!(begun.elapsed() < Duration::from_secs(30), "podman's service doesn't listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(podman)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn podmans_service_gives_what_is_in_its_storage() {
    let desk = Desk::of(keys::ec("Vendor"));
    let Some(podman) = Podman::start(&desk) else { return };
    desk.file("context/data", b"data");
    desk.file("context/Containerfile", b"FROM scratch\nCOPY data /usr/lower\nCOPY data /opt/tool/data\n");
    let mut command = Podman::command(&desk);
    let output = command.args(["build", "--tag=acme/tool:1"]).arg(desk.path("context")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    for source in ["docker-daemon:localhost/acme/tool:1", "localhost/acme/tool:1"] {
        build(&desk, &podman.socket, source, &["--layers", "all"]).good();
        assert_eq!(crate::containers::files(&desk), ["/opt/tool/data", "/usr/lower"], "{source}");
        let said = build(&desk, &podman.socket, source, &["--json"]).good();
        let value: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(value["left_out"], serde_json::json!([]));
        assert_eq!(crate::containers::files(&desk), ["/opt/tool/data"], "{source}");
    }
    // A name without a registry is Docker's, whoever is asked; Podman puts `localhost/` before what it builds.
    build(&desk, &podman.socket, "docker-daemon:acme/tool:1", &[])
        .refuses(&["service at", "docker.io/acme/tool:1: image not known"]);
}
