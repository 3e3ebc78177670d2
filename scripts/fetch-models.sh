#!/usr/bin/env bash
# Puts the models of packaging/models/models.txt into a folder and proves each by its checksum. They come from MODEL_SOURCES,
# from where this system has them, or from upstream; a file with other bytes is never taken. Does nothing when they are
# there already.
#   fetch-models.sh DIR
#
# MODEL_SOURCES  a folder with the files, to work without network
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case ${1:-} in
  -h | --help)
    show_help
    exit
    ;;
  '' | -*) die "wants the folder that the models are put into, see --help" ;;
esac
folder=$1
list=$repo_dir/packaging/models/models.txt
places=(${MODEL_SOURCES:+"$MODEL_SOURCES"} /usr/share/tesseract-ocr/5/tessdata /usr/local/share/tessdata)

is_right() { [[ -f $1 && $(sha256sum "$1" | cut -d ' ' -f 1) == "$2" ]]; }

mkdir -p "$folder"
# Named until it is proven so that nothing takes it for a model.
part=$folder/.fetching.$$
trap 'rm -f "$part"' EXIT

# fetch LANGUAGE SHA256 ADDRESS: the file as $part.
fetch() {
  local place
  for place in "${places[@]}"; do
    if is_right "$place/$1.traineddata" "$2"; then
      cp "$place/$1.traineddata" "$part"
      return
    fi
  done
  say "fetching $1.traineddata"
  curl -fsSL --connect-timeout 10 --max-time 300 -o "$part" "$3" ||
    die "$1.traineddata could not be fetched from $3; put it into a folder and name that by MODEL_SOURCES"
  is_right "$part" "$2" ||
    die "$1.traineddata from $3 has another checksum than models.txt says; it is not used"
}

while read -r language checksum address; do
  [[ $language != '#'* ]] || continue
  model=$folder/$language.traineddata
  is_right "$model" "$checksum" && continue
  fetch "$language" "$checksum" "$address"
  install -m 0644 "$part" "$model"
done <"$list"
