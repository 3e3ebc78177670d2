#!/usr/bin/env bash
# Measures how well files are read and prints a table: ours, a peer on the same files in the same run, the bar, and
# whether it is met. A bar that is missed is a row of the table, not an error.
#   quality.sh [scans] [texts]     both parts without an argument; about 10 minutes
#     scans   character error rate (NFKC, no white space) on the corpus' files with truth; the peer is tesseract with
#             jpn+eng, a process a page, on pdftoppm's pages of 300 dpi
#     texts   recall and precision of character bigrams on documents written here from known Japanese text: encodings,
#             csv, html, eml, docx, xlsx, odt, zip, and doc, rtf, docx, pdf by LibreOffice where it is installed; the
#             peer is Apache Tika, fetched by Maven where that is installed
# The corpus is read from ../shared/corpus or $CORPUS_DIR; without it the scans are left out, with a word.
# FILE_PROCESSOR_WORKER   the binary to measure (default: a release build made here)
# TIKA_APP_JAR            Tika's jar (default: tika-app 3.0.0, kept in the user cache)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=lib.sh
source "$here/lib.sh"

tika_version=3.0.0

case ${1:-} in
-h | --help)
  show_help
  exit 0
  ;;
esac

# Tika's jar, fetched once. Without Maven or Java the table has no such column.
ensure_tika() {
  local folder=$cache_dir/tika jar
  jar=$folder/tika-app-$tika_version.jar
  if [[ ! -f $jar ]]; then
    if ! command -v mvn >/dev/null || ! command -v java >/dev/null; then
      say "no mvn or java here: Tika is left out"
      return 0
    fi
    say "fetching Apache Tika $tika_version"
    local part
    mkdir -p "$folder"
    part=$(mktemp -d "$folder/part.XXXXXX")
    if ! mvn -q -B dependency:copy -Dartifact="org.apache.tika:tika-app:$tika_version" -DoutputDirectory="$part" >&2; then
      rm -rf "$part"
      say "Maven could not fetch Tika: left out"
      return 0
    fi
    mv -f "$part/tika-app-$tika_version.jar" "$jar"
    rm -rf "$part"
  fi
  export TIKA_APP_JAR=$jar
}

ensure_packages poppler-utils tesseract-ocr tesseract-ocr-jpn tesseract-ocr-eng
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
python3 "$here/quality/quality.py" "$@"
