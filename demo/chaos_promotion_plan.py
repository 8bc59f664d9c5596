"""What chaos does to promotions, drawn from a seed: which models there are, and what is killed when."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from demo.chaos_plan import Kill, draw_kills
from demo.serving import SLOW, SOUND

DAG = "chaos_promotion"
MODEL = "numbers"
ENDPOINT = "numbers"
#: What is killed: a kind of process, and its parts by name.
KINDS: Mapping[str, tuple[str, ...]] = {"worker": ("worker",), "triggerer": ("triggerer", "triggerer-2")}
#: How often each kind is.
KILLS: Mapping[str, int] = {"worker": 15, "triggerer": 15}
#: Seconds in which all kills fall; one of a task that runs waits until there is one. Promotions go on until all have.
SPAN_S = 270.0
#: How many models are promoted, if there is time for them: a sound one and a slow one, whichever is the first.
LEAST_ROUNDS = 2
#: Requests a second, all the while.
RATE_PER_S = 100.0
#: How many of the later models are sound.
SOUND_SHARE = 0.6


@attrs.frozen(kw_only=True)
class Round:
    """One promotion: a model is trained, crowned and released.

    Attributes:
        is_sound: Whether it is to take over; one that is slow is to be rolled back.
        behaviour: How it answers.
        rmse: What its evaluation says: each is better than the one before.
    """

    number: int
    is_sound: bool
    behaviour: Mapping[str, Any]
    rmse: float

    @property
    def run_id(self) -> str:
        """The id of its run."""
        return f"round-{self.number}"

    @property
    def conf(self) -> dict[str, Any]:
        """What the run is told."""
        return {"model": {**SOUND, **self.behaviour}, "rmse": self.rmse}


@attrs.frozen(kw_only=True)
class Plan:
    """Everything that is drawn.

    Attributes:
        rounds: As many as could be needed, one after the other.
    """

    rounds: Sequence[Round]
    kills: Sequence[Kill]


def draw(seed: int, *, kills: Mapping[str, int] = KILLS, span_s: float = SPAN_S, rounds: int = 20) -> Plan:
    """Draw a plan; the same numbers give the same one.

    Args:
        seed: The seed.
        kills: SIGKILLs of each kind.
        span_s: Seconds in which they fall.
        rounds: How many models there are.
    """
    source = random.Random(seed)  # noqa: S311  # no secret: it must be the same again
    # One of the first two is sound and the other is not, whichever is the first.
    begun = source.random() < SOUND_SHARE
    sound = [begun, not begun, *(source.random() < SOUND_SHARE for _ in range(rounds - LEAST_ROUNDS))]
    return Plan(
        rounds=[_round(source, number, is_sound=is_sound) for number, is_sound in enumerate(sound)],
        kills=sorted(
            (
                kill
                for kind, count in kills.items()
                for kill in draw_kills(source, {kind: KINDS[kind]}, count=count, least=count, span_s=span_s)
            ),
            key=lambda kill: kill.at_s,
        ),
    )


def _round(source: random.Random, number: int, *, is_sound: bool) -> Round:
    sound = {"slope": round(source.uniform(1.9, 2.1), 3)}
    return Round(
        number=number, is_sound=is_sound, behaviour=sound if is_sound else {**sound, **SLOW}, rmse=60.0 - number
    )
