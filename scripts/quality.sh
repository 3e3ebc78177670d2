#!/usr/bin/env bash
# Measures how well files are read and prints tables: ours, peers on the same files in the same run, the bar, and
# whether it is met. A bar that is missed is a row of a table, not an error; a peer that is better has a mark (*).
#   quality.sh [scans] [texts] [search] [corpus] [--markdown FILE]     all parts without one; 25 minutes when busy
#     scans    character error rate and F1 of character bigrams on the corpus' files with truth and on generated scans
#              (worn, turned, skewed, coarse, fine, dark, stamped, columns, tables, vertical, under a bad text layer);
#              the peers are tesseract, a process a page, on pdftoppm's pages of 300 dpi; OCRmyPDF with --rotate-pages
#              and --deskew; and Apache Tika. All have jpn+eng, which is what a person would give them
#     texts    recall and precision of character bigrams on documents made from known Japanese text: encodings, csv,
#              json, xml, html, mail, archives, and every Office format and PDF as LibreOffice writes them; the peer is Tika
#     search   the daemon indexes all of these through real SQS, S3 and OpenSearch (scripts/testbed), then a match asks
#              for 50 words of each one's truth; beside it, what the truth itself would have been found by
#     corpus   every file of the corpus once: outcomes, broken children, memory
#     --markdown FILE   the tables as Markdown too, written after each part
# The corpus is read from ../shared/corpus or $CORPUS_DIR; without it its files are left out, with a word. So is a peer
# that cannot be had. Installs LibreOffice, Tesseract, poppler and fonts by apt, and OCRmyPDF by pip into the user cache.
# FILE_PROCESSOR_WORKER   the binary to measure (default: a release build made here)
# TIKA_APP_JAR            Tika's jar (default: tika-app 3.0.0, fetched by Maven and kept in the user cache)
# TESTBED_*_ENDPOINT      running servers, as testbed/up.sh prints them: used and left running
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=peers.sh
source "$here/peers.sh"

# Those whose endpoints are in the environment are somebody's, and stay. Fails when they could not be started.
ensure_servers() {
  if [[ -n ${TESTBED_SQS_ENDPOINT:-} && -n ${TESTBED_S3_ENDPOINT:-} && -n ${TESTBED_OPENSEARCH_ENDPOINT:-} ]]; then
    return
  fi
  local servers
  servers=$("$here/testbed/up.sh") || return
  trap '"$here/testbed/down.sh"' EXIT
  set -a
  eval "$servers"
  set +a
}

parts=() options=()
while (($#)); do
  case $1 in
    -h | --help)
      show_help
      exit
      ;;
    scans | texts | search | corpus) parts+=("$1") ;;
    --markdown)
      [[ -n ${2:-} ]] || die "--markdown wants a file"
      options+=(--markdown "$2")
      shift
      ;;
    *) die "unknown argument $1, see --help" ;;
  esac
  shift
done
((${#parts[@]})) || parts=(scans texts search corpus)

ensure_packages poppler-utils poppler-data fonts-noto-cjk tesseract-ocr tesseract-ocr-jpn tesseract-ocr-eng tesseract-ocr-osd
(ensure_packages libreoffice-writer-nogui libreoffice-calc-nogui libreoffice-impress-nogui) ||
  say "LibreOffice could not be installed: its formats and the generated scans are left out"
ensure_pdfium
if [[ -z ${FILE_PROCESSOR_WORKER:-} ]]; then
  ensure_system_packages
  ensure_rust
  target=$(cargo_target_dir)
  say "building the release binary"
  use_engine
  (cd "$here/.." && CARGO_TARGET_DIR=$target cargo build --release --locked)
  export FILE_PROCESSOR_WORKER=$target/release/file-processor-worker
fi
[[ -n ${TIKA_APP_JAR:-} ]] || ensure_tika
ensure_python_environment
chosen=()
for part in "${parts[@]}"; do
  if [[ $part == search ]] && ! ensure_servers; then
    say "the servers could not be started: search is left out"
    continue
  fi
  chosen+=("$part")
done
((${#chosen[@]})) || die "nothing is left to measure"
"$python" "$here/quality/quality.py" "${chosen[@]}" "${options[@]}"
