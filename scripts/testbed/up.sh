#!/usr/bin/env bash
# Starts the servers that the tests and the demo talk to, all on 127.0.0.1: SQS (ElasticMQ), S3 (versitygw) and
# OpenSearch with kuromoji. The first start installs them into the user cache. What already runs is left as it is.
# Waits until all answer; then stdout has their endpoints and keys as lines that a shell can source:
#   set -a; eval "$(scripts/testbed/up.sh)"; set +a
#
#   up.sh [--keep] [--with toxiproxy] [--with imds]
#     --keep             with the data of the last run (default: servers start empty; queues are always lost)
#     --with toxiproxy   also the fault proxy
#     --with imds        also the stub of instance metadata and lifecycle calls
#
# SQS_PORT, S3_PORT, OPENSEARCH_PORT, TOXI_PORT, IMDS_PORT   their ports (default 9324, 7070, 9200, 8474, 1338)
# SQS_HEAP, OPENSEARCH_HEAP                                  the JVMs' heaps (default 256m, 512m)
# TESTBED_RUN                                                pid files, logs and data (default: testbed/run in the cache)
# TESTBED_JIT                                                c2: JVMs compile as thoroughly as in production (c1: start fast)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

keep=() servers=(sqs s3 opensearch)
while (($#)); do
  case $1 in
    -h | --help)
      show_help
      exit
      ;;
    --keep) keep=(--keep) ;;
    --with)
      [[ ${2:-} == toxiproxy || ${2:-} == imds ]] || die "--with takes toxiproxy or imds, not '${2:-}'"
      servers+=("$2")
      shift
      ;;
    *) die "unknown argument $1, see --help" ;;
  esac
  shift
done

ensure_testbed_tools

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
declare -A starting
for server in "${servers[@]}"; do
  "$testbed_dir/start-$server.sh" "${keep[@]}" >"$results/$server" &
  starting[$server]=$!
done
failed=()
for server in "${servers[@]}"; do
  wait "${starting[$server]}" || failed+=("$server")
done
((${#failed[@]} == 0)) || die "could not start ${failed[*]}; the reason is above, what did start can be stopped with down.sh"

for server in "${servers[@]}"; do
  printf 'TESTBED_%s_ENDPOINT=%s\n' "${server^^}" "$(<"$results/$server")"
done
printf 'AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\nAWS_REGION=%s\n' \
  "$testbed_access_key" "$testbed_secret_key" "$testbed_region"
