#!/usr/bin/env bash
# What each patch gives: builds the engine with the first N patches, reads the nine scanned pages of the handbooks (300 dpi,
# jpn+eng) with every such engine in turn, and prints a table in Markdown: the median of the seconds of CPU a page. An engine
# takes about 4 minutes of two cores once; it is kept in the user cache.
#   patches-bench.sh           no patch, the first, the first two, ..., all
#   patches-bench.sh N...      only these numbers of patches
#
# BENCH_ROUNDS     rounds, all engines in turn (3)
# BENCH_MARKDOWN   a file that the table is added to
# CORPUS_DIR       the corpus (default ../shared/corpus beside the repository)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
  -h | --help)
    show_help
    exit
    ;;
esac
patches=("$repo_dir"/packaging/tesseract/0*.patch)
counts=("$@")
((${#counts[@]})) || mapfile -t counts < <(seq 0 "${#patches[@]}")
for count in "${counts[@]}"; do
  if ! [[ $count =~ ^(0|[1-9][0-9]*)$ ]] || ((count > ${#patches[@]})); then
    die "$count is no number from 0 to ${#patches[@]}, see --help"
  fi
done

ensure_packages poppler-utils
mkdir "$work/pages" "$work/seconds"
for name in a b c; do
  [[ -f $corpus_dir/ja/handbook-$name.pdf ]] || die "no corpus in $corpus_dir; name its folder in CORPUS_DIR"
  pdftoppm -r 300 -gray "$corpus_dir/ja/handbook-$name.pdf" "$work/pages/handbook-$name"
done
for count in "${counts[@]}"; do compile_pages "$count" "$work/pages-$count"; done

# measure NAME PROGRAM ARGUMENTS...: adds the seconds of CPU a page to the figures of that name.
measure() {
  OMP_THREAD_LIMIT=1 "$2" "${engine_settings[@]}" "${@:3}" "$work"/pages/*.pgm 2>/dev/null |
    sed -n 's/.* pages, \([0-9.]*\) s of CPU.*/\1/p' >>"$work/seconds/$1"
}

has_language_rules() { grep -q multilang_keep_cjk "$work/pages-$1"; }

for ((round = 1; round <= ${BENCH_ROUNDS:-3}; round++)); do
  say "round $round of ${BENCH_ROUNDS:-3}"
  for count in "${counts[@]}"; do
    measure "$count" "$work/pages-$count"
    ! has_language_rules "$count" ||
      measure "$count-rules" "$work/pages-$count" -c multilang_keep_cjk=1 -c multilang_latin_only=1
  done
done

median() { sort -n "$work/seconds/$1" | awk '{ value[NR] = $1 } END { printf "%.3f", (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2 }'; }

# table_row WHAT NAME: the median beside that of the first row.
first=''
table_row() {
  local seconds
  seconds=$(median "$2")
  first=${first:-$seconds}
  printf '| %s | %s | %s |\n' "$1" "$seconds" "$(awk -v one="$seconds" -v first="$first" 'BEGIN { printf "%.2f", one / first }')"
}

table() {
  local count last
  printf '| patches | s of CPU a page | × the first row |\n|---|---|---|\n'
  for count in "${counts[@]}"; do
    last='no patch'
    ((count == 0)) || last="up to $(basename "${patches[count - 1]}" .patch)"
    table_row "$last" "$count"
    ! has_language_rules "$count" || table_row "the same, with the rules for CJK pages" "$count-rules"
  done
}
table | tee ${BENCH_MARKDOWN:+-a "$BENCH_MARKDOWN"}
