#!/usr/bin/env bash
# The OCR engine on Amazon Linux 2023, which has no package of it: installs what its build needs, builds Tesseract and
# Leptonica with our patches (build-tesseract.sh) and prints the folder that they are in. Fails loudly: without its engine
# there is no worker. For a build machine; the image gets the worker's RPM, which has the engine in it.
#   install-tesseract-al2023.sh [--models]
#     --models   also put the models where the worker looks first, /usr/local/share/tessdata
#
# XDG_CACHE_HOME  where the user cache is (default ~/.cache); the engine is kept there
# ENGINE_SOURCES  a folder with the source archives, MODEL_SOURCES one with the models: to build without network
# OS_RELEASE      which file says what system this is (default /etc/os-release)
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

wants_models=''
case ${1:-} in
  -h | --help)
    show_help
    exit
    ;;
  --models) wants_models=1 ;;
  '') ;;
  *) die "unknown argument $1, see --help" ;;
esac

(
  # shellcheck source=/dev/null
  . "${OS_RELEASE:-/etc/os-release}"
  [[ ${ID:-} == amzn && ${VERSION_ID:-} == 2023 ]]
) || die "this is not Amazon Linux 2023; on Debian and Ubuntu scripts/build-tesseract.sh is enough"

prefix=$("$scripts_dir/build-tesseract.sh") || die "the engine could not be built, see above"
for library in libtesseract.a libleptonica.a; do
  [[ -s $prefix/lib/$library ]] || die "$prefix has no $library; remove the folder and run this again"
done
if [[ -n $wants_models ]]; then
  as_root env MODEL_SOURCES="${MODEL_SOURCES:-}" "$scripts_dir/fetch-models.sh" /usr/local/share/tessdata
fi
printf '%s\n' "$prefix"
