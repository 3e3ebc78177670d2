#!/usr/bin/env bash
# The chaos suite: thousands of messages about thousands of objects, daemons that share one queue, and a seeded script
# of faults between them and real SQS, S3 and OpenSearch servers on 127.0.0.1. Prints the seed, the history and a table;
# exits 0 only when no document is wrong, missing or extra, nothing is stuck in the queue, the dead-letter queue holds
# exactly what it must, and pages were not read much more often than needed. About ten minutes a seed.
#   chaos.sh [--seed N]... [--messages N] [--objects N] [--daemons N] [--seconds N] [--rounds N] [--patience N]
#            [--logs DIR] [--keep-servers]
#     --seed N         repeats a run; given several times, one run after the other (default: one new seed)
#     --messages N     messages sent (10000)
#     --objects N      objects they are about (2000)
#     --daemons N      daemons at once (2)
#     --seconds N      time over which messages are sent and faults come (480)
#     --rounds N       how often each of the faults comes (3)
#     --patience N     seconds that the daemons have to finish when all faults are over (300)
#     --logs DIR       where the daemons' logs are kept when a run fails (default: a new folder below the temporary one)
#     --keep-servers   leave the servers running (servers that ran before are always left running)
# As root, one daemon's spool is a small file system of its own, so that its disk can be full; else that is left out.
#
# CARGO_TARGET_DIR   where cargo builds (default: the user cache)
# SQS_PORT, S3_PORT, OPENSEARCH_PORT, TOXI_PORT, SQS_HEAP, OPENSEARCH_HEAP, TESTBED_RUN   see scripts/testbed/up.sh --help
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/testbed/common.sh"

seeds=() keep_servers='' logs=''
whole_number() { [[ ${2:-} =~ ^[0-9]+$ ]] || die "$1 takes a whole number, not '${2:-}'"; }
while (($#)); do
  case $1 in
    -h | --help)
      show_help
      exit
      ;;
    --keep-servers)
      keep_servers=1
      shift
      continue
      ;;
    --logs) logs=${2:?--logs takes a folder} ;;
    --seed)
      whole_number "$@"
      seeds+=("$2")
      ;;
    --messages | --objects | --daemons | --seconds | --rounds | --patience)
      whole_number "$@"
      name=${1#--}
      export "CHAOS_${name^^}=$2"
      ;;
    *) die "unknown argument $1, see --help" ;;
  esac
  shift 2
done
((${#seeds[@]})) || seeds=($((RANDOM * 32768 + RANDOM)))

cd "$repo_dir"
any_server_running && keep_servers=1
servers=''
stop_servers() {
  [[ -z $servers ]] || rm -f "$servers"
  [[ -n $keep_servers ]] || "$testbed_dir/down.sh"
}
trap stop_servers EXIT

prepare_build

say "== servers"
servers=$(mktemp)
"$testbed_dir/up.sh" --with toxiproxy >"$servers"
use_servers "$servers"

export CHAOS_LOGS=${logs:-$(mktemp -d)}
mkdir -p "$CHAOS_LOGS"
failed=()
for seed in "${seeds[@]}"; do
  say "== seed $seed"
  CHAOS_SEED=$seed RUST_BACKTRACE=0 \
    cargo test --locked --test it -- --ignored --exact chaos::long --nocapture >&2 || failed+=("$seed")
done
if ((${#failed[@]})); then
  say "the bar was missed with seed ${failed[*]}; logs, if any, are in $CHAOS_LOGS"
  exit 1
fi
rmdir "$CHAOS_LOGS" 2>/dev/null || true
say "${#seeds[@]} of ${#seeds[@]} seeds passed"
