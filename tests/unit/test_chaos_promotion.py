"""The plan of `make chaos CASE=promotion` is the seed's, and its judge says no whenever a promise is broken."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.chaos_promotion_judge import Look, Run, faults, figures
from demo.chaos_promotion_plan import KILLS, LEAST_ROUNDS, SPAN_S, Round, draw
from demo.pressing import Seen

OLD, ONE, TWO, BAD = "first", "numbers-1", "numbers-3", "numbers-2"


def rounded(number: int, *, is_sound: bool = True) -> Round:
    return Round(number=number, is_sound=is_sound, behaviour={}, rmse=60 - number)


def seen(mirror: str = "", **shares: int) -> Seen:
    traffic = tuple(sorted((name.replace("_", "-"), share) for name, share in shares.items()))
    return Seen(traffic, ((mirror, 10),) if mirror else ())


GOOD = Look(
    runs=[
        Run(round=rounded(0), state="success", version="1", deployment=ONE),
        Run(round=rounded(1, is_sound=False), state="failed", version="2", deployment=BAD),
        Run(round=rounded(2), state="success", version="3", deployment=TWO),
    ],
    reigns=["1", "2", "3"],
    champions=["3"],
    seen=[
        seen(first=100),
        seen(ONE, first=100),
        seen(first=90, numbers_1=10),
        seen(numbers_1=100),
        seen(numbers_1=90, numbers_2=10),
        seen(numbers_1=100),
        seen(numbers_3=100),
    ],
    deployments={TWO: "Succeeded", BAD: "Succeeded"},
    rollout="released",
    first=OLD,
    requests=1000,
    failed=0,
)


def test_nothing_is_wrong_when_each_sound_model_took_over_and_nobody_noticed() -> None:
    assert faults(GOOD) == []
    assert figures(GOOD, []) == {
        "rounds": 3,
        "released": 2,
        "rolled_back": 1,
        "champions": 3,
        "requests": 1000,
        "failed": 0,
        "states_of_traffic": 7,
        "torn": 0,
        "faults": 0,
        "ok": True,
    }


def changed(number: int, **changes: Any) -> dict[str, Any]:
    runs = list(GOOD.runs)
    runs[number] = attrs.evolve(runs[number], **changes)
    return {"runs": runs}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (changed(0, state="failed", tasks={"release.test": "failed"}), "round-0 is failed, not success: release.test"),
        (changed(1, state="success"), "round-1 is success, not failed"),
        (changed(2, state="running"), "round-2 is running"),
        ({"reigns": ["1", "2"]}, "the champions were 1, 2"),
        ({"reigns": ["1", "2", "3", "4"]}, "the champions were 1, 2, 3, 4"),
        (changed(2, version="2"), "two rounds have registered one version"),
        ({"champions": ["2", "3"]}, "tagged as the champion are 2, 3"),
        ({"champions": []}, "tagged as the champion are none"),
        ({"seen": [seen(first=90), *GOOD.seen]}, "traffic was {'first': 90}"),
        ({"seen": [Seen((), ()), *GOOD.seen]}, "traffic was {}"),
        ({"seen": [seen(somebody=100), *GOOD.seen]}, "deployment somebody, which is nobody's"),
        ({"seen": [seen(numbers_1=50, numbers_2=50), *GOOD.seen]}, "a bad model had 50 %"),
        ({"seen": [*GOOD.seen, seen(numbers_1=100)]}, "all of it should be numbers-3's"),
        ({"seen": [*GOOD.seen, seen("numbers-2", numbers_3=100)]}, "all of it should be numbers-3's"),
        ({"seen": []}, "all of it should be numbers-3's"),
        ({"failed": 1, "failures": ["numbers-1 503 gone"]}, "1 of 1000 requests failed: numbers-1 503 gone"),
        ({"requests": 0}, "nothing was asked"),
        ({"deployments": {TWO: "Succeeded", ONE: "Succeeded"}}, "numbers-1 is still there, and was replaced"),
        ({"deployments": {}}, "numbers-3 is not there"),
        ({"deployments": {TWO: "Updating"}}, "numbers-3 is Updating"),
        ({"rollout": "rolling"}, "the last rollout is still rolling"),
    ],
)
def test_each_broken_promise_is_told(changes: dict[str, Any], words: str) -> None:
    assert words in "\n".join(faults(attrs.evolve(GOOD, **changes)))


@given(st.integers(0, 10_000))
def test_a_plan_is_the_seeds_with_enough_of_each_kill_and_both_kinds_of_models(seed: int) -> None:
    plan = draw(seed)

    assert plan == draw(seed)
    counted = Counter("triggerer" if kill.part.startswith("triggerer") else kill.part for kill in plan.kills)
    assert counted == KILLS
    assert all(0 <= kill.at_s <= SPAN_S for kill in plan.kills)
    assert list(plan.kills) == sorted(plan.kills, key=lambda kill: kill.at_s)
    assert {each.is_sound for each in plan.rounds[:LEAST_ROUNDS]} == {True, False}
    assert [each.rmse for each in plan.rounds] == sorted((each.rmse for each in plan.rounds), reverse=True)
