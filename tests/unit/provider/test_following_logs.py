"""Reading a job's steps and logs: what is asked for, what is told of it, and that no signed address is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import RetryAction

from airflow_azureml.client.azureml import unsigned
from airflow_azureml.core.following import Follow, Following, link_of
from airflow_azureml.core.joblog import Bounds
from airflow_azureml.core.jobs import JobSnapshot
from airflow_azureml.core.triage import Cause, cause_of
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import JobError, UnavailableError
from airflow_azureml.retries import AzureMLRetryPolicy
from airflow_azureml.wire import jobs, logs
from airflow_azureml.wire.http import Audience, Response
from tests.unit.provider.conversation import Talk, answer

WORKSPACE = Workspace(subscription_id="s", resource_group="g", name="w")
PLANE = "https://westeurope.api.azureml.ms"
STUDIO = "https://ml.azure.com/runs/j?wsid=/subscriptions/s/resourcegroups/g/workspaces/j"
SECRET = "c2VjcmV0"  # noqa: S105  # a test's own word
LOG_URL = f"https://x.blob.core.windows.net/azureml/ExperimentRun/dcid.a/user_logs/std_log.txt?sv=1&sig={SECRET}"


def job(status: str = "Running", kind: str = "Pipeline") -> JobSnapshot:
    return JobSnapshot(name="j", status=status, studio_url=STUDIO, kind=kind)


def child(run: str, name: str, status: str = "Running", **more: Any) -> dict[str, Any]:
    return {"runId": run, "displayName": name, "status": status, "runType": "azureml.StepRun", **more}


def nested(run: str, name: str, status: str = "Running") -> dict[str, Any]:
    return child(run, name, status, runType="azureml.PipelineRun", runTypeV2={"orchestrator": "Pipeline"})


def listed(*children: dict[str, Any]) -> Response:
    return answer(200, {"value": list(children)})


def details(url: str = LOG_URL) -> Response:
    return answer(200, {"logFiles": {"user_logs/std_log.txt": url} if url else {}})


def part(first: int, body: bytes, total: int) -> Response:
    return Response(status=206, headers={"content-range": f"bytes {first}-{first + len(body) - 1}/{total}"}, body=body)


def nothing(total: int) -> Response:
    return Response(status=416, headers={"content-range": f"bytes */{total}"})


def look(talk: Talk, following: Following, answers: Sequence[Any], seen: JobSnapshot) -> list[str]:
    return talk.hold(logs.look(WORKSPACE, seen, following, data_plane=PLANE), answers)


def test_a_commands_log_is_read_on_from_where_the_last_look_ended_without_a_token() -> None:
    talk, following = Talk(), Following(Follow.LOG)
    command = job(kind="Command")

    first = look(talk, following, [details(), part(0, b"one\ntw", 6)], command)
    second = look(talk, following, [part(6, b"o\n", 8)], command)
    third = look(talk, following, [nothing(8)], command)

    assert (first, second, third) == (["Log of job j:\none"], ["Log of job j:\ntwo"], [])
    reads = [request for request in talk.asked if request.url == LOG_URL]
    assert [request.headers["Range"] for request in reads] == ["bytes=0-65535", "bytes=6-65541", "bytes=8-65543"]
    assert {request.audience for request in reads} == {Audience.NOBODY}


def test_a_pipelines_steps_are_told_with_those_in_pipelines_within_it_and_their_logs() -> None:
    talk, following = Talk(), Following(Follow.LOG)

    told = look(
        talk,
        following,
        [
            listed(nested("p", "prepare"), child("t", "train", "NotStarted")),
            listed(child("c", "clean")),
            details(),
            part(0, b"cleaning\n", 9),
        ],
        job(),
    )
    after = look(
        talk,
        following,
        [
            listed(nested("p", "prepare", "Completed"), child("t", "train")),
            listed(child("c", "clean", "Completed")),
            part(9, b"clean", 14),
            details(""),
        ],
        job(),
    )
    last = look(
        talk,
        following,
        [
            listed(nested("p", "prepare", "Completed"), child("t", "train", "Completed")),
            details(""),
        ],
        job("Completed"),
    )

    assert told == [
        "Step prepare is Running",
        "Step train is NotStarted",
        "Step prepare/clean is Running",
        "Log of step prepare/clean:\ncleaning",
    ]
    assert after == [
        "Step prepare is Completed",
        "Step train is Running",
        "Step prepare/clean is Completed",
        "Log of step prepare/clean:\nclean",
    ]
    assert last == ["Step train is Completed"]
    assert following.progress.has_told_all()


def test_an_address_that_is_no_longer_good_is_read_anew_and_never_shown() -> None:
    talk, following, command = Talk(), Following(Follow.LOG), job(kind="Command")
    refused = Response(status=403, headers={"x-ms-error-code": "AuthenticationFailed"}, body=LOG_URL.encode())
    fresh = LOG_URL.replace(SECRET, "bmV3")

    look(talk, following, [details(), part(0, b"one\n", 4)], command)
    assert SECRET not in repr(following)
    told = look(talk, following, [refused, details(fresh), part(4, b"two\n", 8)], command)
    again = look(talk, following, [refused, details(fresh), refused], command)

    assert told == ["Log of job j:\ntwo"]
    assert again == ["The log of job j cannot be read just now: Read the log of job j: 403 AuthenticationFailed"]
    assert look(talk, following, [details(fresh), refused], command) == []
    assert look(talk, following, [details(fresh), part(8, b"three\n", 14)], command) == ["Log of job j:\nthree"]


def test_what_is_left_out_is_said_with_the_page_where_it_is() -> None:
    bounds = Bounds(look_bytes=8, log_bytes=20, all_bytes=1000)
    following, command, blob = Following(Follow.LOG, bounds=bounds), job(kind="Command"), b"0123456\n" * 10
    first = look(Talk(), following, [details(), part(0, blob[:8], 80)], command)
    second = look(Talk(), following, [part(72, blob[72:], 80)], command)
    third = look(Talk(), following, [part(80, b"abc\n", 84)], command)

    assert first == ["Log of job j:\n0123456"]
    assert second == [f"72 bytes of the log of job j are left out; all of it: {STUDIO}"]
    assert third == [
        "Log of job j:\nabc",
        f"The log of job j is not followed any further: 20 bytes of it were read; all of it: {STUDIO}",
    ]
    assert look(Talk(), following, [], command) == []


def test_the_log_of_a_step_that_has_ended_is_tried_again_and_what_was_read_of_it_is_told() -> None:
    following, lost = Following(Follow.LOG), UnavailableError("Read", status=503)
    over = listed(child("a", "a", "Completed"))

    first = look(Talk(), following, [over, details(), part(0, b"one\n", 8), lost], job())
    second = look(Talk(), following, [over, part(4, b"two\n", 8)], job())
    third = look(Talk(), following, [over], job())

    assert first[1:] == ["Log of step a:\none", "The log of step a cannot be read just now: Read: 503"]
    assert (second, third) == (["Log of step a:\ntwo"], [])


def test_nothing_more_is_asked_for_when_as_much_was_read_as_may_be() -> None:
    following = Following(Follow.LOG, bounds=Bounds(all_bytes=4))

    told = look(Talk(), following, [listed(child("a", "a"), child("b", "b")), details(), part(0, b"one\n", 8)], job())
    after = look(Talk(), following, [listed(child("c", "c"))], job())

    assert told[2:] == [
        "Log of step a:\none",
        f"The logs of job j are not followed any further: 4 bytes were; all of them: {STUDIO}",
    ]
    assert after == ["Step c is Running"]


def test_steps_that_cannot_be_read_are_told_of_once_until_they_can_be() -> None:
    talk, following = Talk(), Following(Follow.STEPS)
    lost = UnavailableError("Read the steps of job j", status=503)

    told = [look(talk, following, [answers], job()) for answers in (lost, lost, listed(child("a", "a")), lost)]

    trouble = ["The steps of job j cannot be read just now: Read the steps of job j: 503"]
    assert told == [trouble, [], ["Step a is Running"], trouble]


def dead(**more: Any) -> dict[str, Any]:
    return {"error": {"error": {"code": "UserError", "message": "it broke", **more}}}


FOUND = [answer(200, {"properties": {"discoveryUrl": f"{PLANE}/discovery"}}), answer(200, {"api": PLANE})]


def test_the_last_lines_of_each_failed_step_are_told_and_one_that_cannot_be_read_hides_nothing() -> None:
    long = b"".join(b"line %d\n" % number for number in range(9000))
    end = logs.END_BYTES

    reason, told = Talk().hold(
        logs.post_mortem(WORKSPACE, job("Failed")),
        [
            *FOUND,
            answer(200, dead()),
            listed(nested("p", "prepare", "Failed"), child("t", "train", "Failed", **dead())),
            listed(child("c", "clean", "Failed"), child("o", "other", "Completed")),
            details(),
            part(0, long[:end], len(long)),
            part(len(long) - end, long[-end:], len(long)),
            details(),
            Response(status=404, headers={"x-ms-error-code": "BlobNotFound"}, body=SECRET.encode()),
        ],
    )

    assert reason == "UserError: it broke\nStep train: UserError: it broke\nStep prepare/clean: "
    assert told[0] == (
        "The last lines of step train:\n"
        + "\n".join(f"line {number}" for number in range(8970, 9000))
        + f"\nThe step train: {link_of(STUDIO, 'j', 't')}"
    )
    assert "(Its log cannot be read: Read the log of step prepare/clean: 404 BlobNotFound)" in told[1]
    assert SECRET not in "".join(told)


def test_a_failed_job_without_steps_is_told_with_its_own_last_lines() -> None:
    reason, told = Talk().hold(
        logs.post_mortem(WORKSPACE, job("Failed", "Command")),
        [*FOUND, answer(200, dead()), listed(), details(), part(0, b"boom\n", 5)],
    )

    assert reason == "UserError: it broke"
    assert told == [f"The last lines of job j:\nboom\nThe job j: {STUDIO}"]


def test_of_many_failed_steps_a_few_are_told() -> None:
    steps = [child(str(number), f"s{number}", "Failed") for number in range(15)]

    _, told = Talk().hold(
        logs.post_mortem(WORKSPACE, job("Failed")),
        [*FOUND, answer(200, dead()), listed(*steps), *[details("")] * logs.LOGS_TOLD],
    )

    assert told[0].startswith("The last lines of step s0:\n(It has no log.)")
    assert told[-1] == f"5 more steps failed; all of them: {STUDIO}"
    assert len(told) == 11


def test_run_history_that_does_not_answer_does_not_hide_that_the_job_failed() -> None:
    lost = UnavailableError("Read workspace w", status=503)

    assert Talk().hold(logs.post_mortem(WORKSPACE, job("Failed")), [lost]) == (
        "its error could not be read (Read workspace w: 503)",
        [],
    )


def test_an_address_on_another_machine_without_encryption_is_not_used() -> None:
    told = look(Talk(), Following(Follow.LOG), [details(f"http://elsewhere/x?sig={SECRET}")], job(kind="Command"))

    assert "Its address is neither https nor on this machine" in told[0]
    assert SECRET not in told[0]


def test_a_conversation_is_counted_and_none_of_its_requests_is_sent_twice() -> None:
    talk, meter = Talk(), jobs.Meter()
    busy = Response(status=429, headers={"retry-after": "7"})

    told = talk.hold(
        jobs.metered(
            logs.look(WORKSPACE, job(), Following(Follow.STEPS), data_plane=PLANE), meter, now=0.0
        ),
        [busy],
    )  # fmt: skip

    assert (meter.requests, meter.retry_after_s, meter.is_refused) == (1, 7.0, True)
    assert "429" in told[0]
    assert not talk.asked[0].repeatable


def test_an_error_that_carries_its_cause_is_believed_before_its_words() -> None:
    assert cause_of(JobError("Job j: PreemptionError", cause=Cause.USER_CODE)) is Cause.USER_CODE
    assert cause_of(JobError("Job j: PreemptionError")) is Cause.PREEMPTED
    assert AzureMLRetryPolicy().evaluate(JobError("Job j", cause="user_code"), 1, 3).action is RetryAction.FAIL


def test_what_the_network_says_of_a_signed_address_is_told_without_its_signature() -> None:
    said = f"Max retries exceeded with url: /azureml/std_log.txt?sv=1&sig={SECRET}&se=2 (Caused by X('{LOG_URL}'))"

    shown = unsigned(said)

    assert (
        shown
        == "Max retries exceeded with url: /azureml/std_log.txt?… (Caused by X('" + LOG_URL.partition("?")[0] + "?…'))"
    )
    assert unsigned("https://x/jobs?api-version=1&design=2") == "https://x/jobs?api-version=1&design=2"
