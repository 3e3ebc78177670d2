#!/usr/bin/env bash
# Measures what the project promises, side by side in one run, and prints tables in Markdown with ratios.
#   bench.sh [race] [accuracy] [memory] [start] [texts] [growth] [profile] [faults]
#                                    all of these without an argument; about an hour and a half
#     race      the same scanned pages through a tesseract process a page (as the Python worker did it, and done right),
#               OCRmyPDF, Apache Tika, the bare engine, and ours by extract and through all servers: speed, processor
#               time, memory, error rates, and how busy the children are
#     accuracy  error rates of the Python worker's way and of ours on every file of the corpus that has a truth
#     memory    a long scan and many small texts through the daemon: resident memory, with pictures
#     start     until READY
#     texts     small texts and text PDFs through the daemon, 100 to 10,000 messages
#     growth    one scan of 1, 10, 100, ... pages beside as many scans of one page
#     profile   where a page's processor time goes, by perf: unpatched engine, ours, and the whole worker
#     faults    outages, drains, interruptions
#   bench.sh soak   thousands of pages in one child that is not replaced for their number: how its memory grows. Only
#                   by name; about a second a page
# The corpus is read from ../shared/corpus or $CORPUS_DIR; parts that need it are left out, with a word, when it is
# missing. The servers are those of scripts/testbed. Two cores, noisy: trust the ratios, never one absolute time.
# BENCH_ROUNDS      rounds of the race, its readers in turn (2)
# BENCH_MARKDOWN    a file that the tables are added to
# BENCH_PICTURES    a folder that pictures are written to: race.svg, memory-*.svg
# BENCH_PAGES       pages of the longest scan of memory and growth (300)
# BENCH_MESSAGES    messages of memory (10000)
# BENCH_SOAK_PAGES  pages of soak (2000)
# BENCH_TEXTS       most messages of texts (10000); BENCH_PDFS: text PDFs (2000)
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
ensure_packages poppler-utils poppler-data tesseract-ocr
ensure_rust
ensure_pdfium
use_engine
target=$(cargo_target_dir)
say "building the release binary"
(cd "$here/.." && CARGO_TARGET_DIR=$target cargo build --release --locked)
export FILE_PROCESSOR_WORKER=$target/release/file-processor-worker

parts=("$@")
[[ ${#parts[@]} -gt 0 ]] || parts=(race accuracy memory start texts growth profile faults)
if [[ " ${parts[*]} " =~ \ (race|memory|start|texts|faults)\  ]]; then
  servers=$(TESTBED_JIT=c2 "$here/testbed/up.sh" --with toxiproxy)
  set -a
  eval "$servers"
  set +a
  trap '"$here/testbed/down.sh"' EXIT
fi
# compile_pages BUILD: pages.cpp with that build of the engine; says where it is.
compile_pages() {
  local engine
  engine=$("$here/build-tesseract.sh" ${1:+"$1"})
  g++ -O2 -std=c++17 -o "$engine/pages" "$here/../packaging/tesseract/tests/pages.cpp" -I"$engine/include" \
    "$engine/lib/libtesseract.a" "$engine/lib/libleptonica.a" -lpthread
  printf '%s\n' "$engine/pages"
}
if [[ " ${parts[*]} " =~ \ (race|profile)\  ]]; then
  ENGINE_PAGES=$(compile_pages '')
  export ENGINE_PAGES
fi
if [[ " ${parts[*]} " == *" profile "* ]]; then
  command -v perf >/dev/null || ensure_packages 'linux-perf|linux-tools-generic'
  ensure_packages binutils
  UNPATCHED_PAGES=$(compile_pages --unpatched)
  export UNPATCHED_PAGES
fi
if [[ " ${parts[*]} " == *" race "* ]]; then
  [[ -n ${TIKA_APP_JAR:-} ]] || ensure_tika
  ensure_python_environment
  [[ $python == python3 ]] || export PEERS_PYTHON=$python
fi
python3 "$here/bench/bench.py" "${parts[@]}"
