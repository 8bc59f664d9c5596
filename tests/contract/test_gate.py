"""The gate on a real workspace: evaluations, losses and verdicts in blob storage, jobs in the emulator."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup
from airflow.sdk.exceptions import AirflowFailException

from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.gate import Policy
from airflow_azureml.core.gate_results import GONE
from airflow_azureml.errors import UnavailableError
from airflow_azureml.operators.gate import AzureMLGateOperator
from tests.contract.conftest import ARM_ID, Emulator, wait_for
from tests.contract.controlled import controlled_emulator
from tests.contract.gating import CONN, GOOD, ROWS, Bench, Instance, champion_at, losses, opened, publish, run, trained


@pytest.fixture(scope="module")
def emulator(azurite: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with controlled_emulator(tmp_path_factory.mktemp("gate"), azurite) as made:
        yield made


@pytest.fixture
def bench(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with opened(emulator, monkeypatch) as made:
        yield made


def test_a_better_model_goes_on_and_the_whole_verdict_is_kept_beside_its_evaluation(bench: Bench) -> None:
    ours = bench.evaluate("new", rmse=49.0, losses=losses(-100))
    theirs = bench.evaluate("old", rmse=50.0, losses=losses(0))

    told = bench.gate(ours, theirs)

    assert (told.verdict.accepted, told.skipped) == (True, set())
    assert told.result["left_out"] == 0
    (shown,) = (one for one in told.verdict.findings if one.subject == "squared_error")
    assert shown.high is not None
    assert shown.high < -80 < shown.high + 60
    assert told.verdict.facts["champion"] == "3"
    assert (told.verdict.facts["job"], told.verdict.facts["model"]) == ("train-1", "ridge")
    assert told.result["verdict_uri"] == f"{ours}verdict.json"
    kept = Verdict.from_wire(json.loads(bench.read(told.result["verdict_uri"])))
    assert {one.check for one in kept.findings} == {one.check for one in told.verdict.findings}
    assert bench.read(told.result["picture_uri"]).startswith(b"<svg ")


def test_a_worse_model_is_rejected_with_its_reasons_and_what_is_behind_the_gate_is_skipped(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    told = bench.gate(bench.evaluate("new", rmse=51.0), bench.evaluate("old", rmse=50.0))

    assert (told.verdict.accepted, told.skipped) == (False, {"register", "tell"})
    assert "worse by 1 than the champion's 50" in told.reasons
    log = capsys.readouterr().out
    assert "rejected, 1 of 5 checks failed. The challenger's rmse is 51, worse by 1" in log
    assert "by policy tests 1 (sha256:" in log


def test_the_losses_of_single_rows_may_say_no_where_the_metric_says_yes(bench: Bench) -> None:
    told = bench.gate(
        bench.evaluate("new", rmse=49.9, losses=losses(-1, seed=5)), bench.evaluate("old", losses=losses(0))
    )

    assert not told.verdict.accepted
    assert [finding.subject for finding in told.verdict.failed] == ["squared_error"]


def test_parquet_and_csv_are_compared_by_their_keys(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("parquet") / "losses.parquet"
    pl.read_csv(losses(-100).encode()).write_parquet(file)

    told = bench.gate(
        bench.evaluate("new", rmse=49.0, losses=file.read_bytes()), bench.evaluate("old", losses=losses(0))
    )

    assert told.verdict.accepted, told.reasons


@pytest.mark.parametrize(
    ("losses_of_ours", "told"),
    [
        (losses(-100, rows=ROWS - 1), "1 only in the champion's losses"),
        ("row,squared_error\na,NaN\n", "1 of 1 are missing or no finite numbers"),
        ("row,other\na,1\n", "lack the column squared_error"),
        (b"PAR1", "The challenger's losses cannot be read"),
        ("", "The challenger's losses cannot be read"),
    ],
)
def test_losses_that_cannot_be_compared_close_the_gate_with_the_reason(
    bench: Bench, losses_of_ours: str | bytes, told: str
) -> None:
    ours = bench.evaluate("new", rmse=49.0, losses=losses_of_ours)

    found = bench.gate(ours, bench.evaluate("old", losses=losses(0)))

    assert not found.verdict.accepted
    assert told in found.reasons


def test_losses_that_are_named_and_not_there_close_the_gate(bench: Bench) -> None:
    ours = bench.evaluate("new", rmse=49.0, losses=losses(-100))
    bench.blobs.delete_blob(f"{bench.folder}/new/losses.csv")

    assert (
        "names losses in losses.csv, and there is no such file"
        in bench.gate(ours, bench.evaluate("old", losses=losses(0))).reasons
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "There is no evaluation.json in azureml://"),
        ("", "evaluation.json is empty"),
        ("{", "It is no JSON"),
        ('{"schema": 2}', "It is of schema 2"),
        ('{"schema": 1, "metrics": {}, "data": {"version": "x", "rows": 3}}', "Its metrics are empty"),
        ('{"schema": 1, "metrics": {"rmse": "low"}, "data": {"version": "x", "rows": 3}}', "which is no number"),
        ('{"schema": 1, "metrics": {"rmse": NaN}, "data": {"version": "x", "rows": 3}}', "no finite number"),
        ("[" * (5 << 20), "4194304 are the most"),
    ],
)
def test_an_evaluation_that_cannot_be_used_closes_the_gate_and_fails_nothing(
    bench: Bench, content: str | None, told: str
) -> None:
    if content is not None:
        bench.put("new/evaluation.json", content)

    found = bench.gate(bench.uri("new"))

    assert (found.verdict.accepted, found.skipped) == (False, {"register", "tell"})
    assert told in found.reasons


def test_a_champion_whose_evaluation_is_gone_or_unknown_closes_the_gate(bench: Bench) -> None:
    ours = bench.evaluate("new", rmse=1.0)

    gone, unknown = bench.gate(ours, bench.uri("old")), bench.gate(ours, {**champion_at("x"), "evaluation": ""})
    removed = bench.gate(ours, champion_at(bench.evaluate("old"), **{GONE: "Version 3 was deleted meanwhile."}))

    assert "There is no evaluation.json in" in gone.reasons
    assert "Nobody knows where the evaluation of version 3 of model ridge is" in unknown.reasons
    assert "Version 3 was deleted meanwhile." in removed.reasons


def test_an_evaluation_on_other_data_closes_the_gate_and_the_losses_are_not_compared(bench: Bench) -> None:
    ours = bench.evaluate("new", losses="row,other\na,1\n", data={"version": "sha256:2", "rows": ROWS})

    told = bench.gate(ours, bench.evaluate("old", losses=losses(0)))

    assert not told.verdict.accepted
    assert 'tested on data "sha256:2", and the champion on "sha256:1"' in told.reasons
    assert "lack the column" not in told.reasons


def test_without_a_champion_the_policy_decides(bench: Bench) -> None:
    told = bench.gate(bench.evaluate("new", rmse=49.0))

    assert told.verdict.accepted
    assert (told.verdict.facts["champion"], told.skipped) == ("none", set())


def test_a_policy_may_be_a_mapping_or_a_file_that_is_read_when_the_task_runs(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("policy") / "gate.yaml"
    ours = bench.evaluate("new", rmse=49.0)
    content = "schema: 1\nname: from a file\nversion: '2'\nthresholds:\n- {metric: rmse, at_most: 40}\n"

    with pytest.raises(AirflowFailException, match="cannot be read on this worker"):
        bench.gate(ours, policy=str(file))
    file.write_text(content)
    told = bench.gate(ours, policy=str(file), champion=None)
    rules = [{"metric": "rmse", "at_most": 49}]
    mapped = bench.gate(ours, policy={"schema": 1, "name": "m", "version": "1", "thresholds": rules})

    assert mapped.verdict.accepted
    assert "from a file 2" in told.verdict.policy
    assert "above the 40 that it may have" in told.reasons
    file.write_text(content.replace("at_most", "at_mots"))
    with pytest.raises(AirflowFailException, match=r"gate.yaml, line 5, column"):
        bench.gate(ours, policy=str(file))


def test_the_verdict_is_kept_where_it_is_asked_for(bench: Bench) -> None:
    told = bench.gate(bench.evaluate("new", rmse=99.0), evidence=bench.uri("evidence/x"))

    assert told.result["verdict_uri"] == f"{bench.uri('evidence/x')}verdict.json"
    assert not Verdict.from_wire(json.loads(bench.read(told.result["verdict_uri"]))).accepted


def test_a_job_without_an_evaluation_is_rejected(bench: Bench) -> None:
    told = bench.gate("", challenger=trained("", outputs={"model": "azureml://datastores/d/paths/m"}))

    assert "Job train-1 has no output 'evaluation'; its outputs are: model." in told.reasons
    assert "verdict_uri" not in told.result


def test_a_gate_that_cannot_look_is_no_no_and_is_tried_again(bench: Bench) -> None:
    ours = bench.evaluate("new", rmse=1.0)
    bench.http.put("/control/faults", json=[{"path": ".*/datastores/.*", "status": 503}])

    with pytest.raises(UnavailableError, match="503"):
        bench.gate(ours)


@pytest.mark.parametrize(
    ("options", "skipped"),
    [
        ({"accepted": "register"}, ({"tell"}, {"register", "tell"})),
        ({"rejected": "tell"}, ({"tell"}, {"register"})),
        ({"accepted": ["register"], "rejected": ["tell"]}, ({"tell"}, {"register"})),
        ({"accepted": ["register", "tell"], "on_reject": "skip"}, (set(), {"register", "tell"})),
        ({"rejected": "tell", "on_reject": "branch"}, ({"tell"}, {"register"})),
    ],
)
def test_a_yes_and_a_no_go_on_as_they_were_told(
    bench: Bench, options: dict[str, Any], skipped: tuple[set[str], set[str]]
) -> None:
    good, bad = bench.evaluate("good", rmse=1.0), bench.evaluate("bad", rmse=100.0)

    assert (bench.gate(good, **options).skipped, bench.gate(bad, **options).skipped) == skipped


def test_a_no_fails_the_task_only_where_that_is_asked_for_and_its_verdict_is_told_all_the_same(bench: Bench) -> None:
    with DAG("failing", schedule=None):
        gate = AzureMLGateOperator(
            task_id="gate",
            challenger=trained(bench.evaluate("bad", rmse=100.0)),
            champion={},
            policy=GOOD,
            on_reject="fail",
            conn_id=CONN,
        )
    instance = Instance(gate)
    context: Any = {"ti": instance}

    with pytest.raises(AirflowFailException, match="rejected, 1 of"):
        gate.execute(context)

    assert instance.pushed["return_value"]["accepted"] is False


def test_in_a_task_group_names_are_those_of_the_group(bench: Bench) -> None:
    with DAG("grouped", schedule=None), TaskGroup("retrain"):
        gate = AzureMLGateOperator(
            task_id="gate",
            challenger=trained(bench.evaluate("good", rmse=1.0)),
            champion={},
            policy=GOOD,
            accepted="release",
            rejected="tell",
            conn_id=CONN,
        )
        with TaskGroup("release"):
            register = EmptyOperator(task_id="register")
            register >> EmptyOperator(task_id="announce")
        gate >> [register, EmptyOperator(task_id="tell")]

    assert run(gate).skipped == {"retrain.tell"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"accepted": "regster"}, "'regster' is no task or task group right behind gate; there are: register, tell"),
        ({"on_reject": "cancel"}, "on_reject is 'cancel'; it must be one of skip, branch, fail"),
        ({"on_reject": "branch"}, "rejected names no task to go on with"),
        ({"on_reject": "skip", "rejected": "tell"}, "on_reject is 'skip', and rejected names tell"),
        ({"challenger": None}, "it must be what the task of a pipeline or a job returned"),
        ({"champion": None}, "it must be what AzureMLChampionOperator"),
        ({"policy": ""}, "it must be a Policy, a mapping, or the path of a file"),
        ({"policy": Policy(name="empty", version="1")}, "empty"),
    ],
)
def test_what_contradicts_itself_fails_the_task_before_anything_is_asked(
    bench: Bench, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(AirflowFailException, match=told):
        bench.gate(bench.uri("nowhere"), **options)


def _job(bench: Bench, component: str) -> str:
    """Run a published pipeline to its end, and let Azure ML reuse what it has."""
    name = f"job-{uuid.uuid4().hex[:10]}"
    body = {
        "jobType": "Pipeline",
        "componentId": f"{ARM_ID}/components/{component}/versions/1",
        "settings": {"force_rerun": False},
        "outputs": {"evaluation": {"jobOutputType": "uri_folder"}},
    }
    answer = bench.http.put(f"{ARM_ID}/jobs/{name}", json={"properties": body})
    assert answer.status_code == 201, answer.text

    def _ended() -> bool:
        return str(bench.http.get(f"{ARM_ID}/jobs/{name}").json()["properties"]["status"]) == "Completed"

    wait_for(_ended, f"{name} is completed")
    return name


def test_steps_that_xcom_had_no_room_for_are_asked_of_the_job_and_a_reused_one_is_a_no(bench: Bench) -> None:
    document = {"schema": 1, "metrics": {"rmse": 1}, "data": {"version": "sha256:1", "rows": ROWS}}
    name = f"reused{bench.folder}"
    publish(bench, name, f"echo '{json.dumps(document)}' > ${{{{outputs.evaluation}}}}/evaluation.json", {})
    first, second = _job(bench, name), _job(bench, name)

    told = {job: bench.gate("", challenger={"job": job, "outputs": {}, "left_out": 7}) for job in (first, second)}

    assert told[first].verdict.accepted, told[first].reasons
    assert not told[second].verdict.accepted
    assert 'Azure ML did not run "evaluate"' in told[second].reasons
