"""Why jobs failed: Azure ML's own words, from where they were seen, and what is done about them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import RetryAction
from hypothesis import given
from hypothesis import strategies as st

from airflow_azureml.core.triage import (
    FACTS,
    PRECEDENCE,
    REACTION_OF_CAUSE,
    Action,
    Cause,
    Failure,
    cause_of,
    cause_of_words,
    may_pass,
)
from airflow_azureml.errors import (
    AzureMLError,
    ConfigError,
    JobCanceledError,
    JobError,
    JobLostError,
    QueueTimeoutError,
    RefusedError,
    RunTimeoutError,
    SilenceError,
    UnavailableError,
)
from airflow_azureml.retries import AzureMLRetryPolicy

USER_CODE = (
    "Execution failed. User process 'python' exited with status code 2. Please check log file for error details."
)
#: As people reported them; the source stands in the table of facts.
SEEN = [
    (
        "AzureMLCompute job failed. PreemptionError: Nodes of this job got pre-empted. Check if the run has failed",
        Cause.PREEMPTED,
    ),
    (
        "Job submission to AzureML Compute encountered an Exception with status code JobNodeCountExceedsCoreQuota, ",
        Cause.QUOTA,
    ),
    ("The specified subscription has a Standard NC family vCPU quota of 0 and cannot accomodate", Cause.QUOTA),
    ("OutOfQuota: Not enough cluster CPU quota.", Cause.QUOTA),
    ("Operation could not be completed as it results in exceeding approved Total Regional Cores quota", Cause.QUOTA),
    ("Too many request to AutoML. Request got thottled.", Cause.THROTTLED),
    ("Error Code: ScriptExecution.StreamAccess.Throttling", Cause.THROTTLED),
    ("AzureMLCompute job failed.\nFailedPullingImage: Unable to pull docker image\n\timageName: x.io/y", Cause.IMAGE),
    ("Image build failed. For more details, check log file azureml-logs/20_image_build_log.txt.", Cause.IMAGE),
    ("Error Code: ScriptExecution.StreamAccess.NotFound", Cause.INPUT_MISSING),
    ("Failed to submit job due to Exception: 404 (Could not find datastore: azureml_managed_x.)", Cause.INPUT_MISSING),
    (USER_CODE, Cause.USER_CODE),
    ("AzureMLCompute job failed. JobFailed: Submitted script failed with a non-zero exit code; see", Cause.USER_CODE),
    ("InternalServerError", Cause.UNKNOWN),
    ("Azure ML gives no reason", Cause.UNKNOWN),
    ("", Cause.UNKNOWN),
]


@pytest.mark.parametrize(("words", "cause"), SEEN)
def test_what_azure_ml_was_seen_to_say_is_understood(words: str, cause: Cause) -> None:
    assert cause_of_words(words) is cause
    assert cause_of(JobError(f"Job j ended as Failed: {words}\nThe job: https://ml.azure.com/runs/j")) is cause


@pytest.mark.parametrize(("words", "cause"), [(words, cause) for words, cause in SEEN if cause is not Cause.UNKNOWN])
def test_what_a_program_prints_is_not_taken_for_the_services_words(words: str, cause: Cause) -> None:
    del cause
    told = f"Step train: {USER_CODE}\nError: Traceback (most recent call last):\nRuntimeError: {words}"

    assert cause_of_words(told) is Cause.USER_CODE


def test_the_codes_of_run_history_stand_before_its_message() -> None:
    run = {
        "error": {
            "error": {
                "code": "UserError",
                "message": "The last lines of its log:\nStreamError(NotFound)",
                "innerError": {"code": "UserTrainingScriptFailed", "innerError": None},
            }
        }
    }

    failure = Failure.from_wire(run)

    assert failure.words.startswith("UserError/UserTrainingScriptFailed: The last lines")
    assert cause_of_words(failure.words) is Cause.USER_CODE
    assert Failure.from_wire({"error": None}).words == ""


def test_a_job_of_which_one_step_was_preempted_and_another_is_wrong_is_wrong() -> None:
    told = f"Pipeline has failed child jobs.\nStep a: PreemptionError: Nodes\nStep b: {USER_CODE}"

    assert cause_of_words(told) is Cause.USER_CODE


def test_a_failed_step_that_says_nothing_does_not_hide_another_that_does() -> None:
    assert cause_of_words("Pipeline has failed child jobs.\nStep a: \nStep b: PreemptionError") is Cause.PREEMPTED


@given(st.lists(st.sampled_from([words for words, _ in SEEN]), min_size=1, max_size=5))
def test_the_order_of_failed_steps_decides_nothing(words: list[str]) -> None:
    told = ["\n".join(f"Step s: {one}" for one in order) for order in (words, words[::-1])]

    assert cause_of_words(told[0]) is cause_of_words(told[1])


def test_every_cause_has_a_reaction_and_a_place_and_every_fact_a_source() -> None:
    assert set(REACTION_OF_CAUSE) == set(PRECEDENCE) == set(Cause)
    assert len(PRECEDENCE) == len(Cause)
    assert all(fact.source for fact in FACTS)
    assert {fact.cause for fact in FACTS} == set(Cause) - {Cause.CANCELED, Cause.UNKNOWN}


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (UnavailableError("Submit", status=429), Cause.THROTTLED),
        (UnavailableError("Submit", status=503), Cause.UNKNOWN),
        (RefusedError("Submit", status=409, code="QuotaExceeded"), Cause.QUOTA),
        (RefusedError("Look", status=404, message="Could not find datastore: x."), Cause.UNKNOWN),
        (JobCanceledError("Job j ended as Canceled: nobody says why"), Cause.CANCELED),
        (JobCanceledError("Job j ended as Canceled: The job ran into its time limit of 2 s."), Cause.TIMEOUT),
        (QueueTimeoutError("Job j"), Cause.QUOTA),
        (RunTimeoutError("Job j"), Cause.TIMEOUT),
        (SilenceError("Job j"), Cause.UNKNOWN),
        (JobLostError("Job j: PreemptionError"), Cause.UNKNOWN),
        (ConfigError("PreemptionError"), Cause.UNKNOWN),
        (ValueError("PreemptionError"), Cause.UNKNOWN),
    ],
)
def test_an_error_has_the_cause_that_it_proves_and_no_other(error: BaseException, cause: Cause) -> None:
    assert cause_of(error) is cause


def test_a_refusal_for_want_of_quota_may_pass_and_others_may_not() -> None:
    assert may_pass(RefusedError("Submit", status=400, code="UserError/JobNodeCountExceedsCoreQuota"))
    assert may_pass(UnavailableError("Submit", status=503))
    assert may_pass(RefusedError("Submit", status=401, code="ExpiredAuthenticationToken"))
    assert not may_pass(RefusedError("Submit", status=401, code="InvalidAuthenticationToken"))
    assert not may_pass(RefusedError("Submit", status=400, code="UserError"))


# the policy


def _decide(policy: AzureMLRetryPolicy, error: BaseException) -> tuple[RetryAction, timedelta | None]:
    decision = policy.evaluate(error, 1, 3)
    return decision.action, decision.retry_delay


@pytest.mark.parametrize(
    ("words", "action", "delay"),
    [
        (USER_CODE, RetryAction.FAIL, None),
        ("PreemptionError", RetryAction.RETRY, timedelta(0)),
        ("ClusterCoreQuotaReached", RetryAction.RETRY, timedelta(minutes=15)),
        ("TooManyRequests", RetryAction.RETRY, timedelta(minutes=5)),
        ("something else", RetryAction.DEFAULT, None),
    ],
)
def test_the_policy_fails_what_cannot_heal_and_waits_for_what_can(
    words: str, action: RetryAction, delay: timedelta | None
) -> None:
    assert _decide(AzureMLRetryPolicy(), JobError(f"Job j ended as Failed: {words}")) == (action, delay)


def test_each_cause_can_be_decided_otherwise() -> None:
    policy = AzureMLRetryPolicy(user_code="ordinary", quota=timedelta(hours=1), preempted="fail", unknown="retry")

    assert _decide(policy, JobError(USER_CODE)) == (RetryAction.DEFAULT, None)
    assert _decide(policy, JobError("OutOfQuota")) == (RetryAction.RETRY, timedelta(hours=1))
    assert _decide(policy, JobError("PreemptionError")) == (RetryAction.FAIL, None)
    assert _decide(policy, JobError("")) == (RetryAction.RETRY, timedelta(0))
    assert _decide(policy, JobError("TooManyRequests")) == (RetryAction.RETRY, timedelta(minutes=5))


@pytest.mark.parametrize(
    "error", [UnavailableError("Submit", status=429), SilenceError("Job j"), QueueTimeoutError("Job j")]
)
def test_a_task_whose_job_may_go_on_is_never_failed_early(error: AzureMLError) -> None:
    policy = AzureMLRetryPolicy(**dict.fromkeys(Cause, "fail"))

    decision = policy.evaluate(error, 1, 3)

    assert decision.action is RetryAction.DEFAULT
    assert "the next try adopts it" in str(decision.reason)


def test_an_error_that_is_not_ours_is_left_to_airflow() -> None:
    policy = AzureMLRetryPolicy(unknown="fail")

    assert _decide(policy, ValueError("OutOfQuota")) == (RetryAction.DEFAULT, None)


@pytest.mark.parametrize(
    "wishes",
    [{"qouta": "fail"}, {"quota": "never"}, {"quota": timedelta(seconds=-1)}, {"quota": True}, {"quota": None}],
)
def test_a_wish_that_means_nothing_is_refused(wishes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"Retry policy: .*The causes are preempted, quota"):
        AzureMLRetryPolicy(**wishes)


@given(
    st.dictionaries(
        st.sampled_from(list(Cause)).map(str),
        st.sampled_from([str(one) for one in Action]) | st.timedeltas(timedelta(0), timedelta(days=9)),
    )
)
def test_a_policy_comes_back_from_json_as_it_went(wishes: dict[str, Any]) -> None:
    policy = AzureMLRetryPolicy(**wishes)

    again = AzureMLRetryPolicy.deserialize(json.loads(json.dumps(policy.serialize())))

    assert again == policy
    assert again.reactions == policy.reactions
