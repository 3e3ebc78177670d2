# shellcheck shell=bash
# The programs that this one is measured beside, for quality.sh and bench.sh.
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

tika_version=3.0.0

# Tika's jar, fetched once. Without Maven or Java the tables have no such figures.
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

# Sets python to one that has OCRmyPDF, Pillow and img2pdf; to python3 where they cannot be had.
ensure_python_environment() {
  local requirements=$scripts_dir/quality/requirements.txt folder
  folder=$cache_dir/quality-$(sha256sum <"$requirements" | cut -c1-12)
  python=$folder/bin/python
  [[ -f $folder/complete ]] && return
  say "fetching OCRmyPDF"
  rm -rf "$folder"
  python3 -c 'import ensurepip' 2>/dev/null || ensure_packages python3-venv
  # A virtual environment knows its own path, so it is made in place and marked when it is whole.
  if python3 -m venv "$folder" >&2 &&
    "$python" -m pip install -q --disable-pip-version-check --no-deps --only-binary=:all: -r "$requirements" >&2; then
    touch "$folder/complete"
  else
    say "pip could not fetch OCRmyPDF: it and the generated scans are left out"
    python=python3
  fi
}
