"""Sweep, Spark and AutoML jobs on the wire: what a client may ask of one, and how it is shown."""

from __future__ import annotations

from azureml_emulator import unrun
from azureml_emulator.errors import Json, bad_request, not_emulated
from azureml_emulator.sampling import Sweep
from azureml_emulator.steps import SpecificationError
from azureml_emulator.store import Run
from azureml_emulator.sweeps import first_properties, first_tags

SWEEP = "Sweep"
KINDS = frozenset({SWEEP, *unrun.KINDS})
#: What a PUT over an existing job of one of these kinds may not change.
IMMUTABLE = (
    "searchSpace",
    "samplingAlgorithm",
    "objective",
    "earlyTermination",
    "trial",
    "taskDetails",
    "entry",
    "args",
)
_SPARK = ("codeId", "entry", "args", "conf", "pyFiles", "jars", "files", "archives", "environmentId", "queueSettings")
_AUTOML = ("taskDetails", "environmentId", "queueSettings")
#: Recorded of a trial.
_RESOURCES = dict.fromkeys(("maxInstanceCount", "instanceType", "locations", "properties", "dockerArgs"))


def check(spec: Json, path: str) -> None:
    """Refuse what the service would refuse.

    Raises:
        WireError: 400 for a specification that lacks something or is wrong, 501 for what is not emulated.
    """
    kind = spec["jobType"]
    if kind != SWEEP:
        if lacking := [member for member in unrun.KINDS[kind] if not spec.get(member)]:
            raise bad_request(f"A job of type {kind} needs {' and '.join(lacking)}.")
        return
    trial = spec.get("trial") or {}
    if not trial.get("command"):
        raise bad_request("A sweep job needs a trial with a command.")
    if trial.get("distribution"):
        raise not_emulated("PUT", path, "a sweep of distributed trials")
    try:
        Sweep.from_wire(spec)
    except SpecificationError as error:
        raise bad_request(str(error)) from error


def added(spec: Json) -> tuple[dict[str, str], dict[str, str]]:
    """Say which properties and which tags the service adds to a job that is submitted."""
    if spec["jobType"] != SWEEP:
        return {}, {}
    sweep = Sweep.from_wire(spec)
    return first_properties(sweep), first_tags(spec, sweep)


def members(run: Run) -> Json:
    """Show what a job of one of these kinds has beside its inputs and outputs."""
    spec = run.spec
    if run.kind == SWEEP:
        return _sweep(spec)
    names = _SPARK if run.kind == "Spark" else _AUTOML
    shown: Json = {name: spec.get(name) for name in names}
    return shown | {"resources": spec.get("resources"), "environmentVariables": spec.get("environmentVariables") or {}}


def _sweep(spec: Json) -> Json:
    sampling, limits, objective = (spec.get(name) or {} for name in ("samplingAlgorithm", "limits", "objective"))
    unsaid = {"seed": None, "logbase": None, "rule": "Random"} if sampling["samplingAlgorithmType"] == "Random" else {}
    trial = spec["trial"]
    return {
        "searchSpace": spec["searchSpace"],
        "samplingAlgorithm": {**unsaid, **sampling},
        "limits": {"trialTimeout": None, **limits, "jobLimitsType": SWEEP},
        "earlyTermination": spec.get("earlyTermination"),
        "objective": {**objective, "goal": str(objective["goal"]).capitalize()},
        "trial": {
            "codeId": trial.get("codeId"),
            "command": trial["command"],
            "environmentId": trial.get("environmentId"),
            "environmentVariables": trial.get("environmentVariables") or {},
            "distribution": None,
            "resources": {"instanceCount": 1, **_RESOURCES, **(trial.get("resources") or {})},
        },
        "queueSettings": spec.get("queueSettings"),
    }
