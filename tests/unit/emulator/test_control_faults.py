from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azureml_emulator.counts import RequestCounts
from azureml_emulator.fault_members import FaultError
from azureml_emulator.faults import FaultList

JOB = "/subscriptions/s/workspaces/w/jobs/x"
LOOKS = {"method": "GET", "path": ".*/jobs/[^/]+"}


def faults(*said: dict[str, Any]) -> FaultList:
    made = FaultList()
    made.replace(list(said))
    return made


@given(st.integers(1, 6), st.none() | st.integers(1, 6), st.integers(0, 40))
def test_a_fault_strikes_each_nth_match_and_no_more_often_than_its_count(
    every: int, count: int | None, requests: int
) -> None:
    made = faults({**LOOKS, "status": 500, "every": every, "count": count})
    struck = [number for number in range(1, requests + 1) if made.strike("GET", JOB)]

    assert struck == list(range(every, requests + 1, every))[:count]
    assert (made.shown()[0]["matched"], made.shown()[0]["struck"]) == (requests, len(struck))


@pytest.mark.parametrize(
    ("method", "path", "struck"),
    [
        ("GET", JOB, True),
        ("GET", JOB.upper(), True),
        ("PUT", JOB, False),
        ("GET", f"{JOB}/cancel", False),
        ("GET", "/subscriptions/s/workspaces/w/jobs", False),
    ],
)
def test_the_pattern_is_of_the_whole_path_and_case_does_not_matter(method: str, path: str, struck: bool) -> None:
    assert bool(faults({**LOOKS, "reset": True}).strike(method, path)) is struck


def test_a_request_is_struck_by_the_first_fault_that_is_due() -> None:
    made = faults({**LOOKS, "status": 429, "count": 1}, {"path": ".*", "status": 503})
    answers = [made.strike(*request) for request in (("GET", JOB), ("GET", JOB), ("DELETE", "/x"))]

    assert [fault.status for fault in answers if fault] == [429, 503, 503]
    assert [(one["matched"], one["struck"]) for one in made.shown()] == [(2, 1), (2, 2)]


def test_an_error_code_that_is_not_given_is_azure_resource_managers() -> None:
    codes = [faults({"path": ".*", **more}).strike("GET", JOB) for more in ({"status": 429}, {"status": 418})]
    mine = faults({"path": ".*", "status": 429, "code": "Mine"}).strike("GET", JOB)

    assert [fault.error_code for fault in [*codes, mine] if fault] == ["TooManyRequests", "EmulatedFault", "Mine"]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({}, "The faults are a list, not {}."),
        ([3], "Fault 0: 3 is no object."),
        ([{"path": ".*", "reset": True}, {"path": ".*"}], "Fault 1: it has no effect; give exactly one of status, "),
        ([{"path": ".*", "reset": True, "slow_s": 1}], "Fault 0: it has slow_s and reset; give exactly one of"),
        ([{"path": ".*", "status": 500, "retry_after": 1}], "Fault 0: retry_after: unknown; the members are "),
        ([{"status": 500}], "Fault 0: path is missing"),
        ([{"path": "(", "status": 500}], 'Fault 0: path "(" is no regular expression'),
        ([{"path": 1, "status": 500}], "Fault 0: path is 1; give a text."),
        ([{"path": ".*", "method": "LOOK", "reset": True}], 'Fault 0: method is "LOOK"; give one of DELETE, GET'),
        ([{"path": ".*", "status": 200}], "Fault 0: status is 200; give a whole number of 400 to 599."),
        ([{"path": ".*", "status": True}], "Fault 0: status is true"),
        ([{"path": ".*", "reset": False}], "Fault 0: reset is false; give true, or leave it out."),
        ([{"path": ".*", "reset": True, "count": 0}], "Fault 0: count is 0"),
        ([{"path": ".*", "reset": True, "every": 0}], "Fault 0: every is 0"),
        ([{"path": ".*", "reset": True, "headers": {}}], "Fault 0: headers only go with status."),
        ([{"path": ".*", "status": 429, "headers": {"Retry After": "1"}}], "Fault 0: headers are"),
        ([{"path": ".*", "status": 429, "headers": {"X": "a\nb"}}], "Fault 0: headers are"),
        (
            [{"path": ".*", "status": 429, "headers": {"Content-Length": "1"}}],
            "Fault 0: headers Content-Length: the answer has its own",
        ),
        ([{"path": ".*", "method": [], "reset": True}], "Fault 0: method is []; give one of"),
        ([{"path": ".*", "slow_s": -1}], "Fault 0: The seconds of slow_s are -1"),
        ([{"path": ".*", "status_word": ""}], 'Fault 0: status_word is ""; give a text.'),
    ],
)
def test_a_wrong_fault_is_refused_in_a_sentence_and_those_before_stay(said: Any, sentence: str) -> None:
    made = faults({**LOOKS, "reset": True})

    with pytest.raises(FaultError) as refused:
        made.replace(said)
    assert sentence in str(refused.value)
    assert made.strike("GET", JOB)


def test_requests_are_counted_by_method_route_and_answer_with_a_figure_per_minute() -> None:
    at = [100.0]
    counts = RequestCounts(lambda: at[0])
    for status in (200, 200, 429, 0):
        counts.add("GET", "{workspace}/jobs/{name}", status)
    counts.add("PUT", "{workspace}/jobs/{name}", 201)
    at[0] = 130.0
    shown = counts.shown()
    counts.clear()
    at[0] = 190.0

    looks = {
        "method": "GET",
        "route": "{workspace}/jobs/{name}",
        "count": 4,
        "per_minute": 8.0,
        "statuses": {"200": 2, "429": 1, "none": 1},
    }
    assert (shown["seconds"], shown["count"], shown["per_minute"]) == (30.0, 5, 10.0)
    assert shown["requests"][0] == looks
    assert counts.shown() == {"seconds": 60.0, "count": 0, "per_minute": 0.0, "requests": []}
