"""The part `corpus`: every file of the corpus once, whatever it is. Nothing may be without an outcome."""
import pathlib

import reader
from material import CORPUS, Material
from report import Row, Table, note

TITLE = "The whole corpus through `extract --json`"
TIMEOUT_SECONDS = 1800
# Reasons that a child which broke, or was stopped, leaves on its document.
BROKEN_CHILD = ["crashed", "out_of_memory", "timeout"]
# Outcomes of more files than this are not worth their names.
NAMES_SHOWN = 10
CHILD_LIMIT_MEGABYTES = 1024  # CHILD_MEMORY_MB's default


def run(_: Material) -> list[Table]:
    table = Table(TITLE, [])
    files = sorted(str(path) for path in CORPUS.rglob("*") if path.is_file())
    if not files:
        note(f"no corpus at {CORPUS}: left out")
        return []
    note(f"reading all {len(files)} files of the corpus")
    reading = reader.extract([CORPUS], TIMEOUT_SECONDS)
    documents = reading.documents
    without = [file for file in files if not documents.get(file, {}).get("outcome")]
    table.add(counted("files without an outcome", without, len(files)))
    died = reading.exit_code is None or reading.exit_code < 0
    how = "did not end in time" if reading.exit_code is None else f"exit code {reading.exit_code}"
    table.add(Row("deaths of the parent", str(int(died)), [], "0", not died, how))
    for reason in BROKEN_CHILD:
        broken = [key for key, document in documents.items() if document.get("reason") == reason]
        table.add(counted(f"files whose child ended as {reason}", broken, len(files)))
    peak = reading.child_peak_megabytes
    table.add(Row(
        "a child's peak resident memory", f"{peak:.0f} MiB", [], f"≤ {CHILD_LIMIT_MEGABYTES} MiB",
        peak <= CHILD_LIMIT_MEGABYTES,
    ))
    for outcome, count in reader.outcomes(documents).most_common():
        keys = [key for key, document in documents.items() if reader.outcome_of(document) == outcome]
        names = names_of(keys) if count <= NAMES_SHOWN else ""
        table.add(Row(f"files that ended as {outcome or 'nothing'}", str(count), [], "", None, names))
    table.add(Row("time", f"{reading.seconds:.0f} s", [], "", None))
    return [table]


def names_of(files: list[str]) -> str:
    return ", ".join(str(pathlib.Path(file).relative_to(CORPUS)) for file in files)


def counted(what: str, files: list[str], of: int) -> Row:
    return Row(what, f"{len(files)} of {of}", [], "0", not files, names_of(files))
