#!/usr/bin/env bash
# Tests everything between the binary and a running instance: units, RPM, machine image, user data, Terraform, deploy
# scripts and guides. Installs what is missing. Each file of tests/deployment is an area with a count of its own.
# The last line is the total, "N passed, N failed, N skipped"; a failed check counts as one failed. Exits 0 only when
# something passed and nothing failed. Needs root: it mounts overlays and boots machines.
#   deployment-tests.sh [--binary FILE] [AREA...]
#     --binary FILE   the worker that is packaged and booted (default: the debug build in CARGO_TARGET_DIR)
#     AREA            such as units, or tests/deployment/units.bats: only these, without the check of formatting
#
# CARGO_TARGET_DIR  where cargo builds (default: the user cache)
# TESTBED_RUN       the servers that tests/deployment uses, see scripts/testbed/up.sh; what ran before is left running
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/testbed/common.sh"

tests_dir=$repo_dir/tests/deployment
binary='' areas=()
while (($#)); do
  case $1 in
    -h | --help)
      show_help
      exit
      ;;
    --binary)
      binary=${2:?"--binary wants the path of a worker"}
      shift
      ;;
    -*) die "unknown argument $1, see --help" ;;
    *) areas+=("$1") ;;
  esac
  shift
done

((EUID == 0)) || die "these tests mount overlays and boot machines: run them as root, such as with sudo -E"
files=()
for area in ${areas[@]+"${areas[@]}"}; do
  file=$tests_dir/$(basename "$area" .bats).bats
  [[ -f $file ]] || die "there is no $file; the areas are those of tests/deployment/*.bats"
  files+=("$file")
done
((${#areas[@]})) || files=("$tests_dir"/*.bats)

binary=${binary:-$(cargo_target_dir)/debug/file-processor-worker}
[[ -x $binary ]] || die "there is no worker at $binary: build it with 'cargo build --locked', or name another with --binary"
WORKER_BINARY=$(realpath "$binary")
# What the tests are told: the worker, and the checkout they test.
export WORKER_BINARY REPO_DIR=$repo_dir

ensure_system_packages # the models that are packaged are this system's
ensure_packages bats shfmt shellcheck rpm rpmlint cpio systemd-container procps jq
python3 -c 'import ensurepip' 2>/dev/null || ensure_packages python3-venv
ensure_go # actionlint is a Go module

work=$(mktemp -d)
export DEPLOYMENT_WORK=$work/shared
mkdir "$DEPLOYMENT_WORK"
any_server_running && servers_ran_before=1 || servers_ran_before=''
clean_up() {
  [[ -n $servers_ran_before ]] || "$testbed_dir/down.sh"
  # A test that was killed may have left its machines mounted; what lies under them is this system's own.
  findmnt --raw --noheadings --output TARGET | { grep "^$work/" || true; } | sort -r | xargs --no-run-if-empty umount --lazy
  rm -rf --one-file-system "$work"
}
trap clean_up EXIT

passed=0 failed=0 skipped=0

# Every shell file of the repository but one, whose own text is part of the engine's key: a blank line less in it and
# the engine would be built again under another name.
shell_files() {
  git -C "$repo_dir" ls-files -z --cached --others --exclude-standard -- '*.sh' '*.bash' '*.bats' .ci/run \
    ':!scripts/build-tesseract.sh'
}

check_formatting() {
  say '== shfmt'
  local unformatted
  unformatted=$(cd "$repo_dir" && shell_files | xargs -0 shfmt -i 2 -ci -d 2>&1) || true
  if [[ -z $unformatted ]]; then
    passed=$((passed + 1))
    return
  fi
  printf '%s\n' "$unformatted" >&2
  say "these differ from what 'shfmt -i 2 -ci -w FILE' makes of them"
  failed=$((failed + 1))
}

# run_area FILE: a file of tests; what bats says goes to $work/NAME.tap, its exit code and seconds to $work/NAME.end.
run_area() {
  local name began=$SECONDS status=0
  name=$(basename "$1" .bats)
  bats --tap "$1" >"$work/$name.tap" 2>&1 || status=$?
  printf '%d %d\n' "$status" "$((SECONDS - began))" >"$work/$name.end"
}

# count_area FILE: shows what run_area left, and counts what bats said of each test.
count_area() {
  local name status seconds ok not_ok skip
  name=$(basename "$1" .bats)
  say "== $name"
  cat "$work/$name.tap" >&2
  read -r status seconds <"$work/$name.end"
  skip=$(grep -c '^ok .*# skip' "$work/$name.tap") || true
  ok=$(($(grep -c '^ok ' "$work/$name.tap") - skip)) || true
  not_ok=$(grep -c '^not ok ' "$work/$name.tap") || true
  # A file that could not be run at all has no line of its own.
  ((status == 0 || not_ok > 0)) || not_ok=1
  say "$name: $ok passed, $not_ok failed, $skip skipped ($seconds s)"
  passed=$((passed + ok)) failed=$((failed + not_ok)) skipped=$((skipped + skip))
}

((${#areas[@]})) || check_formatting
# Terraform's apply mostly sleeps: it runs beside the others.
beside=''
for file in "${files[@]}"; do
  [[ $file == */apply.bats && ${#files[@]} -gt 1 ]] || continue
  run_area "$file" &
  beside=$!
done
for file in "${files[@]}"; do
  if [[ -n $beside && $file == */apply.bats ]]; then continue; fi
  run_area "$file"
  count_area "$file"
done
if [[ -n $beside ]]; then
  wait "$beside"
  count_area "$tests_dir/apply.bats"
fi

printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
((passed > 0 && failed == 0)) || exit 1
