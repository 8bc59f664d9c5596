"""Checks, evidence and what is required of it, as tasks and by the command line, on the real emulator and Azurite."""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from attrs import define, field, frozen

from airflow_azureml.cli import evidence as cli
from airflow_azureml.client.signatures import make_key
from airflow_azureml.core.evidence import DIGEST_TAG
from airflow_azureml.core.findings import Verdict
from airflow_azureml.operators.evidence import AzureMLRecordEvidenceOperator, AzureMLRequireEvidenceOperator
from airflow_azureml.operators.integration import AzureMLIntegrationChecksOperator
from tests.contract.conftest import WORKSPACE, Emulator
from tests.contract.registering import BEARER, Workspace
from tests.unit.provider.evidence_world import NO, YES

PRIVATE, PUBLIC = make_key()
YES_TOLD = {"approved": True, "by": "ada", "at": "2026-11-21T20:00:00+00:00", "note": ""}
#: A job that writes a model and a table.
WRITES = "cd ${{outputs.model}} && echo m > model.bin && mkdir tables && printf 'a,b\\n1,2\\n3,4\\n' > tables/t.csv"
PRICES = {"serverless": 36.0, "currency": "EUR"}


@define
class Instance:
    """What a task sees of its instance."""

    start_date: Any = None
    pushed: dict[str, Any] = field(factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))


@frozen
class Bench:
    """A workspace with a job that is done, and a commit of a test's own."""

    workspace: Workspace
    result: dict[str, Any]
    sha: str = field(factory=lambda: uuid.uuid4().hex + "2" * 8)

    def check(self, **more: Any) -> Any:
        """Run the checks; what they left in XCom, as they do also where they fail."""
        told = {"task_id": "checks", "result": self.result, "conn_id": "evidenced", **more}
        return run(AzureMLIntegrationChecksOperator(**told))

    def record(self, **more: Any) -> dict[str, Any]:
        told = {"task_id": "record", "environment": "staging", "sha": self.sha, "result": self.result, **CONNECTIONS}
        returned: dict[str, Any] = run(AzureMLRecordEvidenceOperator(**{**told, "verdict": YES.to_wire(), **more}))
        return returned

    def require(self, **more: Any) -> dict[str, Any]:
        told = {"task_id": "require", "environment": "staging", "sha": self.sha, **CONNECTIONS}
        returned: dict[str, Any] = run(AzureMLRequireEvidenceOperator(**{**told, **more}))
        return returned


CONNECTIONS = {"conn_id": "evidenced"}


def run(task: Any, instance: Instance | None = None) -> Any:
    returned = task.execute({"ti": instance or Instance()})
    return json.loads(json.dumps(returned))


@pytest.fixture(scope="module")
def trained(emulator: Emulator) -> Iterator[tuple[Workspace, dict[str, Any]]]:
    """A job that wrote a model and a table."""
    with httpx.Client(base_url=emulator.addresses.http, headers=BEARER, trust_env=False, timeout=30) as http:
        workspace = Workspace(emulator, http)
        made = workspace.train(command=WRITES)
        yield workspace, {"job": made.job, "outputs": {"model": made.source}, "metrics": {"rmse": 50.0}}


@pytest.fixture
def bench(trained: tuple[Workspace, dict[str, Any]], emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Bench:
    subscription, group, name = WORKSPACE.split("/")
    extra = {"subscription_id": subscription, "resource_group": group, "workspace": name}
    reached = {"authentication": "emulator", "endpoint": emulator.addresses.http}
    known = json.dumps({"conn_type": "azureml", "extra": {**extra, **reached}})
    monkeypatch.setenv("AIRFLOW_CONN_EVIDENCED", known)
    monkeypatch.setenv("AIRFLOW_CONN_AZUREML_EVIDENCE", json.dumps({"conn_type": "generic", "password": PRIVATE}))
    only = {"conn_type": "generic", "extra": {"trusted": {"theirs": make_key()[1]}}}
    monkeypatch.setenv("AIRFLOW_CONN_STRANGERS", json.dumps(only))
    return Bench(*trained)


def test_a_good_run_is_accepted_with_its_time_and_its_cost(bench: Bench) -> None:
    told = bench.check(metrics={"rmse": (0, 60)}, most_time=timedelta(hours=1), most_cost=36, prices=PRICES)

    assert Verdict.from_wire(told).accepted
    assert told["seconds"] >= 0
    assert told["cost"] == pytest.approx(told["seconds"] / 100, abs=0.02)
    assert told["cost_text"].endswith("node hours)")
    assert [one["subject"] for one in told["findings"][:2]] == ["model", "rmse"]


def test_a_run_that_does_not_hold_fails_or_skips_or_is_passed_on_with_its_verdict(bench: Bench) -> None:
    for on_fail, ends in (("fail", AirflowFailException), ("skip", AirflowSkipException)):
        instance = Instance()
        task = AzureMLIntegrationChecksOperator(
            task_id="c", result=bench.result, metrics={"rmse": (0, 10)}, on_fail=on_fail, conn_id="evidenced"
        )
        with pytest.raises(ends, match=r"rmse is 50\."):
            run(task, instance)
        assert not Verdict.from_wire(instance.pushed["return_value"]).accepted

    assert not Verdict.from_wire(bench.check(outputs=["model", "report"], on_fail="pass")).accepted


def test_the_tables_of_an_output_are_tested(bench: Bench, tmp_path: Path) -> None:
    spec = tmp_path / "tests.yaml"
    spec.write_text("schema: 1\ncolumns:\n  a: {type: integer, at_least: 0, at_most: 9}\n  b: {type: integer}\n")
    strict = tmp_path / "strict.yaml"
    strict.write_text("schema: 1\ncolumns:\n  a: {type: integer, at_least: 0, at_most: 2}\n  b: {type: integer}\n")

    good = bench.check(schemas={"model/tables/*.csv": spec})
    bad = bench.check(schemas={"model/tables/*.csv": strict, "model/none-*.csv": spec}, on_fail="pass")

    assert Verdict.from_wire(good).accepted
    assert good["findings"][1]["subject"] == "model/tables/t.csv"
    failed = {one.subject: one.reason for one in Verdict.from_wire(bad).failed}
    assert set(failed) == {"model/tables/t.csv", "model/none-*.csv"}
    assert "Output model has no file none-*.csv." in failed["model/none-*.csv"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"on_fail": "ignore"}, "on_fail is 'ignore'; it must be one of fail, skip, pass"),
        ({"result": None}, "result is None; give what the task of the pipeline returned"),
        ({"most_cost": 5}, "most_cost is given without prices"),
        ({"schemas": {"model/t.xls": "x.yaml"}}, "a table's name ends with .csv"),
        ({"schemas": {"model/t.csv": "/none/x.yaml"}}, "Data tests /none/x.yaml cannot be read"),
        ({"result": {"job": "never-was"}}, "Look at job never-was: 404"),
    ],
)
def test_what_cannot_be_checked_is_refused(bench: Bench, more: dict[str, Any], words: str) -> None:
    with pytest.raises(AirflowFailException, match=words):
        bench.check(**more)


def test_what_is_recorded_is_found_again_by_whoever_requires_it(bench: Bench) -> None:
    data = [{"path": "azureml://datastores/d/paths/x", "etag": "0x1", "rows": 5, "digest": "sha256:1"}]
    recorded = bench.record(checks=bench.check(), approval=YES_TOLD, data=data, previous="sha256:" + "1" * 64)

    assert recorded["passed"] is True
    assert recorded["job"] == bench.result["job"]
    assert bench.require(approved=True, most_age=timedelta(hours=1)) == recorded
    tags = bench.workspace.call("GET", f"jobs/{recorded['job']}")["properties"]["tags"]
    assert tags[DIGEST_TAG] == recorded["digest"]


def test_recording_again_is_recording_once(bench: Bench) -> None:
    first = bench.record()

    assert bench.record() == first
    approved = bench.record(approval=YES_TOLD)
    assert approved != first
    assert bench.record(approval=YES_TOLD) == approved


def test_a_run_that_did_not_pass_is_recorded_and_goes_no_further(bench: Bench) -> None:
    assert bench.record(verdict=NO.to_wire())["passed"] is False

    with pytest.raises(AirflowFailException, match=r"in environment staging did not pass\. .*It is 70\.") as caught:
        bench.require()
    assert type(caught.value.__cause__).__name__ == "EvidenceFailedError"


def test_code_that_never_ran_there_goes_no_further(bench: Bench) -> None:
    with pytest.raises(AirflowFailException, match=f"no evidence of commit {bench.sha} in environment staging"):
        bench.require()
    bench.record()
    with pytest.raises(AirflowFailException, match="nobody has approved it"):
        bench.require(approved=True)
    with pytest.raises(AirflowFailException, match="no evidence of commit"):
        bench.require(environment="test")
    with pytest.raises(AirflowFailException, match=r"signed with key .* Connection 'strangers' trusts .* \(theirs\)"):
        bench.require(evidence_conn_id="strangers")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"sha": "main"}, "sha is 'main', not the 40 digits"),
        ({"verdict": "yes"}, "verdict is 'yes'; give what the task that judged returned"),
        ({"approval": {"approved": True}}, "approval is .*; give what AzureMLApprovalOperator returned"),
        ({"result": "train-1"}, "result is 'train-1'; give what the task"),
        ({"data": [{"nothing": 1}]}, "data has"),
        ({"evidence_conn_id": "strangers"}, "Connection 'strangers' has no private key"),
        ({"evidence_conn_id": "nowhere"}, "There is no connection 'nowhere': make a key by `airflow azureml evidence"),
    ],
)
def test_what_cannot_be_recorded_is_refused(bench: Bench, more: dict[str, Any], words: str) -> None:
    with pytest.raises(AirflowFailException, match=words):
        bench.record(**more)


def test_a_model_that_is_promoted_is_told_by_the_digest_of_its_files(bench: Bench) -> None:
    name = f"m-{uuid.uuid4().hex[:10]}"
    bench.workspace.put(name, "3")
    recorded = bench.record(model={"model": name, "version": "3", "digest": "abc"})

    assert recorded["model"] == f"{name}:3"
    assert bench.require(model_sha256="abc") == recorded
    with pytest.raises(AirflowFailException, match="is of model's digest abc, and other is asked for"):
        bench.require(model_sha256="other")
    assert bench.workspace.versions(name)["3"]["tags"][DIGEST_TAG] == recorded["digest"]


def test_a_task_that_died_before_the_model_named_its_evidence_makes_up_for_it(bench: Bench) -> None:
    name = f"m-{uuid.uuid4().hex[:10]}"
    with pytest.raises(AirflowFailException, match=f"'{name}:1' is no version of a model"):
        bench.record(model=f"{name}:1")
    kept = bench.require()
    bench.workspace.put(name, "1")

    assert bench.record(model=f"{name}:1") == kept
    assert bench.workspace.versions(name)["1"]["tags"][DIGEST_TAG] == kept["digest"]


@pytest.fixture
def say(bench: Bench, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command as a person types it; returns what it prints."""
    del bench

    def _say(*words: str) -> str:
        parsed: Any = next(each for each in cli.COMMAND.subcommands if each.name == words[0])
        parser = argparse.ArgumentParser(prog=parsed.name)
        for arg in parsed.args:
            arg.add_to_parser(parser)
        parsed.func(parser.parse_args([*words[1:], *(["--conn-id", "evidenced"] if words[1:] else [])]))
        return capsys.readouterr().out

    return _say


def test_a_person_makes_a_key_that_signs(
    say: Callable[..., str], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = (line.split()[1] for line in say("key").splitlines()[:2])
    monkeypatch.setenv("AIRFLOW_CONN_AZUREML_EVIDENCE", json.dumps({"conn_type": "generic", "password": private}))
    bench.record()
    trusting = {"conn_type": "generic", "extra": {"trusted": {"staging": public}}}
    monkeypatch.setenv("AIRFLOW_CONN_AZUREML_EVIDENCE", json.dumps(trusting))

    assert bench.require()["passed"] is True
    assert "signed with staging" in say("verify", "staging", bench.sha)


def test_a_person_sees_and_verifies_evidence(say: Callable[..., str], bench: Bench) -> None:
    with pytest.raises(SystemExit, match=r"evidence verify: EvidenceMissingError: There is no evidence"):
        say("verify", "staging", bench.sha)
    recorded = bench.record(approval={**YES_TOLD, "note": "fine"}, checks=bench.check())

    shown = say("show", "staging", bench.sha)
    assert f"{recorded['digest']}  passed  signed with this connection's own key" in shown
    assert "approval     approved by ada at 2026-11-21T20:00:00+00:00. fine" in shown
    assert "metric       rmse = 50" in shown
    assert "gate         model: accepted" in shown
    assert recorded["uri"] in say("verify", "staging", bench.sha, "--approved", "--most-hours", "1")
    with pytest.raises(SystemExit, match=r"EvidenceExpiredError: .*evidence may be 0:00:00.*run it anew"):
        say("verify", "staging", bench.sha, "--most-hours", "0.0000001")
    with pytest.raises(SystemExit, match="ConfigError: There is no evidence of commit"):
        say("show", "test", bench.sha)
    with pytest.raises(SystemExit, match="ConfigError: There is no connection 'nowhere'"):
        say("show", "staging", bench.sha, "--evidence-conn-id", "nowhere")
