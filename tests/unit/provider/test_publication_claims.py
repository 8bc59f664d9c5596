"""Who publishes a folder: whoever began last, and nobody comes back who was overtaken."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.documents import check_ids
from airflow_azureml.core.publication_claims import REMEMBERED, Claim, document_of
from airflow_azureml.errors import ProtocolError

NOW = datetime(2026, 11, 21, tzinfo=UTC)
publishers = st.tuples(st.sampled_from(["one", "two", "three"]), st.sampled_from(["v1", "v2"]))


@given(st.lists(publishers, min_size=1, max_size=8))
def test_everybody_who_has_begun_is_known_and_the_last_one_decides(begun: list[tuple[str, str]]) -> None:
    claim = Claim()
    for owner, version in begun:
        claim = claim.begun(owner, version, now=NOW)

    assert (claim.owner, claim.version) == begun[-1]
    assert all(claim.knows(*each) for each in begun)
    assert not claim.knows("four", "v1")
    assert Claim.from_text(claim.to_text()) == claim


def test_no_two_claims_are_written_alike() -> None:
    first = Claim().begun("one", "v1", now=NOW)
    again = first.begun("two", "v1", now=NOW).begun("one", "v1", now=NOW)

    assert first.to_text() != again.to_text()


def test_only_so_many_are_remembered() -> None:
    claim = Claim()
    for number in range(REMEMBERED + 10):
        claim = claim.begun(f"o{number}", "v", now=NOW)

    assert len(claim.overtaken) == REMEMBERED
    assert claim.knows("o50", "v")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "owner": "x"}'])
def test_what_is_no_claim_lets_nobody_publish(text: str) -> None:
    with pytest.raises(ProtocolError, match="What is written of publications"):
        Claim.from_text(text)


@given(st.text(max_size=200))
def test_any_folder_has_a_document(name: str) -> None:
    check_ids([document_of(name)])
