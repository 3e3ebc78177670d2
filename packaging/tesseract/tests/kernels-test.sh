#!/usr/bin/env bash
# Compares the patched kernels bit by bit with the code that they replace: see kernels.cpp. Two minutes.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
  -h | --help)
    show_help
    exit
    ;;
esac

prefix=$("$scripts_dir/build-tesseract.sh")
includes=()
for folder in '' arch ccutil ccstruct lstm textord cutil dict wordrec classify viewer; do
  includes+=(-I "$prefix/src/$folder")
done
machine=()
[[ $(uname -m) != x86_64 ]] || machine=(-march=x86-64-v3 -DHAVE_AVX -DHAVE_AVX2 -DHAVE_FMA -DHAVE_AVX512F -DHAVE_AVX512VNNI)
g++ -O2 -std=c++17 -ffp-contract=fast -DFAST_FLOAT -DGRAPHICS_DISABLED -DDISABLED_LEGACY_ENGINE ${machine[@]+"${machine[@]}"} \
  -o "$work/kernels" "$tests_dir/kernels.cpp" "${includes[@]}" -I"$prefix/include" -I"$prefix/include/leptonica" \
  "$prefix/lib/libtesseract.a" "$prefix/lib/libleptonica.a" -lpthread
ensure_packages tesseract-ocr-jpn tesseract-ocr-eng
models=/usr/share/tesseract-ocr/5/tessdata
"$work/kernels" $models/jpn.traineddata $models/eng.traineddata
