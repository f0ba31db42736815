"""The verbs of every model: signatures and promises. Each is written once, and final."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from statespace.interface import asking, drawing, fitting, online
from statespace.interface.arguments import verb
from statespace.interface.question import Question
from statespace.interface.values import Info, State
from statespace.results import Filtered, FitResult, Forecast, Score, Smoothed, Trajectory

__all__ = ["Verbs"]


class Verbs:
    """What can be asked of a model.

    Arguments that the verbs share:
        y: Observations, (*batch, T, m), or a list of series, an array, a DataFrame; NaN is "not
            observed".
        inputs: (*batch, T, p), in any of these forms; required exactly where input_dim > 0.
        mask: Booleans, True where observed.
        lengths: Rows of each series of a padded tensor.
        condition: What the memory starts from, one per series.
        state: Where another result ended, to continue from there.
        method: How to compute; the model's default if None.
        seed: For the same numbers again; a fresh one if None, and recorded in the result.

    What cannot be read raises `InputError` or `InputTypeError`; a method that cannot serve the
    model raises `MethodError`, and says which can.
    """

    @verb
    def filter(
        self,
        y: Any,
        inputs: Any = None,
        *,
        mask: Any = None,
        lengths: Any = None,
        condition: Any = None,
        state: State | None = None,
        method: Any = None,
        seed: int | None = None,
        keep: str = "all",
    ) -> Filtered:
        """p(z_t | y_1 .. y_t) for every t, and one-step-ahead predictions; never looks ahead.

        Args:
            y: See the class, as for all arguments that are not named here.
            inputs: See there.
            mask: See there.
            lengths: See there.
            condition: See there.
            state: See there.
            method: See there.
            seed: See there.
            keep: How much the record holds: "all"; "means", without covariances; or "last", the
                last row of each series with everything, so that memory does not grow with T. The
                log-likelihood and the state to go on from are there always.
        """
        asked = Question(mask, lengths, condition, state, method, seed)
        return asking.filter(self, y, inputs, asked, keep)

    @verb
    def smooth(
        self,
        y: Any,
        inputs: Any = None,
        *,
        mask: Any = None,
        lengths: Any = None,
        condition: Any = None,
        state: State | None = None,
        method: Any = None,
        seed: int | None = None,
        keep: str = "all",
    ) -> Smoothed:
        """p(z_t | y) for every t, given all of y; joint draws by `.sample`.

        Args:
            y: See the class, as for all arguments that are not named here.
            inputs: See there.
            mask: See there.
            lengths: See there.
            condition: See there.
            state: See there.
            method: See there.
            seed: See there.
            keep: How much the record holds: "all"; "marginals", without what joins z_{t+1} and
                z_t; or "means", without covariances. Joint draws need none of it.
        """
        if inputs is mask is lengths is condition is state is method is seed is None:
            found = asking.at_once("smooth", self, y, keep)
            if found is not None:
                return found
        asked = Question(mask, lengths, condition, state, method, seed)
        return asking.smooth(self, y, inputs, asked, keep)

    @verb
    def log_likelihood(
        self,
        y: Any,
        inputs: Any = None,
        *,
        mask: Any = None,
        lengths: Any = None,
        condition: Any = None,
        state: State | None = None,
        method: Any = None,
        seed: int | None = None,
    ) -> Tensor:
        """The log-likelihood log p(y), (*batch,), differentiable; `score` says of which kind."""
        if inputs is mask is lengths is condition is state is method is seed is None:
            found = asking.at_once("log_likelihood", self, y)
            if found is not None:
                return found
        asked = Question(mask, lengths, condition, state, method, seed)
        return asking.log_likelihood(self, y, inputs, asked)

    @verb
    def score(
        self,
        y: Any,
        inputs: Any = None,
        *,
        mask: Any = None,
        lengths: Any = None,
        condition: Any = None,
        state: State | None = None,
        method: Any = None,
        seed: int | None = None,
    ) -> Score:
        """The log-likelihood pooled over series, with its kind, its standard error and its units.

        A sampled method runs `method.repeats` times: the value is the mean of the runs, and the
        standard error is that of the mean.
        """
        asked = Question(mask, lengths, condition, state, method, seed)
        return asking.score(self, y, inputs, asked)

    @verb
    def forecast(
        self,
        y: Any = None,
        *,
        horizon: int,
        inputs: Any = None,
        mask: Any = None,
        lengths: Any = None,
        condition: Any = None,
        state: State | None = None,
        num_samples: int | None = None,
        method: Any = None,
        seed: int | None = None,
    ) -> Forecast:
        """The `horizon` rows that follow y, or that follow a state.

        Args:
            y: What came before; None to go on from `state`. Given both, y continues the state.
            horizon: How many rows, at least 1.
            inputs: T + horizon rows beside y; the horizon's alone where y is None.
            num_samples: How many draws, where the method draws.
            mask: See the class, as for all further arguments.
            lengths: See there.
            condition: See there.
            state: See there.
            method: See there.
            seed: See there.
        """
        asked = Question(mask, lengths, condition, state, method, seed)
        return asking.forecast(self, y, inputs, asked, horizon, num_samples)

    @verb
    def sample(
        self,
        num_steps: int,
        sample_shape: int | Sequence[int] = (),
        inputs: Any = None,
        *,
        condition: Any = None,
        state: State | None = None,
        seed: int | None = None,
    ) -> Trajectory:
        """Draws of z and y from the model, (*sample, *batch, T, .).

        Args:
            num_steps: T.
            sample_shape: How many trajectories, as leading axes.
            inputs: (*batch, T, p); their batch axes are those of the result.
            condition: What the memory starts from.
            state: Go on from here: z is drawn from its belief first, and row 0 is the row after.
            seed: See the class.
        """
        return drawing.sample(self, num_steps, sample_shape, inputs, condition, state, seed)

    @verb
    def log_joint(
        self,
        z: Any,
        y: Any,
        inputs: Any = None,
        *,
        mask: Any = None,
        lengths: Any = None,
        condition: Any = None,
    ) -> Tensor:
        """The joint log p(z, y), (*sample, *batch), all of time at once; differentiable.

        Args:
            z: Leaves (*sample, *batch, T, *event).
            y: Entries that were not observed are integrated out; where the memory reads y, it
                must be complete up to the last row.
            inputs: See the class, as for all further arguments.
            mask: See there.
            lengths: See there.
            condition: See there.
        """
        asked = Question(mask, lengths, condition)
        return drawing.log_joint(self, z, y, inputs, asked)

    @verb
    def start(
        self,
        batch_shape: int | Sequence[int] = (),
        *,
        condition: Any = None,
        method: Any = None,
        seed: int | None = None,
    ) -> State:
        """The state before any data, for `step`; it carries its method and its random numbers."""
        return online.start(self, batch_shape, condition, method, seed)

    @verb
    def step(
        self, state: State, y_t: Any, u_t: Any = None, *, mask: Any = None
    ) -> tuple[State, Info]:
        """One row absorbed: the new state, and what a person wants to see of the step.

        Args:
            state: From `start`, from a step, or from `Filtered.state`; it stays as it was.
            y_t: (*batch, m), NaN where not observed; None where nothing was.
            u_t: (*batch, p).
            mask: Booleans, True where observed.
        """
        return online.step(self, state, y_t, u_t, mask)

    @verb
    def fit(
        self,
        y: Any,
        inputs: Any = None,
        *,
        mask: Any = None,
        lengths: Any = None,
        condition: Any = None,
        validation: Any = None,
        method: Any = None,
        learner: Any = None,
        seed: int | None = None,
        progress: Any = None,
    ) -> FitResult:
        """Trains the model in place; if it fails, the model is as it was.

        Args:
            y: See the class, as for all arguments that are not named here.
            inputs: See there.
            mask: See there.
            lengths: See there.
            condition: See there.
            validation: Held-out series for the learner, or a pair (y, inputs).
            method: See there.
            learner: How to learn; the model's default if None.
            seed: See there.
            progress: True for a progress bar, or a function that is called as learning goes on.
        """
        asked = Question(mask, lengths, condition, None, method, seed)
        return fitting.fit(self, y, inputs, asked, validation, learner, progress)

    @verb
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model to a folder, JSON and safetensors; `statespace.load` reads it back."""
        fitting.save(self, path)
