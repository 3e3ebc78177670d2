"""The measurements of quality.sh: runs the parts that are asked for and prints their tables."""
import argparse
import pathlib
import signal
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "bench"))

import conditions  # noqa: E402
import corpus  # noqa: E402
import scans  # noqa: E402
import search  # noqa: E402
import texts  # noqa: E402
from material import Material  # noqa: E402
from report import BETTER, summary  # noqa: E402

PARTS = {"scans": scans.run, "texts": texts.run, "search": search.run, "corpus": corpus.run}


def main() -> None:
    parser = argparse.ArgumentParser(prog="quality.sh", add_help=False)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--markdown", type=pathlib.Path)
    arguments = parser.parse_args()
    # An end by signal removes the material too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    material = Material()
    tables = []
    try:
        for name in arguments.parts or PARTS:
            tables += PARTS[name](material)
            if arguments.markdown:  # after each part, so that a run which is stopped leaves what it has
                text = "\n\n".join(table.as_markdown() for table in tables)
                arguments.markdown.write_text(f"{conditions.line()}\n\n{text}\n")
    finally:
        material.close()
    for table in tables:
        print(table.as_text() + "\n")
    print(f"{conditions.line()}\n{summary(tables)}\n{BETTER} after a peer's figure: it is better than ours there")


if __name__ == "__main__":
    main()
