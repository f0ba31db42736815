"""`FitResult`: how a fit ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from statespace.results.record import check_kind
from statespace.results.summary import parameter_rows, render
from statespace.results.training import TrainingRecord

__all__ = ["FitResult", "StandardErrors"]

Errors = tuple[Mapping[str, float], Mapping[str, str]]


class StandardErrors(Mapping[str, float]):
    """Standard errors by name of the parameter, computed when they are first looked at.

    Args:
        given: The numbers, or a function without arguments that gives them together with the
            reasons of those that are NaN, or None.

    Example:
        >>> errors = StandardErrors(lambda: ({"Q[0,0]": math.nan}, {"Q[0,0]": "at its bound"}))
        >>> errors["Q[0,0]"], errors.reasons
        (nan, {'Q[0,0]': 'at its bound'})
    """

    def __init__(self, given: Mapping[str, float] | Callable[[], Errors] | None = None) -> None:
        self._given = given
        self._known: Errors | None = None

    def _get(self) -> Errors:
        if self._known is None:
            if callable(self._given):
                numbers, reasons = self._given()
            else:
                numbers, reasons = self._given or {}, {}
            self._known = {k: float(v) for k, v in numbers.items()}, dict(reasons)
        return self._known

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why a standard error is NaN, in words, by name."""
        return self._get()[1]

    def __getstate__(self) -> dict[str, Any]:
        # Numbers can be stored and sent to other processes; how they are computed cannot.
        return {"_given": None, "_known": self._get()}

    def __getitem__(self, name: str) -> float:
        return self._get()[0][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._get()[0])

    def __len__(self) -> int:
        return len(self._get()[0])

    def __repr__(self) -> str:
        return "StandardErrors(not computed yet)" if self._known is None else repr(self._known[0])


@dataclass(frozen=True, eq=False, repr=False)
class FitResult:
    """How a fit ended.

    Attributes:
        model: The fitted model, the one that `fit` was called on.
        converged: Whether the learner met its criterion; never True for NaN or at the last step
            allowed.
        reason: Why it stopped, in words.
        history: The objective after each iteration.
        log_likelihood: log p(y) of the training data at the end, in nats, over all series.
        num_params: k, the number of free parameters.
        n_values: How many entries were observed.
        seconds: How long it took.
        seed: The seed that gives it again.
        learner: The learner.
        warnings: Sentences about what is not as it should be.
        parameters: Estimates by name, one entry for each free parameter.
        standard_errors: By name; computed at first use, at the parameters of that moment.
        restarts: The histories of the other starts.
        kind: What the log-likelihood is.
        records: A `TrainingRecord` for each evaluation, of learners that make them.

    Example:
        >>> fit = FitResult("LDS", True, "the score is below 1e-6", [-640.0, -633.5], -633.5,
        ...                 num_params=2, n_values=100, parameters={"Q[0,0]": 1469.1})
        >>> fit
        FitResult(LDS, converged, log_likelihood=-633.5, num_params=2)
        >>> fit.aic, round(fit.bic, 3)
        (1271.0, 1276.21)
    """

    model: Any
    converged: bool
    reason: str
    history: tuple[float, ...]
    log_likelihood: float
    num_params: int
    n_values: int
    seconds: float = math.nan
    seed: int | None = None
    learner: Any = None
    warnings: tuple[str, ...] = ()
    parameters: Mapping[str, float] | None = None
    standard_errors: StandardErrors = None  # type: ignore[assignment]
    restarts: tuple[tuple[float, ...], ...] = ()
    kind: str = "exact"
    records: tuple[TrainingRecord, ...] = ()

    def __post_init__(self) -> None:
        check_kind(self.kind)
        errors: Any = self.standard_errors
        if not isinstance(errors, StandardErrors):
            errors = StandardErrors(errors)
        total = torch.as_tensor(self.log_likelihood, dtype=torch.float64).detach().sum()
        numbers = {k: float(v) for k, v in (self.parameters or {}).items()}
        object.__setattr__(self, "standard_errors", errors)
        object.__setattr__(self, "log_likelihood", float(total))
        object.__setattr__(self, "n_values", int(torch.as_tensor(self.n_values).sum()))
        object.__setattr__(self, "history", _floats(self.history))
        object.__setattr__(self, "restarts", tuple(_floats(h) for h in self.restarts))
        object.__setattr__(self, "warnings", tuple(dict.fromkeys((*self.warnings, *self._few()))))
        object.__setattr__(self, "parameters", numbers)

    def _few(self) -> list[str]:
        """A warning where there is nothing left over to tell an estimate from noise."""
        if not 0 < self.n_values <= self.num_params:
            return []
        values = f"{self.n_values} observed value{'s' if self.n_values > 1 else ''}"
        return [f"{self.num_params} parameters were learned from {values}, which cannot tell them"]

    @property
    def aic(self) -> float:
        """Akaike's criterion, -2 log p(y) + 2 k; NaN where only a bound on p(y) is known."""
        return self._deviance() + 2 * self.num_params

    @property
    def bic(self) -> float:
        """Schwarz's criterion, -2 log p(y) + k log n, with n the number of observed entries."""
        return self._deviance() + self.num_params * math.log(max(self.n_values, 1))

    def _deviance(self) -> float:
        return -2 * self.log_likelihood if self.kind in ("exact", "approximate") else math.nan

    def summary(self) -> str:
        """A table of text: how the fit ended, and the estimates with their standard errors."""
        return render(self)

    def to_frame(self) -> Any:
        """The estimates as a DataFrame: estimate, stderr, z, lower and upper (95 %) by name."""
        import pandas as pd

        rows = parameter_rows(self)
        columns = ["estimate", "stderr", "z", "lower", "upper"]
        names = pd.Index([row[0] for row in rows], name="parameter")
        return pd.DataFrame([row[1:] for row in rows], index=names, columns=columns)

    def __repr__(self) -> str:
        name = self.model if isinstance(self.model, str) else type(self.model).__name__
        ended = "converged" if self.converged else "not converged"
        return (
            f"FitResult({name}, {ended}, log_likelihood={self.log_likelihood:.7g}, "
            f"num_params={self.num_params})"
        )


def _floats(history: Any) -> tuple[float, ...]:
    values = history.detach().flatten().tolist() if isinstance(history, Tensor) else history
    return tuple(float(v) for v in values)
