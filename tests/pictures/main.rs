//! What people look at: the page of `sextant plan --html`, and the timeline of `sextant status --plot`.
//!
//! Parsers look at both wherever these tests run. Validators and a real browser do where they are installed (`tidy`,
//! `libxml2-utils` and `chromium` of Debian).
#![allow(clippy::unwrap_used)]

mod browser;
mod page;
mod timeline;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use support::ddi::Blueprint;
use support::keys::{self, Authority};
use support::trees::Tree;
use support::{cases, harness};
use tempfile::TempDir;

/// What an image or a stage may have as a name in order to become a part of the page.
const HOSTILE: [&str; 4] = ["<script>document.title='x'<", "\"onmouseover=\"x", "--><b>", "a\u{202e}b\u{1b}[31m\n&lt;"];

fn vendor() -> &'static Authority {
    keys::ec("Vendor")
}

/// A directory with images, a host, stages and a report.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap()).file("vendor.crt", &vendor().pem())
    }

    /// Extensions of which one overrides another and the host, and names that are not meant well.
    fn of_a_plan() -> Self {
        let image = |name: &str, paths: &[&str], signer: &Authority| {
            let tree = paths.iter().fold(Tree::sysext(name), |tree, path| tree.file(path, name.as_bytes()));
            Blueprint::new(name, &tree.squashfs(), signer).render().bytes
        };
        let hostile: Vec<String> = HOSTILE.iter().map(|name| format!("usr/share/{name}")).collect();
        let hostile: Vec<&str> = hostile.iter().map(String::as_str).collect();
        let steps = format!(
            "stages:\n  initramfs:\n  - name: {}\n    commands: [k3s check]\n  boot:\n  - files: [{{path: /usr/x}}]\n",
            serde_json::to_string(HOSTILE[0]).unwrap()
        );
        Self::new()
            .file("k3s_1.9.sysext.raw", &image("k3s_1.9", &["usr/bin/k3s", "usr/bin/only-old"], vendor()))
            .file("k3s_1.10.sysext.raw", &image("k3s_1.10", &["usr/bin/k3s"], vendor()))
            .file("odd.sysext.raw", &image("odd", &hostile, vendor()))
            .file("stranger.sysext.raw", &image("stranger", &["usr/bin/x"], keys::ec("Stranger")))
            .file("root/usr/bin/k3s", b"of the host")
            .file("oem/10.yaml", steps.as_bytes())
            .file("oem/20.yaml", b"[")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tool-under-test"));
        command.current_dir(self.0.path()).args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Writes the page of all images to `plan.html`, and returns it.
    fn plan(&self) -> String {
        let images = ["k3s_1.9", "k3s_1.10", "odd", "stranger"].map(|name| format!("{name}.sysext.raw"));
        let mut arguments = vec!["plan", "--certificate", "vendor.crt", "--host", "root", "--stages", "oem"];
        arguments.extend(["--html", "plan.html"]);
        arguments.extend(images.iter().map(String::as_str));
        let output = self.run(&arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("left out: stranger.sysext.raw"), "{output:?}");
        fs::read_to_string(self.path("plan.html")).unwrap()
    }

    /// Writes the timeline of `report.json` to `boot.svg`, and returns it.
    fn plot(&self) -> String {
        let output = self.run(&["status", "--report", "report.json", "--plot"]);
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(4), b"".as_slice()), "{output:?}");
        fs::write(self.path("boot.svg"), &output.stdout).unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Runs a program that may not be here, and returns what it says. The test leaves that out without it.
fn validate(program: &str, arguments: &[&str], file: &Path) -> Option<Output> {
    let output = Command::new(program).args(arguments).arg(file).stdin(Stdio::null()).output();
    if output.is_err() {
        harness::left_out_everywhere(&format!("{program} is not installed"));
    }
    output.ok()
}

fn main() -> ExitCode {
    harness::run(
        "pictures",
        cases!(
            page: the_page_is_valid_html_in_which_names_are_text,
                the_policy_admits_the_style_and_the_script_of_the_page_alone,
                every_part_of_the_plan_is_on_the_page,
                the_page_can_be_all_that_is_printed,
                what_cannot_be_written_is_an_error_and_leaves_nothing;
            timeline: the_timeline_is_valid_svg_in_which_names_are_text,
                a_report_of_an_older_agent_has_no_timeline;
            browser: a_search_hides_what_does_not_match,
                hostile_names_stay_text_in_a_browser,
                a_browser_draws_the_timeline;
        ),
    )
}
