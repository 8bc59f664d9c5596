"""Sweep jobs: the answers are as Azure ML's were recorded."""

from __future__ import annotations

import re

import pytest

from tests.contract.job_shapes import JSON, NO_RESOURCES, default_output_of, job_of, services_of
from tests.contract.shapes import (
    Answers,
    Azure,
    Exchange,
    W,
    each,
    judged,
    maybe,
)

_SPACE = {"lr": ["uniform", [0.001, 0.1]], "conv_size": ["choice", [[2, 5, 7]]]}
_SWEEP = {
    "properties": {},
    "tags": {},
    "displayName": "sweep",
    "experimentName": "recorded",
    "isArchived": False,
    "jobType": "Sweep",
    "inputs": {},
    "limits": {"jobLimitsType": "Sweep", "timeout": "PT5M", "maxConcurrentTrials": 10, "maxTotalTrials": 1},
    "objective": {"goal": "maximize", "primaryMetric": "accuracy"},
    "outputs": {},
    "samplingAlgorithm": {"samplingAlgorithmType": "Random"},
    "searchSpace": _SPACE,
    "trial": {
        "command": "echo ${{search_space.lr}}",
        "environmentId": f"{W}/environments/env/versions/1",
        "environmentVariables": {},
    },
}
_PREFIX = "_aml_system_"
SWEEPS = [
    Exchange(
        "PUT sweep job",
        "jobs/sweep",
        201,
        job_of(
            "sweep",
            status=re.compile("Starting|Running"),
            tags={
                f"{_PREFIX}max_concurrent_jobs": "10",
                f"{_PREFIX}max_total_jobs": "1",
                f"{_PREFIX}max_duration_minutes": "5",
                f"{_PREFIX}policy_config": '{"name":"Default","properties":{}}',
                f"{_PREFIX}generator_config": JSON,
                f"{_PREFIX}primary_metric_config": '{"name":"accuracy","goal":"maximize"}',
                **maybe(JSON, f"{_PREFIX}platform_config"),
            },
            properties={
                "primary_metric_config": JSON,
                "resume_from": "null",
                "runTemplate": "HyperDrive",
                "azureml.runsource": "hyperdrive",
                "platform": "AML",
                **maybe(str, "ContentSnapshotId", "user_agent", "space_size"),
            },
            services=services_of("sweep", "Studio"),
            jobType="Sweep",
            searchSpace=_SPACE,
            samplingAlgorithm={"samplingAlgorithmType": "Random", "seed": None, "logbase": None, "rule": "Random"},
            limits={**_SWEEP["limits"], "trialTimeout": None},  # type: ignore[dict-item]  # an object
            earlyTermination=None,
            objective={"primaryMetric": "accuracy", "goal": "Maximize"},
            trial={
                **_SWEEP["trial"],  # type: ignore[dict-item]  # an object
                "codeId": None,
                "distribution": None,
                "resources": {"instanceCount": 1, **NO_RESOURCES},
            },
            inputs={},
            outputs={"default": default_output_of("sweep")},
            queueSettings=None,
        ),
        sent={"properties": _SWEEP},
    ),
    Exchange(
        "GET sweep job",
        "jobs/sweep",
        200,
        dict,
        until=lambda answer: bool(answer.json()["properties"]["status"] == "Completed"),
    ),
]

EXCHANGES = SWEEPS


@pytest.fixture(scope="module")
def told(recorded_azure: Azure) -> Answers:
    return recorded_azure.tell(EXCHANGES)


@each(EXCHANGES)
def test_the_answer_is_as_it_was_recorded(told: Answers, exchange: Exchange) -> None:
    assert judged(exchange, told[exchange.name]) == []


def test_each_trial_of_a_sweep_is_named_by_its_number_with_its_values_in_a_tag(told: Answers) -> None:
    tags = told["GET sweep job"].json()["properties"]["tags"]

    assert re.fullmatch(r'\{"lr": 0\.\d+, "conv_size": \d\}', tags[f"{_PREFIX}sweep_0"])
    assert tags[f"{_PREFIX}all_jobs_generated"] == "true"
