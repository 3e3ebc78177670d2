#!/usr/bin/env bash
# Measures what the project promises, side by side in one run, and prints a table with ratios.
#   bench.sh [accuracy] [speed] [memory] [start] [texts] [faults]     all parts without an argument; about 30 minutes
# The corpus is read from ../shared/corpus or $CORPUS_DIR; parts that need it are left out, with a word, when it is
# missing. The servers are those of scripts/testbed. Two cores, noisy: trust the ratios, never one absolute time.
# BENCH_ROUNDS   rounds of the speed comparison, taken in turn (2)
# BENCH_PAGES    pages of the memory scan (300)
# BENCH_TEXTS    text files of the throughput part (2000)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
source "$here/lib.sh"

case ${1:-} in
-h | --help)
  show_help
  exit 0
  ;;
esac

ensure_system_packages
ensure_packages poppler-utils tesseract-ocr
ensure_rust
ensure_pdfium
use_engine
target=$(cargo_target_dir)
say "building the release binary"
(cd "$here/.." && CARGO_TARGET_DIR=$target cargo build --release --locked)
export FILE_PROCESSOR_WORKER=$target/release/file-processor-worker

parts=("$@")
[[ ${#parts[@]} -gt 0 ]] || parts=(accuracy speed memory start texts faults)
if [[ " ${parts[*]} " =~ \ (memory|start|texts|faults)\  ]]; then
  servers=$("$here/testbed/up.sh" --with toxiproxy)
  set -a
  eval "$servers"
  set +a
  trap '"$here/testbed/down.sh"' EXIT
fi
python3 "$here/bench/bench.py" "${parts[@]}"
