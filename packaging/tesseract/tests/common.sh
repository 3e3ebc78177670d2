# shellcheck shell=bash
# Sourced by the engine's tests: builds their programs and finds their pages.
. "$(dirname "${BASH_SOURCE[0]}")/../../../scripts/lib.sh"

tests_dir=$repo_dir/packaging/tesseract/tests
corpus_dir=${CORPUS_DIR:-$repo_dir/../shared/corpus}
# The free settings of src/ocr/engine.rs.
# shellcheck disable=SC2034  # used by who sources this
engine_settings=(-c textord_all_prop=1 -c paragraph_text_based=0)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# compile_pages VARIANT OUTPUT FLAGS...: pages.cpp with that build of the engine: product, unpatched, sanitized, or a number
# of patches.
compile_pages() {
  local prefix build=()
  case $1 in
    product) ;;
    [0-9]*) build=(--patches "$1") ;;
    *) build=("--$1") ;;
  esac
  prefix=$("$scripts_dir/build-tesseract.sh" ${build[@]+"${build[@]}"})
  g++ -O2 -std=c++17 "${@:3}" -o "$2" "$tests_dir/pages.cpp" -I"$prefix/include" \
    "$prefix/lib/libtesseract.a" "$prefix/lib/libleptonica.a" -lpthread
}

# render FOLDER [DPI]: the corpus as PGM files, at most five pages of each document; says how many there are.
render_corpus() {
  ensure_packages poppler-utils poppler-data
  [[ -d $corpus_dir ]] || die "no corpus in $corpus_dir; name its folder in CORPUS_DIR"
  local file name
  mkdir -p "$1"
  for file in "$corpus_dir"/ja/*.pdf "$corpus_dir"/pdf/*.pdf; do
    name=$(basename "$file" .pdf)
    # Posters and pages of metres: as the worker would render them, not larger.
    case $name in enormous | hugemono | poster | 2400dpi) set -- "$1" 60 ;; *) set -- "$1" "${render_dpi:-300}" ;; esac
    pdftoppm -r "$2" -gray -l 5 "$file" "$1/$name" 2>/dev/null || true # some are broken on purpose
  done
  [[ -n $(ls "$1") ]] || die "the corpus in $corpus_dir gave no page"
}
