#!/usr/bin/env bash
# Measures what the project promises, side by side in one run, and prints a table with ratios.
#   bench.sh [race] [memory] [start] [texts] [growth] [faults]     all parts without an argument; about an hour
#     race     the same scanned pages through a tesseract process a page (as the Python worker did it, and done right),
#              OCRmyPDF, Apache Tika, the bare engine, and ours by extract and through all servers: speed, processor
#              time, memory, error rates; a table in Markdown
#     memory   a long scan through the daemon · start   until READY
#     texts    small texts and text PDFs through the daemon, 100 to 10,000 messages
#     growth   one scan of many pages beside as many scans of one page
#     faults   outages, drains, interruptions
# The corpus is read from ../shared/corpus or $CORPUS_DIR; parts that need it are left out, with a word, when it is
# missing. The servers are those of scripts/testbed. Two cores, noisy: trust the ratios, never one absolute time.
# BENCH_ROUNDS   rounds of the race, its readers in turn (2)
# BENCH_SVG      a file that the race's picture is written to
# BENCH_PAGES    pages of the longest scan of memory and growth (300)
# BENCH_TEXTS    most messages of texts (10000); BENCH_PDFS: text PDFs (600)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=peers.sh
source "$here/peers.sh"

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
[[ ${#parts[@]} -gt 0 ]] || parts=(race memory start texts growth faults)
if [[ " ${parts[*]} " =~ \ (race|memory|start|texts|faults)\  ]]; then
  servers=$(TESTBED_JIT=c2 "$here/testbed/up.sh" --with toxiproxy)
  set -a
  eval "$servers"
  set +a
  trap '"$here/testbed/down.sh"' EXIT
fi
if [[ " ${parts[*]} " == *" race "* ]]; then
  engine=$("$here/build-tesseract.sh")
  ENGINE_PAGES=$engine/pages
  g++ -O2 -std=c++17 -o "$ENGINE_PAGES" "$here/../packaging/tesseract/tests/pages.cpp" -I"$engine/include" \
    "$engine/lib/libtesseract.a" "$engine/lib/libleptonica.a" -lpthread
  export ENGINE_PAGES
  [[ -n ${TIKA_APP_JAR:-} ]] || ensure_tika
  ensure_python_environment
  [[ $python == python3 ]] || export PEERS_PYTHON=$python
fi
python3 "$here/bench/bench.py" "${parts[@]}"
