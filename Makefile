# Everything there is to do here; the recipes are in .ci/ and tests/toolbox/.
# `make --dry-run TARGET` shows the commands.

CARGO      ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
HOST       := $(shell rustc -vV | sed -n 's/^host: //p')
# Of another architecture: `make build TARGET=aarch64-unknown-linux-gnu`. Not from the environment, where it may mean something else.
ifneq ($(origin TARGET),command line)
TARGET     := $(HOST)
endif
CROSS      := $(if $(filter-out $(HOST),$(TARGET)),.ci/cross $(TARGET))
DIST       := target/dist$(if $(CROSS),/$(TARGET))
DEBS       := target/deb
FUZZ_SECONDS ?= 5
FUZZ_TARGETS ?=
FUZZ_CRATES ?= own
MUTANTS_MODULES ?=
MSRV = $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

prefix     ?= /usr
bindir     ?= $(prefix)/bin
libexecdir ?= $(prefix)/lib/sextant
dracutdir  ?= $(prefix)/lib/dracut/modules.d
unitdir    ?= $(prefix)/lib/systemd/system
catalogdir ?= $(prefix)/lib/systemd/catalog
mandir     ?= $(prefix)/share/man
docdir     ?= $(prefix)/share/doc/sextant
bashcompletiondir ?= $(prefix)/share/bash-completion/completions
zshcompletiondir  ?= $(prefix)/share/zsh/site-functions
fishcompletiondir ?= $(prefix)/share/fish/vendor_completions.d

# The directory of the agent in what is installed from the sources, which name the usual one; files of another name that begins
# alike (/usr/lib/sextant.yaml) stay.
define relocate
	test '$(libexecdir)' = /usr/lib/sextant || grep -rlIZ /usr/lib/sextant $(1) | \
		xargs -0r sed -i 's|/usr/lib/sextant\([^-._[:alnum:]]\)|$(libexecdir)\1|g; s|/usr/lib/sextant$$|$(libexecdir)|'
endef

# What may lie on a host: units that do nothing unless there is an initrd, and that nothing enables.
UNITS := systemd-units/sextant-stage.service systemd-units/sextant-gate.service systemd-units/sextant-merge.service
# What is for hosts with the tool, which an administrator enables.
TOOL_UNITS := systemd-units/sextant-pcrlock.service

# The root of an initrd as far as it is ours: the agent is missing in it, and has to be put beside it. The
# drop-ins of systemd's units are only there: on a host without an agent nobody would open their gate.
INITRD       = $(DESTDIR)$(libexecdir)/initrd/usr
INITRD_FILES = $(patsubst systemd-units/%,%,$(UNITS) $(wildcard systemd-units/*.service.d/*.conf)) sextant-required.target

# What the host's systemd is told, in an image of Kairos, which has no initrd of its own. sextant-agent compares each file
# with what it would write itself (src/merge/units.rs).
KAIROS       = $(DESTDIR)/usr/lib/systemd
KAIROS_UNITS = sextant-confirm.service sextant-required.target $(foreach unit,sysext confext sysext@ sysupdate-notify-sysext@,\
	systemd-$(unit).service.d/zz-sextant.conf)

# The pages that the catalogue, `--help` and installed files refer to, and those that these link to.
DOCS := configuration glossary initrd kairos operations plan reasons report tutorial usage
SCHEMA := docs/report.schema.json

.DEFAULT_GOAL := help
.PHONY: help
help: ## what you are reading
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

# What installs missing packages; nothing where Build-Depends of debian/control has been seen to.
DEPS ?= .ci/deps
.PHONY: deps
deps: ## install the Debian packages that are missing (as root)
	@$(DEPS)

.PHONY: build
build: agent deps ## both programs, released, manual pages and completions, in target/dist (TARGET=TRIPLE for another machine)
	$(CROSS) $(CARGO) build --locked --release $(if $(CROSS),--target $(TARGET)) --package sextant-cli
	install -D -t $(DIST) $(TARGET_DIR)/$(if $(CROSS),$(TARGET)/)release/sextant
	rm -rf $(DIST)/man $(DIST)/completions
	$(CARGO) run --locked --quiet --package xtask --bin manual -- $(DIST)

# Paths of this machine are replaced, so that the program is the same bytes wherever it is built.
AGENT_FLAGS = -C target-feature=+crt-static -C relocation-model=static \
	--remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo --remap-path-prefix=$(CURDIR)=/sextant \
	--remap-path-prefix=$(abspath $(TARGET_DIR))=/sextant/target
RELEASE = RUSTFLAGS="$(AGENT_FLAGS)" OPENSSL_STATIC=1 $(CROSS) $(CARGO) build --locked --release --target $(TARGET)

.PHONY: agent
agent: deps ## the released agent alone
	$(RELEASE) --package sextant
	install -D -t $(DIST) $(TARGET_DIR)/$(TARGET)/release/sextant-agent

ARM64 := aarch64-unknown-linux-gnu
# What QEMU's user mode does not pass on (filters of system calls, limits, paths of the process), and a measured time.
ARM64_SKIPPED := agent::environment::tests::a_host_is_refused \
	agent::environment::tests::the_machine_is_known_under_every_name_and_a_tree_is_none \
	confine::agent_filter::tests::calls_of_another_architecture_end_the_process \
	confine::agent_filter::tests::what_the_agent_does_is_permitted \
	confine::agent_filter::tests::what_the_unit_refused_is_refused_to_every_thread \
	confine::tests::a_file_that_can_be_written_to_is_not_written_to_there \
	confine::tests::each_end_without_an_answer_is_told_apart \
	confine::tests::memory_is_bounded \
	confine::tests::nothing_can_be_opened_started_or_executed \
	merge::agent::tests::a_program_is_told_by_device_and_inode \
	yaml::tests::nothing_else_keeps_the_parser_busy
.PHONY: arm64
arm64: deps ## the tests of the libraries as programs for 64-bit ARM, in an emulator
	.ci/cross $(ARM64) $(CARGO) test --locked --target $(ARM64) --package sextant-ddi --lib --test hashing
	.ci/cross $(ARM64) $(CARGO) test --locked --target $(ARM64) --package sextant --lib -- $(ARM64_SKIPPED:%=--skip %)

.PHONY: reproducible
reproducible: agent ## build the released agent a second time, elsewhere, and compare the bytes
	.ci/reproducible $(DIST)/sextant-agent

# The trees wait for downloads, and linking keeps one processor busy: the others compile meanwhile.
.PHONY: test
test: deps ## everything: checks, comparison with the real tools, virtual machines, all tests
	$(MAKE) --jobs=3 toolbox alone-agent alone-check
	$(CARGO) test --locked

# Beside other targets, and yet one recipe after the other: cargo takes the processors that there are. Of make's flags
# only that of a dry run is passed on.
.PHONY: alone-agent alone-check
alone-agent alone-check: alone-%:
	MAKEFLAGS=$(findstring n,$(firstword -$(MAKEFLAGS))) $(MAKE) $*

.PHONY: check
check: deps lint deny shellcheck doc fuzz ## what needs no test: format, lints, licences, docs, a little fuzzing

.PHONY: lint
lint: deps ## rustfmt and clippy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- --deny warnings

.PHONY: msrv
msrv: deps ## compile with the minimum Rust version that Cargo.toml names (installs it with rustup)
	rustup toolchain install --profile minimal $(MSRV)
	$(CARGO) +$(MSRV) check --locked --all-targets --target-dir target/msrv

.PHONY: deny
deny: ## licences, banned crates and sources of the dependencies
	.ci/tool cargo-deny --locked --workspace --log-level error check bans licenses sources

.PHONY: advisories
advisories: ## known vulnerabilities and yanked crates (asks GitHub)
	.ci/tool cargo-deny --locked --workspace check advisories

.PHONY: shellcheck
shellcheck: deps ## all shell scripts
	.ci/shell-scripts | xargs shellcheck --external-sources --source-path .

.PHONY: doc
doc: deps ## the documentation of the library, private items included
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --locked --no-deps --document-private-items

.PHONY: fuzz
fuzz: deps ## every fuzz target, or FUZZ_TARGETS, for FUZZ_SECONDS each (FUZZ_CRATES=all to watch dependencies, too)
	.ci/fuzz $(FUZZ_CRATES) $(FUZZ_SECONDS) $(FUZZ_TARGETS)

.PHONY: mutants
mutants: deps ## mutation testing of the modules that decide, or of MUTANTS_MODULES (takes hours)
	.ci/mutants $(MUTANTS_MODULES)

.PHONY: toolbox
toolbox: deps ## a Debian tree with the tools that tests compare with, and what they make
	tests/toolbox/prepare

.PHONY: vm
vm: toolbox agent ## boot a virtual machine with Secure Boot, to look into (SCENARIO=NAME for another, EXTENSIONS=DIR for your own)
	SEXTANT_EXTENSIONS='$(EXTENSIONS)' $(CARGO) test --locked --quiet --test qemu -- --console $(or $(SCENARIO),$(if $(EXTENSIONS),own))

.PHONY: machines
machines: agent deps ## boot all virtual machines, those for 64-bit ARM included, and say how long it took
	$(MAKE) build TARGET=$(ARM64)
	tests/toolbox/prepare machines
	SEXTANT_QEMU=require SEXTANT_KAIROS=matrix $(CARGO) test --locked --test qemu -- --nocapture

.PHONY: kairos
kairos: agent toolbox ## boot all Kairos machines (STORY=PART OF A NAME for some)
	SEXTANT_QEMU=require SEXTANT_KAIROS=matrix $(CARGO) test --locked --test qemu -- --nocapture $(or $(STORY),kairos)

# The agent is the one of `make agent`: the program beside it adds no features to the crates that both depend on.
.PHONY: demo
demo: deps ## the main job on throw-away keys: good and hostile images in, verdicts out
	$(RELEASE) --package sextant --package xtask --no-default-features --bin sextant-agent --bin demo
	@install -D -t $(DIST) $(TARGET_DIR)/$(HOST)/release/sextant-agent
	@$(TARGET_DIR)/$(HOST)/release/demo $(DIST)/sextant-agent

.PHONY: bench
bench: deps ## measure against veritysetup, cp and systemd-repart
	$(CARGO) bench --locked

.PHONY: comparison
comparison: agent toolbox ## boot machines without and with sextant, into docs/comparison.md and docs/performance.md
	$(CARGO) test --locked --test qemu -- --comparison
	$(CARGO) test --locked --test qemu -- --cost

# Paths of systemd and yip in it are fixed: immucore and the agent name them.
.PHONY: install-kairos
install-kairos: ## lay out what is copied over the root of an image of Kairos below DESTDIR (docs/kairos.md)
	install -D -t $(DESTDIR)$(libexecdir) $(DIST)/sextant-agent
	set -e; for file in $(KAIROS_UNITS); do \
		install -D -m 644 systemd-units/$$file $(KAIROS)/system/$$file; \
	done
	install -D -m 644 -t $(KAIROS)/sysext.conf.d systemd-units/sysext.conf.d/*.conf
	install -D -m 644 -t $(KAIROS)/confext.conf.d systemd-units/confext.conf.d/*.conf
	install -d $(KAIROS)/system/sysinit.target.wants
	ln -sf -t $(KAIROS)/system/sysinit.target.wants \
		../systemd-sysext.service ../systemd-confext.service ../sextant-confirm.service
	install -d $(KAIROS)/system/boot-complete.target.requires
	ln -sf -t $(KAIROS)/system/boot-complete.target.requires ../sextant-required.target
	install -D -m 644 -t $(DESTDIR)/system/oem systemd-units/kairos/*.yaml
	$(call relocate,$(patsubst systemd-units/kairos/%,$(DESTDIR)/system/oem/%,$(wildcard systemd-units/kairos/*.yaml)))

.PHONY: install
install: ## lay out what `make build` made below DESTDIR
	install -D -t $(DESTDIR)$(bindir) $(DIST)/sextant
	install -D -t $(DESTDIR)$(libexecdir) $(DIST)/sextant-agent
	install -D -m 644 -t $(DESTDIR)$(mandir)/man1 $(DIST)/man/man1/*
	install -D -m 644 -t $(DESTDIR)$(mandir)/man5 $(DIST)/man/man5/*
	install -D -m 644 -t $(DESTDIR)$(mandir)/man7 $(DIST)/man/man7/*
	install -D -m 644 -t $(DESTDIR)$(mandir)/man8 $(DIST)/man/man8/*
	install -D -m 644 -t $(DESTDIR)$(docdir) $(DOCS:%=docs/%.md) $(SCHEMA)
	install -D -m 644 -t $(DESTDIR)$(bashcompletiondir) $(DIST)/completions/bash/sextant
	install -D -m 644 -t $(DESTDIR)$(zshcompletiondir) $(DIST)/completions/zsh/_sextant
	install -D -m 644 -t $(DESTDIR)$(fishcompletiondir) $(DIST)/completions/fish/sextant.fish
	install -D -t $(DESTDIR)$(dracutdir)/50sextant dracut-module/50sextant/module-setup.sh
	install -D -m 644 -t $(DESTDIR)$(unitdir) $(UNITS) $(TOOL_UNITS)
	sed -i 's|/usr/bin/sextant|$(bindir)/sextant|' $(TOOL_UNITS:systemd-units/%=$(DESTDIR)$(unitdir)/%)
	install -D -m 644 -t $(DESTDIR)$(unitdir)/sextant-merge.service.d systemd-units/sextant-merge.service.d/*.conf
	install -D -m 644 -t $(DESTDIR)$(catalogdir) systemd-units/sextant.catalog
	sed -i 's|/usr/share/doc/sextant/|$(docdir)/|' $(DESTDIR)$(catalogdir)/sextant.catalog
	install -D -m 644 -t $(DESTDIR)$(libexecdir)/yip systemd-units/yip/*.yaml
	set -e; for file in $(INITRD_FILES); do \
		install -D -m 644 systemd-units/$$file $(INITRD)/lib/systemd/system/$$file; \
	done
	install -D -m 644 systemd-units/sextant.tmpfiles.conf $(INITRD)/lib/tmpfiles.d/sextant.conf
	install -D -m 644 systemd-units/sextant.modules-load.conf $(INITRD)/lib/modules-load.d/sextant.conf
	set -e; for presets in system-preset initrd-preset; do \
		install -D -m 644 systemd-units/sextant.preset $(INITRD)/lib/systemd/$$presets/50-sextant.preset; \
	done
	install -d $(INITRD)/lib/systemd/system/initrd.target.wants
	ln -sf -t $(INITRD)/lib/systemd/system/initrd.target.wants ../sextant-stage.service ../sextant-merge.service
	$(MAKE) install-kairos DESTDIR=$(DESTDIR)$(libexecdir)/kairos
	ln -f $(DESTDIR)$(libexecdir)/sextant-agent $(DESTDIR)$(libexecdir)/kairos$(libexecdir)/sextant-agent
	$(call relocate,$(DESTDIR)$(libexecdir) $(DESTDIR)$(dracutdir)/50sextant $(DESTDIR)$(docdir) \
		$(DESTDIR)$(mandir)/man?/sextant* $(UNITS:systemd-units/%=$(DESTDIR)$(unitdir)/%))

.PHONY: deb
deb: build ## Debian packages of what `make build` made, in target/deb
	.ci/deb $(DIST) $(DEBS)
	lintian --fail-on error,warning --allow-root $(DEBS)/*.changes

.PHONY: clean
clean: ## remove all that was made, the toolbox included
	$(CARGO) clean
	rm -rf --one-file-system target
