"""`TrainingRecord`: where training stood at one evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["TrainingRecord"]


@dataclass(frozen=True)
class TrainingRecord:
    """Where training stood at one evaluation.

    Attributes:
        step: Updates made.
        seconds: Since the fit began, over all of its sittings.
        objective: What is climbed, per observed value of the training data, in nats.
        gradient_norm: Of the gradient of that, before clipping; the mean over the updates since
            the last record.
        validation: The score of the held-out data per observed value, in nats; NaN without any.
        kl: Divergence of the guide from the prior, nats per row; NaN where there is no guide.
        kl_per_dim: Its share in each entry of z; empty where it cannot be divided.
        active_units: How many entries of z diverge by more than 0.01 nats per row.

    Example:
        >>> TrainingRecord(100, 3.2, -0.9, 0.1, validation=-0.95)
        TrainingRecord(step 100, 3.2 s: objective -0.9000, validation -0.9500, gradient 0.1)
    """

    step: int
    seconds: float
    objective: float
    gradient_norm: float
    validation: float = math.nan
    kl: float = math.nan
    kl_per_dim: tuple[float, ...] = ()
    active_units: int | None = None

    def __repr__(self) -> str:
        return f"TrainingRecord(step {self.step}, {self.seconds:.1f} s: {self.words()})"

    def words(self) -> str:
        """What a progress bar says."""
        parts = [f"objective {self.objective:.4f}"]
        if not math.isnan(self.validation):
            parts.append(f"validation {self.validation:.4f}")
        if not math.isnan(self.kl):
            parts.append(f"KL {self.kl:.3g}")
        if self.active_units is not None:
            parts.append(f"{self.active_units}/{len(self.kl_per_dim)} units")
        return ", ".join([*parts, f"gradient {self.gradient_norm:.2g}"])
