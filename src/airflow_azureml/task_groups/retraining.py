"""Retraining: only a better model is registered."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, BaseOperator, TaskGroup
from attrs import field, frozen

from airflow_azureml.core.gate import Policy
from airflow_azureml.core.models import is_model_name
from airflow_azureml.core.places import in_datastore
from airflow_azureml.core.plain import AnyPipeline
from airflow_azureml.errors import ConfigError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.operators.data_tests import AzureMLDataTestOperator
from airflow_azureml.operators.gate import AzureMLGateOperator, AzureMLReevaluateOperator
from airflow_azureml.operators.models import AzureMLChampionOperator, AzureMLRegisterModelOperator
from airflow_azureml.operators.pipeline import AzureMLPipelineOperator
from airflow_azureml.operators.retraining import (
    ON_BUSY,
    AzureMLGiveBackModelOperator,
    AzureMLPartitionsOperator,
    AzureMLRetrainingOutcomeOperator,
    AzureMLTakeModelOperator,
)

__all__ = ["Outputs", "TrainingData", "train_evaluate_register"]

#: What every task of a group is told, unless it is told otherwise.
TASK_OPTIONS: Mapping[str, Any] = {"retries": 3, "retry_delay": timedelta(seconds=30)}


@frozen(kw_only=True)
class TrainingData:
    """What a model is trained on, and how it is tested before.

    Attributes:
        uri: A folder of a datastore, ``azureml://datastores/NAME/paths/FOLDER/``, with partitions: files whose paths
            begin with a date, such as ``2026-01-31.csv`` and ``2026-01-31T05/part.csv``. Or a single file. Templated.
        since: Partitions that begin before are left out: a time in ISO 8601 or a partition's key, templated, such as
            ``{{ data_interval_start | ts }}`` or ``{{ partition_key }}``. Not for a single file.
        until: Partitions that begin then or later are left out: likewise.
        suffix: How a partition's name ends.
        input: The pipeline's input that takes the folder or the file; by default ``partitions`` and ``data``.
        tests: The YAML file with the data tests, which each partition must pass; None where nothing is tested. See
            `airflow_azureml.operators.data_tests.AzureMLDataTestOperator`.
        reference: What distributions are compared with: the URI of a file or of a profile; empty for none. Templated.
        on_fail: What becomes of a partition that fails, while the training is skipped: it is put into ``quarantine``,
            or nothing more than that (``skip``); or the run ``fail`` s.
        test_options: More options of `AzureMLDataTestOperator`.
    """

    uri: str
    since: str = ""
    until: str = ""
    suffix: str = ""
    input: str = ""
    tests: Any = None
    reference: str = ""
    on_fail: str = "quarantine"
    test_options: Mapping[str, Any] = field(factory=dict)

    @property
    def is_folder(self) -> bool:
        """Whether it has partitions."""
        return self.uri.endswith("/")

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        is_place = "{{" in self.uri or in_datastore(self.uri) is not None
        windowed = not self.is_folder and bool(self.since or self.until)
        return [
            *([] if is_place else [f"data is {self.uri!r}, not azureml://datastores/NAME/paths/PATH"]),
            *([f"since and until choose among partitions, and {self.uri!r} is a single file"] if windowed else []),
        ]

    @property
    def inputs(self) -> dict[str, Any]:
        """What the pipeline is passed of it."""
        name = self.input or ("partitions" if self.is_folder else "data")
        kind = "uri_folder" if self.is_folder else "uri_file"
        window = {"since": self.since, "until": self.until}
        return {name: {"uri": self.uri, "type": kind}, **{each: value for each, value in window.items() if value}}


@frozen(kw_only=True)
class Outputs:
    """What the pipelines call their outputs.

    Attributes:
        model: The folder of the model.
        evaluation: The folder with ``evaluation.json``.
        test_data: The folder with the rows that the model was measured on; the input of the evaluation's pipeline that
            takes them has the same name. Empty where the training gives none; then a champion is not measured again.
    """

    model: str = "model"
    evaluation: str = "evaluation"
    test_data: str = "prepared"

    def below(self, folder: str) -> dict[str, str]:
        """Say where they are written: below a folder of their own for each training."""
        names = filter(None, (self.model, self.evaluation, self.test_data))
        return {name: f"{folder.rstrip('/')}/{{key}}/{name}/" for name in names}


def train_evaluate_register(  # noqa: PLR0913  # a group's options are its face, and all by name
    group_id: str,
    *,
    pipeline: AnyPipeline,
    model: str,
    policy: Any,
    outputs: str,
    data: TrainingData | None = None,
    evaluation_pipeline: AnyPipeline | None = None,
    inputs: Mapping[str, Any] | None = None,
    output_names: Outputs | None = None,
    asset: Asset | None = None,
    registry: str = "",
    on_busy: str = "wait",
    conn_id: str = AzureMLHook.default_conn_name,
    task_options: Mapping[str, Any] | None = None,
    train_options: Mapping[str, Any] | None = None,
    register_options: Mapping[str, Any] | None = None,
) -> TaskGroup:
    """Train a model, and register it as the champion only if the gate says that it is better.

    ``take`` sees to it that nobody else retrains the model meanwhile; ``partitions`` and ``test_data`` test what it is
    to be trained on; ``train`` runs the pipeline; ``champion`` looks who is to be beaten, and ``reevaluate`` measures
    it on the new test data; ``gate`` decides; ``register`` registers; ``outcome`` tells what came of it; ``give_back``
    lets others retrain. A run whose model is rejected, or whose data is quarantined, ends well: that is an answer.

    Args:
        group_id: The group's id.
        pipeline: The training, which writes the model and its evaluation; see
            `airflow_azureml.operators.pipeline.AzureMLPipelineOperator`.
        model: The model's name.
        policy: The gate's policy: a `airflow_azureml.core.gate.Policy`, the path of its YAML file, or its content.
        outputs: The folder of a datastore below which each training has one of its own, templated.
        data: What it is trained on, and how that is tested; None where the pipeline knows by itself.
        evaluation_pipeline: Measures a given model on given test data; without it, a champion that was measured on
            other data closes the gate.
        inputs: The training's other inputs, templated.
        output_names: What the pipelines call their outputs.
        asset: What is updated when a version is registered, such as
            `airflow_azureml.watchers.registered_model` makes.
        registry: A registry with which a champion is shared.
        on_busy: What a run does while another one retrains the model: ``wait`` for its end, or ``skip``.
        conn_id: The Airflow connection of type ``azureml``, templated.
        task_options: Airflow's own options for every task of the group; three ``retries`` unless told otherwise.
        train_options: More options of the training's `AzureMLPipelineOperator`.
        register_options: More options of `airflow_azureml.operators.models.AzureMLRegisterModelOperator`.

    Raises:
        ConfigError: An argument is wrong; the message lists all that are.
    """
    names = output_names or Outputs()
    wrong = [
        *([] if is_model_name(model) or "{{" in model else [f"model {model!r} is no model's name"]),
        *([f"its policy: {each.message}" for each in policy.faults()] if isinstance(policy, Policy) else []),
        *(data.faults() if data is not None else []),
        *([] if "{{" in outputs or in_datastore(outputs) else [f"outputs is {outputs!r}, no folder of a datastore"]),
        *([] if on_busy in ON_BUSY else [f"on_busy is {on_busy!r}; it must be one of {', '.join(ON_BUSY)}"]),
        *([] if names.test_data or evaluation_pipeline is None else ["a champion is measured on test_data; name it"]),
    ]
    if wrong:
        raise ConfigError(f"train_evaluate_register({group_id!r}): {'; '.join(wrong)}.")
    shared = {**TASK_OPTIONS, **(task_options or {}), "conn_id": conn_id}
    with TaskGroup(group_id) as group:
        holder = {**shared, "model": model, "group": group.group_id}
        tasks = _Tasks(model=model, names=names, shared=shared)
        take = AzureMLTakeModelOperator(task_id="take", on_busy=on_busy, **holder)
        tested = _tested(take, data, shared)
        train = AzureMLPipelineOperator(
            task_id="train",
            pipeline=pipeline,
            inputs={**(inputs or {}), **(data.inputs if data is not None else {})},
            outputs=names.below(outputs),
            **{**shared, **(train_options or {})},
        )
        (tested or take) >> train
        gate = tasks.gate(train, tasks.champion(train, evaluation_pipeline), policy)
        told = {"asset": asset, "registry": registry, **(register_options or {})}
        outcome = tasks.outcome(gate, tasks.register(train, gate, tested, told), tested)
        outcome >> AzureMLGiveBackModelOperator(task_id="give_back", **holder).as_teardown(setups=take)
    return group


@frozen(kw_only=True)
class _Tasks:
    """Makes the tasks that decide about a model that was trained."""

    model: str
    names: Outputs
    shared: Mapping[str, Any]

    def champion(self, train: BaseOperator, pipeline: AnyPipeline | None) -> BaseOperator:
        """Look who is to be beaten; measure it on the new test data, where there is a pipeline for that."""
        champion = AzureMLChampionOperator(task_id="champion", model=self.model, **self.shared)
        train >> champion
        if pipeline is None:
            return champion
        return AzureMLReevaluateOperator(
            task_id="reevaluate",
            pipeline=pipeline,
            champion=champion.output,
            challenger=train.output,
            challenger_outputs={self.names.test_data: self.names.test_data},
            model_input=self.names.model,
            evaluation_output=self.names.evaluation,
            **self.shared,
        )

    def gate(self, train: BaseOperator, champion: BaseOperator, policy: Any) -> BaseOperator:
        """Decide."""
        return AzureMLGateOperator(
            task_id="gate",
            policy=policy,
            challenger=train.output,
            champion=champion.output,
            evaluation_output=self.names.evaluation,
            accepted="register",
            rejected="outcome",
            **self.shared,
        )

    def register(self, train: BaseOperator, gate: BaseOperator, tested: Any, told: Mapping[str, Any]) -> BaseOperator:
        """Register what the gate let pass."""
        register = AzureMLRegisterModelOperator(
            task_id="register",
            model=self.model,
            result=train.output,
            output_name=self.names.model,
            verdict=gate.output,
            verdict_uri=f"{{{{ (ti.xcom_pull(task_ids={gate.task_id!r}) or {{}}).get('verdict_uri', '') }}}}",
            data=tested.output if tested is not None else (),
            **{**self.shared, **told},
        )
        gate >> register
        return register

    def outcome(self, gate: BaseOperator, register: BaseOperator, tested: Any) -> BaseOperator:
        """Tell what came of it."""
        return AzureMLRetrainingOutcomeOperator(
            task_id="outcome",
            model=self.model,
            tested=tested.task_id if tested is not None else "",
            verdict=gate.output,
            registered=register.output,
            trigger_rule="none_failed",
            **{name: value for name, value in self.shared.items() if name != "conn_id"},
        )


def _tested(take: BaseOperator, data: TrainingData | None, shared: Mapping[str, Any]) -> Any:
    """Make the tasks that test what there is to train on; None where nothing is tested."""
    if data is None or data.tests is None:
        return None
    partitions = AzureMLPartitionsOperator(
        task_id="partitions", data=data.uri, since=data.since, until=data.until, suffix=data.suffix, **shared
    )
    tested = AzureMLDataTestOperator.partial(
        task_id="test_data",
        spec=data.tests,
        reference=data.reference,
        on_fail=data.on_fail,
        map_index_template="{{ task.data['path'] }}",
        **{**shared, **data.test_options},
    ).expand(data=partitions.output)
    take >> partitions
    return tested
