"""Charts as SVG, without anything but text."""
import math
from xml.sax.saxutils import escape

BAR, GAP, LABEL_WIDTH, BAR_WIDTH, MARGIN = 22, 10, 330, 400, 16
PLOT_WIDTH, PLOT_HEIGHT, AXIS_WIDTH, AXIS_HEIGHT, TITLE_HEIGHT, LEGEND_WIDTH = 560, 240, 44, 40, 34, 130
LINE_HEIGHT = 16
COLOURS = ["#1f6f8b", "#c8553d", "#6a994e", "#7d5ba6"]
# Marks of an axis, about.
MARKS = 5

Series = dict[str, list[tuple[float, float]]]


def opened(width: float, height: float, title: str) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="{MARGIN + 12}" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]


def bars(title: str, values: list[tuple[str, float]]) -> str:
    """Horizontal bars from zero, the values beside them."""
    longest = max(value for _, value in values)
    lines = opened(2 * MARGIN + LABEL_WIDTH + BAR_WIDTH + 60, 2 * MARGIN + 30 + len(values) * (BAR + GAP), title)
    for index, (label, value) in enumerate(values):
        top = MARGIN + 30 + index * (BAR + GAP)
        length = max(1.0, BAR_WIDTH * value / longest)
        colour = "#1f6f8b" if "ours" in label else "#b8bfc6"
        lines += [
            f'<text x="{MARGIN}" y="{top + 15}">{escape(label)}</text>',
            f'<rect x="{MARGIN + LABEL_WIDTH}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<text x="{MARGIN + LABEL_WIDTH + length + 6:.1f}" y="{top + 15}">{value:.2f}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def round_step(span: float) -> float:
    """1, 2 or 5 times a power of ten, so that a span has about MARKS of them."""
    raw = span / MARKS
    power = 10 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)


def marks(most: float) -> list[float]:
    step = round_step(most)
    return [count * step for count in range(int(most / step) + 1)]


def labels(wanted: list[tuple[float, str, str]], left: float) -> list[str]:
    """Texts with their heights and colours, moved down where they would stand in one another."""
    lines, lowest = [], 0.0
    for y, text, colour in sorted(wanted):
        lowest = max(y, lowest + LINE_HEIGHT)
        lines.append(f'<text x="{left}" y="{lowest + 4:.1f}" fill="{colour}">{escape(text)}</text>')
    return lines


def curves(title: str, x_label: str, series: Series, limits: dict[str, float]) -> str:
    """Lines over an x axis from zero; limits are drawn as dashed lines from side to side."""
    most_x = max(x for points in series.values() for x, _ in points) or 1.0
    most_y = 1.1 * max([*limits.values(), *(y for points in series.values() for _, y in points)])
    left, bottom = MARGIN + AXIS_WIDTH, MARGIN + TITLE_HEIGHT + PLOT_HEIGHT
    right = left + PLOT_WIDTH

    def at(x: float, y: float) -> tuple[float, float]:
        return left + PLOT_WIDTH * x / most_x, bottom - PLOT_HEIGHT * y / most_y

    lines = opened(right + LEGEND_WIDTH + MARGIN, bottom + AXIS_HEIGHT + MARGIN, title)
    for x in marks(most_x):
        lines.append(f'<text x="{at(x, 0)[0]:.1f}" y="{bottom + 18}" text-anchor="middle">{x:,.0f}</text>')
    for y in marks(most_y):
        height = at(0, y)[1]
        lines += [
            f'<line x1="{left}" y1="{height:.1f}" x2="{right}" y2="{height:.1f}" stroke="#e3e6e8"/>',
            f'<text x="{left - 6}" y="{height + 4:.1f}" text-anchor="end">{y:,.0f}</text>',
        ]
    lines.append(f'<text x="{(left + right) / 2}" y="{bottom + 36}" text-anchor="middle">{escape(x_label)}</text>')
    named: list[tuple[float, str, str]] = []
    for name, limit in limits.items():
        height = at(0, limit)[1]
        lines.append(
            f'<line x1="{left}" y1="{height:.1f}" x2="{right}" y2="{height:.1f}" stroke="#555555" stroke-dasharray="5 4"/>'
        )
        named.append((height, name, "#555555"))
    for colour, (name, points) in zip(COLOURS, series.items()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        named.append((at(*points[-1])[1], name, colour))
    return "\n".join([*lines, *labels(named, right + 8), "</svg>", ""])
