"""The tables that quality.sh prints, for a terminal and as Markdown."""
import dataclasses
import sys
import unicodedata

# After a peer's figure that is better than ours.
BETTER = "*"


def note(text: str) -> None:
    print(f"quality: {text}", file=sys.stderr, flush=True)


def width(text: str) -> int:
    """Columns on a terminal: Japanese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "FW" else 1 for character in text)


@dataclasses.dataclass
class Row:
    """What was measured, ours, each peer's, the bar, whether it is met (None: there is no bar)."""
    what: str
    ours: str
    peers: list[str]
    bar: str
    met: bool | None
    remark: str = ""

    def cells(self) -> list[str]:
        verdict = "" if self.met is None else "met" if self.met else "MISSED"
        return [self.what, self.ours, *self.peers, self.bar, verdict, self.remark]


@dataclasses.dataclass
class Table:
    """One part's rows under one head. Its title says what the figures are."""
    title: str
    peers: list[str]
    rows: list[Row] = dataclasses.field(default_factory=list)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        note("  ".join(cell for cell in row.cells() if cell))

    def lines(self) -> list[list[str]]:
        return [["", "ours", *self.peers, "bar", "", "remark"], *(row.cells() for row in self.rows)]

    def as_text(self) -> str:
        lines = self.lines()
        widths = [max(width(line[column]) for line in lines) for column in range(len(lines[0]))]
        text = [self.title]
        for line in lines:
            text.append("  ".join(cell + " " * (room - width(cell)) for cell, room in zip(line, widths)).rstrip())
        return "\n".join(text)

    def as_markdown(self) -> str:
        """Folded, since the tables are long."""
        head, *rows = [[cell.replace(BETTER, "\\" + BETTER) for cell in line] for line in self.lines()]
        lines = [f"<details><summary>{self.title}: {summary([self])}</summary>", ""]
        lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        lines += ["| " + " | ".join(line) + " |" for line in rows]
        return "\n".join([*lines, "", "</details>"])


def summary(tables: list[Table]) -> str:
    verdicts = [row.met for table in tables for row in table.rows if row.met is not None]
    if not verdicts:
        return "nothing was measured"
    better = sum(any(BETTER in cell for cell in row.peers) for table in tables for row in table.rows)
    met = f"{sum(verdicts)} of {len(verdicts)} bars met"
    return f"{met}, a peer is better in {better} rows ({BETTER})" if better else met
