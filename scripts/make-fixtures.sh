#!/usr/bin/env bash
# Makes the files under tests/fixtures from the texts in scripts/fixtures/texts. They are committed, so this runs only
# when one of them is to change; with the same versions of the tools it makes the same bytes again.
#   make-fixtures.sh [DIR]      DIR: where to put them (default tests/fixtures, which is replaced)
#
#   samples/  what demo.sh shows, as it might stand on a file server: scans, PDFs with and without text, photos, text
#   truth/    what a reader finds in them, form feed between pages: NAME.truth.txt for the sample called NAME,
#             sign.truth.txt for images/, paragraph.truth.txt for text/
#   text/     one paragraph in each encoding
#   images/   EXIF orientations and image formats
#   pdf/      a scan under a text layer that is garbage
#   bad/      files that end in a reason
#
# Installs ImageMagick, librsvg, img2pdf, qpdf and fonts when they are missing. No environment variables of its own.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

case ${1:-} in
  -h | --help)
    show_help
    exit
    ;;
  -*) die "unknown option $1, see --help" ;;
esac
target=$(realpath -m "${1:-$repo_dir/tests/fixtures}")

ensure_packages imagemagick librsvg2-bin img2pdf qpdf fonts-noto-cjk fonts-dejavu-core python3

texts=$scripts_dir/fixtures/texts
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
out=$work/out
mkdir -p "$out"/{samples,truth,text,images,pdf,bad}

export SOURCE_DATE_EPOCH=1000000000 # cairo and img2pdf write it as the date of a PDF
mincho='Noto Serif CJK JP'
gothic='Noto Sans CJK JP'

# pages TEXT WIDTH HEIGHT FONT SIZE: lays texts/TEXT.txt out as work/TEXT/*.svg, with truth.txt.
pages() { "$scripts_dir/fixtures/pages.py" "$texts/$1.txt" "$work/$1" "${@:2}"; }

# truth_of FILE TRUTH
truth_of() { cp "$2" "$out/truth/$(basename "$1").truth.txt"; }

# draw SVG DPI PNG
draw() { rsvg-convert --dpi-x "$2" --dpi-y "$2" --background-color white "$1" | convert png:- -alpha off "$3"; }

# scan SVG DPI DEGREES TIFF: a page as an office scanner of the black and white kind gives it.
scan() {
  draw "$1" "$2" "$work/page.png"
  convert "$work/page.png" -colorspace Gray -seed 1987 -virtual-pixel White -distort SRT "$3" -blur 0x0.8 \
    -attenuate 0.45 +noise Gaussian -threshold 58% -density "$2" -units PixelsPerInch -compress Group4 "$4"
}

images_to_pdf() { img2pdf --engine internal --nodate -o "$1" "${@:2}"; }

# jpeg_with_orientation IN OUT N: puts the EXIF orientation N into a JPEG that has no EXIF.
jpeg_with_orientation() {
  python3 - "$@" <<'PYTHON'
import struct, sys
source, target, orientation = sys.argv[1], sys.argv[2], int(sys.argv[3])
jpeg = open(source, "rb").read()
tiff = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
exif = b"Exif\0\0" + tiff
open(target, "wb").write(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])
PYTHON
}

# --- samples ---------------------------------------------------------------------------------------------------------

samples=$out/samples/documents
bridge=$samples/road/ts-server3/うぐいす橋
survey=$samples/road/ts-server5/測量
culvert=$samples/structure/ts-server6/第二共同溝
viaduct=$samples/structure/ts-server7/Harbour_viaduct
mkdir -p "$bridge"/{点検,写真,図面} "$survey" "$culvert" "$viaduct"

# Two pages, black and white, never typed into a computer: the words that the demo searches for are in no other file.
pages scan-report 210 297 "$mincho" 12
report=$bridge/点検/1987_道路橋定期点検報告書.pdf
scan "$work/scan-report/1.svg" 300 0.6 "$work/report-1.tif"
scan "$work/scan-report/2.svg" 300 -0.4 "$work/report-2.tif"
images_to_pdf "$report" "$work/report-1.tif" "$work/report-2.tif"
truth_of "$report" "$work/scan-report/truth.txt"

pages text-culvert 210 297 "$gothic" 11
calculation=$culvert/設計計算書_抜粋.pdf
rsvg-convert -f pdf -o "$calculation" "$work/text-culvert/1.svg" "$work/text-culvert/2.svg"
truth_of "$calculation" "$work/text-culvert/truth.txt"

# Pages 1 and 3 have text, page 2 is a grey scan of a signed form.
pages hybrid-record 210 148 "$gothic" 12
for page in 1 3; do
  rsvg-convert -f pdf -o "$work/record-$page.pdf" "$work/hybrid-record/$page.svg"
done
draw "$work/hybrid-record/2.svg" 300 "$work/record-2.png"
convert "$work/record-2.png" -colorspace Gray -seed 2016 -virtual-pixel White -distort SRT 0.8 -blur 0x0.7 \
  +level 8%,94% -attenuate 0.12 +noise Gaussian -density 300 -units PixelsPerInch -quality 35 "$work/record-2.jpg"
images_to_pdf "$work/record-2.pdf" "$work/record-2.jpg"
record=$culvert/施工記録_第3工区.pdf
qpdf --deterministic-id --empty --pages "$work"/record-{1,2,3}.pdf -- "$record"
truth_of "$record" "$work/hybrid-record/truth.txt"

# A typed note, photographed at an angle in bad light.
note="$viaduct/P4 bearing note.jpg"
pages photo-note 148 105 'DejaVu Serif' 10
draw "$work/photo-note/1.svg" 260 "$work/note.png"
convert "$work/note.png" -seed 2011 -virtual-pixel Edge \
  -distort Perspective '0,0 18,10 1514,0 1500,24 1514,1074 1490,1060 0,1074 6,1050' \
  \( -size 1515x1075 gradient:'#fffaf0'-'#b8b0a4' \) -compose Multiply -composite \
  -blur 0x0.8 -attenuate 0.15 +noise Gaussian -quality 60 "$note"
truth_of "$note" "$work/photo-note/truth.txt"

pages tiff-levels 148 105 "$gothic" 12
for page in 1 2 3; do
  scan "$work/tiff-levels/$page.svg" 300 0.3 "$work/levels-$page.tif"
done
levels=$survey/水準測量野帳.tif
convert "$work"/levels-{1,2,3}.tif -compress Group4 "$levels"
truth_of "$levels" "$work/tiff-levels/truth.txt"

# A photo in which there is nothing to read.
convert -size 800x600 gradient:'#7fb2e5'-'#dfeaf2' -seed 7 \
  \( -size 800x600 plasma:'#35502a'-'#5f7d45' -blur 0x6 -crop 800x190+0+0 +repage \) -gravity south -composite \
  -fill '#8a8f94' -draw 'polygon 0,330 800,290 800,318 0,362' \
  -fill '#777c80' -draw 'polygon 180,350 230,348 236,470 172,470' -draw 'polygon 560,330 606,328 612,480 552,480' \
  -blur 0x1.2 -quality 55 "$bridge/写真/DSCN0412.jpg"

plan="$bridge/点検/令和3年度 点検計画.txt"
iconv -f UTF-8 -t CP932 "$texts/plan-cp932.txt" | sed 's/$/\r/' >"$plan" # lines end as on Windows
truth_of "$plan" "$texts/plan-cp932.txt"
minutes="$viaduct/議事録 2024-04-12 (耐震+質疑).txt"
cp "$texts/minutes-utf8.txt" "$minutes"
truth_of "$minutes" "$texts/minutes-utf8.txt"

# A drawing: only its header, since nobody opens it.
{
  printf 'AC1015\0\0\0\0\0\0\1'
  head -c 499 /dev/zero
} >"$bridge/図面/一般図.dwg"

# --- text ------------------------------------------------------------------------------------------------------------

text=$out/text
cp "$texts/paragraph.txt" "$text/utf8.txt"
{
  printf '\xef\xbb\xbf'
  cat "$texts/paragraph.txt"
} >"$text/utf8-bom.txt"
for encoding in CP932 EUC-JP ISO-2022-JP UTF-16LE UTF-16BE; do
  iconv -f UTF-8 -t "$encoding" "$texts/paragraph.txt" >"$text/${encoding,,}.txt"
done
{
  printf '\xff\xfe'
  cat "$text/utf-16le.txt"
} >"$text/utf-16le-bom.txt"
{
  printf '\xfe\xff'
  cat "$text/utf-16be.txt"
} >"$text/utf-16be-bom.txt"
iconv -f UTF-8 -t CP932 "$texts/cp932-vendor.txt" >"$text/cp932-vendor.txt" # with the characters of Windows alone
truth_of cp932-vendor "$texts/cp932-vendor.txt"
truth_of paragraph "$texts/paragraph.txt"

# --- images ----------------------------------------------------------------------------------------------------------

images=$out/images
pages sign 120 60 'DejaVu Sans' 14
truth_of sign "$work/sign/truth.txt"
draw "$work/sign/1.svg" 120 "$work/sign.png"
turns=('' '-rotate 0' -flop '-rotate 180' -flip -transpose '-rotate 270' -transverse '-rotate 90')
for orientation in {1..8}; do
  # shellcheck disable=SC2086  # an operation and its argument
  convert "$work/sign.png" -colorspace Gray ${turns[orientation]} +repage -quality 60 -strip "$work/turned.jpg"
  jpeg_with_orientation "$work/turned.jpg" "$images/orientation-$orientation.jpg" "$orientation"
done
convert "$work/sign.png" -colorspace Gray -colors 16 "$images/sign.gif"
convert "$work/sign.png" -colorspace Gray -threshold 55% -type Bilevel "BMP3:$images/sign.bmp"
convert "$work/sign.png" -quality 60 "$images/sign.webp"
convert "$work/sign.png" -colorspace CMYK -quality 70 "$images/cmyk.jpg"
convert "$work/sign.png" -colorspace Gray -depth 16 -define png:bit-depth=16 -define png:color-type=0 "$images/grey16.png"
# Black letters on transparent black: who drops the alpha channel sees nothing.
convert "$work/sign.png" -colorspace Gray -negate -alpha off \( +clone \) -compose CopyOpacity -composite \
  -fill black -colorize 100 -define png:color-type=6 "$images/alpha.png"
convert -size 1x1 xc:white "$images/1x1.png"

# --- pdf -------------------------------------------------------------------------------------------------------------

garbage=$out/pdf/garbage-text-layer.pdf
scan "$work/hybrid-record/2.svg" 300 0.2 "$work/form.tif"
images_to_pdf "$work/form.pdf" "$work/form.tif"
tr '\f' '\n' <"$texts/scan-report.txt" | sed -n 10,28p >"$work/garbage.txt"
"$scripts_dir/fixtures/garbage_layer.py" "$work/garbage.txt" "$work/garbage.pdf" 595.32 419.52
qpdf --deterministic-id "$work/form.pdf" --overlay "$work/garbage.pdf" -- "$garbage"
awk 'BEGIN { RS = "\f" } NR == 2 { printf "%s", $0 }' "$work/hybrid-record/truth.txt" >"$work/form.txt"
truth_of "$garbage" "$work/form.txt"

# --- bad -------------------------------------------------------------------------------------------------------------

bad=$out/bad
: >"$bad/empty.pdf"
: >"$bad/empty.txt"
head -c 20000 "$report" >"$bad/truncated.pdf"
printf '<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><p>Your session has expired.</p></body></html>\n' \
  >"$bad/html.pdf"
qpdf --static-id --static-aes-iv --allow-weak-crypto --encrypt 'himitsu' 'owner' 128 --use-aes=y -- "$work/record-1.pdf" "$bad/encrypted.pdf"
# Only printing is forbidden here: it opens without a password, and its text is to be had.
qpdf --static-id --static-aes-iv --allow-weak-crypto --encrypt '' 'owner' 128 --use-aes=y --print=none -- "$work/record-1.pdf" "$bad/restricted.pdf"
head -c 4000 "$images/orientation-1.jpg" >"$bad/truncated.jpg"
head -c 9000 "$levels" >"$bad/truncated.tif"
{
  printf '\x89PNG\r\n\x1a\n'
  head -c 200 "$texts/photo-note.txt"
} >"$bad/not-really.png"
head -c 3000 "$bridge/写真/DSCN0412.jpg" | tail -c 1500 >"$bad/noise.bin"
cp "$calculation" "$bad/pdf-called.txt"
# 900 million pixels in a file of 100 KB.
python3 - "$bad/30000x30000.png" <<'PYTHON'
import struct, sys, zlib
side = 30_000
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
rows = zlib.compressobj(9)
pixels = b"".join(rows.compress(b"\0" + b"\xff" * (side // 8)) for _ in range(side)) + rows.flush()
open(sys.argv[1], "wb").write(
    b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
PYTHON

# ---------------------------------------------------------------------------------------------------------------------

mkdir -p "$target"
for folder in samples truth text images pdf bad; do
  rm -rf "${target:?}/$folder"
  cp -r "$out/$folder" "$target/$folder"
done
say "$(find "$target" -type f | wc -l) files, $(du -sk --apparent-size "$target" | cut -f 1) KB in $target"
