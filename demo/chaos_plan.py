"""What chaos does to jobs, drawn from a seed: which jobs there are, how each goes, and what is killed when."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import attrs

DAG = "chaos_jobs"
#: Runs of the DAG, and the mapped instances of each of its tasks in one run: 200 jobs.
PARTS = 4
SHAPE: Mapping[str, int] = {"endpoint": 28, "component": 20, "job": 2}
#: Seconds in which all kills fall; the first run begins at 0, the last one after half of them.
SPAN_S = 300.0
#: What is killed: a kind of process, and its parts by name.
KINDS: Mapping[str, tuple[str, ...]] = {
    "worker": ("worker",),
    "triggerer": ("triggerer", "triggerer-2"),
    "scheduler": ("scheduler",),
    "api-server": ("api-server",),
    "dag-processor": ("dag-processor",),
}
#: Of these, what they have started always dies with them.
ALWAYS_WHOLE = frozenset({"api-server", "dag-processor"})
KILLS = 20
LEAST_OF_EACH = 3
#: Seconds between two kills of one kind, so that a part is seldom killed before it is there.
APART_S = 8.0
STORMS = 8


class Fate(StrEnum):
    """What is to become of a task."""

    SOUND = "sound"
    #: Its first job fails for a reason that a retry helps against.
    FLAKY = "flaky"
    #: Every job of it fails for a reason that no retry helps against.
    FAILING = "failing"


#: Which of a hundred tasks; the rest are sound.
SHARES: Mapping[Fate, int] = {Fate.FLAKY: 12, Fate.FAILING: 12}
#: Which of a hundred sound ones really run.
REAL = 6
ERRORS: Mapping[Fate, tuple[str, ...]] = {
    Fate.FLAKY: (
        "AzureMLCompute job failed. PreemptionError: Nodes of this job got pre-empted.",
        "InternalServerError",
    ),
    Fate.FAILING: ("Error Code: ScriptExecution.StreamAccess.NotFound", "UserTrainingScriptFailed"),
}


@attrs.frozen
class Instance:
    """One task instance: ``map_index`` of ``task`` in the run of a part."""

    part: int
    task: str
    map_index: int

    @property
    def run_id(self) -> str:
        """The id of its run."""
        return run_id(self.part)

    @property
    def owner(self) -> str:
        """How the provider writes whose a job is, less the try."""
        return f"{DAG}/{self.run_id}/{self.task}/{self.map_index}/"


def run_id(part: int) -> str:
    """Name a run."""
    return f"part-{part}"


@attrs.frozen
class Going:
    """How the jobs of one task instance go.

    Attributes:
        first: The script of those started by Airflow's first try; empty for one that really runs.
        then: The script of those started by a later try.
    """

    fate: Fate
    first: str
    then: str


@attrs.frozen(kw_only=True)
class Kill:
    """A SIGKILL.

    Attributes:
        at_s: When; seconds after the first run began.
        part: Which part of Airflow; ``worker`` for a task that runs just then.
        whole: Whether all it has started dies with it, as in a container; otherwise the one process.
        down_s: Seconds until it is started again; a worker is not.
        pick: Which of several workers, as a share of them.
    """

    at_s: float
    part: str
    whole: bool
    down_s: float
    pick: float


@attrs.frozen(kw_only=True)
class Storm:
    """Faults of Azure ML's for a while.

    Attributes:
        at_s: When; seconds after the first run began.
        lasts_s: How long.
        faults: What the emulator is told.
    """

    at_s: float
    lasts_s: float
    faults: Sequence[Mapping[str, Any]]


@attrs.frozen(kw_only=True)
class Plan:
    """Everything that is drawn.

    Attributes:
        parts: When each run begins; seconds after the first.
        scripts: Every script, by its name.
    """

    parts: Sequence[float]
    scripts: Mapping[str, Mapping[str, Any]]
    goings: Mapping[Instance, Going]
    kills: Sequence[Kill]
    storms: Sequence[Storm]

    def for_dag(self) -> dict[str, Any]:
        """Write what the DAG file reads: by part, task and map index the two scripts."""
        parts: list[dict[str, list[list[str]]]] = [{} for _ in self.parts]
        for instance, going in self.goings.items():
            parts[instance.part].setdefault(instance.task, []).append([going.first, going.then])
        return {"shape": {task: len(each) for task, each in parts[0].items()}, "parts": parts}


def draw(seed: int, *, parts: int = PARTS, kills: int = KILLS, span_s: float = SPAN_S) -> Plan:
    """Draw a plan; the same numbers give the same one.

    Args:
        seed: The seed.
        parts: Runs of the DAG.
        kills: SIGKILLs; at least `LEAST_OF_EACH` of each kind.
        span_s: Seconds in which they fall.
    """
    source = random.Random(seed)  # noqa: S311  # no secret: it must be the same again
    scripts = {
        **{f"sound-{number}": _sound(source) for number in range(12)},
        **{f"flaky-{number}": _failing(source, Fate.FLAKY) for number in range(4)},
        **{f"failing-{number}": _failing(source, Fate.FAILING) for number in range(4)},
    }
    goings = {
        Instance(part, task, index): _going(source, list(scripts))
        for part in range(parts)
        for task, count in SHAPE.items()
        for index in range(count)
    }
    return Plan(
        parts=[part * span_s * 2 / 3 / parts for part in range(parts)],
        scripts=scripts,
        goings=goings,
        kills=draw_kills(source, KINDS, count=kills, least=LEAST_OF_EACH, span_s=span_s),
        storms=_storms(source, span_s),
    )


def _sound(source: random.Random) -> dict[str, Any]:
    return {
        "statuses": [
            ["Queued", round(source.uniform(0, 10), 1)],
            ["Running", round(source.uniform(3, 80), 1)],
            ["Completed", 0],
        ]
    }


def _failing(source: random.Random, fate: Fate) -> dict[str, Any]:
    return {
        "statuses": [["Running", round(source.uniform(2, 40), 1)], ["Failed", 0]],
        "error": {"code": "UserError", "message": source.choice(ERRORS[fate])},
    }


def _going(source: random.Random, scripts: Sequence[str]) -> Going:
    lot = source.randrange(100)
    flaky, failing = SHARES[Fate.FLAKY], SHARES[Fate.FAILING]
    fate = Fate.FLAKY if lot < flaky else Fate.FAILING if lot < flaky + failing else Fate.SOUND
    first = source.choice([name for name in scripts if name.startswith(fate)])
    if fate is Fate.SOUND and source.randrange(100) < REAL:
        return Going(fate, "", "")
    if fate is Fate.FLAKY:
        return Going(fate, first, source.choice([name for name in scripts if name.startswith(Fate.SOUND)]))
    return Going(fate, first, first)


def draw_kills(
    source: random.Random, kinds: Mapping[str, Sequence[str]], *, count: int, least: int, span_s: float
) -> list[Kill]:
    """Draw kills; those of one kind fall into slots of their own, so that they are spread over the whole time.

    Args:
        source: Where numbers are drawn.
        kinds: What may be killed: kinds of process, and the parts of each by name.
        count: SIGKILLs in all.
        least: Of each kind.
        span_s: Seconds in which they fall.
    """
    chosen = [kind for kind in kinds for _ in range(least)]
    chosen += source.choices(list(kinds), k=count - len(chosen))
    found = []
    for kind, parts in kinds.items():
        slot_s = span_s / max(1, chosen.count(kind))
        found += [_kill(source, kind, parts, (number * slot_s, slot_s)) for number in range(chosen.count(kind))]
    return sorted(found, key=lambda kill: kill.at_s)


def _kill(source: random.Random, kind: str, parts: Sequence[str], slot: tuple[float, float]) -> Kill:
    since_s, slot_s = slot
    return Kill(
        at_s=round(since_s + source.uniform(min(APART_S, slot_s / 2), slot_s), 2),
        part=source.choice(parts),
        # A port or a socket that an orphan holds would keep some from starting again.
        whole=source.random() < 0.5 or kind in ALWAYS_WHOLE,  # noqa: PLR2004  # one of two
        down_s=0.0 if kind == "worker" else round(source.uniform(0, 5), 2),
        pick=source.random(),
    )


def _storms(source: random.Random, span_s: float) -> list[Storm]:
    """Draw storms of 429, with other faults now and then; the identity's tokens are given out all the while."""
    anything, changing = r"/(?!msi/).*", r"/(.*/)?jobs(/airflow-[^/]+)?"
    others: list[list[dict[str, Any]]] = [
        [{"path": changing, "method": "POST", "apply_then_drop": True, "every": 2}],
        [{"path": changing, "method": "PUT", "apply_then_drop": True, "every": 2}],
        [{"path": anything, "status": 503, "every": 2}, {"path": anything, "reset": True, "every": 5}],
        [{"path": anything, "expired_token": True, "every": 2}],
    ]
    slot_s, found = span_s / STORMS, []
    for number in range(STORMS):
        throttled = {"path": anything, "status": 429, "headers": {"Retry-After": str(source.randint(1, 8))}}
        calm_s = source.uniform(0, slot_s / 3)
        lasts_s = source.uniform(slot_s / 4, slot_s / 2)
        faults = [throttled] if number % 2 == 0 else [*source.choice(others), {**throttled, "every": 3}]
        found.append(Storm(at_s=round(number * slot_s + calm_s, 2), lasts_s=round(lasts_s, 2), faults=faults))
    return found
