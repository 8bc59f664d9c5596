"""Evidence on the real emulator and the real Azurite: kept once, found again, and never believed when altered."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

import httpx
import pytest
from attrs import evolve, frozen

from airflow_azureml.client.evidence import Evidences, open_evidences
from airflow_azureml.client.signatures import Keys
from airflow_azureml.core.approvals import Approval
from airflow_azureml.core.evidence import DIGEST_TAG, URI_TAG, Demand, Evidence
from airflow_azureml.errors import (
    ConfigError,
    EvidenceAlteredError,
    EvidenceFailedError,
    EvidenceKeyError,
    EvidenceMismatchError,
    EvidenceMissingError,
    RefusedError,
)
from airflow_azureml.wire import models
from tests.contract.conftest import Emulator
from tests.contract.registering import BEARER, Workspace, settings_of
from tests.unit.provider.evidence_world import ENDED, NO, evidence, keys

OURS = keys()
NOW = ENDED + timedelta(hours=1)


@frozen
class Place:
    """A commit of a test's own, and the evidence of it."""

    evidences: Evidences
    open: Callable[[Keys], contextlib.AbstractContextManager[Evidences]]
    sha: str

    @property
    def demand(self) -> Demand:
        return Demand(environment="staging", sha=self.sha)

    def of_run(self, **more: object) -> Evidence:
        return evidence(sha=self.sha, **{"job": "", **more})

    def tamper(self, uri: str, old: str, new: str) -> None:
        """Write to a document as whoever has a right to the container can."""
        shelf, name = self.evidences.shelf, uri.removeprefix(self.evidences.folder)
        document = shelf.read(name)
        assert document is not None
        assert old in document.text
        shelf.write(name, document.text.replace(old, new), over=document.version)


@pytest.fixture
def place(emulator: Emulator) -> Iterator[Place]:
    def _open(trusting: Keys) -> contextlib.AbstractContextManager[Evidences]:
        return open_evidences(settings_of(emulator), trusting)

    with _open(OURS) as opened:
        yield Place(opened, _open, uuid.uuid4().hex + "0" * 8)


def test_evidence_that_is_written_is_found_and_proves_its_commit(place: Place) -> None:
    stored = place.evidences.write(place.of_run())

    assert place.evidences.require(place.demand, now=NOW) == stored
    assert place.evidences.read(stored.uri) == stored
    assert stored.uri.startswith(
        f"azureml://datastores/workspaceblobstore/paths/airflow-azureml/evidence/staging/{place.sha}/"
    )
    assert stored.signer == "this connection's own key"


def test_the_same_evidence_again_changes_nothing(place: Place) -> None:
    first = place.evidences.write(place.of_run())
    document = place.evidences.shelf.read(first.uri.removeprefix(place.evidences.folder))

    assert place.evidences.write(place.of_run()) == first
    assert place.evidences.shelf.read(first.uri.removeprefix(place.evidences.folder)) == document


def test_without_evidence_nothing_goes_on(place: Place) -> None:
    with pytest.raises(EvidenceMissingError, match=f"no evidence of commit {place.sha} in environment staging.*run it"):
        place.evidences.require(place.demand, now=NOW)


def test_evidence_of_one_environment_is_none_of_another(place: Place) -> None:
    place.evidences.write(place.of_run(environment="test"))

    with pytest.raises(EvidenceMissingError):
        place.evidences.require(place.demand, now=NOW)


def test_the_newest_counts_whatever_it_says(place: Place) -> None:
    place.evidences.write(place.of_run())
    place.evidences.write(place.of_run(verdict=NO, ended=ENDED + timedelta(minutes=1)))

    with pytest.raises(EvidenceFailedError, match=r"did not pass.*\[azureml://"):
        place.evidences.require(place.demand, now=NOW)


def test_what_a_person_decided_about_it_is_newer_than_it(place: Place) -> None:
    place.evidences.write(place.of_run())
    no = Approval(approved=False, by="eve", at=ENDED + timedelta(minutes=5))
    place.evidences.write(place.of_run(approval=no))

    with pytest.raises(EvidenceFailedError, match="eve rejected it"):
        place.evidences.require(place.demand, now=NOW)


def test_an_altered_document_closes_the_way_even_beside_a_good_one(place: Place) -> None:
    place.evidences.write(place.of_run())
    bad = place.evidences.write(place.of_run(verdict=NO, ended=ENDED + timedelta(minutes=1)))
    place.tamper(bad.uri, '"It is 70."', '"It is 50."')

    with pytest.raises(EvidenceAlteredError, match=rf"{place.sha}/[0-9a-f]+\.json: It says that its digest"):
        place.evidences.require(place.demand, now=NOW)


def test_a_document_that_was_copied_to_another_commit_is_refused(place: Place) -> None:
    stored = place.evidences.write(place.of_run())
    text = place.evidences.shelf.read(stored.uri.removeprefix(place.evidences.folder))
    other = uuid.uuid4().hex + "1" * 8
    assert text is not None
    place.evidences.shelf.write(f"staging/{other}/{stored.evidence.digest.removeprefix('sha256:')}.json", text.text)

    with pytest.raises(EvidenceMismatchError, match=f"has the evidence of commit {place.sha}.*somebody has put it"):
        place.evidences.require(evolve(place.demand, sha=other), now=NOW)


def test_evidence_of_a_key_that_nobody_trusts_is_refused_and_hides_none_that_is_trusted(place: Place) -> None:
    theirs = keys()
    with place.open(theirs) as strangers:
        strangers.write(place.of_run(ended=ENDED + timedelta(minutes=1)))

    with pytest.raises(EvidenceKeyError, match="signed with key"):
        place.evidences.require(place.demand, now=NOW)
    ours = place.evidences.write(place.of_run())
    assert place.evidences.require(place.demand, now=NOW) == ours


def test_a_job_and_a_model_name_their_evidence(place: Place, emulator: Emulator) -> None:
    name = f"m-{uuid.uuid4().hex[:10]}"
    with httpx.Client(base_url=emulator.addresses.http, headers=BEARER, trust_env=False, timeout=30) as http:
        workspace = Workspace(emulator, http)
        job = workspace.train().job
        workspace.put(name, "1", tags={"mine": "kept"})
        stored = place.evidences.write(place.of_run(job=job, model=f"{name}:1"))
        place.evidences.mark(stored)
        place.evidences.mark(stored)
        tags = workspace.call("GET", f"jobs/{job}")["properties"]["tags"]
    told = {URI_TAG: stored.uri, DIGEST_TAG: stored.evidence.digest}
    client, settings = place.evidences.client, place.evidences.settings
    version = client.run(models.get(settings.workspace, name, "1"))

    assert version is not None
    assert told.items() <= tags.items()
    assert version.tags == {"mine": "kept", **told}


def test_a_job_or_a_model_that_is_not_there_is_named(place: Place) -> None:
    with pytest.raises(RefusedError, match=r"Tag job never-was with airflow\.evidence: 404"):
        place.evidences.mark(place.evidences.write(place.of_run(job="never-was")))
    with pytest.raises(ConfigError, match="'never:1' is no version of a model"):
        place.evidences.mark(place.evidences.write(place.of_run(model="never:1")))


def test_evidence_that_is_none_is_not_written(place: Place) -> None:
    with pytest.raises(ConfigError, match="environment is 'a/b'"):
        place.evidences.write(place.of_run(environment="a/b"))
    with pytest.raises(ConfigError, match="more than 262144 bytes"):
        place.evidences.write(place.of_run(pipeline="x" * 300_000))


def test_the_document_is_json_that_people_can_read(place: Place) -> None:
    stored = place.evidences.write(place.of_run())
    document = place.evidences.shelf.read(stored.uri.removeprefix(place.evidences.folder))

    assert document is not None
    assert json.loads(document.text)["evidence"]["sha"] == place.sha
    assert document.text.startswith('{\n  "evidence"')
