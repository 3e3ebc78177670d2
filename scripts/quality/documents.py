"""Documents that are written here from the known text: encodings, web pages, mails, small packages, an archive."""
import email.message
import email.policy
import io
import json
import pathlib
import tarfile
import typing
import xml.sax.saxutils
import zipfile

from known_text import NARROW, PARAGRAPHS, TABLE, prose, rows, whole

ENCODINGS = ["utf-8", "utf-8-sig", "cp932", "euc_jp", "iso2022_jp", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]

WORDS = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
SHEETS = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
OPEN_DOCUMENT = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"'
)
ENTRIES = ["図面/橋梁一般図.dwg", "報告書/点検調書 0012.pdf", "写真/支承部.jpg"]

Target = pathlib.Path | typing.IO[bytes]


def escaped(text: str) -> str:
    return xml.sax.saxutils.escape(text)


def plain_texts() -> dict[str, tuple[bytes, str]]:
    made = {}
    for encoding in ENCODINGS:
        text = whole() if "utf" in encoding else whole().translate(NARROW)
        made[f"{encoding.replace('_', '-')}.txt"] = (text.encode(encoding), text)
    made["cp932.csv"] = (rows(",").translate(NARROW).encode("cp932"), rows("\n").translate(NARROW))
    made["utf-16.tsv"] = (rows("\t").encode("utf-16"), rows("\n"))
    made["utf-8.md"] = (("# " + prose()).encode(), prose())
    made["euc-jp.log"] = (prose().encode("euc_jp"), prose())
    # A string of JSON may be escaped; a reader of the data sees the characters.
    made["escaped.json"] = (json.dumps({"paragraphs": PARAGRAPHS, "table": TABLE}, indent=1).encode(), whole())
    items = "".join(f"- {json.dumps(line, ensure_ascii=False)}\n" for line in PARAGRAPHS)
    made["utf-8.yaml"] = (items.encode(), prose())
    elements = "".join(f"<line>{escaped(line)}</line>" for line in PARAGRAPHS)
    made["euc-jp.xml"] = (f'<?xml version="1.0" encoding="EUC-JP"?><lines>{elements}</lines>'.encode("euc_jp"), prose())
    return made


def web_pages() -> dict[str, tuple[bytes, str]]:
    made = {}
    for encoding, label in [("utf-8", "utf-8"), ("cp932", "Shift_JIS"), ("euc_jp", "EUC-JP")]:
        text = whole() if encoding == "utf-8" else whole().translate(NARROW)
        body = "".join(f"<p>{escaped(line)}</p>" for line in prose().split("\n"))
        table = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in TABLE)
        page = (
            f'<!DOCTYPE html><html><head><meta charset="{label}"><style>p {{ color: red }}</style></head>'
            f"<body><script>var hidden = 'nobody reads this';</script>{body}<table>{table}</table></body></html>"
        )
        if encoding != "utf-8":
            page = page.translate(NARROW)
        made[f"{label.lower()}.html"] = (page.encode(encoding), text)
    return made


def mails() -> dict[str, tuple[bytes, str]]:
    """Plain ones; one whose body is HTML, with a text, a package and a mail attached."""
    made = {}
    for charset in ["utf-8", "iso-2022-jp"]:
        body = prose() if charset == "utf-8" else prose().translate(NARROW)
        message, headers = addressed("橋梁点検の日程について")
        message.set_content(body, charset=charset)
        made[f"{charset}.eml"] = (bytes(message), f"{headers}\n{body}")
    message, headers = addressed("資料の送付")
    message.set_content(f"<html><body><p>{escaped(PARAGRAPHS[1])}</p></body></html>", subtype="html", charset="utf-8")
    finding = PARAGRAPHS[2].encode("cp932")
    message.add_attachment(finding, maintype="text", subtype="plain", filename="第3径間の所見.txt")
    package = io.BytesIO()
    truth = write_docx(package)
    message.add_attachment(
        package.getvalue(), maintype="application", subtype="octet-stream", filename="点検業務報告書.docx",
    )
    forwarded, forwarded_headers = addressed("転送:損傷図の確認")
    forwarded.set_content(PARAGRAPHS[6], charset="iso-2022-jp")
    message.add_attachment(forwarded)
    parts = [headers, PARAGRAPHS[1], "第3径間の所見.txt", PARAGRAPHS[2], "点検業務報告書.docx", truth]
    made["attached.eml"] = (bytes(message), "\n".join([*parts, forwarded_headers, PARAGRAPHS[6]]))
    return made


def addressed(subject: str) -> tuple[email.message.EmailMessage, str]:
    """A mail without a body, and what its headers say."""
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["Subject"], message["From"], message["To"] = subject, "山田太郎 <yamada@example.com>", "suzuki@example.com"
    return message, f"{subject}\n山田太郎\nyamada@example.com\nsuzuki@example.com"


def zipped(path: Target, parts: dict[str, str], first: tuple[str, str] | None = None) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if first:
            archive.writestr(*first, compress_type=zipfile.ZIP_STORED)
        for name, content in parts.items():
            archive.writestr(name, content)


def package_parts(main: str, kind: str) -> dict[str, str]:
    """What every package of Office Open XML has."""
    content_types = "http://schemas.openxmlformats.org/package/2006/content-types"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    return {
        "[Content_Types].xml": f'<Types xmlns="{content_types}"><Default Extension="rels" ContentType='
        '"application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" '
        f'ContentType="application/xml"/><Override PartName="/{main}" ContentType="{kind}"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}"><Relationship Id="r1" '
        f'Type="{RELATIONS}/officeDocument" Target="{main}"/></Relationships>',
    }


def write_docx(path: Target) -> str:
    paragraph = "<w:p><w:r><w:t>{}</w:t></w:r></w:p>".format
    body = "".join(paragraph(escaped(line)) for line in PARAGRAPHS)
    cell = "<w:tc>{}</w:tc>".format
    table = "".join("<w:tr>" + "".join(cell(paragraph(text)) for text in row) + "</w:tr>" for row in TABLE)
    main = "word/document.xml"
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    document = f"<w:document {WORDS}><w:body>{body}<w:tbl>{table}</w:tbl></w:body></w:document>"
    zipped(path, {**package_parts(main, kind), main: document})
    return whole()


def write_xlsx(path: pathlib.Path) -> str:
    lines = TABLE + [[line] for line in PARAGRAPHS]
    sheet_rows = ""
    for number, line in enumerate(lines, 1):
        cells = "".join(
            f'<c r="{chr(65 + column)}{number}" t="inlineStr"><is><t>{escaped(text)}</t></is></c>'
            for column, text in enumerate(line)
        )
        sheet_rows += f'<row r="{number}">{cells}</row>'
    main = "xl/workbook.xml"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
    parts = package_parts(main, kind)
    parts["[Content_Types].xml"] = parts["[Content_Types].xml"].replace(
        "</Types>", '<Override PartName="/xl/worksheets/sheet1.xml" ContentType='
        '"application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>',
    )
    parts[main] = (
        f'<workbook {SHEETS} xmlns:r="{RELATIONS}"><sheets><sheet name="点検一覧" sheetId="1" r:id="r1"/>'
        "</sheets></workbook>"
    )
    parts["xl/_rels/workbook.xml.rels"] = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
        f'Type="{RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>'
    )
    parts["xl/worksheets/sheet1.xml"] = f"<worksheet {SHEETS}><sheetData>{sheet_rows}</sheetData></worksheet>"
    zipped(path, parts)
    return "点検一覧\n" + rows("\t") + "\n" + prose()


def write_odt(path: pathlib.Path) -> str:
    body = "".join(f"<text:p>{escaped(line)}</text:p>" for line in PARAGRAPHS)
    cell = "<table:table-cell><text:p>{}</text:p></table:table-cell>".format
    table = "".join("<table:table-row>" + "".join(map(cell, row)) + "</table:table-row>" for row in TABLE)
    content = (
        f'<office:document-content {OPEN_DOCUMENT} office:version="1.2"><office:body><office:text>{body}'
        f"<table:table>{table}</table:table></office:text></office:body></office:document-content>"
    )
    kind = "application/vnd.oasis.opendocument.text"
    manifest = (
        '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0" manifest:version="1.2">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/>'
        '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/></manifest:manifest>'
    )
    zipped(path, {"content.xml": content, "META-INF/manifest.xml": manifest}, ("mimetype", kind))
    return whole()


def write_zip(path: pathlib.Path) -> str:
    zipped(path, {name: "" for name in ENTRIES})
    return "\n".join(ENTRIES)


class Cp932Entry(zipfile.ZipInfo):
    """Names as Windows in Japan writes them: CP932 without a flag that would say so."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802 (zipfile's own name)
        return self.filename.encode("cp932"), self.flag_bits & ~0x800


def write_old_zip(path: pathlib.Path) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ENTRIES:
            archive.writestr(Cp932Entry(name), b"")
    return "\n".join(ENTRIES)


def write_tar(path: pathlib.Path) -> str:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name in ENTRIES:
            archive.addfile(tarfile.TarInfo(name))
    return "\n".join(ENTRIES)


def write_all(folder: pathlib.Path) -> dict[pathlib.Path, str]:
    """Writes every document into the folder; the truth by path."""
    truths = {}
    for name, (content, truth) in {**plain_texts(), **web_pages(), **mails()}.items():
        (folder / name).write_bytes(content)
        truths[folder / name] = truth
    for name, write in [
        ("made.docx", write_docx), ("made.xlsx", write_xlsx), ("made.odt", write_odt), ("list.zip", write_zip),
        ("cp932-names.zip", write_old_zip), ("list.tar", write_tar), ("list.tar.gz", write_tar),
    ]:
        truths[folder / name] = write(folder / name)
    return truths
