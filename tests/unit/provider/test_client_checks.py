"""What Entra and Azure say no to, and what the test button makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from airflow_azureml.client.azureml import Client
from airflow_azureml.core import entra
from airflow_azureml.errors import AzureMLError, RefusedError, UnavailableError
from airflow_azureml.hooks.checks import LIST_JOBS, READ_BLOBS, READ_WORKSPACE, Finding, check, hint
from airflow_azureml.wire import jobs
from tests.unit.provider.service import Purse, Service


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as started:
        yield started


# What Entra says


class Denied(Purse):
    """A credential to which Entra says something."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words

    def get_token(self, *_scopes: str, **_: Any) -> AccessToken:
        raise ClientAuthenticationError(f"Authentication failed: {self.words}")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("AADSTS7000215: Invalid client secret provided.", RefusedError),
        ("AADSTS7002138: No matching federated identity record found.", RefusedError),
        ("AADSTS12345678: Something that Entra says from tomorrow on.", RefusedError),
        ("AADSTS90033: A transient error has occurred. Please try again.", UnavailableError),
        ("AADSTS90055: There are too many incoming requests.", UnavailableError),
        ("no response from the IMDS endpoint", UnavailableError),
    ],
)
def test_only_entras_own_no_is_final(service: Service, words: str, kind: type[AzureMLError]) -> None:
    with Client(service.settings, credential=Denied(words)) as client, pytest.raises(kind, match="no answer no token"):
        client.run(jobs.list_newest(service.settings.workspace))

    assert service.asked == []


@pytest.mark.parametrize("code", entra.ADVICE)
def test_every_answer_of_entra_that_we_know_names_what_to_look_at(service: Service, code: str) -> None:
    error = RefusedError("Read", code="no token", message=f"Authentication failed: AADSTS{code}: …")

    assert hint(error, READ_WORKSPACE, service.settings) == f" Look at {entra.ADVICE[code]}."


def test_a_code_is_not_mistaken_for_a_longer_one() -> None:
    assert entra.advice("AADSTS7000222: …") != entra.advice("AADSTS7000215: …")
    assert entra.advice("AADSTS700021599: …") == ""
    assert not set(entra.ADVICE) & entra.PASSING


# The test button


def forbidden(action: str = "") -> tuple[int, Any]:
    words = f"The client 'c' does not have authorization to perform action '{action}' over scope '/s'."
    return 403, {"error": {"code": "AuthorizationFailed", "message": words if action else "Forbidden"}}


def healthy(service: Service) -> dict[str, tuple[int, Any]]:
    store = {"isDefault": True, "datastoreType": "AzureBlob", "accountName": "devstoreaccount1", "containerName": "c"}
    return {
        "/workspaces/w": (200, {"properties": {"discoveryUrl": f"{service.url}/discovery"}}),
        "/discovery": (200, {"api": service.url}),
        "/jobs": (200, {"value": []}),
        "/datastores": (
            200,
            {
                "value": [
                    {"name": "another", "properties": store | {"isDefault": False}},
                    {"name": "blobs", "properties": store},
                ]
            },
        ),
    }


def pressed(service: Service) -> list[Finding]:
    with Client(service.settings) as client:
        return list(check(client, service.settings))


def test_the_button_reads_the_workspace_its_jobs_and_its_datastore(service: Service) -> None:
    service.answers = healthy(service)

    findings = pressed(service)

    assert all(finding.passed for finding in findings)
    assert "Its datastore blobs is named" in findings[-1].sentence
    assert [asked[1].rpartition("/")[2] for asked in service.asked] == ["w", "discovery", "jobs", "datastores"]


@pytest.mark.parametrize(
    ("path", "action"),
    [
        ("/workspaces/w", "Microsoft.MachineLearningServices/workspaces/read"),
        ("/jobs", "Microsoft.MachineLearningServices/workspaces/jobs/read"),
        ("/datastores", "Microsoft.MachineLearningServices/workspaces/datastores/read"),
    ],
)
@pytest.mark.parametrize("named", [True, False], ids=["named by Azure", "not named"])
def test_a_missing_right_is_named_and_the_other_rights_are_still_tried(
    service: Service, path: str, action: str, *, named: bool
) -> None:
    service.answers = healthy(service) | {path: forbidden(action if named else "")}

    findings = pressed(service)

    (failed,) = [finding for finding in findings if not finding.passed]
    assert len(findings) == 3
    assert f"lacks the permission {action}; the role AzureML Data Scientist" in failed.sentence
    assert "[request req-1]" in failed.sentence


def test_every_right_that_is_missing_is_named(service: Service) -> None:
    service.answers = healthy(service) | dict.fromkeys(("/workspaces/w", "/jobs", "/datastores"), forbidden())

    told = " ".join(finding.sentence for finding in pressed(service))

    for action in ("workspaces/read", "workspaces/jobs/read", "workspaces/datastores/read"):
        assert f"Microsoft.MachineLearningServices/{action};" in told


@pytest.mark.parametrize(
    ("code", "field"),
    [
        ("SubscriptionNotFound", "subscription_id"),
        ("ResourceGroupNotFound", "resource_group"),
        ("ResourceNotFound", "workspace"),
    ],
)
def test_a_name_that_is_wrong_is_told_once_with_its_field(service: Service, code: str, field: str) -> None:
    service.answers = {"": (404, {"error": {"code": code, "message": "not there"}})}

    (finding,) = pressed(service)

    assert not finding.passed
    assert finding.sentence.endswith(f"Look at the field {field}.")


def test_a_workspace_of_another_cloud_names_the_field_cloud(service: Service) -> None:
    service.answers = healthy(service) | {"/discovery": (200, {"api": "https://usgovvirginia.api.ml.azure.us"})}

    first = pressed(service)[0]

    assert not first.passed
    assert "set the field cloud to 'usgovernment'" in first.sentence


def test_a_refused_token_points_to_tenant_cloud_and_endpoint(service: Service) -> None:
    service.refuses_all = True

    (finding,) = pressed(service)

    assert "look at tenant_id, and at cloud and endpoint" in finding.sentence


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("AuthorizationPermissionMismatch", "lacks the permission Microsoft.Storage/storageAccounts/blobServices/"),
        ("AuthorizationFailure", "network rules do not let this machine in"),
    ],
)
def test_storage_tells_a_missing_role_from_a_closed_network(service: Service, code: str, told: str) -> None:
    error = RefusedError("Look into container c", status=403, code=code, message="This request is not authorized")

    said = hint(error, READ_BLOBS, service.settings)

    assert told in said
    assert "the role Storage Blob Data Reader on the storage account has it" in said


def test_a_service_that_does_not_answer_points_to_the_network(service: Service) -> None:
    assert "endpoint, proxy, firewall" in hint(UnavailableError("List"), LIST_JOBS, service.settings)
