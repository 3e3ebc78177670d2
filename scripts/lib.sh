#!/usr/bin/env bash
# Shared by the scripts of this folder; sourced, never run. Finds or installs what building, testing and the demo
# need. Every ensure_* is quick and silent when there is nothing to do.
#
# XDG_CACHE_HOME    where the user cache is (default ~/.cache); ours is its folder file-processor-worker
# CARGO_TARGET_DIR  where cargo builds (default: the user cache, so that a fresh clone reuses earlier builds)
set -euo pipefail

scripts_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo_dir=$(dirname "$scripts_dir")
cache_dir=${XDG_CACHE_HOME:-$HOME/.cache}/file-processor-worker

minimum_rust=1.95

# What the build, the daemon and the demo need, by Debian's names.
system_packages=(
  build-essential clang libclang-dev cmake pkg-config git # the crates with C inside
  libtesseract-dev libleptonica-dev                       # the OCR engine
  tesseract-ocr-jpn tesseract-ocr-jpn-vert tesseract-ocr-eng tesseract-ocr-osd
  fonts-noto-cjk # for PDFs that name Japanese fonts without carrying them
  curl ca-certificates python3 python3-pip
)

say() { printf '%s\n' "$*" >&2; }
die() {
  say "$(basename "$0"): $*"
  exit 1
}

# The comment that opens the calling script is its manual.
show_help() { awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"; }

# at_least WANTED FOUND: compares dotted versions.
at_least() { [[ $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]; }

as_root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }

package_installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

# What release builds need by the names of Amazon Linux; of everything else only Debian's are known.
declare -A amazon_packages=(
  ['build-essential']='gcc gcc-c++ make patch' [cmake]=cmake ['pkg-config']=pkgconf-pkg-config [git]=git-core
  [clang]=clang ['libclang-dev']=clang-devel [curl]=curl-minimal ['ca-certificates']=ca-certificates
  [python3]=python3 ['python3-pip']=python3-pip [rpm]='rpm-build' [binutils]=binutils
)

# ensure_amazon_packages NAME...: the same on Amazon Linux, for what release builds need.
ensure_amazon_packages() {
  local wanted name missing=()
  for wanted in "$@"; do
    [[ -n ${amazon_packages[$wanted]:-} ]] ||
      die "Amazon Linux has no package that provides $wanted: use Debian or Ubuntu for development and tests, this system for release builds"
    for name in ${amazon_packages[$wanted]}; do
      # The full curl is in the way of the minimal one, and as good.
      rpm -q --quiet "$name" || rpm -q --quiet "${name%-minimal}" || missing+=("$name")
    done
  done
  ((${#missing[@]})) || return 0
  say "installing ${missing[*]}"
  as_root dnf install -y -q "${missing[@]}" >&2 || die "dnf could not install ${missing[*]}, see above"
}

# ensure_packages NAME...: installs what is missing. "a|b" is satisfied by either; the first that exists is installed.
ensure_packages() {
  if command -v dnf >/dev/null && ! command -v dpkg-query >/dev/null; then
    ensure_amazon_packages "$@"
    return
  fi
  command -v dpkg-query >/dev/null || die "only Debian and Ubuntu are known here; install by hand what provides: $*"

  local wanted name missing=()
  for wanted in "$@"; do
    for name in ${wanted//|/ }; do
      package_installed "$name" && continue 2
    done
    missing+=("$wanted")
  done
  ((${#missing[@]})) || return 0

  ((EUID == 0)) || command -v sudo >/dev/null ||
    die "packages are missing and there is no sudo here; as root, run: apt-get install ${missing[*]%%|*}"
  say "installing ${missing[*]}"
  as_root apt-get update -qq >&2 || die "apt-get update failed; check the network and the package sources"
  local chosen=()
  for wanted in "${missing[@]}"; do
    for name in ${wanted//|/ }; do
      if apt-cache show "$name" >/dev/null 2>&1; then
        chosen+=("$name")
        continue 2
      fi
    done
    die "none of these packages is known to apt: ${wanted//|/, }"
  done
  local log
  log=$(mktemp)
  if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${chosen[@]}" >"$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    die "apt-get could not install ${chosen[*]}; what it said is above"
  fi
  rm -f "$log"
}

ensure_system_packages() { ensure_packages "${system_packages[@]}"; }

ensure_rust() {
  # rustup's own folder is not on PATH in every shell.
  command -v cargo >/dev/null || PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
  command -v cargo >/dev/null ||
    die "cargo is missing: install Rust $minimum_rust or newer with rustup, then run this again"
  local found
  found=$(cd "$repo_dir" && cargo --version | awk '{ print $2 }')
  at_least "$minimum_rust" "$found" ||
    die "Rust $found is too old, $minimum_rust is needed: run 'rustup update stable', then run this again"
}

# ensure_cargo_component COMMAND COMPONENT: such as fmt, rustfmt.
ensure_cargo_component() {
  (cd "$repo_dir" && cargo "$1" --version >/dev/null 2>&1) && return
  say "installing $2"
  rustup component add "$2" >&2 || die "cargo $1 is missing: install Rust's component $2"
}

cargo_target_dir() { printf '%s\n' "${CARGO_TARGET_DIR:-$cache_dir/target}"; }

# pip_into DIR REQUIREMENTS: the pinned wheels as the folder DIR, which appears whole or not at all. A second copy made
# at the same time loses the race and is thrown away.
pip_into() {
  local dir=$1 requirements=$2 part python=python3
  [[ -d $dir ]] && return 0
  if ! "$python" -m pip --version >/dev/null 2>&1; then # a python3 of someone's own; the system's has pip by package
    ensure_packages python3 python3-pip
    python=/usr/bin/python3
  fi
  mkdir -p "$(dirname "$dir")"
  part=$(mktemp -d "$dir.XXXXXX")
  if ! "$python" -m pip install -q --disable-pip-version-check --root-user-action ignore --no-deps --only-binary=:all: \
    --require-hashes --target "$part/packages" -r "$requirements" >&2; then
    rm -rf "$part"
    die "pip could not fetch what $requirements pins; check the network and that this machine is x86_64 or aarch64 Linux"
  fi
  mv -T "$part/packages" "$dir" 2>/dev/null || [[ -d $dir ]] || die "could not write $dir; make it writable or remove it"
  rm -rf "$part"
}

# libpdfium.so where the worker looks for it by itself.
ensure_pdfium() {
  local version library=$cache_dir/lib/libpdfium.so wheel
  version=$(sed -n 's/^pypdfium2==\([^ ]*\).*/\1/p' "$scripts_dir/pypdfium2.txt")
  wheel=$cache_dir/pypdfium2-$version
  if [[ -f $library && $library -nt $wheel && -d $wheel ]]; then return 0; fi
  say "fetching pdfium (pypdfium2 $version)"
  pip_into "$wheel" "$scripts_dir/pypdfium2.txt"
  mkdir -p "$cache_dir/lib"
  cp "$wheel/pypdfium2_raw/libpdfium.so" "$library.$$"
  touch "$library.$$"
  mv "$library.$$" "$library"
}

# use_engine: builds the OCR engine of release builds if it is not there yet, and has cargo link it. Not for tests: with
# other variables cargo would compile the crates that depend on it again.
use_engine() {
  local prefix
  prefix=$("$scripts_dir/build-tesseract.sh") || die "without its engine there is no release build"
  export PKG_CONFIG_PATH=$prefix/lib/pkgconfig TESSERACT_STATIC=1
}

# worker_on_engine WORKER OUTPUT: a copy of a worker that links the distribution's engine, which loads the engine of
# release builds instead: no second compilation.
worker_on_engine() {
  local prefix
  prefix=$("$scripts_dir/build-tesseract.sh") || die "the engine could not be built, see above"
  ensure_packages patchelf
  cp "$1" "$2"
  patchelf --set-rpath "$prefix/lib" "$2"
  [[ $(ldd "$2") == *"$prefix/lib/libtesseract.so"* ]] || die "$2 does not load the engine in $prefix"
}
