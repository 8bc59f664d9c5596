"""The judge of retrainings says no whenever a promise is broken."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from demo.evidence import Job
from demo.retraining import (
    DAG,
    MODEL,
    Model,
    ModelLook,
    Retraining,
    faults_of_accepted,
    faults_of_quarantined,
    faults_of_rejected,
)

FIRST = Model(version="1", stage="champion", job="old", properties={})
RETIRED = attrs.evolve(FIRST, stage="retired")
SECOND = Model(version="2", stage="champion", job="new", properties={})
BEFORE = ModelLook(models=(FIRST,), quarantined=frozenset())
AFTER = ModelLook(models=(RETIRED, SECOND), quarantined=frozenset())
TRAIN = Job(name="new", status="Completed", key="k", owner=f"{DAG}/run/diabetes.train/-1/1")
NO: dict[str, Any] = {"accepted": False, "findings": [{"passed": False, "reason": "rmse is 80, above 65."}]}
ACCEPTED = Retraining(
    run="run",
    state="success",
    tasks={"register": "success"},
    verdict={"accepted": True, "findings": [{"passed": True, "reason": ""}]},
    outcome={"outcome": "champion"},
    jobs={"train": TRAIN},
)
REJECTED = attrs.evolve(ACCEPTED, verdict=NO, outcome={"outcome": "rejected"})
UNFIT = attrs.evolve(ACCEPTED, verdict=None, jobs={}, outcome={"outcome": "unfit data"})
PATH = "training-data/diabetes/2026-01-01/part.csv"
CELL = f"store/{PATH}/0x1"
KEPT = ModelLook(
    models=(FIRST,), quarantined=frozenset({f"{CELL}/data/part.csv", f"{CELL}/report.html", f"{CELL}/verdict.json"})
)


def quarantined(run: Retraining = UNFIT, after: ModelLook = KEPT, *, is_there: bool = True) -> list[str]:
    return faults_of_quarantined(run, BEFORE, after, path=PATH, is_there=is_there)


def test_what_is_as_it_has_to_be_has_no_faults() -> None:
    assert faults_of_accepted(ACCEPTED, BEFORE, AFTER) == []
    assert faults_of_rejected(REJECTED, BEFORE, BEFORE) == []
    assert quarantined() == []


@pytest.mark.parametrize(
    ("run", "after", "fault"),
    [
        (attrs.evolve(ACCEPTED, state="failed"), AFTER, "run run is failed"),
        (attrs.evolve(ACCEPTED, verdict=NO), AFTER, "the verdict says accepted=False, not True"),
        (attrs.evolve(ACCEPTED, verdict=None), AFTER, "the verdict says accepted=None, not True"),
        (attrs.evolve(ACCEPTED, jobs={}), AFTER, "the training is not there"),
        (attrs.evolve(ACCEPTED, jobs={"train": attrs.evolve(TRAIN, status="Failed")}), AFTER, "the training is Failed"),
        (ACCEPTED, BEFORE, f"0 versions of {MODEL} are new"),
        (ACCEPTED, attrs.evolve(AFTER, models=(FIRST, SECOND)), "the champions are ['1', '2'], not version 2"),
        (ACCEPTED, attrs.evolve(AFTER, models=(RETIRED, attrs.evolve(SECOND, job="other"))), "is of job other"),
        (
            ACCEPTED,
            attrs.evolve(AFTER, models=(RETIRED, SECOND, attrs.evolve(SECOND, version="3"))),
            f"2 versions of {MODEL} are new",
        ),
    ],
)
def test_an_accepted_model_that_is_not_the_one_champion_is_found(run: Retraining, after: ModelLook, fault: str) -> None:
    assert fault in " ".join(faults_of_accepted(run, BEFORE, after))


@pytest.mark.parametrize(
    ("run", "after", "fault"),
    [
        (attrs.evolve(REJECTED, state="failed"), BEFORE, "run run is failed"),
        (attrs.evolve(REJECTED, verdict=ACCEPTED.verdict), BEFORE, "accepted=True, not False"),
        (
            attrs.evolve(REJECTED, verdict={"accepted": False, "findings": [{"passed": False, "reason": ""}]}),
            BEFORE,
            "the verdict has no reasons",
        ),
        (REJECTED, AFTER, f"the versions of {MODEL} changed"),
        (REJECTED, attrs.evolve(BEFORE, models=(RETIRED,)), "the champions were ['1'], and are []"),
    ],
)
def test_a_rejected_model_that_left_a_trace_is_found(run: Retraining, after: ModelLook, fault: str) -> None:
    assert fault in " ".join(faults_of_rejected(run, BEFORE, after))


def test_data_that_was_not_put_away_whole_is_found() -> None:
    for name in KEPT.quarantined:
        wrong = quarantined(after=attrs.evolve(KEPT, quarantined=KEPT.quarantined - {name}))
        assert any("is not in quarantine with its" in fault for fault in wrong)

    more = attrs.evolve(KEPT, quarantined=KEPT.quarantined | {"store/other/part.csv"})
    assert any("more than" in fault for fault in quarantined(after=more))
    assert any("quarantine is a copy" in fault for fault in quarantined(is_there=False))


def test_money_that_was_spent_on_data_that_failed_is_found() -> None:
    assert any("has submitted train" in fault for fault in quarantined(attrs.evolve(UNFIT, jobs={"train": TRAIN})))
    assert any("accepted=False, not None" in fault for fault in quarantined(attrs.evolve(UNFIT, verdict=NO)))
