#!/usr/bin/env bash
# Starts versitygw, an S3 server over a folder, on 127.0.0.1 and prints its URL. Does nothing when it already runs.
#   start-s3.sh [--keep]      --keep: with the buckets of the last run (default: empty)
#
# S3_PORT      its port (default 7070)
# TESTBED_RUN  pid file, log and data (default: testbed/run in the user cache)
# The key is testkey, its secret testsecret.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

version=v1.8.0

keep=''
case ${1:-} in
  -h | --help)
    show_help
    exit
    ;;
  '') ;;
  --keep) keep=1 ;;
  *) die "unknown argument $1, see --help" ;;
esac

port=${S3_PORT:-7070}
data=$(realpath -m "$testbed_run/s3-$port") # versitygw takes absolute paths only
binary=$testbed_cache/versitygw-$version

start() {
  if ! running_pid "$testbed_run/s3-$port.pid" >/dev/null; then
    go_tool "$binary" "github.com/versity/versitygw/cmd/versitygw@$version"
    [[ -n $keep ]] || rm -rf "$data"
    mkdir -p "$data/root" "$data/versions"
  fi
  start_server s3 "$port" /_health 30 \
    env ROOT_ACCESS_KEY="$testbed_access_key" ROOT_SECRET_KEY="$testbed_secret_key" \
    "$binary" --port "127.0.0.1:$port" --region "$testbed_region" --health /_health --keep-alive --quiet \
    posix --versioning-dir "$data/versions" "$data/root"
}
with_server_lock s3 "$port" start
