#!/usr/bin/env python3
"""A PDF of scanned pages, made of the one that is built into the worker, so that a document can be as long as a test
needs it.

  scan.py PAGES [ORDER] >FILE    ORDER makes the child that reads it misbehave, in debug builds: src/pool/misbehave.rs
"""
import sys
from pathlib import Path


def main() -> None:
    pages, order = int(sys.argv[1]), sys.argv[2:]
    original = (Path(__file__).parents[3] / "src/job/smoke_test.pdf").read_bytes()
    begin = original.index(b"stream\n") + len(b"stream\n")
    picture = original[begin : original.index(b"\nendstream")]
    content = b"q 240 0 0 100.8 0 0 cm /I Do Q"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>" % (pages, b" ".join(b"%d 0 R" % (5 + page) for page in range(pages))),
        b"<< /Type /XObject /Subtype /Image /Width 1000 /Height 420 /ColorSpace /DeviceGray /BitsPerComponent 8"
        b" /Filter /DCTDecode /Length %d >>\nstream\n%s\nendstream" % (len(picture), picture),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
    ]
    objects += [
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 240 100.8] /Resources << /XObject << /I 3 0 R >> >> /Contents 4 0 R >>"
    ] * pages
    file, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(file)
    file += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    file += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    file += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    for line in order:
        file += b"%%fpw-test:%s\n" % line.encode()
    sys.stdout.buffer.write(file)


main()
