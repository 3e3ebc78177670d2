#!/usr/bin/env bash
# Runs everything that must pass before a commit: formatting, shellcheck, clippy, and all tests, against real SQS, S3 and
# OpenSearch servers on 127.0.0.1. Installs what is missing (packages, pdfium, the servers); the first run takes long.
# The last line is the total, "N passed, N failed" and ", N skipped" if any; a failed check counts as one failed. Exits 0
# only when something passed and nothing failed.
#   test.sh [--keep-servers] [-- ARGUMENTS...]
#     --keep-servers   leave the servers running (servers that ran before are always left running)
#     ARGUMENTS        for cargo test, such as a test's name: then only these run, without the other checks and without root
#
# CARGO_TARGET_DIR   where cargo builds (default: the user cache)
# SQS_PORT, S3_PORT, OPENSEARCH_PORT, TOXI_PORT, SQS_HEAP, OPENSEARCH_HEAP, TESTBED_RUN   see scripts/testbed/up.sh --help
# The tests get what up.sh prints: TESTBED_SQS_ENDPOINT, TESTBED_S3_ENDPOINT, TESTBED_OPENSEARCH_ENDPOINT,
# TESTBED_TOXIPROXY_ENDPOINT, AWS_*.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/testbed/common.sh"

keep_servers='' arguments=()
while (($#)); do
  case $1 in
    -h | --help)
      show_help
      exit
      ;;
    --keep-servers) keep_servers=1 ;;
    --)
      arguments=("${@:2}")
      break
      ;;
    *) die "unknown argument $1, see --help; cargo's own go after --" ;;
  esac
  shift
done

((EUID == 0 || ${#arguments[@]})) ||
  die "the deployment tests at the end boot machines: run this as root, such as with sudo -E, or name tests: test.sh -- NAME"

cd "$repo_dir"
work=$(mktemp -d)
any_server_running && keep_servers=1
servers_pid=''

stop_servers() {
  # A start that is still going on would leave servers behind.
  [[ -z $servers_pid ]] || wait "$servers_pid" 2>/dev/null || true
  servers_pid=''
  [[ -n $keep_servers ]] || "$testbed_dir/down.sh"
}
trap 'stop_servers; rm -rf "$work"' EXIT

failed_checks=0
deployment_passed=0 deployment_failed=0 deployment_skipped=0

# check NAME COMMAND...
check() {
  say "== $1"
  "${@:2}" && return
  say "$(basename "$0"): $1 failed, see above"
  failed_checks=$((failed_checks + 1))
}

# shellcheck disable=SC2317  # called through check
check_scripts() {
  command -v shellcheck >/dev/null || ensure_packages shellcheck
  find .ci scripts packaging -type f \( -name '*.sh' -o -path .ci/run \) -print0 | xargs -0 shellcheck
}

# total NAME: the sum over cargo's result lines.
total() { awk -v name="$1" '/^test result:/ { for (i = 2; i <= NF; i++) if ($i ~ "^" name) sum += $(i - 1) } END { print sum + 0 }' "$work/tests"; }

finish() {
  local passed failed ignored
  passed=$(($(total passed) + deployment_passed))
  failed=$(($(total failed) + failed_checks + deployment_failed))
  ignored=$(($(total ignored) + deployment_skipped))
  stop_servers
  ((passed + failed)) || say "$(basename "$0"): no test ran; see what cargo said above"
  printf '%d passed, %d failed' "$passed" "$failed"
  ((ignored == 0)) || printf ', %d skipped' "$ignored"
  printf '\n'
  ((passed > 0 && failed == 0)) || exit 1
  exit 0
}

: >"$work/tests"
prepare_build

# The servers start while cargo compiles.
"$testbed_dir/up.sh" --with toxiproxy >"$work/servers" &
servers_pid=$!

if ((${#arguments[@]} == 0)); then
  ensure_cargo_component fmt rustfmt
  ensure_cargo_component clippy clippy
  check formatting cargo fmt --check
  check shellcheck check_scripts
  check clippy cargo clippy --locked --all-targets -- -D warnings
fi

say "== servers"
if ! wait "$servers_pid"; then
  servers_pid=''
  say "$(basename "$0"): without its servers no test can run"
  failed_checks=$((failed_checks + 1))
  finish
fi
servers_pid=''
cat "$work/servers" >&2

say "== tests"
use_servers "$work/servers"

# cargo_test ARGUMENTS...: adds its output to $work/tests.
cargo_test() {
  local status=0 failed_before
  failed_before=$(total failed)
  cargo test --locked --no-fail-fast "$@" | tee -a "$work/tests" || status=$?
  # A test binary that dies has no result line.
  if ((status != 0 && $(total failed) == failed_before)); then
    failed_checks=$((failed_checks + 1))
  fi
}
cargo_test "${arguments[@]}"

if ((${#arguments[@]} == 0)); then
  say "== tests of whole documents on the engine of release builds"
  if (worker_on_engine "$(cargo_target_dir)/debug/file-processor-worker" "$work/file-processor-worker"); then
    export WORKER_BINARY=$work/file-processor-worker
    cargo_test --test it -- commands:: corpus:: documents:: engine::
    unset WORKER_BINARY
    check "the engine's kernels" packaging/tesseract/tests/kernels-test.sh
  else
    failed_checks=$((failed_checks + 1))
  fi

  say "== deployment: units, package, image, user data, Terraform, deploy scripts, guides"
  "$scripts_dir/deployment-tests.sh" >"$work/deployment" || true
  if ! read -r deployment_passed _ deployment_failed _ deployment_skipped _ < <(tail -n 1 "$work/deployment" | tr -d ,); then
    failed_checks=$((failed_checks + 1))
  fi
fi
finish
