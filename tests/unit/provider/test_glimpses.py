"""What a poller reads of an answer: jobs, the pace the service wants, and trouble, which is never raised."""

from typing import Any

import pytest

from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ProtocolError, RefusedError, UnavailableError
from airflow_azureml.wire import jobs
from airflow_azureml.wire.jobs import Glimpse
from tests.unit.provider.conversation import Talk, answer

HERE = Workspace(subscription_id="s", resource_group="g", name="w")
NEXT = f"{HERE.url}/jobs?$skip=2"


def entry(name: str, status: str = "Running") -> dict[str, Any]:
    return {"name": name, "properties": {"status": status, "services": {}}}


def browsed(body: Any, *wanted: str, link: str = "") -> Glimpse:
    return Talk().hold(jobs.browse(HERE, link, wanted, now=0), [answer(200, body)])


def test_a_page_tells_the_jobs_that_are_asked_for_and_the_names_of_all() -> None:
    seen = browsed({"value": [entry("new"), entry("mine", "Completed"), entry("old")], "nextLink": NEXT}, "mine")

    assert [(job.name, job.status) for job in seen.jobs] == [("mine", "Completed")]
    assert (list(seen.names), seen.link) == (["new", "mine", "old"], NEXT)


def test_a_job_of_a_page_that_cannot_be_read_is_left_to_a_look_at_itself() -> None:
    seen = browsed({"value": [{"name": "mine", "properties": None}, entry("other")]}, "mine")

    assert not seen.jobs
    assert list(seen.names) == ["", "other"]


@pytest.mark.parametrize(
    "link", ["https://elsewhere.example/jobs", f"{HERE.endpoint}.evil.example/jobs", "/jobs", None]
)
def test_a_link_that_leads_out_of_azure_resource_manager_is_not_followed(link: str | None) -> None:
    assert browsed({"value": [], "nextLink": link}).link == ""


def test_the_first_page_is_asked_for_by_name_and_the_others_as_their_links_say() -> None:
    talk = Talk()
    talk.hold(jobs.browse(HERE, "", (), now=0), [answer(200, {"value": []})])
    talk.hold(jobs.browse(HERE, NEXT, (), now=0), [answer(200, {"value": []})])

    assert [request.url for request in talk.asked] == [f"{HERE.url}/jobs", NEXT]
    assert talk.asked[0].params == {"api-version": jobs.API_VERSION, "listViewType": "ActiveOnly"}
    assert talk.asked[1].params == {}


def test_a_poller_asks_once_and_leaves_asking_again_to_its_plan() -> None:
    talk = Talk()
    talk.hold(jobs.glance(HERE, "j", now=0), [answer(200, entry("j"))])
    talk.hold(jobs.browse(HERE, "", (), now=0), [answer(200, {"value": []})])

    assert not any(request.repeatable for request in talk.asked)


@pytest.mark.parametrize(
    ("headers", "retry_after_s", "reads_left"),
    [
        ({}, None, None),
        ({"retry-after": "17"}, 17, None),
        ({"retry-after-ms": "250"}, 0.25, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:16:45 GMT"}, 5, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:01 GMT"}, 0, None),
        ({"retry-after": "soon"}, None, None),
        ({"x-ms-ratelimit-remaining-subscription-reads": "11999"}, None, 11999),
        ({"x-ms-ratelimit-remaining-subscription-reads": "many"}, None, None),
    ],
)
@pytest.mark.parametrize("status", [200, 429])
def test_the_pace_that_the_service_wants_is_read(
    status: int, headers: dict[str, str], retry_after_s: float | None, reads_left: int | None
) -> None:
    seen = Talk().hold(jobs.glance(HERE, "j", now=1000), [answer(status, entry("j"), **headers)])

    assert (seen.retry_after_s, seen.reads_left) == (retry_after_s, reads_left)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (answer(404), RefusedError),
        (answer(429), UnavailableError),
        (answer(200, {"name": "j"}), ProtocolError),
        (UnavailableError("Look", message="reset"), UnavailableError),
    ],
)
def test_trouble_is_told_and_not_raised(given: Any, kind: type[Exception]) -> None:
    of_job = Talk().hold(jobs.glance(HERE, "j", now=0), [given])
    of_page = Talk().hold(jobs.browse(HERE, "", (), now=0), [given])

    assert isinstance(of_job.trouble, kind)
    assert isinstance(of_page.trouble, kind)
    assert not [*of_job.jobs, *of_page.jobs]
