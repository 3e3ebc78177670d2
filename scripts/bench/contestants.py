"""Who reads the same scanned pages in the race, each as a command of its own so that all it costs can be seen from
outside: `contestants.py NAME FOLDER ANSWER` reads what is in FOLDER and writes its texts to the file ANSWER."""
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys

LANGUAGE = "jpn+eng"
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
ONE_THREAD = {**PLAIN, "OMP_THREAD_LIMIT": "1"}
WORKERS = 2
# Those of src/ocr/engine.rs; the last two exist in our engine only.
ENGINE_SETTINGS = ["textord_all_prop=1", "paragraph_text_based=0", "multilang_keep_cjk=1", "multilang_latin_only=1"]
Texts = dict[str, str]


def scans(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted((folder / "scans").iterdir())


def page_count(pdf: pathlib.Path) -> int:
    information = subprocess.run(["pdfinfo", str(pdf)], check=True, capture_output=True, text=True).stdout
    return next(int(line.split()[1]) for line in information.splitlines() if line.startswith("Pages:"))


def one_process_a_page(folder: pathlib.Path, at_once: int, environment: dict[str, str]) -> Texts:
    """PDFs are rendered at 300 dpi, pictures read as they are."""

    def read(job: tuple[pathlib.Path, int]) -> str:
        picture, number = job
        if picture.suffix == ".pdf":
            prefix = folder / f"{picture.stem}-{number}"
            subprocess.run(
                ["pdftoppm", "-r", "300", "-f", str(number), "-l", str(number), "-singlefile", str(picture), str(prefix)],
                check=True,
            )
            picture = prefix.with_name(f"{prefix.name}.ppm")
        answer = subprocess.run(
            ["tesseract", str(picture), "-", "-l", LANGUAGE], check=True, capture_output=True, text=True, env=environment,
        )
        return answer.stdout

    jobs = [
        (scan, number) for scan in scans(folder)
        for number in range(1, (page_count(scan) if scan.suffix == ".pdf" else 1) + 1)
    ]
    with concurrent.futures.ThreadPoolExecutor(at_once) as threads:
        texts = list(threads.map(read, jobs))
    found: Texts = {}
    for (scan, _), text in zip(jobs, texts):
        found[scan.stem] = found.get(scan.stem, "") + text
    return found


def python_worker(folder: pathlib.Path) -> Texts:
    return one_process_a_page(folder, 4, PLAIN)


def done_right(folder: pathlib.Path) -> Texts:
    return one_process_a_page(folder, WORKERS, ONE_THREAD)


def ocrmypdf(folder: pathlib.Path) -> Texts:
    texts = {}
    for pdf in scans(folder):
        sidecar = folder / f"{pdf.stem}.sidecar"
        subprocess.run(
            [os.environ["PEERS_PYTHON"], "-m", "ocrmypdf", "--quiet", "--jobs", "2", "--language", LANGUAGE, "--output-type",
             "pdf", "--sidecar", str(sidecar), str(pdf), str(folder / "read.pdf")],
            check=True, env=PLAIN, stdout=subprocess.DEVNULL,
        )
        texts[pdf.stem] = sidecar.read_text()
    return texts


def tika(folder: pathlib.Path) -> Texts:
    configuration = folder / "tika.xml"
    configuration.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><properties><parsers><parser class="org.apache.tika.parser.DefaultParser">'
        '<parser-exclude class="org.apache.tika.parser.ocr.TesseractOCRParser"/>'
        '<parser-exclude class="org.apache.tika.parser.pdf.PDFParser"/></parser>'
        '<parser class="org.apache.tika.parser.pdf.PDFParser"><params>'
        '<param name="ocrStrategy" type="string">ocr_only</param><param name="ocrDPI" type="int">300</param></params></parser>'
        '<parser class="org.apache.tika.parser.ocr.TesseractOCRParser"><params>'
        f'<param name="language" type="string">{LANGUAGE}</param></params></parser></parsers></properties>'
    )
    answers = folder / "answers"
    subprocess.run(
        ["java", "-Dfile.encoding=UTF-8", "-jar", os.environ["TIKA_APP_JAR"], f"--config={configuration}", "-J", "-t",
         "-numConsumers", str(WORKERS), "-i", str(folder / "scans"), "-o", str(answers)],
        check=True, env=ONE_THREAD, capture_output=True,
    )
    return {
        answer.name.split(".")[0]: "\n".join(entry.get("X-TIKA:content", "") for entry in json.loads(answer.read_text()))
        for answer in answers.rglob("*.json")
    }


def raw_engine(folder: pathlib.Path) -> Texts:
    """The limit: one warm engine of our build a core, fed with grey pages that lie ready."""
    pages = sorted((folder / "pages").iterdir())
    settings = [argument for setting in ENGINE_SETTINGS for argument in ("-c", setting)]
    running = [
        subprocess.Popen(
            [os.environ["ENGINE_PAGES"], *settings, "-o", str(folder), "-r", os.environ["RACE_REPEATS"],
             *map(str, pages[core::WORKERS])],
            env=ONE_THREAD, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for core in range(WORKERS)
    ]
    if any(process.wait() for process in running):
        sys.exit("the raw engine failed")
    return {}


def extract(folder: pathlib.Path) -> Texts:
    """Every scan as often as the race says, under different names."""
    copies: list[str] = []
    for copy in range(int(os.environ["RACE_REPEATS"])):
        for scan in scans(folder):
            copies.append(shutil.copy(scan, folder / f"{scan.stem}.{copy}{scan.suffix}"))
    answer = subprocess.run(
        [os.environ["FILE_PROCESSOR_WORKER"], "extract", "--json", *map(str, copies)],
        check=True, capture_output=True, env={**PLAIN, "MAX_WORKERS": str(WORKERS)},
    )
    documents = [json.loads(line) for line in answer.stdout.splitlines()]
    return {document["file_name"].split(".")[0]: document["extracted_text"] or "" for document in documents}


CONTESTANTS = {
    function.__name__: function for function in (python_worker, done_right, ocrmypdf, tika, raw_engine, extract)
}

if __name__ == "__main__":
    _, name, where, answer_file = sys.argv
    pathlib.Path(answer_file).write_text(json.dumps(CONTESTANTS[name](pathlib.Path(where)), ensure_ascii=False))
