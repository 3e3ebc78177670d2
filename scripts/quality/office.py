"""Office documents as LibreOffice writes them, and what a searcher expects to find in each."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import typing

import known_text as known
import opendocument

CONVERT_TIMEOUT_SECONDS = 180
REPORT_FORMATS = ["odt", "doc", "docx", "rtf", "html"]
WORKBOOK_FORMATS = ["ods", "xls", "xlsx"]
SLIDE_FORMATS = ["odp", "ppt", "pptx"]


def is_available() -> bool:
    return shutil.which("soffice") is not None


def convert(sources: list[pathlib.Path], extension: str, folder: pathlib.Path) -> list[pathlib.Path]:
    """What LibreOffice makes of the sources; a format that it could not write is not in the answer."""
    with tempfile.TemporaryDirectory(prefix="quality-office-") as profile:
        try:
            subprocess.run(
                ["soffice", f"-env:UserInstallation=file://{profile}", "--headless", "--norestore", "--convert-to",
                 extension, "--outdir", str(folder), *map(str, sources)],
                check=False, capture_output=True, timeout=CONVERT_TIMEOUT_SECONDS,
                env={**os.environ, "LC_ALL": "C.UTF-8"},
            )
        except subprocess.TimeoutExpired:
            pass
    made = [folder / f"{source.stem}.{extension.partition(':')[0]}" for source in sources]
    return [path for path in made if path.exists()]


def report_truth(text_box: bool, comment: bool) -> str:
    parts = [known.HEADER, known.prose(), *known.BULLETS, known.rows("\t"), known.FOOTNOTE, known.FOOTER]
    return "\n".join(parts + [known.TEXT_BOX] * text_box + [known.COMMENT] * comment)


def workbook_truth(printed: bool) -> str:
    """As the sheets show it; on paper there is no hidden sheet, no sheet name and no comment."""
    parts = [] if printed else [known.SHEET_COMMENT]
    for name, lines in known.SHEETS:
        if printed and name == known.HIDDEN_SHEET:
            continue
        parts += [] if printed else [name]
        parts += ["\t".join(cell if isinstance(cell, str) else cell[2] for cell in line) for line in lines]
    return "\n".join(parts)


def slides_truth(printed: bool) -> str:
    """Notes are not on the printed slides."""
    parts = [known.rows("\t")]
    for title, lines, notes in known.SLIDES:
        parts += [title, *lines] + ([] if printed else [notes])
    return "\n".join(parts)


def write_all(folder: pathlib.Path) -> dict[pathlib.Path, str]:
    """Every format of the three documents; the truth by path."""
    sources = {
        "report.fodt": opendocument.report(), "workbook.fods": opendocument.workbook(),
        "slides.fodp": opendocument.slides(), "vertical.fodt": opendocument.vertical_page(),
    }
    for name, content in sources.items():
        (folder / name).write_bytes(content)
    truths: dict[pathlib.Path, str] = {}
    wanted: list[tuple[str, list[str], typing.Callable[[str], str]]] = [
        # LibreOffice leaves both out of the web page that it writes.
        ("report.fodt", REPORT_FORMATS, lambda extension: report_truth(*[extension != "html"] * 2)),
        ("workbook.fods", WORKBOOK_FORMATS, lambda _: workbook_truth(printed=False)),
        ("slides.fodp", SLIDE_FORMATS, lambda _: slides_truth(printed=False)),
    ]
    for source, formats, truth in wanted:
        for extension in formats:
            for path in convert([folder / source], extension, folder):
                truths[path] = truth(extension)
    printed = {
        "report": report_truth(text_box=True, comment=False), "workbook": workbook_truth(printed=True),
        "slides": slides_truth(printed=True), "vertical": "\n".join(known.VERTICAL),
    }
    for path in convert([folder / name for name in sources], "pdf", folder):
        truths[path] = printed[path.stem]
    return truths
