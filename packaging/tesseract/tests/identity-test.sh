#!/usr/bin/env bash
# Proves that the patches change no text: the patched and the unpatched engine must write the same bytes (text, and every
# symbol with its box) for the pages of the corpus and for pages made from them, with AVX-512 VNNI and without. The two
# rules of 0010-languages-of-cjk-pages.patch change text on purpose and are off here. Builds both engines; hours of one
# slow core for everything, so there are parts.
#   identity-test.sh             60 generated pages
#   identity-test.sh --full      the corpus in jpn+eng and eng, and 200 generated pages
#
# CORPUS_DIR   the corpus (default ../shared/corpus beside the repository)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

generated=60 full=''
while (($#)); do
  case $1 in
    -h | --help)
      show_help
      exit
      ;;
    --full) generated=200 full=1 ;;
    *) die "unknown argument $1, see --help" ;;
  esac
  shift
done

compile_pages unpatched "$work/unpatched"
compile_pages product "$work/product"
render_corpus "$work/pages"
differences=0

# compare NAME ARGUMENTS...: what the engines write for the same arguments of pages.
compare() {
  local name=$1 file
  shift
  mkdir -p "$work/$name"/{unpatched,product,avx2}
  "$work/unpatched" "${engine_settings[@]}" -o "$work/$name/unpatched" "$@" 2>/dev/null | sed "s/^/$name, unpatched:      /"
  "$work/product" "${engine_settings[@]}" -o "$work/$name/product" "$@" 2>/dev/null | sed "s/^/$name, patched:        /"
  DOTPRODUCT=avx2 "$work/product" "${engine_settings[@]}" -o "$work/$name/avx2" "$@" 2>/dev/null | sed "s/^/$name, patched, AVX2:  /"
  for file in "$work/$name/unpatched"/*; do
    for other in product avx2; do
      cmp -s "$file" "$work/$name/$other/$(basename "$file")" && continue
      say "$name: $(basename "$file") differs ($other)"
      differences=$((differences + 1))
    done
  done
}

compare generated -g "$generated" "$work"/pages/handbook-[abc]*.pgm
if [[ -n $full ]]; then
  compare corpus "$work"/pages/*.pgm
  compare english -l eng "$work"/pages/*.pgm
fi
((differences == 0)) || die "$differences pages differ"
say 'every page is the same'
