"""The peers: Tesseract on pages of 300 dpi, OCRmyPDF, Apache Tika. Each gives its text, "" where it failed, or None
where it is not installed."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

LANGUAGE = "jpn+eng"
TIMEOUT_SECONDS = 300
TIKA_TIMEOUT_SECONDS = 900
TIKA = os.environ.get("TIKA_APP_JAR")
ONE_THREAD = {**os.environ, "OMP_THREAD_LIMIT": "1"}
# What OCRmyPDF writes into its sidecar for pages that have text already.
SKIPPED_PAGES = re.compile(r"\[OCR skipped on page\(s\) (\d+)(?:-(\d+))?\]")
# What Tika knows of a mail or an entry of an archive but does not count as its content; a searcher looks for it.
TIKA_NAMES = [
    "dc:title", "dc:subject", "Message-From", "Message-To", "Message-Cc", "X-TIKA:embedded_resource_path",
]
TIKA_CONFIGURATION = f"""<?xml version="1.0" encoding="UTF-8"?>
<properties><parsers>
  <parser class="org.apache.tika.parser.DefaultParser">
    <parser-exclude class="org.apache.tika.parser.ocr.TesseractOCRParser"/>
  </parser>
  <parser class="org.apache.tika.parser.ocr.TesseractOCRParser">
    <params><param name="language" type="string">{LANGUAGE}</param></params>
  </parser>
</parsers></properties>
"""


def run(command: list[str], timeout_seconds: float = TIMEOUT_SECONDS) -> bytes:
    """What the command printed, however it ended."""
    try:
        return subprocess.run(command, capture_output=True, env=ONE_THREAD, timeout=timeout_seconds).stdout
    except subprocess.TimeoutExpired:
        return b""


def tesseract(path: pathlib.Path) -> str | None:
    """A tesseract process a page, on pages that pdftoppm renders at 300 dpi; pictures as they are."""
    if not shutil.which("tesseract"):
        return None
    with tempfile.TemporaryDirectory(prefix="quality-tesseract-") as folder:
        pictures = [path]
        if path.suffix == ".pdf":
            run(["pdftoppm", "-r", "300", str(path), f"{folder}/page"])
            pictures = sorted(pathlib.Path(folder).iterdir())
        texts = [run(["tesseract", str(picture), "-", "-l", LANGUAGE]) for picture in pictures]
    return b"".join(texts).decode(errors="replace")


def ocrmypdf(path: pathlib.Path) -> str | None:
    """With what helps it: pages are turned and straightened, and pages with text keep it (by pdftotext)."""
    if not shutil.which("ocrmypdf", path=str(pathlib.Path(sys.executable).parent)):
        return None
    with tempfile.TemporaryDirectory(prefix="quality-ocrmypdf-") as folder:
        sidecar = pathlib.Path(folder) / "text.txt"
        run([
            sys.executable, "-m", "ocrmypdf", "--quiet", "--jobs", "1", "--language", LANGUAGE, "--mode", "skip",
            "--rotate-pages", "--deskew", "--image-dpi", "300", "--output-type", "none", "--sidecar", str(sidecar),
            str(path), "-",
        ])
        text = sidecar.read_text(errors="replace") if sidecar.exists() else ""

    def printed(pages: re.Match[str]) -> str:
        first, last = pages[1], pages[2] or pages[1]
        return run(["pdftotext", "-f", first, "-l", last, str(path), "-"]).decode(errors="replace")

    return SKIPPED_PAGES.sub(printed, text)


def tika(folder: pathlib.Path) -> dict[pathlib.Path, str] | None:
    """The texts of all files below the folder, by one process in batch mode; none of a file that it failed on."""
    if not TIKA:
        return None
    with tempfile.TemporaryDirectory(prefix="quality-tika-") as work:
        configuration, answers = pathlib.Path(work) / "tika.xml", pathlib.Path(work) / "answers"
        configuration.write_text(TIKA_CONFIGURATION)
        run(
            ["java", "-Dfile.encoding=UTF-8", "-jar", TIKA, f"--config={configuration}", "-J", "-t",
             "-numConsumers", "2", "-i", str(folder), "-o", str(answers)],
            TIKA_TIMEOUT_SECONDS,
        )
        texts = {}
        for answer in answers.rglob("*.json"):
            of_file = folder / answer.relative_to(answers).with_suffix("")
            try:
                texts[of_file] = "\n".join(tika_text(entry) for entry in json.loads(answer.read_text()))
            except ValueError:  # it was killed while it wrote
                continue
        return texts


def tika_text(entry: dict) -> str:
    text = entry.get("X-TIKA:content", "")
    for name in TIKA_NAMES:
        value = entry.get(name, "")
        for part in value if isinstance(value, list) else [value]:
            text += f"\n{part}" if part not in text else ""
    return text
