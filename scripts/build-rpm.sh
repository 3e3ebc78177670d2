#!/usr/bin/env bash
# Builds the RPM: the worker with its OCR engine inside, pdfium, models, units, configuration, scripts, licences of all of
# it and a bill of materials. For the processor of this machine, x86_64 or aarch64; run it on Amazon Linux 2023 for what
# will be installed (its glibc is the oldest), on Debian or Ubuntu for tests. The same input gives the same bytes. The last
# line is the RPM's path.
#   build-rpm.sh [--binary FILE] [--output DIR] [--release NUMBER] [--release-check]
#     --binary FILE      package this worker instead of building one
#     --output DIR       where the RPM goes (default: rpm in CARGO_TARGET_DIR)
#     --release NUMBER   the package's release (default: the count of commits, so that a later one is an upgrade)
#     --release-check    refuse what must not be deployed: a worker without its own engine, one that needs a newer system
#                        than Amazon Linux 2023, changes that are in no commit, scripts that are missing
#
# CARGO_TARGET_DIR   where cargo builds (default: the user cache)
# SOURCE_DATE_EPOCH  the time on everything in the RPM (default: that of the last commit)
# RPM_PAYLOAD        how the RPM is compressed, in RPM's words (default w19.zstdio, which takes half a minute)
# ENGINE_SOURCES, MODEL_SOURCES   see build-tesseract.sh and fetch-models.sh
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What Amazon Linux 2023 has; glibc's is that of the whole release, libstdc++'s that of GCC 11, which all its images have.
newest_glibc=GLIBC_2.34
newest_libstdcxx=GLIBCXX_3.4.29
# What operators and systemd run on the instance, from this folder.
instance_scripts=(ami-cleanup.sh debug-worker.sh mark-unhealthy.sh)

binary='' output='' release='' release_check=''
while (($#)); do
  case $1 in
    -h | --help)
      show_help
      exit
      ;;
    --binary | --output | --release)
      [[ -n ${2:-} ]] || die "$1 wants a value, see --help"
      declare "${1#--}=$2"
      shift
      ;;
    --release-check) release_check=1 ;;
    *) die "unknown argument $1, see --help" ;;
  esac
  shift
done

machine=$(uname -m)
case $machine in
  x86_64 | aarch64) ;;
  *) die "no RPM for $machine: x86_64 and aarch64 are known" ;;
esac
output=${output:-$(cargo_target_dir)/rpm}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
payload=$work/payload
mkdir -p "$payload" "$output"
# Whoever builds, the same modes.
umask 022

# not_for_release SENTENCE: an RPM for tests may have this fault.
not_for_release() {
  [[ -z $release_check ]] || die "$1"
  say "not for deployment: $1"
}

git_says() { git -C "$repo_dir" "$@" 2>/dev/null; }

build_worker() {
  ensure_packages build-essential clang libclang-dev cmake pkg-config git curl ca-certificates
  ensure_rust
  use_engine
  CARGO_TARGET_DIR=$(cargo_target_dir)
  export CARGO_TARGET_DIR
  # Panics and the bill of materials must not depend on where it was built.
  export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$repo_dir=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
  (cd "$repo_dir" && cargo build --release --locked) >&2 || die "the worker could not be built, see above"
  binary=$CARGO_TARGET_DIR/release/file-processor-worker
}

# newest_symbol PREFIX FILE...: the highest version of these symbols that the files need, or nothing.
newest_symbol() {
  local prefix=$1
  shift
  objdump -T "$@" | { grep -oE "\(${prefix}_[0-9.]+\)" || true; } | tr -d '()' | sort -uV | tail -n 1
}

# check_symbols FILE...: what the files need must be in Amazon Linux 2023.
check_symbols() {
  local file limit newest culprits
  for file in "$@"; do
    for limit in "$newest_glibc" "$newest_libstdcxx"; do
      newest=$(newest_symbol "${limit%%_*}" "$file")
      if [[ -n $newest ]] && ! at_least "$newest" "$limit"; then
        culprits=$(objdump -T "$file" | grep -F "($newest)" | awk '{ print $NF }' | sort -u | xargs)
        not_for_release "$(basename "$file") needs $newest ($culprits), Amazon Linux 2023 has $limit: build it there"
      fi
    done
  done
}

# The worker's name for its engine's build says whether it is ours.
check_engine() {
  if readelf -d "$payload/file-processor-worker" | grep -E 'NEEDED.*(libtesseract|liblept)' >/dev/null; then
    not_for_release "the worker links the distribution's OCR engine, which Amazon Linux does not have"
  fi
}

check_checkout() {
  [[ -z $(git_says status --porcelain) ]] || not_for_release "the checkout has changes that are in no commit"
}

# The worker as it is shipped: names of functions stay, for the messages of panics.
take_worker() {
  [[ -x $binary ]] || die "there is no worker at $binary"
  readelf -h "$binary" | grep "Machine:.*$([[ $machine == x86_64 ]] && echo X86-64 || echo AArch64)" >/dev/null ||
    die "$binary is for another processor than this machine's; build the RPM on a machine like the one it is for"
  strip --strip-debug --remove-section=.comment -o "$payload/file-processor-worker" "$binary"
}

# Prints the scripts for /app/scripts.
scripts_to_package() {
  local script there=()
  for script in "${instance_scripts[@]}"; do
    if [[ -f $scripts_dir/$script ]]; then
      there+=("$script")
    else
      not_for_release "scripts/$script is missing"
    fi
  done
  printf '%s\n' "${there[*]}"
}

write_third_party() {
  local wheel commit
  wheel=$cache_dir/pypdfium2-$(sed -n 's/^pypdfium2==\([^ ]*\).*/\1/p' "$scripts_dir/pypdfium2.txt")
  commit=$("$payload/file-processor-worker" --version | awk '$1 == "commit" { print $2 }')
  python3 "$repo_dir/packaging/rpm/third_party.py" --target "$machine-unknown-linux-gnu" --commit "$commit" \
    --version "$version" --worker "$payload/file-processor-worker" --pdfium "$payload/libpdfium.so" \
    --pdfium-wheel "$wheel" --licenses "$payload/THIRD-PARTY.txt" --sbom "$payload/sbom.cdx.json" ||
    die "licences and bill of materials could not be written, see above"
}

package() {
  local log=$work/rpmbuild.log
  if ! rpmbuild -bb --target "$machine" --define "_topdir $work/rpmbuild" --define "_rpmdir $work/rpms" \
    --define "version_number $version" --define "release_number $release" --define "repository $repo_dir" \
    --define "_binary_payload ${RPM_PAYLOAD:-w19.zstdio}" --define "payload $payload" --define "packaged_scripts $packaged_scripts" \
    "$repo_dir/packaging/rpm/file-processor-worker.spec" >"$log" 2>&1; then
    cat "$log" >&2
    die "rpmbuild failed, see above"
  fi
}

ensure_packages rpm binutils python3 python3-pip
ensure_rust
ensure_pdfium
check_checkout
[[ -n $binary ]] || build_worker
take_worker
install -m 0755 "$cache_dir/lib/libpdfium.so" "$payload/libpdfium.so"
"$scripts_dir/fetch-models.sh" "$payload/models"
check_symbols "$payload/file-processor-worker" "$payload/libpdfium.so"
check_engine
packaged_scripts=$(scripts_to_package)

version=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$repo_dir/Cargo.toml")
release=${release:-$(git_says rev-list --count HEAD)} || die "this is no git checkout: say which release it is by --release"
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git_says log -1 --format=%ct)} ||
  die "this is no git checkout: say of what time it is by SOURCE_DATE_EPOCH"
export SOURCE_DATE_EPOCH
write_third_party
package

rpm_file=$(find "$work/rpms" -name '*.rpm')
mv "$rpm_file" "$output/"
printf '%s\n' "$output/$(basename "$rpm_file")"
