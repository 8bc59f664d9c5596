"""What shall go wrong with online endpoints."""

from __future__ import annotations

from typing import Any

import pytest

from azureml_emulator.fault_members import FaultError
from azureml_emulator.online_faults import OnlineFault, OnlineFaults


def faults(*said: dict[str, Any]) -> OnlineFaults:
    made = OnlineFaults()
    made.replace(list(said))
    return made


def test_an_operation_is_struck_by_the_first_fault_that_is_due_as_often_as_it_says() -> None:
    made = faults({"deployment": "blue", "fails": "OutOfQuota", "count": 1}, {"deployment": ".*", "never_ready": True})

    struck = [made.strike("line", "blue") for _ in range(2)]

    assert [one.fails for one in struck if one] == ["OutOfQuota", ""]
    assert [one["struck"] for one in made.shown()] == [1, 1]


def test_a_fault_is_of_an_endpoint_or_of_its_deployments() -> None:
    made = faults({"endpoint": "line", "fails": "InternalServerError"})

    assert made.strike("line", "blue") is None
    assert made.strike("circle") is None
    assert made.strike("line") is not None


def test_an_error_is_in_azures_words_unless_others_are_given() -> None:
    assert OnlineFault(fails="OutOfCapacity").error == {
        "code": "OutOfCapacity",
        "message": "The specified VM size failed to provision due to a lack of Azure Machine Learning capacity. Please"
        " see troubleshooting guide, available here: https://aka.ms/oe-tsg#error-outofcapacity",
    }
    assert OnlineFault(fails="New", message="Told.").error["message"].startswith("Told. Please see")


@pytest.mark.parametrize(
    "said",
    [
        {"deployment": "blue"},
        {"deployment": "blue", "fails": "X", "never_ready": True},
        {"never_ready": True},
        {"endpoint": "line", "takes_s": 3},
        {"deployment": "blue", "never_ready": True, "message": "words"},
        {"deployment": "(", "never_ready": True},
        {"deployment": "blue", "takes_s": -1},
        {"deployment": "blue", "fails": "X", "colour": "red"},
        "fails",
    ],
)
def test_what_is_no_fault_is_refused_and_those_in_force_stay(said: Any) -> None:
    made = faults({"endpoint": "line", "fails": "X"})

    with pytest.raises(FaultError):
        made.replace([said])

    assert [one["fails"] for one in made.shown()] == ["X"]


def test_faults_come_back_as_they_were_said() -> None:
    said = {"endpoint": "line", "deployment": "b.*", "count": 3, "fails": "BadArgument", "message": "No."}

    assert faults(said).shown() == [said | {"struck": 0}]
