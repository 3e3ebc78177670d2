#!/usr/bin/env bash
# Starts our stub of the EC2 instance metadata service and of Auto Scaling's lifecycle calls on 127.0.0.1 and prints its
# URL. Does nothing when it already runs. What can be asked of it, and how notices and faults are forced, is at the
# top of imds_stub.py. One stub is one instance: start one a daemon, each on its own port, to interrupt them apart.
#   start-imds.sh [--keep]     --keep is accepted as by the other scripts and changes nothing
#
# IMDS_PORT    its port (default 1338)
# TESTBED_RUN  pid file and log (default: testbed/run in the user cache)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
  -h | --help)
    show_help
    exit
    ;;
  '' | --keep) ;;
  *) die "unknown argument $1, see --help" ;;
esac

port=${IMDS_PORT:-1338}
ensure_packages curl python3
with_server_lock imds "$port" start_server imds "$port" /_control 10 python3 "$testbed_dir/imds_stub.py" "$port"
