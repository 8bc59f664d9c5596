"""What a data test leaves in XCom, and what goes along to a job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import airflow_azureml
from airflow_azureml.core.data_results import DataResult, check_fits
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.core.results import MOST_BYTES
from airflow_azureml.core.shipping import needed
from airflow_azureml.errors import ConfigError

ROOT = Path(airflow_azureml.__file__).parent.parent
texts = st.text(max_size=3000)


def finding(reason: str, *, passed: bool = False, subject: str = "age") -> Finding:
    return Finding(check="no nulls", passed=passed, reason=reason, subject=subject)


def result(
    *findings: Finding, path: str = "https://acme.blob.core.windows.net/in/a.csv", policy: str = "p"
) -> DataResult:
    verdict = Verdict(subject="a.csv", policy=policy, findings=findings)
    return DataResult(verdict=verdict, path=path, etag="0x1", size_bytes=10, rows=3, digest=f"sha256:{'a' * 64}")


@example([finding("é" * 3000)] * 60, "p" * 3000)
@given(st.lists(st.builds(finding, texts, passed=st.booleans(), subject=texts), max_size=60), texts)
def test_whatever_was_found_fits_and_nothing_is_left_out_silently(findings: list[Finding], policy: str) -> None:
    found = result(*findings, policy=policy)

    told = found.to_wire()

    assert len(json.dumps(told).encode()) <= MOST_BYTES
    assert len(told["failed"]) + told["left_out"] == len(found.verdict.failed)
    assert told["accepted"] is found.verdict.accepted


@example(["x" * 3800, "", "", ""])
@given(st.lists(st.text(max_size=1500), min_size=4, max_size=4))
def test_addresses_that_are_found_to_fit_leave_room_for_a_finding(addresses: list[str]) -> None:
    path, report, verdict, kept = addresses
    try:
        check_fits(addresses)
    except ConfigError:
        return

    verdict_of = Verdict(subject="a", policy="p" * 90, findings=[finding("r" * 500)])
    whole = DataResult(
        verdict=verdict_of,
        path=path,
        etag="0x8DCD1E2F3A4B5C6",
        size_bytes=10**12,
        rows=10**10,
        digest=f"sha256:{'a' * 64}",
        report=report,
        told_at=verdict,
        quarantine=kept,
    ).to_wire()
    assert len(json.dumps(whole).encode()) <= MOST_BYTES


def test_addresses_that_are_too_long_are_refused_before_anything_is_read() -> None:
    with pytest.raises(ConfigError, match="a result in XCom has room for"):
        check_fits(["x" * 4000])


def test_a_no_tells_its_reasons_and_how_many_it_does_not_tell() -> None:
    sentence = result(*[finding(f"reason {number}") for number in range(30)], finding("", passed=True)).sentence

    assert "version 0x1: 30 of 31 checks failed." in sentence
    assert "- age: reason 19\n- and 10 more" in sentence
    assert "reason 20" not in sentence


def test_nothing_checked_is_a_no_that_says_so() -> None:
    assert result().to_wire()["accepted"] is False
    assert "nothing was checked, so it does not pass" in result().sentence


def source(module: str) -> str | None:
    found = ROOT.joinpath(*module.split("."))
    for file in (found / "__init__.py", found.with_suffix(".py")):
        if file.is_file():
            return file.read_text()
    return None


def test_the_engine_of_a_job_is_light_and_knows_neither_airflow_nor_azure() -> None:
    shipped = needed("airflow_azureml.quality.session", source, package="airflow_azureml")

    layers = {name.split(".")[1] for name in shipped if "." in name}
    assert layers == {"core", "errors", "quality"}
    assert not [name for name, text in shipped.items() if "import airflow\n" in text or "from airflow " in text]
    assert sum(len(text) for text in shipped.values()) < 400_000


FILES = {
    "p": "",
    "p.a": "import os\nfrom p import b\nfrom p.c import thing\nimport other.d",
    "p.b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p import unwanted\nelse:\n    import p.e",
    "p.c": "def late():\n    from p.f import x\n    return x\nthing = 1",
    "p.e": "",
    "p.f": "import p.a\nx = 1",
    "p.unwanted": "",
    "p.alone": "",
}


def test_imports_are_followed_into_functions_and_round_circles_but_not_where_only_types_are_checked() -> None:
    assert set(needed("p.a", FILES.get, package="p")) == {"p", "p.a", "p.b", "p.c", "p.e", "p.f"}


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"p\.x needs p\.gone, whose source is not to be had"):
        needed("p.x", {"p": "", "p.x": "import p.gone"}.get, package="p")
