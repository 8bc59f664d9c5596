"""Scripted jobs: which words a job's status takes and when, without any process; all is computed from the clock."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Self

import attrs

from azureml_emulator.clock import moment

Json = dict[str, Any]

#: The words after which a run never changes again.
FINAL = frozenset({"Completed", "Failed", "Canceled"})
#: Words of a run that has not begun; every other one, an unknown one too, means that it has.
WAITING = frozenset({"NotStarted", "Queued", "Starting", "Provisioning", "Preparing", "CancelRequested", "Canceled"})
#: How long a cancel takes when the script does not say, in seconds.
CANCEL_S = 0.2
#: No status may last longer than this, in seconds: ten years.
LONGEST_S = 10 * 365 * 86400.0
#: No log may have more characters.
LONGEST_LOG = 1_000_000
#: What a script may have.
MEMBERS = ("statuses", "metrics", "outputs", "error", "log", "cancel_s", "steps")
_ERROR_MEMBERS = {"code", "message", "innerError"}


class ScriptError(ValueError):
    """A script is wrong; the message is one sentence that says what."""


@attrs.frozen(kw_only=True)
class Cancel:
    """A cancel of a scripted job.

    Attributes:
        at_s: Seconds after the job's beginning.
        takes_s: Seconds from CancelRequested to Canceled; None for one that never ends.
    """

    at_s: float
    takes_s: float | None


@attrs.frozen(kw_only=True)
class Look:
    """What a look at a scripted job shows; times are seconds after its beginning."""

    status: str
    started_s: float | None
    ended_s: float | None


@attrs.frozen(kw_only=True)
class Script:
    """How a job goes.

    Attributes:
        statuses: Each word, and how many seconds it lasts; the last one stays.
        metrics: The points of each metric, there from the job's start on.
        outputs: The URI of each output, there when the job is Completed.
        error: Run history's error object, shown when the job is Failed.
        log: The text of its log, there from the job's start on.
        cancel_s: Seconds from a cancel to Canceled; None: it stays CancelRequested.
        steps: The scripts of a pipeline's steps, by node; they begin when the job does.
    """

    statuses: tuple[tuple[str, float], ...]
    metrics: Mapping[str, tuple[float, ...]] = attrs.field(factory=dict)
    outputs: Mapping[str, str] = attrs.field(factory=dict)
    error: Json | None = None
    log: str = ""
    cancel_s: float | None = CANCEL_S
    steps: Mapping[str, Script] = attrs.field(factory=dict)

    @classmethod
    def from_wire(cls, said: Any, *, nested: bool = False) -> Self:
        """Read a script: an object, or only the list of its statuses.

        Raises:
            ScriptError: A member is unknown or wrong.
        """
        body = {"statuses": said} if isinstance(said, list) else said
        if not isinstance(body, dict):
            raise ScriptError("A script is an object with statuses, or a list of [status word, seconds].")
        if unknown := sorted(body.keys() - set(MEMBERS)):
            raise ScriptError(f"A script has no {', '.join(unknown)}; its members are: {', '.join(MEMBERS)}.")
        if nested and "steps" in body:
            raise ScriptError("The script of a step has no steps of its own.")
        steps = _mapping(body.get("steps"), "steps")
        return cls(
            statuses=_statuses(body.get("statuses")),
            metrics={name: _points(name, value) for name, value in _mapping(body.get("metrics"), "metrics").items()},
            outputs={name: _uri(name, value) for name, value in _mapping(body.get("outputs"), "outputs").items()},
            error=_error(body.get("error")),
            log=_text(body.get("log", "")),
            cancel_s=_cancel_s(body.get("cancel_s", CANCEL_S)),
            steps={node: cls.from_wire(step, nested=True) for node, step in steps.items()},
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a script written as JSON.

        Raises:
            ScriptError: It is no JSON, or no script.
        """
        try:
            said = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ScriptError(f"The script is no JSON: {error}.") from error
        return cls.from_wire(said)

    def to_wire(self) -> Json:
        """Write it as `from_wire` reads it."""
        return {
            "statuses": [list(each) for each in self.statuses],
            "metrics": {name: [_written(value) for value in points] for name, points in self.metrics.items()},
            "outputs": dict(self.outputs),
            "error": self.error,
            "log": self.log,
            "cancel_s": self.cancel_s,
            **({"steps": {node: step.to_wire() for node, step in self.steps.items()}} if self.steps else {}),
        }

    @functools.cached_property
    def text(self) -> str:
        """The script as JSON, always the same for the same script."""
        return json.dumps(self.to_wire(), sort_keys=True)

    @functools.cached_property
    def digest(self) -> str:
        """What names this very script, whatever it was stored as."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:32]


# how a job goes


def words(script: Script, cancel: Cancel | None = None) -> list[tuple[float, str]]:
    """List when each status begins, in order, in seconds after the job's beginning."""
    found: list[tuple[float, str]] = []
    at = 0.0
    for word, lasts_s in script.statuses:
        found.append((at, word))
        at += lasts_s
    if cancel is None or (found[-1][1] in FINAL and found[-1][0] <= cancel.at_s):
        return found
    found = [(since, word) for since, word in found if since <= cancel.at_s]
    found.append((cancel.at_s, "CancelRequested"))
    if cancel.takes_s is not None:
        found.append((cancel.at_s + cancel.takes_s, "Canceled"))
    return found


def look(script: Script, age_s: float, cancel: Cancel | None = None) -> Look:
    """Say how a scripted job is.

    Args:
        script: How it goes.
        age_s: Seconds since its beginning.
        cancel: The cancel it was sent; None for none.
    """
    past = [(since, word) for since, word in words(script, cancel) if since <= max(age_s, 0.0)]
    ended = next((since for since, word in past if word in FINAL), None)
    started = next((since for since, word in past if word not in WAITING), None)
    return Look(status=past[-1][1], started_s=started, ended_s=ended)


def shown(script: Script, look: Look, *, began: float, outputs: Mapping[str, Json]) -> Json:
    """Say which fields of the job's run the look changes.

    Args:
        script: How the job goes.
        look: How it is.
        began: When it began, Unix time in seconds.
        outputs: The run's outputs as they were asked for.
    """
    fields: Json = {
        "status": look.status,
        "started": None if look.started_s is None else moment(began + look.started_s),
        "ended": None if look.ended_s is None else moment(began + look.ended_s),
    }
    if look.status == "Failed":
        fields["error"] = script.error or _DEFAULT_ERROR
    if look.status == "Completed" and script.outputs:
        new = {"jobOutputType": "uri_folder", "mode": "ReadWriteMount"}
        made = {name: {**new, **outputs.get(name, {}), "uri": uri} for name, uri in script.outputs.items()}
        fields["outputs"] = {**outputs, **made}
    return fields


_DEFAULT_ERROR: Json = {
    "code": "UserError",
    "message": "The job's script ends in Failed and names no error.",
    "innerError": {"code": "UserTrainingScriptFailed"},
}


# reading


def _statuses(said: Any) -> tuple[tuple[str, float], ...]:
    if not isinstance(said, list) or not said:
        raise ScriptError("A script needs statuses: a list of [status word, seconds] with one entry at least.")
    found = tuple(_status(one) for one in said)
    if early := [word for word, _ in found[:-1] if word in FINAL]:
        raise ScriptError(f"After {early[0]} a job's status does not change; {early[0]} can only be the last status.")
    return found


def _status(said: Any) -> tuple[str, float]:
    if not isinstance(said, list) or len(said) != 2 or not isinstance(said[0], str) or not said[0]:  # noqa: PLR2004  # a pair
        raise ScriptError(f"{_short(said)} is no [status word, seconds].")
    return said[0], seconds(said[1], f"status {said[0]}")


def seconds(said: Any, what: str) -> float:
    """Read a number of seconds.

    Raises:
        ScriptError: It is no number of 0 to `LONGEST_S`.
    """
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said <= LONGEST_S:
        raise ScriptError(f"The seconds of {what} are {_short(said)}; give a number of 0 to {LONGEST_S:.0f}.")
    return float(said)


def _points(name: str, said: Any) -> tuple[float, ...]:
    points = said if isinstance(said, list) else [said]
    if not points:
        raise ScriptError(f"Metric {name} has no points; give a number or a list of numbers.")
    return tuple(_number(name, point) for point in points)


def _number(name: str, said: Any) -> float:
    if (isinstance(said, int | float) and not isinstance(said, bool)) or said in ("NaN", "Infinity", "-Infinity"):
        with contextlib.suppress(OverflowError):  # an integer beyond any double
            return float(said)
    raise ScriptError(f"Metric {name} is {_short(said)}; give a number, NaN, Infinity or -Infinity, or a list of them.")


def _written(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def _uri(name: str, said: Any) -> str:
    if not isinstance(said, str) or not said:
        raise ScriptError(f"Output {name} is {_short(said)}; give its URI.")
    return said


def _error(said: Any) -> Json | None:
    if said is None:
        return None
    good = isinstance(said, dict) and not said.keys() - _ERROR_MEMBERS
    if not good or not all(isinstance(said.get(name), str) for name in ("code", "message")):
        raise ScriptError(
            "A script's error is run history's: an object with the texts code and message, and an innerError or none."
        )
    try:
        json.dumps(inner := said.get("innerError"), allow_nan=False)
    except ValueError as error:
        raise ScriptError(f"The innerError of a script's error is no JSON: {error}.") from error
    if not isinstance(inner, dict | None):
        raise ScriptError('The innerError of a script\'s error is an object such as {"code": "…"}.')
    return {"innerError": None, **said}


def _text(said: Any) -> str:
    if not isinstance(said, str):
        raise ScriptError(f"A script's log is a text, not {_short(said)}.")
    if len(said) > LONGEST_LOG:
        raise ScriptError(f"A script's log has at most {LONGEST_LOG} characters, not {len(said)}.")
    return said


def _cancel_s(said: Any) -> float | None:
    return None if said is None else seconds(said, "cancel_s")


def _mapping(said: Any, what: str) -> Mapping[str, Any]:
    if said is None:
        return {}
    if not isinstance(said, dict) or not all(said):
        raise ScriptError(f"A script's {what} are an object with a name for each, not {_short(said)}.")
    return said


def _short(said: Any, most: int = 80) -> str:
    text = json.dumps(said)
    return text if len(text) <= most else f"{text[:most]}…"
