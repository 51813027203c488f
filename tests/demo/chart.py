"""Two bars beside two bars: as text for the terminal, and as an SVG for a page."""

import dataclasses
import html

WIDTH = 40  # characters of the longest bar

_BAR, _GAP, _LEFT, _LENGTH, _RIGHT = 22, 8, 130, 420, 110  # of the SVG, in pixels
_COLOURS = {"cold": "#4a7fb5", "warm": "#d9762b"}


@dataclasses.dataclass(frozen=True)
class Figure:
    """One thing that was measured, cold and warm."""

    title: str
    unit: str
    cold: float
    warm: float

    def rows(self) -> list[tuple[str, float]]:
        return [("cold", self.cold), ("warm", self.warm)]

    def share(self, value: float) -> float:
        return value / (max(self.cold, self.warm) or 1.0)

    def text(self, value: float) -> str:
        shown = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"
        return f"{shown} {self.unit}".strip()


def as_text(figures: list[Figure]) -> list[str]:
    lines: list[str] = []
    for figure in figures:
        lines.append(figure.title)
        for name, value in figure.rows():
            bar = "█" * round(WIDTH * figure.share(value))
            lines.append(f"  {name}  {bar:<{WIDTH}}  {figure.text(value)}")
    return lines


def _bar(figure: Figure, name: str, value: float, y: int) -> str:
    length = max(1, round(_LENGTH * figure.share(value)))
    middle = y + _BAR // 2 + 5
    return (
        f'<text x="{_LEFT - 10}" y="{middle}" text-anchor="end">{name}</text>'
        f'<rect x="{_LEFT}" y="{y}" width="{length}" height="{_BAR}" fill="{_COLOURS[name]}"/>'
        f'<text x="{_LEFT + length + 8}" y="{middle}">{html.escape(figure.text(value))}</text>'
    )


def as_svg(title: str, figures: list[Figure]) -> str:
    parts: list[str] = []
    y = 50
    for figure in figures:
        parts.append(f'<text x="20" y="{y + 14}" font-weight="bold">{html.escape(figure.title)}</text>')
        y += 24
        for name, value in figure.rows():
            parts.append(_bar(figure, name, value, y))
            y += _BAR + _GAP
        y += 16
    width = _LEFT + _LENGTH + _RIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" '
        f'font-family="sans-serif" font-size="14">'
        f'<rect width="{width}" height="{y}" fill="white"/>'
        f'<text x="20" y="28" font-size="17">{html.escape(title)}</text>'
        + "".join(parts)
        + "</svg>\n"
    )
