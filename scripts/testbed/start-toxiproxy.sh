#!/usr/bin/env bash
# Starts toxiproxy, which puts latency, cut connections and the like between the worker and a server, on 127.0.0.1 and
# prints the URL of its HTTP API. Does nothing when it already runs. Proxies are made by API call.
#   start-toxiproxy.sh [--keep]     --keep is accepted as by the other scripts and changes nothing
#
# TOXI_PORT    the port of its API (default 8474)
# TESTBED_RUN  pid file and log (default: testbed/run in the user cache)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

version=v2.12.0

case ${1:-} in
  -h | --help)
    show_help
    exit
    ;;
  '' | --keep) ;;
  *) die "unknown argument $1, see --help" ;;
esac

port=${TOXI_PORT:-8474}
binary=$testbed_cache/toxiproxy-$version

start() {
  go_tool "$binary" "github.com/Shopify/toxiproxy/v2/cmd/server@$version"
  start_server toxiproxy "$port" /version 30 "$binary" -host 127.0.0.1 -port "$port"
}
with_server_lock toxiproxy "$port" start
