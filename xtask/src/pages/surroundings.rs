//! What the commands read besides their arguments: files and variables, as sections of manual pages.

use super::roff;
use clap::Command;
use std::fmt::Write as _;

/// The commands that a file or a variable concerns.
enum Of {
    /// All of the tool.
    Tool,
    /// All of the agent.
    Agent,
    /// Those with this option.
    Option(&'static str),
    /// Those that are listed, as their pages are called.
    Pages(&'static [&'static str]),
}

struct Item {
    name: &'static str,
    meaning: &'static str,
    of: Of,
}

const fn item(name: &'static str, meaning: &'static str, of: Of) -> Item {
    Item { name, meaning, of }
}

const REPORT: &[&str] = &[
    "sextant-list",
    "sextant-trust",
    "sextant-refresh",
    "sextant-status",
    "sextant-bundle",
    "sextant-agent-stage",
    "sextant-agent-adopt",
    "sextant-agent-merge",
    "sextant-agent-confirm",
    "sextant-agent-status",
];
const CONFIGURATION: &[&str] = &[
    "sextant-verify",
    "sextant-trust",
    "sextant-install",
    "sextant-enable",
    "sextant-migrate",
    "sextant-refresh",
    "sextant-bundle",
    "sextant-agent-stage",
    "sextant-agent-adopt",
];
const VARIABLES_OF_FIRMWARE: &[&str] =
    &["sextant-verify", "sextant-trust", "sextant-inspect", "sextant-plan", "sextant-install", "sextant-agent-stage"];
const BUILD: &[&str] = &["sextant-build"];
const SIGNING: &[&str] = &["sextant-build", "sextant-sign"];

const FILES: [Item; 11] = [
    item(
        "/run/sextant/report.json",
        "Report of this boot: the verdict on each file, and what was merged.",
        Of::Pages(REPORT),
    ),
    item(
        "/etc/sextant.yaml, /usr/lib/sextant.yaml",
        "Main file of the configuration, the first that exists; see sextant.yaml(5). In a Trusted Boot machine it is sealed \
         in the initrd.",
        Of::Pages(CONFIGURATION),
    ),
    item(
        "/etc/sextant.yaml.d/, /usr/lib/sextant.yaml.d/",
        "Drop-ins, *.yaml, applied by file name over both directories.",
        Of::Pages(CONFIGURATION),
    ),
    item("/run/sextant/sextant.yaml", "Configuration of the initrd of this boot.", Of::Pages(CONFIGURATION)),
    item(
        "/sys/firmware/efi/efivars/",
        "Firmware variables, which hold trust anchors (PK, KEK, db) and revoked certificates and images (dbx).",
        Of::Pages(VARIABLES_OF_FIRMWARE),
    ),
    item(
        "/.extra/sysext/, /.extra/confext/",
        "Images that systemd-stub passed to the initrd.",
        Of::Pages(&["sextant-agent-stage"]),
    ),
    item(
        "/run/extensions/, /run/confexts/",
        "Extensions that the host merges.",
        Of::Pages(&["sextant-agent-stage", "sextant-agent-adopt", "sextant-agent-merge", "sextant-refresh"]),
    ),
    item("ESP/…/NAME.efi.extra.d/", "Extensions of the boot entries of a UKI.", Of::Option("esp")),
    item("ESP/loader/extensions/", "Extensions of all boot entries (systemd-stub 258 or later).", Of::Option("esp")),
    item("/var/lib/kairos/extensions/", "Extensions of the boot states of Kairos.", Of::Option("store")),
    item(
        "$XDG_RUNTIME_DIR/containers/auth.json, ~/.config/containers/auth.json, ~/.docker/config.json",
        "Credentials for registries; see containers-auth.json(5).",
        Of::Pages(BUILD),
    ),
];

const VARIABLES: [Item; 28] = [
    item(
        "SEXTANT_COMPLETE",
        "Shell that asks for completions: bash, fish or zsh. Without arguments, prints the script for this shell.",
        Of::Pages(&["sextant"]),
    ),
    item("NO_COLOR", "If not empty, no colours are used.", Of::Tool),
    item("NO_COLOR", "If not empty, no colours are used.", Of::Pages(&["sextant-agent-status"])),
    item("SYSTEMD_COLORS", "Whether to use colours: a boolean, auto, or 16, 256 or 24bit, which mean yes.", Of::Tool),
    item(
        "SYSTEMD_COLORS",
        "Whether to use colours: a boolean, auto, or 16, 256 or 24bit, which mean yes.",
        Of::Pages(&["sextant-agent-status"]),
    ),
    item("TERM", "On a dumb terminal there are no colours.", Of::Pages(&["sextant-agent-status"])),
    item("TERM", "On a dumb terminal there are no colours, no progress bars and no pager.", Of::Tool),
    item("COLUMNS", "Width of tables. The default is that of the terminal.", Of::Tool),
    item(
        "LINES",
        "Height from which text goes through a pager. The default is that of the terminal.",
        Of::Option("no-pager"),
    ),
    item("SYSTEMD_PAGER", "Pager for long text on a terminal. Empty or cat: none.", Of::Option("no-pager")),
    item("PAGER", "Pager, if SYSTEMD_PAGER is not set. The default is less, else more.", Of::Option("no-pager")),
    item(
        "SYSTEMD_PAGERSECURE",
        "Whether the pager must not start programs: a boolean. The default is yes with raised rights; then SYSTEMD_PAGER and \
         PAGER are ignored.",
        Of::Option("no-pager"),
    ),
    item("SUDO_UID", "If set, rights are raised.", Of::Option("no-pager")),
    item("PKEXEC_UID", "As SUDO_UID.", Of::Option("no-pager")),
    item("DOAS_USER", "As SUDO_UID.", Of::Option("no-pager")),
    item("SYSTEMD_LESS", "Options for less. The default is FRSXMK.", Of::Option("no-pager")),
    item("SYSTEMD_LESSCHARSET", "Character set for less.", Of::Option("no-pager")),
    item("SYSTEMD_ESP_PATH", "Mount point of the EFI system partition, an absolute path.", Of::Option("esp")),
    item(
        "SOURCE_DATE_EPOCH",
        "Latest time in the image, in seconds since 1970. The same source gives the same bytes.",
        Of::Pages(BUILD),
    ),
    item("SEXTANT_PASSPHRASE", "Passphrase of the private key, or PIN of the token.", Of::Pages(SIGNING)),
    item("PKCS11_PROVIDER_MODULE", "PKCS#11 module that the OpenSSL provider pkcs11 loads.", Of::Pages(SIGNING)),
    item("DOCKER_HOST", "Socket of the container service, unix:///PATH, for docker-daemon: sources.", Of::Pages(BUILD)),
    item("REGISTRY_AUTH_FILE", "File with credentials for registries. No other is read then.", Of::Pages(BUILD)),
    item("XDG_RUNTIME_DIR", "Directory with containers/auth.json and podman/podman.sock.", Of::Pages(BUILD)),
    item("XDG_CONFIG_HOME", "Directory with containers/auth.json. The default is ~/.config.", Of::Pages(BUILD)),
    item("DOCKER_CONFIG", "Directory with config.json. The default is ~/.docker.", Of::Pages(BUILD)),
    item("HOME", "Home directory, for the defaults of XDG_CONFIG_HOME and DOCKER_CONFIG.", Of::Pages(BUILD)),
    item("JOURNAL_STREAM", "Set by systemd: if standard error is the journal, entries have fields.", Of::Agent),
];

impl Of {
    fn concerns(&self, command: &Command, page: &str) -> bool {
        let is_tool = !page.starts_with("sextant-agent");
        let has =
            |command: &Command, name: &str| command.get_arguments().any(|argument| argument.get_long() == Some(name));
        match self {
            Self::Agent => !is_tool,
            Self::Tool => is_tool,
            Self::Option(name) => has(command, name) || is_tool && command.has_subcommands(),
            Self::Pages(pages) => {
                pages.contains(&page) || command.has_subcommands() && pages.iter().any(|other| program(other) == page)
            }
        }
    }
}

/// The program of a command's page.
fn program(page: &str) -> &'static str {
    if page.starts_with("sextant-agent-") { "sextant-agent" } else { "sextant" }
}

/// FILES and ENVIRONMENT of the page of a command, as far as it has some.
pub(crate) fn sections(command: &Command, page: &str) -> String {
    let mut text = String::new();
    for (heading, items) in [("FILES", &FILES[..]), ("ENVIRONMENT", &VARIABLES)] {
        let mut concerned = items.iter().filter(|item| item.of.concerns(command, page)).peekable();
        if concerned.peek().is_some() {
            let _ = writeln!(text, ".SH {heading}");
        }
        for item in concerned {
            let _ = writeln!(text, ".TP\n\\fB{}\\fR\n{}", roff::text(item.name), roff::line(item.meaning));
        }
    }
    text
}
