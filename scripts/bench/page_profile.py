"""Where a page's processor time goes: perf's clock (hardware counters are not needed) over the unpatched engine, ours and the
whole worker on the same scanned pages. Functions are told apart by the source file that they come from."""
import collections
import dataclasses
import fnmatch
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from contestants import ENGINE_SETTINGS, PLAIN, WORKERS, page_count
from world import BINARY, markdown_table, publish

SAMPLES_A_SECOND = 997
ENGINE_ROUNDS = 3
# Settings that an engine without patches knows.
COMMON_SETTINGS = ENGINE_SETTINGS[:2]

MATRIX, ACTIVATIONS, NETWORK = "network: matrix products", "network: gates and activations", "network: convolution, pooling, moving of rows"
BEAM, LAYOUT, THRESHOLD = "beam search and dictionary", "layout: lines, columns, words", "thresholding"
LEPTONICA, RENDERING, WORKER = "Leptonica", "rendering (pdfium)", "page preparation and the rest of the worker"
LIBRARY, KERNEL, OTHER = "C and C++ libraries: memory, copying", "kernel", "everything else"
ORDER = [MATRIX, ACTIVATIONS, NETWORK, BEAM, LAYOUT, THRESHOLD, LEPTONICA, RENDERING, WORKER, LIBRARY, KERNEL, OTHER]

# The first that fits. By symbol as the linker knows it, because these are templates or stand in files of another kind.
BY_SYMBOL = [
    (ACTIVATIONS, "*FuncInplace*"), (ACTIVATIONS, "*FuncMultiply*"), (ACTIVATIONS, "*Softmax*"), (ACTIVATIONS, "*LstmStep*"),
    (MATRIX, "*MatrixDotVector*"), (MATRIX, "*MultiplyRows*"), (MATRIX, "*DotProduct*"),
    (LAYOUT, "*BBGrid*"), (LAYOUT, "*GridSearch*"),
]
# By source file of Tesseract, without its ending.
BY_SOURCE = [
    (MATRIX, "intsimdmatrix*"), (MATRIX, "dotproduct*"), (MATRIX, "weightmatrix"),
    # The unpatched engine has its gates and activations inside of the layers.
    (ACTIVATIONS, "activations*"), (ACTIVATIONS, "functions"), (ACTIVATIONS, "lstm"), (ACTIVATIONS, "fullyconnected"),
    (BEAM, "recodebeam"), (BEAM, "dawg*"), (BEAM, "dict"), (BEAM, "trie"), (BEAM, "stopper"), (BEAM, "context"), (BEAM, "ratngs"),
    (BEAM, "unichar*"),
    (THRESHOLD, "thresholder"), (THRESHOLD, "otsuthr"),
    *[(NETWORK, name) for name in (
        "convolve", "input", "lstmrecognizer", "maxpool", "network", "networkio", "parallel", "plumbing", "reconfig", "reversed",
        "series", "stridemap", "imagedata")],
    # All else of Tesseract looks for lines and words and keeps them.
    (LAYOUT, "*"),
]
BY_LIBRARY = [
    (LIBRARY, "libc.so*"), (LIBRARY, "libc-*"), (LIBRARY, "libstdc++*"),
    (LIBRARY, "ld-linux*"), (RENDERING, "libpdfium*"), (KERNEL, "*kernel*"), (KERNEL, "*vdso*"), (KERNEL, "*.ko*"),
]

# Functions of the mathematical library, by who needs them.
BY_FUNCTION = [(ACTIVATIONS, "*exp*"), (ACTIVATIONS, "*tanh*"), (BEAM, "*log*"), (LAYOUT, "*atan*")]


def first_match(rules: list[tuple[str, str]], name: str) -> str | None:
    return next((category for category, pattern in rules if fnmatch.fnmatchcase(name, pattern)), None)


def engine_symbols(engine: pathlib.Path) -> dict[str, str]:
    """The category of each function of an engine. One that several files have (a template) goes where most of them go."""
    votes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for library in ("tesseract", "leptonica"):
        names = subprocess.run(
            ["nm", "-A", "--defined-only", str(engine / "lib" / f"lib{library}.a")], check=True, capture_output=True, text=True,
        ).stdout
        for place, symbol in re.findall(r"^\S*?\.a:([^:]+?)(?:\.cpp|\.c)?\.o:\S* [tTwWuVi] (\S+)$", names, re.MULTILINE):
            category = LEPTONICA if library == "leptonica" else first_match(BY_SYMBOL, symbol) or first_match(BY_SOURCE, place)
            votes[symbol][category or OTHER] += 1
    return {symbol: counted.most_common(1)[0][0] for symbol, counted in votes.items()}


@dataclasses.dataclass
class Profile:
    label: str
    command: list[str]
    environment: dict[str, str]
    pages: int
    # The folder of the engine that the program has in it.
    engine: pathlib.Path
    # What the program itself has besides the engine.
    own_code: str

    def milliseconds(self) -> dict[str, float]:
        """Processor time a page by category."""
        known = engine_symbols(self.engine)
        found: collections.Counter[str] = collections.Counter()
        print(f"bench: profiling {self.label}", file=sys.stderr)
        with tempfile.NamedTemporaryFile(prefix="perf-", dir="/var/tmp") as data:
            before = os.times()
            subprocess.run(
                ["perf", "record", "--quiet", "--event", "cpu-clock", "--freq", str(SAMPLES_A_SECOND), "--output", data.name, "--",
                 *self.command],
                check=True, env=self.environment, stdout=subprocess.DEVNULL,
            )
            after = os.times()
            samples = subprocess.run(
                ["perf", "script", "--input", data.name, "--fields", "ip,sym,dso", "--no-demangle"],
                check=True, capture_output=True, text=True,
            ).stdout
        for line in samples.splitlines():
            if match := re.match(r"\s*[0-9a-f]+ (.+) \((\S+)\)$", line):
                found[self.category(match[1], match[2], known)] += 1
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        print(f"bench: {sum(found.values())} samples over {cpu:.1f} s of processor time", file=sys.stderr)
        return {category: 1000 * count / SAMPLES_A_SECOND / self.pages for category, count in found.items()}

    def category(self, symbol: str, library: str, known: dict[str, str]) -> str:
        if symbol in known and library == self.program():
            return known[symbol]
        if library == self.program():
            return self.own_code
        name = pathlib.Path(library).name
        if name.startswith("libm."):
            return first_match(BY_FUNCTION, symbol) or OTHER
        return first_match(BY_LIBRARY, name) or OTHER

    def program(self) -> str:
        return str(pathlib.Path(self.command[0]).resolve())


def engine_profile(label: str, program: str, settings: list[str], pages: list[pathlib.Path]) -> Profile:
    options = [option for setting in settings for option in ("-c", setting)]
    command = [program, *options, "-r", str(ENGINE_ROUNDS), *map(str, pages)]
    return Profile(label, command, PLAIN, len(pages) * ENGINE_ROUNDS, pathlib.Path(program).parent, OTHER)


def profile(handbooks: list[pathlib.Path]) -> None:
    with tempfile.TemporaryDirectory(prefix="profile-", dir="/var/tmp") as name:
        folder = pathlib.Path(name)
        for handbook in handbooks:
            subprocess.run(["pdftoppm", "-r", "300", "-gray", str(handbook), str(folder / handbook.stem)], check=True)
        pages = sorted(folder.glob("*.pgm"))
        ours = os.environ["ENGINE_PAGES"]
        profiles = [
            engine_profile("unpatched engine", os.environ["UNPATCHED_PAGES"], COMMON_SETTINGS, pages),
            engine_profile("our engine", ours, ENGINE_SETTINGS, pages),
            Profile(
                "ours, extract", [BINARY, "extract", "--json", *map(str, handbooks * ENGINE_ROUNDS)],
                {**PLAIN, "MAX_WORKERS": str(WORKERS)}, sum(map(page_count, handbooks)) * ENGINE_ROUNDS,
                pathlib.Path(ours).parent, WORKER,
            ),
        ]
        report([one.label for one in profiles], [one.milliseconds() for one in profiles])


def report(labels: list[str], columns: list[dict[str, float]]) -> None:
    lines = []
    for category in ORDER:
        if any(column.get(category) for column in columns):
            lines.append([category, *(f"{column.get(category, 0.0):.0f}" for column in columns)])
    lines.append(["all", *(f"{sum(column.values()):.0f}" for column in columns)])
    publish(markdown_table(["ms of processor time a page", *labels], lines))
