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

# Builds a static Go program for guests: $toolbox-NAME/NAME from the module in the directory NAME.
#
# The version is the one in NAME/go.mod. NAME/go.sum holds the digests of all sources, so they may come from anywhere, and
# no database of digests is asked. Does nothing if the program is there and was made from the same files.
# Exits with UNAVAILABLE if it can't be made on this machine.
make_go_program() { # NAME PACKAGE TIME
  local name=$1 package=$2 time=$3
  local directory=$toolbox-$1 module=$here/$1 stamp needed found lock work

  stamp=$(cat "$module/go.mod" "$module/go.sum" "${BASH_SOURCE[0]}" | digest)
  if go_program_is_current; then return; fi

  needed=$(sed -n 's/^go //p' "$module/go.mod")
  # Neither another toolchain nor what this machine has set for other modules.
  export GOTOOLCHAIN=local GOWORK=off GOFLAGS=-mod=readonly CGO_ENABLED=0
  found=$(go env GOVERSION 2>/dev/null) || unavailable "no $name: Go $needed is needed, and there is no Go"
  if [[ $(printf '%s\n' "$needed" "${found#go}" | sort --version-sort | head -n 1) != "$needed" ]]; then
    unavailable "no $name: Go $needed is needed, and this is ${found#go}"
  fi

  mkdir -p "$(dirname "$directory")"
  exec {lock}>"$directory.lock"
  flock "$lock"
  # Another process may have finished it meanwhile.
  if go_program_is_current; then return; fi

  work=$(mktemp -d "$directory.new.XXXXXX")
  # shellcheck disable=SC2064  # the variable is local
  trap "rm -rf '$work'" EXIT

  say "making $directory ($time)"
  cd "$module" || exit
  # Sources that can't be fetched are an obstacle of this machine; sources with another digest are an error.
  if ! go list -deps "$package" >/dev/null 2>"$work/log"; then
    grep -v '^go: downloading ' "$work/log" >&2 || true
    if grep -q 'SECURITY ERROR\|checksum mismatch\|missing go.sum' "$work/log"; then exit 1; fi
    unavailable "no $name: its sources can't be fetched"
  fi
  mkdir "$work/tree"
  go build -p 2 -trimpath -buildvcs=false -ldflags='-s -w' -o "$work/tree/$name" "$package"
  printf '%s\n' "$stamp" >"$work/tree/.stamp"
  replace_directory "$work/tree" "$directory"
  say "made $directory: $(du -sh "$directory" | cut -f1), $(go version)"
}

# Whether the program of make_go_program, whose variables these are, is there.
go_program_is_current() { [[ -f $directory/.stamp && $(<"$directory/.stamp") == "$stamp" ]]; }
