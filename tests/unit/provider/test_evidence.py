"""Evidence: what it says, what it proves, and that nobody changes a character of it unseen."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.client.signatures import id_of, make_key
from airflow_azureml.core.approvals import Approval
from airflow_azureml.core.evidence import Demand, Evidence, Signed, document_of, to_sign
from airflow_azureml.core.findings import Verdict
from airflow_azureml.errors import (
    ConfigError,
    EvidenceAlteredError,
    EvidenceError,
    EvidenceExpiredError,
    EvidenceFailedError,
    EvidenceKeyError,
    EvidenceMismatchError,
    ProtocolError,
)
from tests.unit.provider.evidence_world import (
    BEGAN,
    ENDED,
    NO,
    OTHER_SHA,
    SHA,
    YES,
    evidence,
    evidences,
    keys,
)

OURS = keys()
SIGNED = OURS.sign(evidence(checks=YES, approval=Approval(approved=True, by="ada", at=ENDED, note="fine")))
TEXT = SIGNED.to_text()
NOW = ENDED + timedelta(hours=1)
DEMAND = Demand(environment="staging", sha=SHA)


def read(text: str) -> Evidence:
    """Read evidence as whoever relies on it does."""
    signed = Signed.from_text(text)
    OURS.verify(signed)
    return signed.evidence


@given(evidences)
def test_what_is_written_is_read_as_it_was(some: Evidence) -> None:
    signed = OURS.sign(some)

    assert Signed.from_text(signed.to_text()) == signed
    assert read(signed.to_text()).digest == some.digest


@given(evidences, evidences)
def test_two_pieces_of_evidence_have_one_digest_only_if_they_are_the_same(one: Evidence, other: Evidence) -> None:
    assert (one.digest == other.digest) == (one.to_wire() == other.to_wire())
    assert (document_of(one) == document_of(other)) == (one.digest == other.digest)


@given(st.integers(0, len(TEXT) - 1), st.characters(codec="utf-8"), st.sampled_from(["replace", "insert", "delete"]))
def test_a_character_that_is_changed_is_seen_or_changes_nothing(at: int, put: str, how: str) -> None:
    kept = {"replace": put + TEXT[at + 1 :], "insert": put + TEXT[at:], "delete": TEXT[at + 1 :]}[how]
    changed = TEXT[:at] + kept
    try:
        found = read(changed)
    except EvidenceError:
        return

    assert found == SIGNED.evidence


@given(evidences, evidences)
def test_a_signature_does_not_fit_other_evidence(some: Evidence, other: Evidence) -> None:
    moved = Signed(evidence=other, key=OURS.sign(some).key, signature=OURS.sign(some).signature)
    if to_sign(some) == to_sign(other):
        return

    with pytest.raises(EvidenceAlteredError, match="was written to since it was signed"):
        OURS.verify(moved)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("evidence", "sha"), OTHER_SHA),
        (("evidence", "environment"), "production"),
        (("evidence", "metrics", "rmse"), 1.0),
        (("evidence", "verdict", "findings", 0, "reason"), "It is 49."),
        (("evidence", "approval", "by"), "eve"),
    ],
)
def test_a_field_that_is_changed_is_an_altered_document_even_with_its_digest(where: Any, value: object) -> None:
    raw = json.loads(TEXT)
    inner = raw
    for step in where[:-1]:
        inner = inner[step]
    inner[where[-1]] = value
    with pytest.raises(EvidenceAlteredError, match="says that its digest is"):
        read(json.dumps(raw))
    raw["digest"] = Evidence.from_wire(raw["evidence"]).digest

    with pytest.raises(EvidenceAlteredError, match="was written to since it was signed"):
        read(json.dumps(raw))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "<html>",
        "[" * 100_000,
        TEXT.replace('"schema": 1', '"schema": 2'),
        TEXT.replace('"digest"', '"digest": "x", "digest"', 1),
        TEXT.replace('"sha"', '"more": 1, "sha"', 1),
        TEXT.replace("50.0", "NaN"),
        TEXT.replace("50.0", "1e999"),
        TEXT.replace("50.0", "1" + "0" * 400),
        TEXT.replace("fine", "\\ud800"),
        TEXT.replace('"rmse": 50.0', '"rmse": true'),
    ],
)
def test_what_is_no_evidence_is_an_altered_document(text: str) -> None:
    with pytest.raises(EvidenceAlteredError, match="Somebody has written to it since"):
        read(text)


def test_a_key_that_nobody_trusts_is_named_with_those_that_are() -> None:
    others = keys()

    with pytest.raises(EvidenceKeyError, match=rf"key '{SIGNED.key}', and Connection 'e' trusts [0-9a-f]{{16}} \(this"):
        others.verify(SIGNED)


def test_whoever_has_the_public_key_alone_verifies_and_cannot_sign() -> None:
    private, public = make_key()
    signed = keys(private).sign(evidence())
    verifier = keys(trusted={"staging": public})

    assert verifier.verify(signed) == "staging"
    with_public_only = attrs.evolve(verifier, own=None)
    with pytest.raises(ConfigError, match="has no private key"):
        with_public_only.sign(evidence())


@given(evidences)
def test_what_passed_was_judged_and_refused_by_nobody(some: Evidence) -> None:
    judged: list[Verdict] = [each for each in (some.verdict, some.checks) if each is not None]
    wanted = bool(judged) and all(each.accepted for each in judged)

    assert some.passed == (wanted and (some.approval is None or some.approval.approved))
    assert bool(list(some.failures)) != some.passed


def test_evidence_that_proves_what_is_asked_is_taken() -> None:
    DEMAND.check(evidence(), now=NOW)
    approved = Demand(environment="staging", sha=SHA, approved=True, most_age=timedelta(hours=2), model_sha256="m")
    yes = Approval(approved=True, by="ada", at=ENDED)

    approved.check(evidence(approval=yes, model_sha256="m"), now=NOW)


@pytest.mark.parametrize(
    ("demand", "more", "kind", "words"),
    [
        ({"sha": OTHER_SHA}, {}, EvidenceMismatchError, f"is of commit {SHA}, and {OTHER_SHA} is asked for"),
        ({"environment": "test"}, {}, EvidenceMismatchError, "is of environment staging, and test is asked for"),
        ({"workspace": "/w"}, {}, EvidenceMismatchError, "is of workspace /subscriptions"),
        ({"model_sha256": "m"}, {}, EvidenceMismatchError, "is of model's digest none, and m is asked for"),
        ({}, {"verdict": NO}, EvidenceFailedError, "did not pass. .*It is 70."),
        ({}, {"checks": NO}, EvidenceFailedError, "did not pass"),
        ({}, {"verdict": None}, EvidenceFailedError, "Nothing was judged"),
        ({"approved": True}, {}, EvidenceFailedError, "nobody has approved it"),
        (
            {},
            {"approval": Approval(approved=False, by="eve", at=ENDED, note="not yet")},
            EvidenceFailedError,
            "eve rejected it at 2026-11-21T21:00:00.00:00. not yet",
        ),
        ({"most_age": timedelta(minutes=59)}, {}, EvidenceExpiredError, "evidence may be 0:59:00 old: run it anew"),
        ({}, {"ended": NOW + timedelta(hours=1)}, EvidenceExpiredError, "which is still to come"),
    ],
)
def test_evidence_that_does_not_is_refused_by_a_name(
    demand: dict[str, Any], more: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        attrs.evolve(DEMAND, **demand).check(evidence(**more), now=NOW)


@given(evidences, st.timedeltas(timedelta(0), timedelta(days=9)), st.timedeltas(timedelta(0), timedelta(days=9)))
def test_evidence_that_is_refused_does_not_become_good_with_age(
    some: Evidence, age: timedelta, later: timedelta
) -> None:
    demand = Demand(environment=some.environment, sha=some.sha, most_age=timedelta(days=3))

    def _holds(after: timedelta) -> bool:
        try:
            demand.check(some, now=some.ended + after)
        except EvidenceError:
            return False
        return True

    assert _holds(age) or not _holds(age + later)
    assert _holds(age) == (some.passed and age <= timedelta(days=3))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"environment": "a/b"}, "environment is 'a/b'"),
        ({"sha": "main"}, "sha is 'main', not the 40 digits"),
        ({"sha": SHA.upper()}, "not the 40 digits"),
        ({"workspace": ""}, "workspace is empty"),
        ({"previous": "none"}, "previous is 'none', no digest"),
        ({"ended": BEGAN - timedelta(seconds=1)}, "before it began"),
        ({"metrics": {"rmse": float("nan")}}, "metric rmse is nan"),
    ],
)
def test_faults_are_told(more: dict[str, Any], words: str) -> None:
    assert words in "; ".join(evidence(**more).faults())


def test_evidence_of_another_schema_is_not_read() -> None:
    with pytest.raises(ProtocolError, match="is of schema 2; this version reads 1"):
        Evidence.from_wire({**evidence().to_wire(), "schema": 2})


def test_what_is_signed_is_the_envelope_of_dsse() -> None:
    kind = b"application/vnd.airflow-azureml.evidence+json"
    some = evidence()

    assert to_sign(some) == b"DSSEv1 45 " + kind + f" {len(some.canonical)} ".encode() + some.canonical
    assert len(kind) == 45


def test_a_public_key_has_one_id() -> None:
    assert OURS.own is not None
    assert SIGNED.key == id_of(OURS.own.public_key())
    assert len(SIGNED.key) == 16
