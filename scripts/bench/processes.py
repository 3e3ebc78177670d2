"""What processes cost, seen from outside: /proc."""
import pathlib


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:  # it has just ended
        pass
    return found


def peak_megabytes(pid: int) -> float:
    """VmHWM: the most that the process ever had resident."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)
