"""Flat OpenDocument files of the known text: what LibreOffice converts into every other Office format.

Each function gives the file's bytes. The truths of what LibreOffice makes of them are in office.py.
"""
from xml.sax.saxutils import escape, quoteattr

import known_text as known

FONT = "Noto Sans CJK JP"
NAMESPACES = " ".join(
    f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for prefix, name in [
        ("office", "office"), ("style", "style"), ("text", "text"), ("table", "table"), ("draw", "drawing"),
        ("fo", "xsl-fo-compatible"), ("svg", "svg-compatible"), ("number", "datastyle"),
        ("presentation", "presentation"),
    ]
) + ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:of="urn:oasis:names:tc:opendocument:xmlns:of:1.2"'
LANGUAGE = 'fo:language="en" fo:country="US" style:language-asian="ja" style:country-asian="JP"'


def document(kind: str, styles: str, automatic: str, masters: str, body: str) -> bytes:
    """A flat document of the kind text, spreadsheet or presentation."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><office:document {NAMESPACES} office:version="1.3" '
        f'office:mimetype="application/vnd.oasis.opendocument.{kind}">'
        f"<office:styles>{styles}</office:styles><office:automatic-styles>{automatic}</office:automatic-styles>"
        f"<office:master-styles>{masters}</office:master-styles>"
        f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document>"
    ).encode()


def default_style(family: str, points: float, more: str = "") -> str:
    return (
        f'<style:default-style style:family="{family}">{more}<style:text-properties style:font-name="{FONT}" '
        f'fo:font-family="{FONT}" style:font-family-asian="{FONT}" fo:font-size="{points}pt" '
        f'style:font-size-asian="{points}pt" {LANGUAGE}/></style:default-style>'
    )


def paragraph(text: str, inside: str = "", style: str = "") -> str:
    named = f' text:style-name="{style}"' if style else ""
    return f"<text:p{named}>{escape(text)}{inside}</text:p>"


def annotation(text: str) -> str:
    return (
        "<office:annotation><dc:creator>山田</dc:creator><dc:date>2024-03-15T09:00:00</dc:date>"
        f"{paragraph(text)}</office:annotation>"
    )


def text_table(lines: list[list[str]], cell_style: str = "ruled") -> str:
    """A table whose cells have rules around them."""
    made = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell table:style-name="{cell_style}" office:value-type="string">{paragraph(cell)}'
            "</table:table-cell>"
            for cell in line
        )
        + "</table:table-row>"
        for line in lines
    )
    return f'<table:table><table:table-column table:number-columns-repeated="{len(lines[0])}"/>{made}</table:table>'


RULED_CELL = (
    '<style:style style:name="ruled" style:family="table-cell"><style:table-cell-properties '
    'fo:border="0.8pt solid #000000" fo:padding="1mm"/></style:style>'
)


def text_page(width: str, height: str, more: str = "", header: str = "", footer: str = "") -> tuple[str, str]:
    """The automatic style and the master of a page of a text document."""
    layout = (
        f'<style:page-layout style:name="page"><style:page-layout-properties fo:page-width="{width}" '
        f'fo:page-height="{height}" fo:margin="15mm" {more}</style:page-layout-properties>'
        "<style:header-style/><style:footer-style/></style:page-layout>"
    )
    master = '<style:master-page style:name="Standard" style:page-layout-name="page">'
    master += f"<style:header>{paragraph(header)}</style:header>" if header else ""
    master += f"<style:footer>{paragraph(footer)}</style:footer>" if footer else ""
    return layout, master + "</style:master-page>"


def report() -> bytes:
    """A text document with everything that may stand beside the body of one."""
    layout, master = text_page("210mm", "297mm", ">", known.HEADER, known.FOOTER)
    graphic = (
        '<style:style style:name="box" style:family="graphic"><style:graphic-properties style:wrap="none" '
        'fo:border="1pt solid #000000" style:vertical-pos="top" style:vertical-rel="paragraph"/></style:style>'
    )
    note = (
        '<text:note text:note-class="footnote"><text:note-citation>1</text:note-citation><text:note-body>'
        f"{paragraph(known.FOOTNOTE)}</text:note-body></text:note>"
    )
    box = (
        '<draw:frame draw:style-name="box" text:anchor-type="paragraph" svg:width="90mm"><draw:text-box '
        f'fo:min-height="10mm">{paragraph(known.TEXT_BOX)}</draw:text-box></draw:frame>'
    )
    beside = {1: note, 2: annotation(known.COMMENT)}
    body = f'<text:h text:outline-level="1">{escape(known.PARAGRAPHS[0])}</text:h>'
    for number, text in enumerate(known.PARAGRAPHS[1:], 1):
        body += paragraph(text, beside.get(number, ""))
    bullets = "".join(f"<text:list-item>{paragraph(text)}</text:list-item>" for text in known.BULLETS)
    body += f"<text:list>{bullets}</text:list>{text_table(known.TABLE)}<text:p>{box}</text:p>"
    styles = default_style("paragraph", 10.5)
    return document("text", styles, layout + graphic + RULED_CELL, master, body)


def plain_page(paragraphs: list[str], points: float = 10.5, size: tuple[str, str] = ("148mm", "150mm")) -> bytes:
    """A small page of prose, for scans."""
    layout, master = text_page(*size, ">")
    return document("text", default_style("paragraph", points), layout, master, "".join(map(paragraph, paragraphs)))


def vertical_page() -> bytes:
    layout, master = text_page("148mm", "148mm", 'style:writing-mode="tb-rl">')
    body = "".join(map(paragraph, known.VERTICAL))
    return document("text", default_style("paragraph", 14), layout, master, body)


def column_page() -> bytes:
    """Two columns: the prose of a scan and more."""
    section = (
        '<style:style style:name="columns" style:family="section"><style:section-properties '
        'text:dont-balance-text-columns="false">'
        '<style:columns fo:column-count="2" fo:column-gap="10mm"/></style:section-properties></style:style>'
    )
    layout, master = text_page("190mm", "160mm", ">")
    body = "".join(map(paragraph, known.SCANNED[1:] + known.PARAGRAPHS[8:12]))
    body = f'<text:section text:name="body" text:style-name="columns">{body}</text:section>'
    body = paragraph(known.SCANNED[0]) + body
    return document("text", default_style("paragraph", 10.5), layout + section, master, body)


def ruled_page() -> bytes:
    layout, master = text_page("148mm", "110mm", ">")
    body = paragraph(known.SCANNED[0]) + text_table(known.RULED)
    return document("text", default_style("paragraph", 11), layout + RULED_CELL, master, body)


def picture_page(png_in_base64: str, pixels: tuple[int, int]) -> bytes:
    """A page with nothing but a picture of 300 dpi."""
    width, height = (f"{side / 300 * 25.4:.1f}mm" for side in pixels)
    layout, master = text_page("210mm", "297mm", ">")
    body = (
        f'<text:p><draw:frame text:anchor-type="as-char" svg:width="{width}" svg:height="{height}"><draw:image>'
        f"<office:binary-data>{png_in_base64}</office:binary-data></draw:image></draw:frame></text:p>"
    )
    return document("text", default_style("paragraph", 10.5), layout, master, body)


# --- sheets -------------------------------------------------------------------------------------------------------

# The sheet, row and column, from 0.
COMMENTED_CELL = ("点検一覧", 1, 2)
NUMBER_STYLES = {
    "date": '<number:date-style style:name="n-date"><number:year number:style="long"/><number:text>年</number:text>'
            "<number:month/><number:text>月</number:text><number:day/><number:text>日</number:text></number:date-style>",
    "thousands": '<number:number-style style:name="n-thousands"><number:number number:decimal-places="0" '
                 'number:min-integer-digits="1" number:grouping="true"/></number:number-style>',
    "percent": '<number:percentage-style style:name="n-percent"><number:number number:decimal-places="1" '
               'number:min-decimal-places="1" number:min-integer-digits="1"/><number:text>%</number:text>'
               "</number:percentage-style>",
    "number": '<number:number-style style:name="n-number"><number:number number:decimal-places="2" '
              'number:min-decimal-places="2" number:min-integer-digits="1"/></number:number-style>',
}


def sheet_cell(cell: str | tuple[str, str, str], comment: str = "") -> str:
    if isinstance(cell, str):
        return f'<table:table-cell office:value-type="string">{comment}{paragraph(cell)}</table:table-cell>'
    value, style, shown = cell
    formula = ' table:formula="of:=SUM([.C2:.C3])"' if style == "sum" else ""
    named = "number" if style == "sum" else style
    kind = {"date": "date", "percent": "percentage"}.get(style, "float")
    attribute = "office:date-value" if style == "date" else "office:value"
    return (
        f'<table:table-cell table:style-name="c-{named}"{formula} office:value-type="{kind}" {attribute}="{value}">'
        f"{comment}{paragraph(shown)}</table:table-cell>"
    )


def workbook() -> bytes:
    """Sheets with names, one of them hidden, dates, shares, thousands, a formula and a comment."""
    automatic = "".join(NUMBER_STYLES.values()) + "".join(
        f'<style:style style:name="c-{name}" style:family="table-cell" style:parent-style-name="Default" '
        f'style:data-style-name="n-{name}"/>'
        for name in NUMBER_STYLES
    )
    automatic += (
        '<style:style style:name="wide" style:family="table-column"><style:table-column-properties '
        'style:column-width="40mm"/></style:style>'
        '<style:style style:name="shown" style:family="table" style:master-page-name="Default">'
        '<style:table-properties table:display="true"/></style:style>'
        '<style:style style:name="hidden" style:family="table" style:master-page-name="Default">'
        '<style:table-properties table:display="false"/></style:style>'
        '<style:page-layout style:name="page"><style:page-layout-properties fo:page-width="210mm" '
        'fo:page-height="297mm" fo:margin="15mm"/></style:page-layout>'
    )
    # The page's own header is the sheet's name unless it is switched off.
    master = (
        '<style:master-page style:name="Default" style:page-layout-name="page"><style:header style:display="false"/>'
        '<style:footer style:display="false"/></style:master-page>'
    )
    body, comment = "", annotation(known.SHEET_COMMENT)
    for name, lines in known.SHEETS:
        style = "hidden" if name == known.HIDDEN_SHEET else "shown"
        body += f'<table:table table:name={quoteattr(name)} table:style-name="{style}">'
        body += '<table:table-column table:style-name="wide" table:number-columns-repeated="4"/>'
        for number, line in enumerate(lines):
            cells = [
                sheet_cell(cell, comment if (name, number, column) == COMMENTED_CELL else "")
                for column, cell in enumerate(line)
            ]
            body += "<table:table-row>" + "".join(cells) + "</table:table-row>"
        body += "</table:table>"
    styles = default_style("table-cell", 10.5) + '<style:style style:name="Default" style:family="table-cell"/>'
    return document("spreadsheet", styles, automatic, master, body)


# --- slides -------------------------------------------------------------------------------------------------------


def frame(place: str, text: str, presentation_class: str = "") -> str:
    shown_as = f' presentation:class="{presentation_class}"' if presentation_class else ""
    return f"<draw:frame {place}{shown_as}><draw:text-box>{text}</draw:text-box></draw:frame>"


def slides() -> bytes:
    """Slides with a title, a body and notes; a table on the second."""
    automatic = (
        '<style:page-layout style:name="page"><style:page-layout-properties fo:page-width="280mm" '
        'fo:page-height="210mm" style:print-orientation="landscape"/></style:page-layout>'
        '<style:style style:name="slide" style:family="drawing-page"/>'
    )
    masters = '<style:master-page style:name="Plain" style:page-layout-name="page" draw:style-name="slide"/>'
    body = ""
    for number, (title, lines, notes) in enumerate(known.SLIDES, 1):
        body += f'<draw:page draw:name="page{number}" draw:style-name="slide" draw:master-page-name="Plain">'
        body += frame('svg:x="20mm" svg:y="15mm" svg:width="240mm" svg:height="25mm"', paragraph(title))
        body += frame(
            'svg:x="20mm" svg:y="50mm" svg:width="240mm" svg:height="60mm"', "".join(map(paragraph, lines))
        )
        if number == 2:
            table = text_table(known.TABLE)
            place = 'svg:x="20mm" svg:y="120mm" svg:width="240mm" svg:height="60mm"'
            body += f"<draw:frame {place}>{table}</draw:frame>"
        notes_place = 'svg:x="20mm" svg:y="150mm" svg:width="170mm" svg:height="100mm"'
        body += f"<presentation:notes>{frame(notes_place, paragraph(notes), 'notes')}</presentation:notes></draw:page>"
    return document("presentation", default_style("graphic", 20), automatic + RULED_CELL, masters, body)
