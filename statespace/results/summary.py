"""The text table of a fit."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from statespace.results.fit import FitResult

__all__ = ["parameter_rows", "render"]

WIDTH = 80
NORMAL_975 = 1.959963984540054  # the 97.5 % quantile of the standard normal


def parameter_rows(fit: FitResult) -> list[tuple[str, float, float, float, float, float]]:
    """Name, estimate, standard error, z, and the ends of the 95 % interval."""
    rows = []
    for name, estimate in (fit.parameters or {}).items():
        error = fit.standard_errors.get(name, math.nan)
        z = estimate / error if error > 0 else math.nan
        half = NORMAL_975 * error
        rows.append((name, estimate, error, z, estimate - half, estimate + half))
    return rows


def render(fit: FitResult) -> str:
    """The table, as `FitResult.summary` returns it."""
    lines = ["=" * WIDTH, _name(fit.model).center(WIDTH).rstrip(), "=" * WIDTH]
    lines += _head(fit)
    lines += _wrapped("Ended because ", fit.reason)
    rows = parameter_rows(fit)
    if rows:
        width = max(WIDTH - 57, *(len(row[0]) for row in rows))
        titles = f"{'estimate':>11} {'std error':>11} {'z':>8}   {'95 % interval':>20}"
        lines += ["-" * WIDTH, f"{'parameter':<{width}} {titles}", "-" * WIDTH]
        for name, estimate, error, z, low, high in rows:
            ends = f"{_number(low):>11} {_number(high):>11}"
            numbers = f"{_number(estimate):>11} {_number(error):>11} {z:>8.2f}"
            lines.append(f"{name:<{width}} {numbers} {ends}")
    lines.append("=" * WIDTH)
    lines += _notes(fit, rows)
    return "\n".join(line.rstrip() for line in lines)


def _head(fit: FitResult) -> list[str]:
    criterion = "Log-likelihood" if fit.kind == "exact" else f"Log-lik. ({fit.kind})"
    left = [
        ("Learner", "" if fit.learner is None else _name(fit.learner)),
        ("Converged", "yes" if fit.converged else "NO"),
        ("Iterations", str(len(fit.history))),
        ("Free parameters", str(fit.num_params)),
        ("Seed", "" if fit.seed is None else str(fit.seed)),
    ]
    right = [
        (criterion, f"{fit.log_likelihood:.4f}"),
        ("AIC", f"{fit.aic:.4f}"),
        ("BIC", f"{fit.bic:.4f}"),
        ("Observed values n", str(fit.n_values)),
        ("Seconds", f"{fit.seconds:.2f}"),
    ]
    half = (WIDTH - 2) // 2
    return [
        f"{f'{a}:':<17}{b:>{half - 17}}  {f'{c}:':<25}{d:>{half - 25}}"
        for (a, b), (c, d) in zip(left, right, strict=True)
    ]


def _notes(fit: FitResult, rows: list[Any]) -> list[str]:
    lines = []
    if rows and not fit.standard_errors:
        lines += _wrapped("", "Standard errors were not computed.")
    elif rows:
        lines += _wrapped("", "Standard errors come from the observed information.")
    reasons = fit.standard_errors.reasons
    for reason in dict.fromkeys(reasons.values()):
        names = [name for name in reasons if reasons[name] == reason]
        lines += _wrapped(f"No standard error for {', '.join(_short(names, fit))}: ", reason)
    for warning in fit.warnings:
        lines += _wrapped("Warning: ", warning)
    return lines


def _short(names: Iterable[str], fit: FitResult) -> list[str]:
    """Names of entries, with "A" for every entry of A where all of them are among the names."""
    entries = list(fit.parameters or {})
    left = dict.fromkeys(names)
    short: dict[str, None] = {}
    for name in left:
        letter = name.partition("[")[0]
        whole = [entry for entry in entries if entry.partition("[")[0] == letter]
        short[letter if len(whole) > 1 and all(entry in left for entry in whole) else name] = None
    return list(short)


def _wrapped(start: str, text: str) -> list[str]:
    return textwrap.wrap(start + text.rstrip(".") + ".", WIDTH, subsequent_indent="    ")


def _name(thing: Any) -> str:
    return thing if isinstance(thing, str) else type(thing).__name__


def _number(x: float) -> str:
    return "nan" if math.isnan(x) else f"{x:.5g}"
