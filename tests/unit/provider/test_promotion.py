"""What is still to be done of a promotion: nothing twice, nothing too early, and in the end all of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.approvals import Approval
from airflow_azureml.core.evidence import Evidence
from airflow_azureml.core.promotion import Facts, Step, Verb, Wanted, plan
from airflow_azureml.errors import ConfigError
from tests.unit.provider.evidence_world import ENDED, NO, OTHER_SHA, SHA, YES, evidence

NAMES = ("dev", "test", "staging", "production")
RUN, APPROVE = Verb.RUN, Verb.APPROVE
DAY = timedelta(days=1)


@attrs.define
class World:
    """The environments, as steps change them; a step may end in several ways, or not at all."""

    wanted: Wanted
    now: datetime
    evidence: dict[str, Evidence] = attrs.field(factory=dict)
    done: list[Step] = attrs.field(factory=list)

    @property
    def plan(self) -> tuple[Step, ...]:
        return plan(Facts(evidence=self.evidence, now=self.now), self.wanted)

    def holds(self, name: str) -> bool:
        """Tell, in other words than the code has, whether an environment lets the next one begin."""
        found = self.evidence.get(name)
        if found is None or found.sha != self.wanted.sha or not found.passed:
            return False
        is_last = name == self.wanted.environments[-1]
        is_young = is_last or self.wanted.most_age is None or self.now - found.ended <= self.wanted.most_age
        agreed = found.approval is not None or not self.wanted.is_approved(name)
        return is_young and agreed

    def take(self, step: Step, how: str) -> bool:
        """Take a step; tell whether whoever took it may go on with the next without looking again."""
        if how == "crash":
            return False
        self.now += timedelta(minutes=1)
        told = {"environment": step.environment, "sha": self.wanted.sha}
        if step.verb is RUN:
            verdict = YES if how != "no" else NO
            self.evidence[step.environment] = evidence(**told, began=self.now, ended=self.now, verdict=verdict)
        else:
            decided = Approval(approved=how != "no", by="ada", at=self.now)
            self.evidence[step.environment] = attrs.evolve(self.evidence[step.environment], approval=decided)
        self.done.append(step)
        return how == "yes"


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """An order of environments, and whatever may be on record of them."""
    names = NAMES[draw(st.integers(0, 3)) :]
    wanted = Wanted(
        sha=SHA,
        environments=names,
        approved=draw(st.booleans()),
        most_age=draw(st.none() | st.sampled_from([DAY, 3 * DAY])),
    )
    known = {}
    for name in names:
        if draw(st.booleans()):
            approval = draw(
                st.none() | st.builds(Approval, approved=st.booleans(), by=st.just("ada"), at=st.just(ENDED))
            )
            known[name] = evidence(
                environment=name,
                sha=draw(st.sampled_from([SHA, SHA, SHA, OTHER_SHA])),
                verdict=draw(st.sampled_from([YES, YES, NO, None])),
                approval=approval,
            )
    return World(wanted, ENDED + draw(st.sampled_from([timedelta(0), 2 * DAY, 9 * DAY])), known)


@given(worlds(), st.lists(st.sampled_from(["yes", "no", "crash", "late"]), max_size=12))
def test_any_crash_point_continued_ends_in_what_is_wanted(world: World, script: list[str]) -> None:
    outcomes = [*script, *["yes"] * 20]
    while (steps := world.plan) and outcomes:
        for step in steps:
            if not world.take(step, outcomes.pop(0)):
                break

    assert world.plan == ()
    assert world.holds(world.wanted.environments[-1])


@given(worlds(), st.lists(st.sampled_from(["yes", "crash"]), max_size=12))
def test_what_is_true_is_not_done_again(world: World, script: list[str]) -> None:
    outcomes = [*script, *["yes"] * 20]
    while (steps := world.plan) and outcomes:
        world.take(steps[0], outcomes.pop(0))

    assert len(world.done) == len(set(world.done))


@given(worlds())
def test_nothing_is_to_be_done_only_where_the_last_environment_holds(world: World) -> None:
    last = world.wanted.environments[-1]

    assert (world.plan == ()) == world.holds(last)


@given(worlds())
def test_no_environment_is_run_before_the_one_ahead_of_it_holds(world: World) -> None:
    names = world.wanted.environments
    for step in world.plan:
        before = names[names.index(step.environment) - 1] if step.environment != names[0] else ""
        if step.verb is RUN and before:
            assert world.holds(before)
        world.take(step, "yes")


@given(worlds(), worlds())
def test_more_evidence_never_makes_more_to_do(world: World, other: World) -> None:
    for name, found in other.evidence.items():
        if name in world.wanted.environments and name not in world.evidence:
            before = len(world.plan)
            world.evidence[name] = found
            assert len(world.plan) <= before


def told(known: Mapping[str, Evidence], **more: Any) -> list[str]:
    asked: dict[str, Any] = {"sha": SHA, "environments": ("test", "staging", "production"), **more}
    wanted = Wanted(**asked)
    facts = Facts(evidence=known, now=ENDED + DAY)
    return [f"{step.verb} {step.environment}" for step in plan(facts, wanted)]


def of(name: str, **more: Any) -> dict[str, Evidence]:
    return {name: evidence(environment=name, **more)}


def test_the_whole_way_is_run_and_approved_once() -> None:
    assert told({}) == ["run test", "run staging", "approve staging", "run production"]
    assert told({}, approved=False) == ["run test", "run staging", "run production"]


def test_what_has_passed_and_was_not_approved_is_approved_first() -> None:
    assert told(of("staging")) == ["approve staging", "run production"]


def test_what_was_rejected_is_run_again() -> None:
    no = Approval(approved=False, by="eve", at=ENDED)

    assert told(of("test") | of("staging", approval=no)) == ["run staging", "approve staging", "run production"]


def test_evidence_that_is_too_old_is_none_but_for_the_last_environment() -> None:
    old = {"most_age": timedelta(hours=1)}

    assert told(of("test") | of("staging"), **old) == ["run test", "run staging", "approve staging", "run production"]
    assert told(of("production"), **old) == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"sha": "main"}, "sha is 'main', not the 40 digits"),
        ({"environments": ()}, "give their names in order, each once"),
        ({"environments": ("a", "A")}, "give their names in order, each once"),
        ({"environments": ("a/b",)}, "give their names in order, each once"),
    ],
)
def test_what_cannot_be_wanted_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        told({}, **more)
