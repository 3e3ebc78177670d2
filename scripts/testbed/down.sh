#!/usr/bin/env bash
# Stops all servers that up.sh or a start-*.sh started and that still run. Their data stays until the next start.
#
# TESTBED_RUN  where they left their pid files (default: testbed/run in the user cache)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
  -h | --help)
    show_help
    exit
    ;;
  '') ;;
  *) die "unknown argument $1, see --help" ;;
esac

for pid_file in "$testbed_run"/*.pid; do
  [[ -e $pid_file ]] || continue
  stop_server "$pid_file" & # all at once: the JVMs take a second or two each
done
wait
