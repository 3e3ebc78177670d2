#!/usr/bin/env python3
"""What the RPM holds that others wrote: their licences, and the bill of materials (CycloneDX 1.5). Writes the same bytes
whenever it is given the same; nothing is fetched but by cargo itself.

  third_party.py --target TRIPLE --worker FILE --commit ID --version NUMBER --pdfium FILE --pdfium-wheel DIR
                 --licenses OUT --sbom OUT

The crates are those that cargo links for TRIPLE, from Cargo.lock; procedural macros among them, crates that only tests
or build scripts need left out. What is no crate: the OCR engine, its models, pdfium, Rust's own library.
SOURCE_DATE_EPOCH is the time in the bill.
"""
import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import uuid
from datetime import datetime, timezone
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LICENSE_FILE = re.compile(r"(licen[cs]e|copying|notice|copyright|unlicense)", re.IGNORECASE)
NAMESPACE = uuid.UUID("6f1c1a2e-9a0e-5c7c-8d5e-3f0e3c8a7b51")  # made up once, for serial numbers


def linked_crates(target: str) -> tuple[list[dict], dict[str, list[str]]]:
    """The crates that are linked, sorted, and what each of them (and the worker) depends on, by package id."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE).stdout)
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    edges, waiting = {}, [root]
    while waiting:
        package = waiting.pop()
        if package in edges:
            continue
        edges[package] = [
            dependency["pkg"]
            for dependency in nodes[package]["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        ]
        waiting.extend(edges[package])
    crates = [package for package in metadata["packages"] if package["id"] in edges and package["id"] != root]
    crates.sort(key=lambda crate: (crate["name"], crate["version"]))
    purls = {crate["id"]: purl(crate) for crate in crates}
    purls[root] = "file-processor-worker"
    return crates, {purls[one]: sorted({purls[other] for other in others}) for one, others in edges.items()}


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def lines_of(file: Path) -> list[list[str]]:
    return [line.split() for line in file.read_text().splitlines() if line and not line.startswith("#")]


def engine_parts() -> list[dict]:
    folder = REPOSITORY / "packaging/tesseract"
    declared = {"tesseract": "Apache-2.0", "leptonica": "BSD-2-Clause"}
    return [
        {"name": name, "version": version, "license": declared[name], "reference": f"{name}@{version}", "source": source,
         "sha256": checksum, "texts": [folder / f"licenses/{name}.txt"]}
        for name, version, checksum, source, _ in lines_of(folder / "sources.txt")
    ]


def model_parts() -> list[dict]:
    text = REPOSITORY / "packaging/tesseract/licenses/tesseract.txt"
    return [
        {"name": f"{language}.traineddata", "version": "4.1.0", "license": "Apache-2.0", "type": "machine-learning-model",
         "reference": f"tessdata_fast/{language}@4.1.0", "source": source, "sha256": checksum, "texts": [text]}
        for language, checksum, source in lines_of(REPOSITORY / "packaging/models/models.txt")
    ]


def pdfium_part(library: Path, wheel: Path) -> dict:
    """The library comes out of a wheel, whose licences are those of everything that is linked into it."""
    version = json.loads((wheel / "pypdfium2_raw/version.json").read_text())
    number = ".".join(str(version[name]) for name in ("major", "minor", "build", "patch"))
    texts = [text for text in sorted(wheel.glob("*.dist-info/licenses/**/*")) if text.is_file()]
    if not texts:
        sys.exit(f"third_party.py: {wheel} holds no licences of pdfium; it must not be shipped")
    return {"name": "pdfium", "version": number, "license": "BSD-3-Clause AND Apache-2.0", "reference": f"pdfium@{number}",
            "sha256": sha256(library), "texts": texts}


def rust_part() -> dict:
    """Rust's own library is linked, too."""
    ask = lambda *arguments: subprocess.run(("rustc", *arguments), cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
    version = re.search(r"^release: (.*)$", ask("-vV").stdout, re.MULTILINE)[1]
    documents = Path(ask("--print", "sysroot").stdout.strip()) / "share/doc/rust"
    texts = [text for text in sorted(documents.glob("LICENSE-*")) + [documents / "COPYRIGHT"] if text.is_file()]
    return {"name": "rust-std", "version": version, "license": "MIT OR Apache-2.0", "reference": f"rust-std@{version}", "texts": texts}


def checksums_of_lock() -> dict[tuple[str, str], str]:
    """What Cargo.lock says about the archives of the crates."""
    found = {}
    for block in (REPOSITORY / "Cargo.lock").read_text().split("[[package]]")[1:]:
        values = dict(re.findall(r'^(name|version|checksum) = "(.*)"$', block, re.MULTILINE))
        if "checksum" in values:
            found[values["name"], values["version"]] = values["checksum"]
    return found


def purl(crate: dict) -> str:
    return f"pkg:cargo/{crate['name']}@{crate['version']}".replace("+", "%2B")


def spdx(crate: dict) -> str:
    """The crate's licence as an SPDX expression; `/` is what Cargo once took for OR."""
    expression = crate["license"] or ""
    return re.sub(r"\s*/\s*", " OR ", expression).strip()


def license_texts(crate: dict) -> list[str]:
    folder = Path(crate["manifest_path"]).parent
    files = [file for file in folder.iterdir() if file.is_file() and LICENSE_FILE.search(file.name)]
    if crate["license_file"]:
        files.append(folder / crate["license_file"])
    texts = []
    for file in sorted(set(files)):
        if file.suffix not in {".rs", ".py", ".toml", ".json"}:
            texts.append(file.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n").strip())
    return texts


def write_licenses(path: Path, crates: list[dict], parts: list[dict]) -> None:
    """Every text once, over it who carries it."""
    carriers: dict[str, list[str]] = {}
    declared, silent = [], []
    for part in parts:
        declared.append(f"{part['name']} {part['version']}: {part['license']}")
        for file in part["texts"]:
            text = Path(file).read_text(encoding="utf-8", errors="replace").strip()
            carriers.setdefault(text, []).append(f"{part['name']} {part['version']}")
    for crate in crates:
        name = f"{crate['name']} {crate['version']}"
        declared.append(f"{name}: {spdx(crate) or 'see its text'}")
        texts = license_texts(crate)
        if not texts:
            silent.append(name)
            if not spdx(crate):
                sys.exit(f"third_party.py: {name} declares no licence and carries no text; it must not be shipped")
        for text in texts:
            carriers.setdefault(text, []).append(name)
    with path.open("w", encoding="utf-8") as out:
        out.write("Software of others in file-processor-worker\n\n")
        out.write("\n".join(declared))
        out.write("\n\nThese carry no text of their own; the licence is the one they declare above:\n")
        out.write("\n".join(silent) + "\n")
        for text, names in carriers.items():
            out.write(f"\n{'=' * 80}\n{', '.join(dict.fromkeys(names))}\n{'=' * 80}\n\n{text}\n")


def component(name: str, version: str, license_expression: str, reference: str, kind="library", **more) -> dict:
    entry = {"type": kind, "bom-ref": reference, "name": name, "version": version}
    if more.get("sha256"):
        entry["hashes"] = [{"alg": "SHA-256", "content": more["sha256"]}]
    if license_expression:
        entry["licenses"] = [{"expression": license_expression}]
    if reference.startswith("pkg:"):
        entry["purl"] = reference
    if more.get("source"):
        entry["externalReferences"] = [{"type": "distribution", "url": more["source"]}]
    return entry


def write_sbom(path: Path, worker: dict, crates: list[dict], edges: dict[str, list[str]], parts: list[dict]) -> None:
    checksums = checksums_of_lock()
    components = [
        component(part["name"], part["version"], part["license"], part["reference"],
                  kind=part.get("type", "library"), sha256=part.get("sha256"), source=part.get("source"))
        for part in parts
    ]
    components += [
        component(crate["name"], crate["version"], spdx(crate), purl(crate),
                  sha256=checksums.get((crate["name"], crate["version"])))
        for crate in crates
    ]
    root = component("file-processor-worker", worker["version"], "Apache-2.0", "file-processor-worker",
                     kind="application", sha256=worker["sha256"])
    root["properties"] = [{"name": "commit", "value": worker["commit"]}]
    edges = {**edges, root["bom-ref"]: sorted(
        edges[root["bom-ref"]] + [part["reference"] for part in parts])}
    moment = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc)
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": root},
        "components": components,
        "dependencies": [{"ref": one, "dependsOn": others} for one, others in sorted(edges.items())],
    }
    digest = hashlib.sha256(json.dumps(bill, sort_keys=True).encode()).hexdigest()
    bill["serialNumber"] = f"urn:uuid:{uuid.uuid5(NAMESPACE, digest)}"
    path.write_text(json.dumps(bill, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--target", "--commit", "--version"):
        parser.add_argument(name, required=True)
    for name in ("--worker", "--pdfium", "--pdfium-wheel", "--licenses", "--sbom"):
        parser.add_argument(name, required=True, type=Path)
    arguments = parser.parse_args()
    crates, edges = linked_crates(arguments.target)
    parts = [*engine_parts(), *model_parts(), pdfium_part(arguments.pdfium, arguments.pdfium_wheel), rust_part()]
    worker = {"version": arguments.version, "commit": arguments.commit, "sha256": sha256(arguments.worker)}
    write_licenses(arguments.licenses, crates, parts)
    write_sbom(arguments.sbom, worker, crates, edges, parts)


if __name__ == "__main__":
    main()
