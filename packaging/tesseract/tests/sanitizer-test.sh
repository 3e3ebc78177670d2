#!/usr/bin/env bash
# Runs the engine with address and undefined-behaviour checks over hostile input: the corpus in jpn+eng, in vertical mode
# and in one block, pages made from it, and rasters of odd sizes (1 × N, N × 1, 32,767 pixels, noise) in all page
# segmentation modes. Hours of one slow core. Findings go to stderr; the first address error ends a part.
#   sanitizer-test.sh [corpus] [vertical] [block] [generated] [sizes]     all parts without an argument
#
# CORPUS_DIR   the corpus (default ../shared/corpus beside the repository)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
  -h | --help)
    show_help
    exit
    ;;
esac
parts=("$@")
((${#parts[@]})) || parts=(sizes corpus vertical block generated)

compile_pages sanitized "$work/pages" -g -fsanitize=address,undefined
# Half the resolution: the checks make everything ten times as slow.
render_dpi=150 render_corpus "$work/rendered"
export UBSAN_OPTIONS=print_stacktrace=1 ASAN_OPTIONS=detect_leaks=1
rules=(-c multilang_keep_cjk=1 -c multilang_latin_only=1)

for part in "${parts[@]}"; do
  say "== $part"
  case $part in
    corpus) "$work/pages" "${engine_settings[@]}" "${rules[@]}" "$work"/rendered/*.pgm ;;
    vertical) "$work/pages" "${engine_settings[@]}" -l jpn_vert -p 5 "$work"/rendered/handbook*.pgm ;;
    block) "$work/pages" "${engine_settings[@]}" "${rules[@]}" -p 6 "$work"/rendered/*.pgm ;;
    generated) "$work/pages" "${engine_settings[@]}" "${rules[@]}" -g 40 "$work"/rendered/*.pgm ;;
    sizes) "$work/pages" "${engine_settings[@]}" "${rules[@]}" -s ;;
    *) die "no part $part, see --help" ;;
  esac
done
