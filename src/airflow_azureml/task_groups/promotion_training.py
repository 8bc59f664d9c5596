"""What is trained on the way from staging to production."""

from collections.abc import Mapping
from typing import Any

from attrs import evolve, field, frozen

from airflow_azureml.core.environments import Environment
from airflow_azureml.core.models import is_model_name
from airflow_azureml.core.places import in_datastore
from airflow_azureml.task_groups.retraining import Outputs, TrainingData

__all__ = ["Training"]


@frozen(kw_only=True)
class Training:
    """What is trained, alike in every environment.

    Attributes:
        model: The model's name.
        pipeline: The batch endpoint of the training, as its file calls it; each environment adds its suffix.
        policy: The gate's policy: a `airflow_azureml.core.gate.Policy`, the path of its YAML file, or its content.
        outputs: The folder of a datastore below which each training has one of its own, templated.
        evaluation_pipeline: The batch endpoint that measures a given model on given test data; empty for none.
        data: What production trains on, and how that is tested before; where an environment has ``data``, that is its
            ``uri``. None where the pipeline knows by itself.
        rehearsal_policy: The gate's policy before production; by default ``policy``. Nobody is to be beaten there, so
            of rules that compare with a champion none decides.
        inputs: The training's other inputs, templated.
        output_names: What the pipelines call their outputs.
    """

    model: str
    pipeline: str
    policy: Any
    outputs: str
    evaluation_pipeline: str = ""
    data: TrainingData | None = None
    rehearsal_policy: Any = None
    inputs: Mapping[str, Any] = field(factory=dict)
    output_names: Outputs = field(factory=Outputs)

    def faults(self) -> list[str]:
        """Say what is wrong with it; an empty list when nothing is."""
        is_place = "{{" in self.outputs or in_datastore(self.outputs) is not None
        return [
            *([] if is_model_name(self.model) else [f"model {self.model!r} is no model's name"]),
            *([] if self.pipeline else ["pipeline is empty; name the batch endpoint of the training"]),
            *([] if is_place else [f"outputs is {self.outputs!r}, no folder of a datastore"]),
        ]

    def data_in(self, environment: Environment) -> TrainingData | None:
        """Say what an environment trains on."""
        if self.data is None or not environment.data:
            return self.data
        return evolve(self.data, uri=environment.data)
