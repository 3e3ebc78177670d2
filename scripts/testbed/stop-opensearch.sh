#!/usr/bin/env bash
# Stops OpenSearch alone; its data stays, and start-opensearch.sh --keep goes on with it.
#
# OPENSEARCH_PORT  the port of the node to stop (default 9200)
# TESTBED_RUN      where start-opensearch.sh left its pid file (default: testbed/run in the user cache)
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

stop_server "$testbed_run/opensearch-${OPENSEARCH_PORT:-9200}.pid"
