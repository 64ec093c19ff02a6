# shellcheck shell=bash
# What the scripts of this directory share. Sourced, never run.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
program=$(basename "$0")

# The tree lies beside cargo's output so that `make clean` takes it along.
toolbox=${SEXTANT_TOOLBOX:-$repository/target/toolbox}
export toolbox here

# Automake's "skipped": the machine lacks something, nothing is broken.
readonly UNAVAILABLE=77

say() { printf '%s: %s\n' "$program" "$*" >&2; }

unavailable() {
  say "$*"
  exit "$UNAVAILABLE"
}

need_root() {
  [[ $EUID -eq 0 ]] || unavailable "needs root (to make device nodes and to chroot): try sudo"
}

# One line that changes whenever one of the files or strings given does.
digest() { sha256sum | cut -d' ' -f1; }

# Puts the finished tree $1 in place of $2 in one step.
replace_directory() {
  local new=$1 final=$2 old=
  if [[ -e $final ]]; then
    old=$(mktemp -d "$final.old.XXXXXX")
    mv --no-target-directory "$final" "$old/tree"
  fi
  mv --no-target-directory "$new" "$final"
  [[ -z $old ]] || rm -rf --one-file-system "$old"
}
