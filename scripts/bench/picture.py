"""A bar chart as SVG, without anything but text."""
from xml.sax.saxutils import escape

BAR, GAP, LABEL_WIDTH, BAR_WIDTH, MARGIN = 22, 10, 330, 400, 16


def bars(title: str, values: list[tuple[str, float]]) -> str:
    """Horizontal bars from zero, the values beside them."""
    longest = max(value for _, value in values)
    width = 2 * MARGIN + LABEL_WIDTH + BAR_WIDTH + 60
    height = 2 * MARGIN + 30 + len(values) * (BAR + GAP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="{MARGIN + 12}" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
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
