#!/usr/bin/env bash
# Builds the OCR engine that release builds link: Leptonica and Tesseract with the patches of packaging/tesseract, as
# static, position-independent libraries without OpenMP, image codecs and network. About 4 minutes of two cores once;
# the result is kept in the user cache under a key made of sources, patches and flags. The last line is its folder.
#   build-tesseract.sh               the engine of the product
#   build-tesseract.sh --unpatched   the same without patches, to compare with
#   build-tesseract.sh --patches N   the same with the first N patches only, to measure what each gives
#   build-tesseract.sh --sanitized   the product's engine with address and undefined-behaviour checks, slow
#   build-tesseract.sh --key         only says the key of the product's engine, builds nothing
#
# On x86-64 the engine needs AVX2 (x86-64-v3; older processors are refused with a sentence) and uses AVX-512 VNNI where
# the processor has it; DOTPRODUCT=avx2 in the environment of a program leaves VNNI out. On aarch64 it uses NEON.
# Cargo links it by what lib.sh's use_engine exports. lib/libtesseract.so.5 is the same engine for programs that were
# linked with the distribution's library: LD_LIBRARY_PATH=FOLDER/lib.
#
# XDG_CACHE_HOME      where the user cache is (default ~/.cache)
# ENGINE_SOURCES      a folder with the source archives, to build without network
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

engine_dir=$repo_dir/packaging/tesseract
sources_dir=${ENGINE_SOURCES:-$cache_dir/engine/sources}
variant=product only_key='' patch_count=''
while (($#)); do
  case $1 in
    -h | --help)
      show_help
      exit
      ;;
    --unpatched) variant=unpatched ;;
    --sanitized) variant=sanitized ;;
    --patches)
      [[ ${2:-} =~ ^[0-9]+$ ]] || die '--patches needs a number'
      patch_count=$((10#$2))
      shift
      ;;
    --key) only_key=1 ;;
    *) die "unknown argument $1, see --help" ;;
  esac
  shift
done

# Word images stay bitmaps instead of compressed files (no codec is there to read them).
defines=(-DTESSERACT_IMAGEDATA_AS_PIX)
tesseract_options=()
# Fused multiplication and addition is what the compiler does by itself; the vectorised code relies on it.
case $(uname -m) in
  x86_64) machine=(-march=x86-64-v3 -ffp-contract=fast) ;;
  aarch64) machine=(-march=armv8-a -ffp-contract=fast) ;; # proven by cross-compiling and emulation; no such machine was there to try it
  *) die "no engine for $(uname -m): x86_64 and aarch64 are known" ;;
esac
optimisation=(-O3 -DNDEBUG)
patches=("$engine_dir"/0*.patch)
if [[ -n $patch_count ]]; then
  ((patch_count <= ${#patches[@]})) || die "there are ${#patches[@]} patches"
  # None and all are engines that exist under their own names.
  case $patch_count in
    0) variant=unpatched ;;
    "${#patches[@]}") ;;
    *)
      patches=("${patches[@]:0:patch_count}")
      variant=first-$patch_count
      ;;
  esac
fi
case $variant in
  unpatched) patches=() ;;
  sanitized)
    optimisation=(-O1 -g -fno-omit-frame-pointer "-fsanitize=address,undefined")
    # Of no use to memory and arithmetic: a cast of a class that was linked twice is reported otherwise.
    optimisation+=(-fno-sanitize=vptr)
    ;;
esac
[[ $variant == unpatched || $(uname -m) != x86_64 ]] || tesseract_options+=(-DREQUIRE_X86_64_V3=ON)

key=$({
  cat "$engine_dir/sources.txt"
  # Without what the patches say about themselves.
  for patch in ${patches[@]+"${patches[@]}"}; do sed -n '/^diff --git/,$p' "$patch"; done
  printf '%s\n' "${machine[@]}" "${optimisation[@]}" "${defines[@]}" ${tesseract_options[@]+"${tesseract_options[@]}"}
  sed -n '/^# What is built/,/^# Here the build ends/p' "${BASH_SOURCE[0]}"
} | sha256sum | cut -c 1-12)
if [[ -n $only_key ]]; then
  printf '%s\n' "$key"
  exit
fi
prefix=$cache_dir/engine/$variant-$key

# source_field NAME FIELD: 2 version, 3 sha256, 4 address, 5 Debian's name.
source_field() { awk -v name="$1" -v field="$2" '$1 == name { print $field }' "$engine_dir/sources.txt"; }

archive_of() { printf '%s/%s-%s.tar.gz\n' "$sources_dir" "$1" "$(source_field "$1" 2)"; }

# keep_if_right NAME FILE: moves a fetched file to where it belongs if its checksum is right.
keep_if_right() {
  [[ -f $2 && $(sha256sum "$2" | cut -d ' ' -f 1) == "$(source_field "$1" 3)" ]] || return 1
  mkdir -p "$sources_dir"
  mv "$2" "$(archive_of "$1")"
}

have_source() {
  local archive
  archive=$(archive_of "$1")
  [[ -f $archive ]] || return 1
  [[ $(sha256sum "$archive" | cut -d ' ' -f 1) == "$(source_field "$1" 3)" ]] ||
    die "$archive has another checksum than sources.txt says; remove it, then run this again"
}

fetch_from_upstream() {
  curl -fsSL --connect-timeout 10 --max-time 300 -o "$work/$1.upstream" "$(source_field "$1" 4)" 2>/dev/null &&
    keep_if_right "$1" "$work/$1.upstream"
}

# Debian's archive, from where this system has its packages, by apt itself with lists of its own: the system's stay as they
# are, and root is not needed. Unstable, because that is where the versions of sources.txt are; what is fetched is
# checked against their checksums.
fetch_from_debian() {
  grep -qs '^ID=debian$' /etc/os-release || return 1
  local apt=$work/apt site package version
  # shellcheck disable=SC2016  # apt's own variable
  site=$(apt-get indextargets --format '$(SITE)' 'Component: main' | grep -v security | head -n 1)
  [[ -n $site ]] || return 1
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/files"
  printf 'deb-src [trusted=yes] %s sid main\n' "$site" >"$apt/sources.list"
  local options=(-qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update >/dev/null 2>&1 || true
  package=$(source_field "$1" 5) version=$(source_field "$1" 2)
  # Files of the packaging may be missing; only the archive itself counts.
  (cd "$apt/files" && apt-get "${options[@]}" source --download-only --only-source "$package" >/dev/null 2>&1) || true
  keep_if_right "$1" "$apt/files/${package}_$version.orig.tar.gz"
}

ensure_source() {
  have_source "$1" && return
  say "fetching $1 $(source_field "$1" 2)"
  fetch_from_upstream "$1" || fetch_from_debian "$1" ||
    die "no source of $1 $(source_field "$1" 2) could be fetched; put it into a folder as $(basename "$(archive_of "$1")") and name that folder in ENGINE_SOURCES"
}

# quietly NAME COMMAND...: the output is shown only when it fails.
quietly() {
  local log=$work/log
  "${@:2}" >"$log" 2>&1 && return
  tail -n 40 "$log" >&2
  die "$1 failed; its last lines are above"
}

unpack() {
  mkdir -p "$work/$1"
  tar -xzf "$(archive_of "$1")" --strip-components 1 -C "$work/$1"
}

# Installed here first and moved when it is whole.
stage=''
# Messages and the binary must not depend on where it was built.
same_paths=''

# What is built, and how; the key is made of this part, too.
configure() {
  cmake "$@" -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DSW_BUILD=OFF \
    -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_INSTALL_PREFIX="$stage"
}

build_leptonica() {
  say "building Leptonica $(source_field leptonica 2)"
  unpack leptonica
  # NO_CONSOLE_IO: it would complain on stderr of every picture without foreground, and of the codecs it lacks.
  quietly 'configuring Leptonica' configure -S "$work/leptonica" -B "$work/leptonica-build" \
    -DCMAKE_C_FLAGS_RELEASE="${optimisation[*]} ${machine[*]} $same_paths -DNO_CONSOLE_IO" -DBUILD_PROG=OFF -DENABLE_ZLIB=OFF -DENABLE_PNG=OFF \
    -DENABLE_GIF=OFF -DENABLE_JPEG=OFF -DENABLE_TIFF=OFF -DENABLE_WEBP=OFF -DENABLE_OPENJPEG=OFF
  quietly 'building Leptonica' make -C "$work/leptonica-build" -j "$(nproc)" install
}

build_tesseract() {
  say "building Tesseract $(source_field tesseract 2) ($variant, key $key)"
  unpack tesseract
  local file
  for file in ${patches[@]+"${patches[@]}"}; do
    quietly "applying $(basename "$file")" patch -d "$work/tesseract" -p1 --fuzz=0 -i "$file"
  done
  quietly 'configuring Tesseract' configure -S "$work/tesseract" -B "$work/tesseract-build" \
    -DCMAKE_CXX_FLAGS_RELEASE="${optimisation[*]} ${machine[*]} ${defines[*]} $same_paths" -DOPENMP_BUILD=OFF -DGRAPHICS_DISABLED=ON \
    -DDISABLED_LEGACY_ENGINE=ON -DBUILD_TRAINING_TOOLS=OFF -DBUILD_TESTS=OFF -DDISABLE_TIFF=ON -DDISABLE_ARCHIVE=ON \
    -DDISABLE_CURL=ON -DFAST_FLOAT=ON -DENABLE_NATIVE=OFF -DINSTALL_CONFIGS=OFF ${tesseract_options[@]+"${tesseract_options[@]}"} \
    -DLeptonica_DIR="$stage/lib/cmake/leptonica"
  quietly 'building Tesseract' make -C "$work/tesseract-build" -j "$(nproc)" libtesseract
  mkdir -p "$stage/include/tesseract"
  cp "$work/tesseract-build/libtesseract.a" "$stage/lib/"
  cp "$work/tesseract"/include/tesseract/*.h "$work/tesseract-build"/include/tesseract/*.h "$stage/include/tesseract/"
  # What tests/kernels.cpp looks into.
  (cd "$work/tesseract" && find src \( -name '*.h' -o -name linefind.cpp \) -exec cp --parents {} "$stage" \;)
  # The same objects as a shared library, for what was linked with the distribution's.
  [[ $variant == sanitized ]] || quietly 'linking the shared library' g++ -shared -Wl,-soname,libtesseract.so.5 -Wl,-z,defs \
    -o "$stage/lib/libtesseract.so.5" -Wl,--whole-archive "$stage/lib/libtesseract.a" -Wl,--no-whole-archive \
    "$stage/lib/libleptonica.a" -lpthread -lm
  cat >"$stage/lib/pkgconfig/tesseract.pc" <<PC
prefix=$prefix
libdir=\${prefix}/lib
includedir=\${prefix}/include
engine_build=$variant-$key

Name: tesseract
Description: OCR engine, built by build-tesseract.sh
Version: $(source_field tesseract 2)
Requires.private: lept
Libs: -L\${libdir} -ltesseract
Libs.private: -lpthread -lm
Cflags: -I\${includedir}
PC
}
# Here the build ends.

if [[ ! -d $prefix ]]; then
  ensure_packages build-essential cmake pkg-config curl ca-certificates
  mkdir -p "$cache_dir/engine"
  work=$(mktemp -d "$cache_dir/engine/build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  stage=$work/stage same_paths=-ffile-prefix-map=$work=.
  ensure_source leptonica
  ensure_source tesseract
  build_leptonica
  build_tesseract
  # CMake's description of Leptonica, which nothing needs any more, and pkg-config's name the folder as it was here.
  rm -r "$stage/lib/cmake"
  sed -i "s|$stage|$prefix|g" "$stage/lib/pkgconfig/lept.pc"
  # Whole or not at all; a second build at the same time loses the race and is thrown away.
  mv -T "$stage" "$prefix" 2>/dev/null || [[ -d $prefix ]] || die "could not write $prefix; make it writable"
fi
printf '%s\n' "$prefix"
