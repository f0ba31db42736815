"""Tables in Markdown, and numbers short enough to stand in them."""

from __future__ import annotations

import math
from collections.abc import Sequence

RED, GREEN = "🔴", "🟢"
MISSED = f"{RED} **missed**"  # where a ratio was asked for


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    lines = [header, [":--"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def error(value: float, bound: float) -> str:
    """An error, with a red mark where it is above the bound or no number at all."""
    if not math.isfinite(value):
        return f"{RED} {'NaN' if math.isnan(value) else 'inf'}"
    text = "0" if value == 0 else f"{value:.0e}"
    return text if value <= bound else f"{RED} {text}"


def ratio(value: float) -> str:
    """Two digits of a ratio, more where it has them before the point."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"
