# Shared by the tests of this folder; loaded, never run. scripts/deployment-tests.sh exports REPO_DIR, WORKER_BINARY and
# DEPLOYMENT_WORK, a folder for what several files of tests share.

bats_require_minimum_version 1.5.0

# A test file that is run by hand finds its checkout itself.
REPO_DIR=${REPO_DIR:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}
WORKER_BINARY=${WORKER_BINARY:-${CARGO_TARGET_DIR:-$HOME/.cache/file-processor-worker/target}/debug/file-processor-worker}
DEPLOYMENT_WORK=${DEPLOYMENT_WORK:-$BATS_RUN_TMPDIR}
export REPO_DIR WORKER_BINARY DEPLOYMENT_WORK

# wait_for SECONDS WHAT COMMAND...: until COMMAND succeeds; fails with WHAT when it never does.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    if ((SECONDS >= deadline)); then
      echo "waited in vain for $what" >&2
      return 1
    fi
    sleep 0.1
  done
}

# note TEXT...: a line beside the results, for figures that people want.
note() { printf '# %s\n' "$*" >&3; }

# the_rpm: the path of the RPM of WORKER_BINARY, built by the first who asks.
the_rpm() {
  build_rpm "$DEPLOYMENT_WORK/rpm" 1000
}

# the_next_rpm: the same worker again, with a higher release.
the_next_rpm() {
  build_rpm "$DEPLOYMENT_WORK/next-rpm" 1001
}

# build_rpm DIR RELEASE
build_rpm() {
  if ! compgen -G "$1/*.rpm" >/dev/null; then
    RPM_PAYLOAD=w3.zstdio "$REPO_DIR/scripts/build-rpm.sh" --binary "$WORKER_BINARY" --release "$2" --output "$1" >"$1.log" 2>&1 || {
      cat "$1.log" >&2
      return 1
    }
  fi
  echo "$1"/*.rpm
}
