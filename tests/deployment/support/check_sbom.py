"""Whether a bill of materials on standard input is what the schema of CycloneDX 1.5 allows, and whether its licences are
those of SPDX. Prints what is wrong; exits 1 when something is.

Needs cyclonedx-python-lib (cyclonedx.txt) on PYTHONPATH, jsonschema and referencing in this Python.
"""
import json
import re
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.schema._res import SPDX_JSON
from cyclonedx.validation.json import JsonStrictValidator


def against_schema(text):
    for problem in JsonStrictValidator(SchemaVersion.V1_5).validate_str(text, all_errors=True) or []:
        yield f"{problem.data.json_path}: {problem.data.message[:200]}"


def unknown_licences(bill):
    """The schema takes any text as an expression. What follows WITH is an exception, of which SPDX keeps another list."""
    with open(SPDX_JSON, encoding="utf-8") as file:
        known = set(json.load(file)["enum"])
    for component in bill.get("components", []):
        for licence in component.get("licenses", []):
            expression = re.sub(r"\bWITH\s+\S+", "", licence.get("expression", ""))
            for name in set(re.findall(r"[^\s()]+", expression)) - {"AND", "OR"} - known:
                yield f"{component['name']} {component['version']}: {name} is no licence of SPDX"


def main():
    text = sys.stdin.read()
    problems = [*against_schema(text), *unknown_licences(json.loads(text))]
    print("\n".join(problems), end="\n" if problems else "")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
