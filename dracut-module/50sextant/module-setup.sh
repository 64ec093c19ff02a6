#!/bin/bash
# shellcheck disable=SC2154  # initdir, systemdsystemconfdir, … are dracut's
# dracut module: verifies system extensions in the initrd (docs/initrd.md).
#
# Opt-in: `dracut --add sextant`, or `add_dracutmodules+=" sextant "` in dracut.conf.d.
#
# dracut goes on when a module's install() fails, and builds an initrd that boots without it. An initrd without
# the agent merges no extension at all, so whatever is missing here ends the build: dracut sources this
# file into its own shell, where `exit` is the only thing that does.

# Where `make install` put the agent and, in initrd/, what belongs into the root of an initrd. Whoever builds
# from somewhere else sets it in dracut.conf.d or in the environment.
sextant_libdir=${sextant_libdir:-/usr/lib/sextant}

sextant_fatal() {
    dfatal "sextant: $*"
    exit 1
}

# What is sealed into the initrd if the build machine has it. The agent believes no other place.
sextant_sealed() {
    local root=${dracutsysrootdir-} file
    for file in "$root"/etc/sextant.yaml "$root"/usr/lib/sextant.yaml \
        "$root"/etc/sextant.yaml.d/*.yaml "$root"/usr/lib/sextant.yaml.d/*.yaml \
        "$root"/etc/verity.d/*.crt "$root"/usr/lib/verity.d/*.crt; do
        # A link that leads nowhere is a mistake to tell, not a file to leave out.
        [[ -e $file || -L $file ]] || continue
        # The link that masks a file of the same name: dracut would look for what it leads to.
        if [[ $file == *.yaml && -L $file && $(readlink "$file") == /dev/null ]]; then
            if ! mkdir -p "$initdir$(dirname "${file#"$root"}")" || ! ln -sfn /dev/null "$initdir${file#"$root"}"; then
                sextant_fatal "installing $file failed"
            fi
            continue
        fi
        # Of a directory dracut would install an empty one, which the agent refuses at each boot.
        [[ ! -d $file ]] || sextant_fatal "${file#"$root"} is a directory"
        inst "${file#"$root"}" || sextant_fatal "installing $file failed"
    done
}

check() {
    return 255
}

depends() {
    # systemd-tmpfiles closes the gate if the agent fails, systemd-modules-load loads what installkernel() brings, dm has the
    # udev rules of device-mapper. These names are the same in dracut 059 and dracut-ng.
    echo systemd systemd-initrd systemd-journald systemd-modules-load systemd-tmpfiles dm
}

# Whatever the build machine itself needs: none of these is to be left out in hostonly mode.
installkernel() {
    # A module that is built in counts as there. A failure here is one that dracut ends for.
    hostonly='' instmods -c loop dm_mod dm_verity overlay || return 1
    # File systems of extensions, of which a kernel need not have both; and the firmware's variables.
    hostonly='' instmods erofs squashfs efivarfs
}

install() {
    local root=${dracutsysrootdir-} agent=$sextant_libdir/sextant-agent tree=$sextant_libdir/initrd
    local file unit called

    [[ -x $root$agent ]] || sextant_fatal "there is no agent $root$agent"
    # Where the unit calls it: a tree that was moved since it was installed still names the directory of the installation.
    unit=$root$tree/usr/lib/systemd/system/sextant-stage.service
    [[ -f $unit ]] || sextant_fatal "there is no $unit"
    called=$(sed -n 's|^ExecStart=\(/[^ ]*/sextant-agent\) .*|\1|p' "$unit")
    [[ $called ]] || sextant_fatal "$unit calls no sextant-agent"
    inst_simple "$agent" "$called" || sextant_fatal "installing $agent failed"

    while IFS= read -r -d '' file; do
        inst_simple "${file#"$root"}" "${file#"$root$tree"}" || sextant_fatal "installing $file failed"
    done < <(find "$root$tree" -type f -print0)

    sextant_sealed

    # What an administrator adds to our units, such as the name of another stage runner.
    inst_multiple -o "${systemdsystemconfdir:-/etc/systemd/system}/sextant-stage.service.d/*.conf" \
        "${systemdsystemconfdir:-/etc/systemd/system}/sextant-merge.service.d/*.conf"

    # Wants, not requires: a failed agent must not keep a machine from booting. systemctl fails if there
    # is no such unit.
    for unit in sextant-stage.service sextant-merge.service; do
        "$SYSTEMCTL" -q --root "$initdir" add-wants initrd.target "$unit" || sextant_fatal "enabling $unit failed"
    done
    # Without these the host would merge what an agent that was stopped half-way has left behind.
    for file in lib/tmpfiles.d/sextant.conf lib/modules-load.d/sextant.conf \
        lib/systemd/system/systemd-{sysext,confext}{,-initrd,-sysroot}.service.d/zz-sextant.conf \
        lib/systemd/system/systemd-{sysext,sysupdate-notify-sysext}@.service.d/zz-sextant.conf \
        lib/systemd/system/sextant-{gate.service,required.target}; do
        [[ -f $initdir/usr/$file ]] || sextant_fatal "there is no usr/$file in $root$tree"
    done
}
