"""What a job needs, how that is named, and what is made of what was seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.needs import (
    Named,
    Needs,
    Part,
    Passed,
    completed,
    named,
    part_of,
    parts_of,
)
from airflow_azureml.core.pipelines import BatchEndpoint
from airflow_azureml.core.places import InDatastore, in_datastore
from airflow_azureml.core.preflight import (
    WRITE_BLOBS,
    Compute,
    Finding,
    Gravity,
    Usage,
    VmSize,
    error_of,
    judge_compute,
    judge_quota,
    may,
    needs_quota,
)
from airflow_azureml.core.triage import Cause, cause_of
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, NotReadyError, UnavailableError
from airflow_azureml.wire import preflight as wire
from airflow_azureml.wire.http import Response
from tests.unit.provider.conversation import Talk, answer

WORKSPACE = Workspace(subscription_id="s", resource_group="g", name="w")
ID = WORKSPACE.arm_id
STEP = [Part(name="step a", compute="cpu")]
NAME = "Standard DSv2 Family Cluster Dedicated vCPUs"
SIZE = VmSize(name="Standard_DS3_v2", family="standardDSv2Family", cores=4)
CLUSTER = Compute(
    name="cpu",
    kind="AmlCompute",
    state="Succeeded",
    running="",
    location="westeurope",
    vm_size="STANDARD_DS3_V2",
    low_priority=False,
    nodes=0,
    most_nodes=4,
)


# How things are named


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("env", Named(name="env")),
        ("azureml:env:3", Named(name="env", version="3")),
        ("env@latest", Named(name="env", label="latest")),
        (f"{ID}/environments/env/versions/3", Named(name="env", version="3")),
        (f"azureml:{ID}/environments/env/versions/3", Named(name="env", version="3")),
        (f"{ID.lower()}/environments/env/labels/default", Named(name="env", label="default")),
        (f"{ID.replace('/w', '/other')}/environments/env/versions/3", None),
        (f"{ID}/computes/env", None),
        ("azureml://registries/azureml/environments/env/versions/3", None),
        ("${{parent.inputs.environment}}", None),
        ("", None),
    ],
)
def test_a_name_is_read_in_each_of_its_spellings_and_one_of_elsewhere_is_not_ours(
    written: str, read: Named | None
) -> None:
    assert named(written, "environments", workspace_id=ID) == read


words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)


@given(name=words, version=words)
def test_the_short_name_and_the_id_of_an_asset_name_the_same(name: str, version: str) -> None:
    short = named(f"azureml:{name}:{version}", "data", workspace_id=ID)

    assert short == named(f"{ID}/data/{name}/versions/{version}", "data", workspace_id=ID)
    assert str(short) == f"{name}:{version}"


@pytest.mark.parametrize(
    ("uri", "read"),
    [
        ("azureml://datastores/d/paths/a/b.csv", InDatastore(name="d", path="a/b.csv")),
        ("azureml://datastores/d/paths/", InDatastore(name="d", path="")),
        ("azureml://datastores/d", InDatastore(name="d", path="")),
        (
            "azureml://subscriptions/s/resourceGroups/g/workspaces/Other/datastores/d/paths/a",
            InDatastore(name="d", path="a", workspace="other"),
        ),
        ("https://a.blob.core.windows.net/c/d", None),
        ("azureml://jobs/j/outputs/o", None),
    ],
)
def test_the_uri_of_a_datastore_is_read_short_and_long(uri: str, read: InDatastore | None) -> None:
    assert in_datastore(uri) == read


# What a pipeline needs


def test_a_step_says_first_then_the_default_then_its_component() -> None:
    nodes = {
        "own": {"computeId": "azureml:gpu", "componentId": "c1", "resources": {"instance_count": 3}},
        "default": {"componentId": "c1"},
        "inline": {"component": {"environment": "azureml:e:1", "resources": {"instanceCount": "2"}}},
        "odd": "text",
    }

    own, default, inline = parts_of(nodes, default_compute="cpu")

    spec = {"environment": "azureml:e:2", "compute": "never", "resources": {"instance_count": 2}}
    assert completed(own, spec) == Part(name="step own", compute="azureml:gpu", environment="azureml:e:2", nodes=3)
    assert completed(default, spec) == Part(name="step default", compute="cpu", environment="azureml:e:2", nodes=2)
    assert inline == Part(name="step inline", compute="cpu", environment="azureml:e:1", nodes=2)


@pytest.mark.parametrize("environment", [{"image": "python"}, None])
def test_an_environment_that_is_made_with_the_job_is_not_needed(environment: Any) -> None:
    assert part_of("the job", {"environment": environment}).environment == ""


# Computes


@pytest.mark.parametrize(
    ("compute", "gravity", "told"),
    [
        (evolve(CLUSTER, state="Failed", trouble="No cores."), Gravity.WRONG, "is Failed (No cores.): repair"),
        (evolve(CLUSTER, state="Deleting"), Gravity.WRONG, "is Deleting: name another"),
        (evolve(CLUSTER, state="Creating"), Gravity.NOT_NOW, "is Creating: wait"),
        (evolve(CLUSTER, state="Unknown"), Gravity.UNKNOWN, "is Unknown"),
        (evolve(CLUSTER, most_nodes=0), Gravity.WRONG, "may have 0 nodes, and 1 are needed"),
        (evolve(CLUSTER, most_nodes=None, running="Stopped"), Gravity.WRONG, "is Stopped: start it"),
        (evolve(CLUSTER, most_nodes=None, running="Starting"), Gravity.NOT_NOW, "is Starting: wait"),
    ],
)
def test_a_compute_that_cannot_be_used_says_why_and_who_needs_it(compute: Compute, gravity: Gravity, told: str) -> None:
    (finding,) = judge_compute(compute, parts=[*STEP, Part(name="step b"), *STEP])

    assert finding.gravity is gravity
    assert f"Compute cpu (step a, step b) {told}" in finding.sentence


@pytest.mark.parametrize("state", ["Succeeded", "Updating", "a word that Azure adds tomorrow"])
@pytest.mark.parametrize("running", ["", "Running", "JobRunning", "another word"])
def test_a_state_that_does_not_forbid_it_lets_the_job_run(state: str, running: str) -> None:
    compute = evolve(CLUSTER, state=state, running=running, most_nodes=None)

    assert list(judge_compute(compute, parts=STEP)) == []


def test_a_compute_is_read_as_azure_writes_it() -> None:
    scale = {"maxNodeCount": 4, "minNodeCount": 0}
    inner = {"vmSize": "STANDARD_DS3_V2", "vmPriority": "Dedicated", "scaleSettings": scale, "currentNodeCount": 0}
    outer = {"computeType": "AmlCompute", "provisioningState": "Succeeded", "computeLocation": "westeurope"}

    assert Compute.from_wire("cpu", {"location": "x", "properties": {**outer, "properties": inner}}) == CLUSTER


# Quota


def usage(limit: int, used: int = 0, *, name: str = NAME, owner: str = "") -> Usage:
    beside = f"/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/{owner}" if owner else ""
    raw = {"id": f"/subscriptions/s{beside}/usages/x", "name": {"value": name}, "currentValue": used, "limit": limit}
    read = Usage.from_wire(raw)
    assert read is not None
    return read


def judged(usages: Sequence[Usage], *, nodes: int = 0, asked: int = 1, **changes: Any) -> list[Finding]:
    parts = [Part(name="step a", nodes=asked)]
    compute = evolve(CLUSTER, nodes=nodes, **changes)
    return list(judge_quota(compute, SIZE, usages, workspace="w", parts=parts))


def test_only_the_quota_of_the_family_the_priority_and_the_workspace_counts() -> None:
    others = [
        usage(0, name=NAME.replace("DSv2", "Dv2")),
        usage(0, name=NAME.replace("Dedicated", "LowPriority")),
        usage(0, name="Total Cluster Low Priority Regional vCPUs"),
        usage(0, owner="another"),
    ]

    assert (
        judged([*others, usage(4), usage(4, owner="w"), usage(4, name="Total Cluster Dedicated Regional vCPUs")]) == []
    )
    for short in (usage(3), usage(3, owner="W"), usage(3, name="Total Cluster Dedicated Regional vCPUs")):
        assert [each.gravity for each in judged([usage(9, owner="x"), usage(-1), short])] == [Gravity.WRONG]


def test_a_quota_that_is_not_listed_and_machines_that_are_not_are_unknown() -> None:
    (unlisted,) = judged([usage(9, name="Total Cluster Dedicated Regional vCPUs")])
    (unsized,) = judge_quota(CLUSTER, None, [usage(0)], workspace="w", parts=STEP)

    assert {unlisted.gravity, unsized.gravity} == {Gravity.UNKNOWN}
    assert "does not list a quota for its machines, standardDSv2Family" in unlisted.sentence
    assert "does not list its machines, STANDARD_DS3_V2" in unsized.sentence


@given(limit=st.integers(-1, 20), used=st.integers(0, 20), nodes=st.integers(0, 4), asked=st.integers(1, 4))
def test_a_cluster_gets_the_nodes_that_fit_and_waits_only_for_what_can_be_given_back(
    limit: int, used: int, nodes: int, asked: int
) -> None:
    findings = judged([usage(limit, used)], nodes=nodes, asked=asked)

    whole, more = asked * SIZE.cores, (asked - nodes) * SIZE.cores
    if limit < 0:
        assert findings == []
    elif findings and findings[0].gravity is Gravity.NOT_NOW:
        assert limit >= whole
        assert used + more > limit
    elif findings:
        assert limit < whole
    else:
        assert whole <= limit
        assert used + more <= limit
    assert all(each.cause is Cause.QUOTA for each in findings)


@given(limit=st.integers(0, 20), extra=st.integers(0, 20), used=st.integers(0, 20), asked=st.integers(1, 4))
def test_more_quota_never_makes_it_worse(limit: int, extra: int, used: int, asked: int) -> None:
    order = {Gravity.WRONG: 2, Gravity.NOT_NOW: 1}
    before, after = (judged([usage(most, used)], asked=asked) for most in (limit, limit + extra))

    assert sum(order[each.gravity] for each in after) <= sum(order[each.gravity] for each in before)


def test_nodes_that_are_there_need_no_quota() -> None:
    parts = [Part(name="step a", nodes=2)]

    assert [needs_quota(evolve(CLUSTER, nodes=count), parts=parts) for count in (0, 1, 2)] == [True, True, False]
    assert not needs_quota(evolve(CLUSTER, most_nodes=None), parts=parts)


@pytest.mark.parametrize(
    "raw",
    [
        {"name": {"value": "Clusters"}, "currentValue": 1, "limit": 2},
        {"name": {"value": NAME}, "currentValue": None, "limit": 2},
        {"name": NAME, "currentValue": 1, "limit": 2},
        {},
    ],
)
def test_what_is_no_usage_in_cores_is_left_out(raw: dict[str, Any]) -> None:
    assert Usage.from_wire(raw) is None
    assert VmSize.from_wire(raw) is None


# Rights


@pytest.mark.parametrize(
    ("permissions", "allowed"),
    [
        ([{"dataActions": ["*"]}], True),
        ([{"dataActions": ["microsoft.storage/storageaccounts/*/WRITE"]}], True),
        ([{"dataActions": [WRITE_BLOBS]}], True),
        ([{"actions": ["*"], "dataActions": []}], False),
        ([{"dataActions": ["Microsoft.Storage/*/read"]}], False),
        ([{"dataActions": ["*"], "notDataActions": ["Microsoft.Storage/*/write"]}], False),
        ([{"dataActions": ["*"], "notDataActions": ["*"]}, {"dataActions": [WRITE_BLOBS]}], True),
        ([{"dataActions": ["Microsoft.Storage.storageAccounts/*"]}], False),
        ([], False),
        ([{}], False),
    ],
)
def test_a_right_is_granted_by_one_role_that_does_not_take_it_back(
    permissions: list[dict[str, Any]], allowed: bool
) -> None:
    assert may(permissions, WRITE_BLOBS) is allowed


roles = st.lists(
    st.fixed_dictionaries(
        {
            name: st.lists(st.sampled_from(["*", WRITE_BLOBS, "Microsoft.Storage/*", "Other/*"]), max_size=2)
            for name in ("dataActions", "notDataActions")
        }
    ),
    max_size=3,
)


@given(some=roles, more=roles)
def test_one_more_role_never_takes_a_right_away(some: list[dict[str, Any]], more: list[dict[str, Any]]) -> None:
    assert may([*some, *more], WRITE_BLOBS) is (may(some, WRITE_BLOBS) or may(more, WRITE_BLOBS))


# The error


findings = st.lists(
    st.builds(
        Finding,
        st.sampled_from(Gravity),
        st.from_regex(r"[A-Z][a-z]{3,12} is not there\.", fullmatch=True),
        st.sampled_from([Cause.QUOTA, Cause.UNKNOWN]),
    ),
    max_size=5,
)


@given(findings)
def test_all_that_is_bad_is_in_one_error_and_only_what_may_come_may_be_retried(found: list[Finding]) -> None:
    error = error_of("pipeline p", found)

    bad = [each for each in found if each.gravity is not Gravity.UNKNOWN]
    if not bad:
        assert error is None
        return
    assert isinstance(error, ConfigError | NotReadyError)
    assert error.retryable is all(each.gravity is Gravity.NOT_NOW for each in bad)
    assert all(f"({place}) {each.sentence}" in str(error) for place, each in enumerate(bad, start=1))
    if error.retryable and {each.cause for each in bad} == {Cause.QUOTA}:
        assert cause_of(error) is Cause.QUOTA


# The conversation


def look(needs: Needs, *answers: Response | UnavailableError) -> tuple[wire.Seen, Talk]:
    talk = Talk()
    return talk.hold(wire.look(WORKSPACE, needs, domain="core.windows.net"), answers), talk


def store(**properties: Any) -> Response:
    kept = {"datastoreType": "AzureBlob", "accountName": "acc", "containerName": "box"}
    return answer(200, {"name": "d", "properties": {**kept, **properties}})


def test_the_deployment_of_a_model_says_itself_what_it_runs_on() -> None:
    served = {
        "model": {"assetId": f"{ID}/models/m/versions/1", "referenceType": "Id"},
        "compute": f"{ID}/computes/cpu",
        "environmentId": f"{ID}/environments/e/versions/1",
        "resources": {"instanceCount": 2},
    }

    needs, found = Talk().hold(
        wire.of_pipeline(WORKSPACE, BatchEndpoint("b", "d"), settings={}), [answer(200, {"properties": served})]
    )

    assert found == []
    assert needs == Needs(
        parts=[
            Part(
                name="deployment d of batch endpoint b",
                compute=f"{ID}/computes/cpu",
                environment=f"{ID}/environments/e/versions/1",
                nodes=2,
            )
        ]
    )


def test_a_deployment_of_neither_a_pipeline_nor_a_model_is_told() -> None:
    _, found = Talk().hold(
        wire.of_pipeline(WORKSPACE, BatchEndpoint("b", "d"), settings={}), [answer(200, {"properties": {}})]
    )

    assert [each.gravity for each in found] == [Gravity.WRONG]
    assert "Deployment d of batch endpoint b" in found[0].sentence


def test_what_is_named_twice_is_asked_for_once() -> None:
    part = Part(name="step a", compute="cpu", environment="e:1")
    uri = "azureml://datastores/d/paths/a"
    needs = Needs(
        parts=[part, evolve(part, name="step b", compute=f"{ID}/computes/cpu")],
        inputs={"x": Passed(uri=uri), "y": Passed(uri=uri)},
        outputs={"o": Passed(uri=uri)},
        datastores=["azureml:d"],
    )
    compute = answer(200, {"properties": {"computeType": "Kubernetes", "provisioningState": "Succeeded"}})

    seen, talk = look(needs, compute, answer(200, {}), store(credentials={"credentialsType": "AccountKey"}))

    assert seen.findings == []
    assert [place.url for place in seen.places] == ["https://acc.blob.core.windows.net/box/a"] * 2
    assert [asked.url.removeprefix(WORKSPACE.url) for asked in talk.asked] == [
        "/computes/cpu",
        "/environments/e/versions/1",
        "/datastores/d",
    ]
    assert {asked.method for asked in talk.asked} == {"GET"}


@pytest.mark.parametrize("compute", ["serverless", "azureml:serverless", f"{ID}/computes/Serverless", ""])
def test_serverless_compute_is_nobodys_to_look_at(compute: str) -> None:
    seen, _ = look(Needs(parts=[Part(name="step a", compute=compute)]))

    assert seen.findings == []


@pytest.mark.parametrize(
    ("needs", "told"),
    [
        (Needs(parts=[Part(name="step a", compute="${{parent.inputs.c}}")]), "'${{parent.inputs.c}}' (step a)"),
        (
            Needs(parts=[Part(name="step a", environment="azureml://registries/r/environments/e/versions/1")]),
            "is not one of workspace w",
        ),
        (Needs(parts=[Part(name="step a", component="azureml://registries/r/components/c")]), "it was not read"),
        (Needs(inputs={"x": Passed(uri="azureml://jobs/j/outputs/o")}), "nothing that could be looked at"),
        (Needs(inputs={"x": Passed(uri="https://example.org/a?sig=s3cr3t")}), "'https://example.org/a'"),
        (Needs(outputs={"x": Passed(uri="https://a.blob.core.windows.net/c/p?sig=s3cr3t")}), "is in no datastore"),
        (
            Needs(outputs={"x": Passed(uri="azureml://subscriptions/s/resourcegroups/g/workspaces/v/datastores/d")}),
            "is in workspace v",
        ),
    ],
)
def test_what_is_of_elsewhere_is_unknown_and_nothing_is_asked(needs: Needs, told: str) -> None:
    seen, talk = look(needs)

    (finding,) = seen.findings
    assert finding.gravity is Gravity.UNKNOWN
    assert told in finding.sentence
    assert "s3cr3t" not in finding.sentence
    assert talk.asked == []


def test_a_service_that_does_not_answer_leaves_the_rest_to_be_looked_at() -> None:
    needs = Needs(parts=[Part(name="step a", compute="cpu", environment="e:1")])

    seen, _ = look(needs, UnavailableError("Look at compute cpu", message="timed out"), answer(404))

    unknown, wrong = seen.findings
    assert (unknown.gravity, wrong.gravity) == (Gravity.UNKNOWN, Gravity.WRONG)
    assert "timed out" in unknown.sentence
    assert "Environment e:1 (step a) is not in workspace w" in wrong.sentence


def test_a_workspace_that_is_not_there_is_no_compute_that_is_not() -> None:
    gone = answer(404, {"error": {"code": "ResourceNotFound", "message": "The Resource was not found."}})

    seen, _ = look(Needs(parts=STEP), gone)

    assert [each.gravity for each in seen.findings] == [Gravity.UNKNOWN]


def test_rights_are_asked_for_at_the_container_that_the_datastore_or_the_workspace_names() -> None:
    needs = Needs(outputs={"o": Passed(uri="azureml://datastores/d/paths/a")})
    account = "/subscriptions/t/resourceGroups/h/providers/Microsoft.Storage/storageAccounts/acc"
    granted = answer(200, {"value": [{"dataActions": ["*"]}]})

    by_store, first = look(needs, store(subscriptionId="t", resourceGroup="h"), granted)
    by_workspace, second = look(needs, store(), answer(200, {"properties": {"storageAccount": account}}), granted)

    scope = f"{account}/blobServices/default/containers/box/providers/Microsoft.Authorization/permissions"
    assert by_store.findings == by_workspace.findings == []
    assert first.asked[-1].url == second.asked[-1].url == f"{WORKSPACE.endpoint}{scope}"


def test_an_account_of_which_nobody_knows_the_group_is_unknown() -> None:
    needs = Needs(outputs={"o": Passed(uri="azureml://datastores/d/paths/a")})

    seen, _ = look(needs, store(), answer(200, {"properties": {"storageAccount": "/subscriptions/s/other"}}))

    (finding,) = seen.findings
    assert finding.gravity is Gravity.UNKNOWN
    assert "nobody says in which resource group account acc is" in finding.sentence
