"""Documents in many formats from one known Japanese text, so that the truth about each of them is known exactly."""
import email.message
import email.policy
import pathlib
import shutil
import subprocess
import xml.sax.saxutils
import zipfile

PARAGRAPHS = [
    "令和六年度 道路橋定期点検 業務報告書",
    "本業務は、市道に架かる三十二橋について近接目視による点検を行い、健全性を診断したものである。",
    "第3径間の主桁下フランジに長さ120mmのひび割れを確認した。補修工法はひび割れ注入とする。",
    "支承部ではゴム沓の変形と、アンカーボルトのゆるみが見られた(写真-15を参照)。",
    "トンネルの換気設備は、ジェットファンJF-1000を四台設置し、風速は毎秒2.5メートルを標準とする。",
    "The design load follows the B live load of the Specifications for Highway Bridges, 2012 edition.",
    "床版の打音検査で浮きを検出した箇所は、チョークで範囲を記し、損傷図に転記した。",
    "地下水位は標高マイナス4.2m、N値50以上の支持層は砂礫層で、杭長は18.5mとした。",
]
TABLE = [
    ["橋梁番号", "橋名", "架設年", "判定区分"],
    ["0012", "みどり橋", "昭和46年", "Ⅱ"],
    ["0013", "新川跨線橋", "平成3年", "Ⅲ"],
    ["0014", "東町高架橋", "昭和58年", "Ⅰ"],
]
ENCODINGS = ["utf-8", "utf-8-sig", "cp932", "euc_jp", "iso2022_jp", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
# What not all Japanese encodings can write.
NARROW = str.maketrans({"Ⅰ": "I", "Ⅱ": "II", "Ⅲ": "III"})

WORDS = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
SHEETS = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
OPEN_DOCUMENT = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"'
)


def escaped(text: str) -> str:
    return xml.sax.saxutils.escape(text)


def prose() -> str:
    return "\n".join(PARAGRAPHS)


def rows(separator: str) -> str:
    return "\n".join(separator.join(row) for row in TABLE)


def whole() -> str:
    return prose() + "\n" + rows("\t")


def plain_texts() -> dict[str, tuple[bytes, str]]:
    made = {}
    for encoding in ENCODINGS:
        text = whole() if "utf" in encoding else whole().translate(NARROW)
        made[f"{encoding.replace('_', '-')}.txt"] = (text.encode(encoding), text)
    made["cp932.csv"] = (rows(",").translate(NARROW).encode("cp932"), rows("\n").translate(NARROW))
    made["utf-8.md"] = (("# " + prose()).encode(), prose())
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
    made = {}
    for charset in ["utf-8", "iso-2022-jp"]:
        body = prose() if charset == "utf-8" else prose().translate(NARROW)
        message = email.message.EmailMessage(policy=email.policy.SMTP)
        subject, sender = "橋梁点検の日程について", "yamada@example.com"
        message["Subject"], message["From"], message["To"] = subject, sender, "suzuki@example.com"
        message.set_content(body, charset=charset)
        made[f"{charset}.eml"] = (bytes(message), f"{subject}\n{sender}\nsuzuki@example.com\n{body}")
    return made


def zipped(path: pathlib.Path, parts: dict[str, str], first: tuple[str, str] | None = None) -> None:
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


def write_docx(path: pathlib.Path) -> str:
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


def write_archive(path: pathlib.Path) -> str:
    names = ["図面/橋梁一般図.dwg", "報告書/点検調書 0012.pdf", "写真/支承部.jpg"]
    zipped(path, {name: "" for name in names})
    return "\n".join(names)


def write_all(folder: pathlib.Path) -> dict[pathlib.Path, str]:
    """Writes every document into the folder; the truth by path."""
    truths = {}
    for name, (content, truth) in {**plain_texts(), **web_pages(), **mails()}.items():
        (folder / name).write_bytes(content)
        truths[folder / name] = truth
    for name, write in [
        ("made.docx", write_docx), ("made.xlsx", write_xlsx), ("made.odt", write_odt), ("list.zip", write_archive),
    ]:
        truths[folder / name] = write(folder / name)
    truths.update(converted(folder / "made.odt", folder))
    return truths


def converted(odt: pathlib.Path, folder: pathlib.Path) -> dict[pathlib.Path, str]:
    """The same text as LibreOffice writes it, where LibreOffice is installed."""
    truths = {}
    if not shutil.which("soffice"):
        return truths
    for extension in ["doc", "rtf", "docx", "pdf"]:
        into = folder / "libreoffice"
        subprocess.run(
            ["soffice", "--headless", "--convert-to", extension, "--outdir", str(into), str(odt)],
            check=False, capture_output=True, timeout=120,
        )
        path = into / f"{odt.stem}.{extension}"
        if path.exists():
            truths[path] = whole()
    return truths
