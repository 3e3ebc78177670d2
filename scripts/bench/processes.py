"""What processes cost, seen from outside: /proc."""
import os
import pathlib

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:  # it has just ended
        pass
    return found


def megabytes(pid: int, field: str) -> float:
    """A field of /proc/PID/status that is a size; 0 of a process that has just ended."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(field)), 0.0)


def peak_megabytes(pid: int) -> float:
    """The most that the process ever had resident."""
    return megabytes(pid, "VmHWM:")


def resident_megabytes(pid: int) -> float:
    """Of the process alone, now."""
    return megabytes(pid, "VmRSS:")


def family_megabytes(pid: int) -> float:
    """Resident now, of a process and everything below it."""
    return resident_megabytes(pid) + sum(map(family_megabytes, children_of(pid)))


def cpu_seconds(pid: int) -> tuple[float, float]:
    """Of the process itself, and of those of its children that have ended."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:  # its parent has its time now
        return 0.0, 0.0
    user, system, ended_user, ended_system = (int(field) / TICKS_A_SECOND for field in fields[11:15])
    return user + system, ended_user + ended_system


def children_cpu_seconds(pid: int) -> float:
    """Of all children that the process has or had."""
    return cpu_seconds(pid)[1] + sum(sum(cpu_seconds(child)) for child in children_of(pid))
