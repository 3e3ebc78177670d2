"""Under what the figures were measured: one line for the reader of the tables."""
import os
import pathlib
import platform
import re
import subprocess
import sys


def first_line(*command: str) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (answer.stdout + answer.stderr).partition("\n")[0].strip()


def operating_system() -> str:
    release = platform.freedesktop_os_release() if pathlib.Path("/etc/os-release").exists() else {}
    return release.get("PRETTY_NAME", platform.system())


def processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return f"{os.cpu_count()} × {found[1] if found else platform.machine()}"


def line() -> str:
    """Tools that are not there are left out."""
    ocrmypdf = first_line(sys.executable, "-m", "ocrmypdf", "--version")
    tika = pathlib.Path(os.environ.get("TIKA_APP_JAR", "")).stem
    office = first_line("soffice", "--version").rpartition(" ")[0]
    tools = [
        first_line("tesseract", "--version"), f"OCRmyPDF {ocrmypdf}" if re.fullmatch(r"[\d.]+", ocrmypdf) else "", tika,
        office,
    ]
    return ", ".join(filter(None, [operating_system(), processor(), *tools]))
