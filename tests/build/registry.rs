//! Images in a real registry on a loopback port, with and without credentials.

use crate::containers::{architectures, desk, files, multi, root_hash};
use crate::desk::{Desk, Said};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::toolbox::Toolbox;

/// A password and what `htpasswd -B` makes of it.
const PASSWORD: &str = "open sesame";
const HASH: &str = "$2y$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW";

/// Debian's `docker-registry`, which ends with this.
struct Registry {
    child: Child,
    address: String,
}

impl Registry {
    fn start(desk: &Desk) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let at = |name: &str| desk.path(name).display().to_string();
        desk.file("htpasswd", format!("acme:{HASH}\n").as_bytes());
        let configuration = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: \"{address}\"}}\nauth: {{htpasswd: {{realm: test, path: {}}}}}\n",
            at("registry"),
            at("htpasswd")
        );
        let path = desk.file("registry.yml", configuration.as_bytes());
        let run = support::repository().join("tests/toolbox/run");
        let child = Command::new(run)
            .args(["docker-registry", "serve"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { child, address };
        let begun = Instant::now();
        while TcpStream::connect(&registry.address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the registry doesn't listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        registry
    }

    /// Has `skopeo` log in, which leaves `auth.json`, and push.
    fn push(&self, toolbox: &Toolbox, desk: &Desk, source: &str, name: &str) {
        let script = r#"
            cd "$1"
            skopeo login --tls-verify=false --authfile auth.json --username acme --password "$5" "$2" >&2
            skopeo --insecure-policy copy --all --quiet --dest-tls-verify=false --authfile auth.json "$3" "docker://$2/$4"
        "#;
        let arguments = [desk.path(".").into_os_string(), (&self.address).into(), source.into(), name.into()];
        let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).chain([PASSWORD.as_ref()]).collect();
        toolbox.succeed(script, &arguments);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn a_registry_gives_what_was_pushed_to_those_who_may_have_it() {
    let Some((desk, toolbox)) = desk() else { return };
    let registry = Registry::start(&desk);
    registry.push(&toolbox, &desk, "oci:layout:1", "acme/tool:1");
    let source = format!("docker://{}/acme/tool:1", registry.address);
    let auth = ["--authfile", "auth.json"];
    let all = ["--layers", "all"];
    let expected = root_hash(&desk, "oci:layout:1", &all);
    assert_eq!(root_hash(&desk, &source, &[&auth[..], &all].concat()), expected);
    // By digest; and not by a bare name that no service knows.
    let digest = toolbox.succeed(
        r#"cd "$1"; skopeo inspect --tls-verify=false --authfile auth.json --format '{{.Digest}}' "$2""#,
        &[desk.path(".").as_os_str(), source.as_ref()],
    );
    let by_digest = format!("docker://{}/acme/tool@{}", registry.address, digest.trim());
    assert_eq!(root_hash(&desk, &by_digest, &[&auth[..], &all].concat()), expected);
    let bare = format!("{}/acme/tool:1", registry.address);
    let advice = format!("to use a registry, write docker://{bare}");
    desk.build("tool", &bare, &auth).refuses(&[&advice]);
    root_hash(&desk, &source, &auth);
    assert_eq!(files(&desk), ["/opt/tool/data"]);

    let said = desk.build("tool", &by_digest.replace("@sha256:", "@sha256:00").replace(digest.trim(), ""), &auth);
    assert_eq!(said.status, Some(1), "{said:?}");
    let absent = format!("docker://{}/acme/tool:2", registry.address);
    desk.build("tool", &absent, &auth).refuses(&["acme/tool:2: "]);
}

pub(crate) fn credentials_are_found_where_the_tools_keep_them() {
    let Some((desk, toolbox)) = desk() else { return };
    let registry = Registry::start(&desk);
    registry.push(&toolbox, &desk, "oci:layout:1", "acme/tool:1");
    let source = format!("docker://{}/acme/tool:1", registry.address);
    let auth = std::fs::read(desk.path("auth.json")).unwrap();
    desk.file("run/containers/auth.json", &auth);
    desk.file("docker/config.json", &auth);
    desk.file("home/.docker/config.json", &auth);
    desk.file("config/containers/auth.json", &auth);
    desk.file("empty/containers/auth.json", b"{}");
    let build = |variables: &[(&str, &str)], more: &[&str]| {
        let fixed = ["build", "tool", &source, "--private-key", "key.pem", "--certificate", "crt.pem"];
        let mut command = desk.command(&[&fixed[..], more].concat());
        for name in ["REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "HOME"] {
            command.env_remove(name);
        }
        command.envs(variables.iter().map(|(name, path)| (name, desk.path(path))));
        Said::from(command.output().unwrap())
    };
    for variables in [
        &[("REGISTRY_AUTH_FILE", "auth.json")][..],
        &[("XDG_RUNTIME_DIR", "run")],
        &[("XDG_CONFIG_HOME", "config")],
        &[("DOCKER_CONFIG", "docker")],
        &[("HOME", "home")],
        // One that doesn't know this registry isn't the last one that is asked.
        &[("XDG_RUNTIME_DIR", "empty"), ("HOME", "home")],
    ] {
        build(variables, &[]).good();
    }
    build(&[], &[]).refuses(&["log in with `skopeo login` or `docker login`"]);
    build(&[("HOME", "home")], &["--authfile", "nowhere.json"])
        .refuses(&["reading credentials for 127.0.0.1", "nowhere.json: No such file"]);
    // The password is another one by now: it must not be told.
    let wrong = String::from_utf8(auth).unwrap();
    let (before, after) = wrong.split_once("\"auth\": \"").unwrap();
    let (_, after) = after.split_once('"').unwrap();
    // acme:wrong
    desk.file("wrong.json", format!("{before}\"auth\": \"YWNtZTp3cm9uZw==\"{after}").as_bytes());
    let said = build(&[], &["--authfile", "wrong.json"]);
    said.refuses(&["log in with `skopeo login` or `docker login`"]);
    assert!(!said.stderr.contains("wrong") && !said.stderr.contains("YWNt"), "{said:?}");
}

pub(crate) fn of_several_architectures_the_one_that_is_wanted_is_fetched() {
    let Some((desk, toolbox)) = desk() else { return };
    let registry = Registry::start(&desk);
    multi(&desk, &["amd64", "arm64", "riscv64"]);
    registry.push(&toolbox, &desk, "oci:multi:1", "acme/multi:1");
    let source = format!("docker://{}/acme/multi:1", registry.address);
    for (arch, systemd) in [("arm64", "arm64"), ("amd64", "x86-64"), ("riscv64", "riscv64")] {
        desk.build("tool", &source, &["--authfile", "auth.json", "--arch", arch]).good();
        assert_eq!(architectures(&desk), [systemd, systemd]);
    }
    desk.build("tool", &source, &["--authfile", "auth.json", "--arch", "s390x"])
        .refuses(&["no image for linux/s390x; available: linux/amd64, linux/arm64, linux/riscv64"]);
}
