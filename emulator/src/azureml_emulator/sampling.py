"""What a sweep tries: its search space, and the values that are drawn from it; nothing here does anything."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import attrs

from azureml_emulator.durations import seconds
from azureml_emulator.steps import SpecificationError

Json = dict[str, Any]
Values = dict[str, Any]

GRID, RANDOM, BAYESIAN = "Grid", "Random", "Bayesian"
CHOICE = "choice"
#: How many trials there are at most when nobody says. Source: SweepJobLimits of azure-ai-ml's documentation.
MOST_TRIALS = 1000
#: Draws that bring nothing new, one after the other, before a random search is over.
MOST_IN_VAIN = 1000
GOALS = ("maximize", "minimize")
_PLACEHOLDER = re.compile(r"\$\{\{\s*search_space\.(?P<name>[A-Za-z0-9_.-]+)\s*\}\}")


def _in_steps(value: float, step: float) -> float:
    return round(value / step) * step


#: How a value is drawn, by distribution, and how many arguments that takes.
#: Source: https://learn.microsoft.com/azure/machine-learning/how-to-tune-hyperparameters#define-the-search-space
DRAWS: Mapping[str, tuple[int, Callable[..., Any]]] = {
    "uniform": (2, lambda dice, low, high: dice.uniform(low, high)),
    "quniform": (3, lambda dice, low, high, step: _in_steps(dice.uniform(low, high), step)),
    "loguniform": (2, lambda dice, low, high: math.exp(dice.uniform(low, high))),
    "qloguniform": (3, lambda dice, low, high, step: _in_steps(math.exp(dice.uniform(low, high)), step)),
    "normal": (2, lambda dice, mean, spread: dice.gauss(mean, spread)),
    "qnormal": (3, lambda dice, mean, spread, step: _in_steps(dice.gauss(mean, spread), step)),
    "lognormal": (2, lambda dice, mean, spread: math.exp(dice.gauss(mean, spread))),
    "qlognormal": (3, lambda dice, mean, spread, step: _in_steps(math.exp(dice.gauss(mean, spread)), step)),
    "randint": (1, lambda dice, upper: dice.randrange(int(upper))),
}


@attrs.frozen
class Parameter:
    """One hyperparameter: its distribution, and the arguments of that; a choice's are the values themselves."""

    distribution: str
    arguments: tuple[Any, ...]

    @classmethod
    def from_wire(cls, name: str, said: Any) -> Self:
        """Read ``["uniform", [0.1, 1]]`` or ``["choice", [[1, 2]]]``.

        Raises:
            SpecificationError: It is none of these.
        """
        match said:
            case ["choice", [[_, *_] as values]]:
                return cls(CHOICE, tuple(values))
            case [str(kind), [*arguments]] if kind in DRAWS and len(arguments) == DRAWS[kind][0]:
                if not all(isinstance(one, int | float) and math.isfinite(one) for one in arguments):
                    raise SpecificationError(f"Hyperparameter {name}: {json.dumps(said)[:200]} has no numbers.")
                if kind.startswith("q") and arguments[-1] <= 0:
                    raise SpecificationError(f"Hyperparameter {name}: {json.dumps(said)[:200]} has no positive step.")
                if kind == "randint" and arguments[0] < 1:
                    raise SpecificationError(f"Hyperparameter {name}: {json.dumps(said)[:200]} has no upper end.")
                return cls(kind, tuple(arguments))
        raise SpecificationError(
            f"Hyperparameter {name}: {json.dumps(said)[:200]} is no distribution; these are {CHOICE} with at least one"
            f" value, {', '.join(DRAWS)}, each with its arguments."
        )

    @property
    def count(self) -> float:
        """How many values there are."""
        return len({json.dumps(one) for one in self.arguments}) if self.distribution == CHOICE else math.inf

    def draw(self, dice: random.Random) -> Any:
        """Draw a value."""
        return dice.choice(self.arguments) if self.distribution == CHOICE else self._drawn(dice)

    def _drawn(self, dice: random.Random) -> Any:
        try:
            return DRAWS[self.distribution][1](dice, *self.arguments)
        except OverflowError as error:
            raise SpecificationError(f"{self.distribution}{list(self.arguments)} gives numbers too large.") from error


@attrs.frozen(kw_only=True)
class Sweep:
    """A sweep job, as far as it decides what is tried.

    Attributes:
        space: The hyperparameters, in the order they were sent.
        algorithm: ``Grid``, ``Random`` or ``Bayesian``.
        seed: Of a random search; None when none was given.
        goal: ``maximize`` or ``minimize``.
        metric: The primary metric.
        most_trials: At least 1.
        at_once: How many trials run at once; at least 1.
        timeout_s: How long the sweep may take; None for no limit.
        trial_timeout: How long one trial may take, as Azure writes it; None for no limit.
    """

    space: Mapping[str, Parameter]
    algorithm: str
    seed: int | None
    goal: str
    metric: str
    most_trials: int
    at_once: int
    timeout_s: float | None
    trial_timeout: str | None

    @classmethod
    def from_wire(cls, spec: Mapping[str, Any]) -> Self:
        """Read a job's ``properties``.

        Raises:
            SpecificationError: Something is missing, or is not what it should be.
        """
        space = spec.get("searchSpace")
        if not isinstance(space, Mapping) or not space:
            raise SpecificationError("A sweep job needs a searchSpace with at least one hyperparameter.")
        sampling, objective = spec.get("samplingAlgorithm") or {}, spec.get("objective") or {}
        algorithm, goal = str(sampling.get("samplingAlgorithmType")), str(objective.get("goal")).lower()
        if algorithm not in (GRID, RANDOM, BAYESIAN):
            raise SpecificationError(f"samplingAlgorithmType is {algorithm}, and none of {GRID}, {RANDOM}, {BAYESIAN}.")
        if goal not in GOALS or not objective.get("primaryMetric"):
            raise SpecificationError("A sweep job's objective needs a primaryMetric, and a goal: Maximize or Minimize.")
        limits = spec.get("limits") or {}
        most = _count(limits.get("maxTotalTrials"), "maxTotalTrials", MOST_TRIALS)
        timeout, trial_timeout = limits.get("timeout"), limits.get("trialTimeout")
        if trial_timeout:
            seconds(str(trial_timeout), "trialTimeout")
        parameters = {str(name): Parameter.from_wire(str(name), one) for name, one in space.items()}
        if algorithm == GRID and (loose := [name for name, one in parameters.items() if one.distribution != CHOICE]):
            raise SpecificationError(f"Grid sampling takes choices only, which {', '.join(loose)} is not.")
        return cls(
            space=parameters,
            algorithm=algorithm,
            seed=sampling.get("seed"),
            goal=goal,
            metric=str(objective["primaryMetric"]),
            most_trials=most,
            at_once=_count(limits.get("maxConcurrentTrials"), "maxConcurrentTrials", most),
            timeout_s=seconds(str(timeout), "The sweep's timeout") if timeout else None,
            trial_timeout=str(trial_timeout) if trial_timeout else None,
        )

    def trials(self, *, name: str) -> list[Values]:
        """Say what each trial is given; no two are given the same.

        Args:
            name: What a random search without a seed depends on, so that it is alike each time it is told again.

        Raises:
            SpecificationError: It cannot be drawn here.
        """
        if self.algorithm == BAYESIAN:
            raise SpecificationError(
                "The emulator runs sweeps by grid and by random sampling, not by Bayesian sampling."
            )
        drawn = self._grid() if self.algorithm == GRID else self._random(random.Random(self._seed(name)))  # noqa: S311  # no secret
        return list(itertools.islice(drawn, self.most_trials))

    def better(self, value: float, best: float | None) -> bool:
        """Tell whether a metric's value is better than the best so far; NaN never is."""
        if math.isnan(value):
            return False
        return best is None or (value > best if self.goal == "maximize" else value < best)

    def _seed(self, name: str) -> int | str:
        return name if self.seed is None else self.seed

    def _grid(self) -> Iterator[Values]:
        for values in itertools.product(*(one.arguments for one in self.space.values())):
            yield dict(zip(self.space, values, strict=True))

    def _random(self, dice: random.Random) -> Iterator[Values]:
        seen: set[str] = set()
        every, in_vain = math.prod(one.count for one in self.space.values()), 0
        while len(seen) < every and in_vain < MOST_IN_VAIN:
            drawn = {name: one.draw(dice) for name, one in self.space.items()}
            text = json.dumps(drawn)
            in_vain = in_vain + 1 if text in seen else 0
            if not in_vain:
                seen.add(text)
                yield drawn


def fill_in(command: str, values: Mapping[str, Any]) -> str:
    """Put a trial's values into its command; what is no hyperparameter's stays for later.

    Raises:
        SpecificationError: The command asks for a hyperparameter that the search space does not have.
    """

    def value(found: re.Match[str]) -> str:
        if found["name"] not in values:
            known = ", ".join(sorted(values))
            raise SpecificationError(f"The trial's command asks for {found[0]}; the search space has {known}.")
        return str(values[found["name"]])

    return _PLACEHOLDER.sub(value, command)


def _count(said: Any, what: str, default: int) -> int:
    if said is None:
        return default
    if isinstance(said, bool) or not isinstance(said, int) or said < 1:
        raise SpecificationError(f"{what} is {json.dumps(said)[:80]}; it must be a whole number of at least 1.")
    return said
