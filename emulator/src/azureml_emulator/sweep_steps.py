"""Sweep steps: a node of a pipeline as the sweep that it is, and what it hands on.

Source: bodies that azure-ai-ml 1.35 sends; a node is written in its own words there, not in those of a sweep job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from azureml_emulator.steps import SpecificationError

Json = dict[str, Any]

SWEEP = "sweep"
_ALGORITHMS = {"grid": "Grid", "random": "Random", "bayesian": "Bayesian"}
#: The arguments of each distribution, in the order in which a sweep job has them.
_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "choice": ("values",),
    "uniform": ("min_value", "max_value"),
    "quniform": ("min_value", "max_value", "q"),
    "loguniform": ("min_value", "max_value"),
    "qloguniform": ("min_value", "max_value", "q"),
    "normal": ("mu", "sigma"),
    "qnormal": ("mu", "sigma", "q"),
    "lognormal": ("mu", "sigma"),
    "qlognormal": ("mu", "sigma", "q"),
    "randint": ("upper",),
}


def as_component(trial: Mapping[str, Any], node: Mapping[str, Any], *, whose: str) -> Json:
    """Write a trial's component with a node's search space as one component of type sweep.

    Its inputs are those of the trial that the search space does not give; its ``sweep`` is the specification of a
    sweep job.

    Args:
        trial: The specification of the trial's component, a command.
        node: The node of the pipeline.
        whose: Names the node in errors.

    Raises:
        SpecificationError: It is wrong.
    """
    space, objective = node.get("search_space"), node.get("objective") or {}
    if not isinstance(space, Mapping):
        raise SpecificationError(f"{whose} is a sweep and has no search_space.")
    searched = {str(name): _distribution(str(name), one, whose=whose) for name, one in space.items()}
    declared = {name: one for name, one in (trial.get("inputs") or {}).items() if name not in searched}
    sampling = node.get("sampling_algorithm") or "random"
    given = sampling if isinstance(sampling, Mapping) else {"type": sampling}
    algorithm = {"samplingAlgorithmType": _ALGORITHMS.get(str(given.get("type")).lower(), given.get("type"))}
    spec = {
        "searchSpace": searched,
        "samplingAlgorithm": {**algorithm, **({"seed": given["seed"]} if given.get("seed") is not None else {})},
        "objective": {"goal": objective.get("goal"), "primaryMetric": objective.get("primary_metric")},
        "limits": _limits(node.get("limits") or {}),
        "earlyTermination": node.get("early_termination"),
        "trial": {
            "command": _of_space(str(trial.get("command") or ""), searched),
            "codeId": trial.get("code"),
            "environmentId": trial.get("environment"),
            "environmentVariables": trial.get("environment_variables") or {},
            "resources": node.get("resources") or trial.get("resources"),
        },
    }
    return {"name": trial.get("name"), "type": SWEEP, "inputs": declared, "outputs": trial.get("outputs"), SWEEP: spec}


def _limits(said: Mapping[str, Any]) -> Json:
    return {
        "maxTotalTrials": said.get("max_total_trials"),
        "maxConcurrentTrials": said.get("max_concurrent_trials"),
        "timeout": _duration(said.get("timeout")),
        "trialTimeout": _duration(said.get("trial_timeout")),
    }


def _distribution(name: str, said: Any, *, whose: str) -> list[Any]:
    """Write ``{"type": "choice", "values": […]}`` as a sweep job does: ``["choice", [[…]]]``."""
    kind = str(said.get("type")) if isinstance(said, Mapping) else ""
    if kind not in _ARGUMENTS or any(argument not in said for argument in _ARGUMENTS[kind]):
        raise SpecificationError(
            f"{whose}: {name} of the search space is {str(said)[:200]}, which is none of {', '.join(_ARGUMENTS)} with"
            " all its arguments."
        )
    return [kind, [said[argument] for argument in _ARGUMENTS[kind]]]


def _duration(seconds: Any) -> str | None:
    return None if seconds is None else str(seconds) if str(seconds).startswith("P") else f"PT{seconds}S"


def _of_space(command: str, searched: Mapping[str, Any]) -> str:
    """Take what the search space gives from there: the component names it as one of its inputs."""
    for name in searched:
        placeholder = re.compile(r"\$\{\{\s*inputs\." + re.escape(name) + r"\s*\}\}")
        command = placeholder.sub(lambda _, of=name: f"${{{{search_space.{of}}}}}", command)  # type: ignore[misc]
    return command
