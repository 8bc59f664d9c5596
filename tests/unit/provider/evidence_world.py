"""Evidence as tests draw it and write it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from airflow_azureml.client.signatures import Keys, make_key
from airflow_azureml.core.approvals import Approval
from airflow_azureml.core.evidence import Evidence
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.core.lineage import DataVersion

SHA, OTHER_SHA = "a" * 40, "b" * 40
BEGAN = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
ENDED = BEGAN + timedelta(hours=1)
YES = Verdict(subject="model", policy="p", findings=[Finding(check="rmse at most 60", passed=True, reason="It is 50.")])
NO = Verdict(subject="model", policy="p", findings=[Finding(check="rmse at most 60", passed=False, reason="It is 70.")])

texts = st.text(max_size=20).filter(lambda text: not any("\ud800" <= each <= "\udfff" for each in text))
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
times = st.datetimes(
    min_value=datetime(2020, 1, 1, tzinfo=UTC).replace(tzinfo=None),
    max_value=datetime(2030, 1, 1, tzinfo=UTC).replace(tzinfo=None),
    timezones=st.just(UTC),
).map(lambda time: time.replace(microsecond=0))
findings = st.builds(Finding, check=texts, passed=st.booleans(), reason=texts, value=st.none() | st.floats())
verdicts = st.builds(Verdict, subject=texts, policy=texts, findings=st.lists(findings, max_size=3))
approvals = st.builds(Approval, approved=st.booleans(), by=texts.filter(bool), at=times, note=texts)
data = st.builds(DataVersion, path=texts.filter(bool), etag=texts, rows=st.none() | st.integers(0, 10**9), digest=texts)
digests = st.just("") | st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
evidences = st.builds(
    Evidence,
    environment=names,
    workspace=texts.filter(bool),
    sha=st.from_regex(r"[0-9a-f]{40}", fullmatch=True),
    began=times.filter(lambda time: time.year < 2025),
    ended=times.filter(lambda time: time.year >= 2025),
    pipeline=texts,
    job=texts,
    data=st.lists(data, max_size=2),
    metrics=st.dictionaries(texts, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    verdict=st.none() | verdicts,
    checks=st.none() | verdicts,
    approval=st.none() | approvals,
    model=texts,
    model_sha256=texts,
    previous=digests,
)


def evidence(**more: Any) -> Evidence:
    """Write evidence of a run in staging that passed."""
    told = {
        "environment": "staging",
        "workspace": "/subscriptions/s/resourceGroups/g/w",
        "sha": SHA,
        "began": BEGAN,
        "ended": ENDED,
        "job": "train-1",
        "verdict": YES,
        "metrics": {"rmse": 50.0},
        "data": [DataVersion(path="azureml://datastores/d/paths/x", etag="0x1", rows=5, digest="sha256:1")],
    }
    return Evidence(**{**told, **more})


def keys(private: str = "", *, trusted: dict[str, str] | None = None) -> Keys:
    """Read the keys of a connection; with a new private key, unless one is given."""

    extra = json.dumps({"trusted": trusted or {}})
    return Keys.parse(password=private or make_key()[0], extra=extra, source="Connection 'e'")
