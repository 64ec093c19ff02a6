#![allow(clippy::unwrap_used)]
use super::commands::words;
use super::*;
use ddi::filesystem::EntryKind;
use sextant::policy::Hierarchies;

/// An extension with these paths; those that end in a slash are directories. Directories above are there too.
fn extension(name: &str, paths: &[&str]) -> Extension {
    let mut nodes: Vec<Node> = Vec::new();
    for path in paths {
        let (path, kind) = match path.strip_suffix('/') {
            Some(path) => (path, EntryKind::Directory),
            None => (*path, EntryKind::File),
        };
        let above = path.match_indices('/').map(|(at, _)| (&path[..at], EntryKind::Directory));
        for (path, kind) in above.chain([(path, kind)]) {
            if nodes.iter().all(|node| node.path != path.as_bytes()) {
                let path = path.as_bytes().to_vec();
                nodes.push(Node { path, kind, mode: 0o755, uid: 0, gid: 0, size: 0, target: None });
            }
        }
    }
    Extension { name: name.to_owned(), class: Class::Sysext, nodes }
}

fn plan(extensions: &[Extension], stages: &str) -> Plan {
    Plan::of(extensions, &Hierarchies::default(), &[parse(&"90.yaml".into(), stages).unwrap()])
}

fn troubles(plan: &Plan) -> Vec<(Trouble, &str)> {
    plan.findings.iter().map(|finding| (finding.trouble, finding.what.as_str())).collect()
}

#[test]
fn the_order_is_that_of_versions() {
    let names = ["k3s_1.10", "k3s_1.9", "k3s_1.10~rc1", "a", "k3s", "b_2", "B_10"];
    let extensions: Vec<_> = names.iter().map(|name| extension(name, &["usr/x"])).collect();
    let order: Vec<_> = merge_order(&extensions).into_iter().map(|extension| extension.name.as_str()).collect();
    // `systemd-analyze compare-versions` of systemd 257 orders them so.
    assert_eq!(order, ["B_10", "a", "b_2", "k3s", "k3s_1.9", "k3s_1.10~rc1", "k3s_1.10"]);
}

#[test]
fn the_uppermost_file_is_seen_and_directories_are_joined() {
    let extensions = [
        extension("a_1", &["usr/bin/x", "usr/lib/a/1", "usr/share/d/e/f", "usr/share/d/g"]),
        extension("a_2", &["usr/bin/x", "usr/lib/a/2", "usr/share/d"]),
        extension("b", &["usr/lib/a/1"]),
    ];
    let plan = plan(&extensions, "");
    let found: Vec<_> = plan
        .conflicts
        .iter()
        .map(|conflict| format!("{} {} {}", conflict.path, conflict.winner, layers::joined(&conflict.hidden)))
        .collect();
    // What lies in the directory that a file hides is not told again.
    assert_eq!(found, ["/usr/bin/x a_2 a_1", "/usr/lib/a/1 b a_1", "/usr/share/d a_2 a_1"]);
    assert!(!plan.is_calm());
}

#[test]
fn a_file_between_two_directories_hides_the_lower_one() {
    let extensions =
        [extension("a", &["opt/d/low", "opt/d/both"]), extension("b", &["opt/d"]), extension("c", &["opt/d/both"])];
    let found = plan(&extensions, "").conflicts;
    assert_eq!(found, [Conflict { path: "/opt/d".into(), winner: "c".into(), hidden: vec!["b".into(), "a".into()] }]);
}

#[test]
fn only_what_somebody_fills_becomes_read_only() {
    let extensions = [extension("a", &["usr/bin/x", "opt/"]), extension("b", &["usr/bin/y"])];
    let plan = plan(&extensions, "");
    let by = vec!["a".into(), "b".into()];
    assert_eq!(plan.read_only, [ReadOnly { path: "/usr".into(), by }]);
    assert!(plan.is_calm());
}

#[test]
fn other_hierarchies_leave_the_rest_unseen() {
    let hierarchies = Hierarchies { sysext: Some("/usr/local/bin:/usr/local/lib/".parse().unwrap()), confext: None };
    let extensions = [extension("a", &["usr/local/bin/x", "usr/local/binx", "usr/bin/y", "opt/z"])];
    let plan = Plan::of(&extensions, &hierarchies, &[]);
    assert_eq!((plan.order[0].files, plan.order[0].unseen), (1, 3));
    assert_eq!(plan.read_only[0].path, "/usr/local/bin");
    assert_eq!(plan.read_only.len(), 1);
}

#[test]
fn steps_are_judged_by_when_they_run() {
    let extensions = [extension("k3s", &["usr/local/bin/k3s", "usr/lib/systemd/system/k3s@.service", "opt/k3s/run"])];
    let text = r#"
name: example
stages:
  initramfs.after:
    - name: early
      commands:
        - k3s check-config && echo "done > /usr/no" > /usr/local/note
        - /opt/k3s/run
        - systemctl enable --now k3s@server
      files:
        - path: /usr/local/bin/k3s
          content: x
          permissions: 0755
        - path: /var/lib/x
  boot:
    - commands: ["mkdir -p /usr/share/x /var/x", "k3s server"]
    - files: [{path: /opt/k3s/data, owner: 0}]
      systemctl: {start: [k3s@server.service]}
"#;
    let plan = plan(&extensions, text);
    let expected = [
        (Trouble::ReadOnly, "/usr/share/x"),
        (Trouble::ReadOnly, "/opt/k3s/data"),
        (Trouble::Hidden, "/usr/local/bin/k3s"),
        (Trouble::Beneath, "/usr/local/note"),
        (Trouble::TooEarly, "k3s"),
        (Trouble::TooEarly, "/opt/k3s/run"),
        (Trouble::TooEarly, "k3s@server.service"),
    ];
    assert_eq!(troubles(&plan), expected);
    let early = &plan.findings[2];
    assert_eq!(
        (early.stage.as_str(), early.step, early.name.as_ref().map(Text::as_str)),
        ("initramfs.after", 1, Some("early"))
    );
    assert_eq!(plan.findings[1].step, 2);
}

#[test]
fn keys_that_write_without_a_path_are_known() {
    let mut confext = extension("conf", &["etc/conf"]);
    confext.class = Class::Confext;
    let text = "#cloud-config
stages:
  network:
    - hostname: box
      dns: {nameservers: [192.0.2.1]}
      environment: {A: b}
      timesyncd: {NTP: x}
      downloads: [{path: /etc/d, url: x}]
      git: {url: x, path: /etc/g}
      users: {joe: {homedir: /etc/joe}, jim: }
      unpack_images: [{source: x, target: /etc/i}]
      ensure_entities: [{path: /etc/group, entity: x}]
      systemd_firstboot: {keymap: us}
      systemctl: {mask: [x], overrides: [{service: y.service, content: z}]}
      commands: [systemctl disable z]
write_files: [{path: /etc/w}]
runcmd: [[touch, /etc/r], 'touch /etc/s']
";
    let plan = plan(&[confext], text);
    let mut found: Vec<_> = plan.findings.iter().map(|finding| finding.what.as_str()).collect();
    found.sort_unstable();
    let expected = [
        "/etc",
        "/etc/d",
        "/etc/environment",
        "/etc/g",
        "/etc/group",
        "/etc/hostname",
        "/etc/i",
        "/etc/joe",
        "/etc/passwd",
        "/etc/r",
        "/etc/resolv.conf",
        "/etc/s",
        "/etc/systemd/system",
        "/etc/systemd/system",
        "/etc/systemd/system/y.service.d",
        "/etc/systemd/timesyncd.conf",
        "/etc/w",
    ];
    assert_eq!(found, expected);
}

#[test]
fn packages_go_where_extensions_are_merged() {
    let extensions = [extension("a", &["usr/bin/x"])];
    let text = "
stages:
  boot:
    - packages: {install: [vim]}
    - packages: {refresh: true}
    - commands: [apt-get update && apt-get -y install vim, dnf -y install vim, dpkg -l, apt list]
";
    let plan = plan(&extensions, text);
    let found: Vec<_> = plan.findings.iter().map(|finding| (finding.step, finding.what.as_str())).collect();
    assert_eq!(found, [(1, "/usr"), (3, "/usr"), (3, "/usr")]);
    assert!(plan.findings.iter().all(|finding| finding.trouble == Trouble::ReadOnly));
}

/// Go's YAML takes nothing for an empty list, and numbers for words.
#[test]
fn files_are_understood_as_loosely_as_yip_does() {
    let text = "
name:
stages:
  boot:
    - name: 1
      commands:
      files:
      git:
      dns:
      users:
      systemctl: {enable: }
      hostname: 7
    - commands: [true, 12, touch /usr/x]
  network:
write_files: [{path: /usr/not-cloud-config}]
runcmd: [touch /usr/neither]
";
    let plan = plan(&[extension("a", &["usr/bin/x"])], text);
    assert_eq!(troubles(&plan), [(Trouble::ReadOnly, "/usr/x")]);
    for (head, counts) in [
        ("#cloud-config\n", true),
        ("\n# comment\n#cloud-config  \n", true),
        ("#cloud-config: no\n", false),
        ("name: x\n#cloud-config\n", false),
        ("# 1\n# 2\n# 3\n# 4\n# 5\n# 6\n# 7\n# 8\n# 9\n# 10\n#cloud-config\n", false),
    ] {
        let file = parse(&"x".into(), &format!("{head}write_files: [{{path: /usr/x}}]\n")).unwrap();
        assert_eq!(file.steps.len(), usize::from(counts), "{head:?}");
    }
}

#[test]
fn commands_are_read_as_a_shell_divides_them() {
    let writes = |text: &str| words(text).writes;
    assert_eq!(writes("echo 'a > /usr/a' >/usr/b 2>&1"), ["/usr/b"]);
    assert_eq!(writes("echo a >> \"/usr/with space\"; cat < /usr/c"), ["/usr/with space"]);
    assert_eq!(writes("if true; then cp -a /usr/a /usr/b /opt/c; fi"), ["/opt/c"]);
    assert_eq!(writes("cp -t /opt /usr/a; mv --target-directory=/usr/x a"), ["/opt", "/usr/x"]);
    assert_eq!(writes("sed -i s/a/b/ /usr/a; sed s/a/b/ /usr/b"), ["/usr/a"]);
    assert_eq!(
        writes("tar -xf /tmp/x -C /usr/local; curl -o /opt/f https://x; dd if=/usr/a of=/usr/b"),
        ["/usr/local", "/opt/f", "/usr/b"]
    );
    assert_eq!(
        writes("sh -c 'touch /usr/inner'; FOO=1 sudo touch /usr/outer # touch /usr/comment"),
        ["/usr/inner", "/usr/outer"]
    );
    assert_eq!(writes("touch $DIR/x /usr/$NAME relative >/dev/null &>/usr/log"), ["/usr/log"]);
    let programs = |text: &str| words(text).programs;
    assert_eq!(programs("a && b | c\nd; ( e ) &"), ["a", "b", "c", "d", "e"]);
    assert_eq!(programs("X=1 exec /opt/x y"), ["/opt/x"]);
    assert_eq!(words("systemctl --now enable a.service b").units, ["a.service", "b"]);
    assert_eq!(words("systemctl disable a").units, Vec::<String>::new());
    // What no shell would take is no reason to stop.
    for text in ["'", "\"", "\\", ">", "2>&", "sh -c", "&&", "$(", "x >", "a\\\nb"] {
        let _ = words(text);
    }
    assert_eq!(words(&"x;".repeat(40_000)), commands::Words::default());
}

#[test]
fn files_that_are_not_of_the_form_are_refused() {
    for text in ["stages: 1", "stages: {boot: {}}", "{", "stages: {boot: [{files: x}]}", "- a"] {
        assert!(parse(&"x".into(), text).is_err(), "{text}");
    }
    assert_eq!(parse(&"x".into(), "#cloud-config\n").unwrap().steps, []);
    assert_eq!(parse(&"x".into(), "install: {device: auto}\nstages: {boot: }\n").unwrap().steps, []);
    // Aliases that would unfold into more than there is memory for.
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{},", level - 1).repeat(10);
        bomb = format!("{bomb}a{level}: &a{level} [{below}]\n");
    }
    assert!(parse(&"x".into(), &format!("{bomb}stages: *a11\n")).is_err());
}
