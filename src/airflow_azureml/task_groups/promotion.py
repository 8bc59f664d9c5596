"""From staging to production: the same code, or the same model, through environments in order."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, TaskGroup
from attrs import frozen

from airflow_azureml.core.environments import Environment, chain
from airflow_azureml.core.subsets import Subset
from airflow_azureml.errors import ConfigError
from airflow_azureml.hooks.evidence import EVIDENCE_CONNECTION
from airflow_azureml.task_groups.promotion_tasks import SUBSETS, ModelTest, Release, Training, Way
from airflow_azureml.task_groups.retraining import Outputs, TrainingData

__all__ = [
    "Environment",
    "Outputs",
    "Subset",
    "Training",
    "TrainingData",
    "promote_code",
    "promote_hybrid",
    "promote_model",
]


@frozen(kw_only=True)
class _Asked:
    """What every promotion is asked, checked."""

    environments: tuple[Environment, ...]
    way: Way

    @classmethod
    def of(
        cls, kind: str, group_id: str, environments: Sequence[Environment], wrong: Sequence[str], **told: Any
    ) -> "_Asked":
        """See that it makes sense.

        Raises:
            ConfigError: It does not; the message lists all that is wrong.
        """
        found = chain(environments)
        faults = [
            *([] if len(found) > 1 else ["it needs two environments at least, production last"]),
            *told["training"].faults(),
            *wrong,
        ]
        if faults:
            raise ConfigError(f"{kind}({group_id!r}): {'; '.join(faults)}.")
        way = Way(environments=found, kind=kind.removeprefix("promote_"), **told)
        return cls(environments=found, way=way)


def promote_code(  # noqa: PLR0913  # a group's options are its face, and all by name
    group_id: str,
    *,
    environments: Sequence[Environment],
    folder: str,
    sha: str,
    training: Training,
    subset: Subset | None = None,
    subsets: str = SUBSETS,
    checks: Mapping[str, Any] | None = None,
    approval: Mapping[str, Any] | None = None,
    most_age: timedelta | None = timedelta(days=14),
    compare_url: str = "",
    release: Release | None = None,
    asset: Asset | None = None,
    evidence_conn_id: str = EVIDENCE_CONNECTION,
    task_options: Mapping[str, Any] | None = None,
    publish_options: Mapping[str, Any] | None = None,
    subset_options: Mapping[str, Any] | None = None,
) -> TaskGroup:
    """Take the same reviewed code through environments: each trains with it, on a subset first, and on all data last.

    ``plan`` finds the commit and looks what is still to be done. In each environment before the last: ``publish``,
    ``subset``, ``train``, ``checks``, ``gate``, ``evidence``; before the last a person is asked, ``approve``, and
    ``approved`` records the answer. In the last: ``require`` sees to it that the evidence is there; then ``publish``,
    the group ``model`` (see `airflow_azureml.task_groups.retraining.train_evaluate_register`), ``evidence``, and what
    ``release`` makes. ``outcome`` tells what came of it. A no of a gate or of a person ends the run well.

    A run may be begun again at any time: what the commit has passed is not done again, and nothing is published twice.

    Args:
        group_id: The group's id.
        environments: The environments in order, the last for users. Each has the training under its own endpoint.
        folder: The folder of the pipelines in a git repository on the workers, templated; see
            `airflow_azureml.operators.publish.AzureMLPublishPipelineOperator`.
        sha: The commit, templated: its digits, the first of them, a branch or a tag.
        training: What is trained, alike everywhere.
        subset: Which rows the environments before the last train on; None where each has data of its own.
        subsets: The folder of a datastore where subsets are kept, in each of those environments.
        checks: Options of `airflow_azureml.operators.integration.AzureMLIntegrationChecksOperator`.
        approval: Options of `airflow_azureml.operators.approval.AzureMLApprovalOperator`, such as ``approvers`` and
            ``deadline``; None where nobody is asked.
        most_age: How old the evidence of an environment may be when the next one begins; None for any age.
        compare_url: Where two commits are compared, with ``{base}`` and ``{sha}``.
        release: Makes what follows the registration in production, of what registering returned.
        asset: What is updated when a version is registered in production, such as
            `airflow_azureml.watchers.registered_model` makes.
        evidence_conn_id: The Airflow connection that holds the keys of evidence.
        task_options: Airflow's own options for every task of the group; three ``retries`` unless told otherwise.
        publish_options: More options of the operator that publishes.
        subset_options: More options of `airflow_azureml.operators.subset.AzureMLSubsetOperator`.

    Raises:
        ConfigError: An argument is wrong; the message lists all that are.
    """
    wrong = [
        *(subset.faults() if subset is not None else []),
        *([] if folder else ["folder is empty"]),
        *_without_data(environments[:-1] if subset is None else environments[-1:], training),
    ]
    asked = _Asked.of(
        "promote_code",
        group_id,
        environments,
        wrong,
        training=training,
        sha=sha,
        folder=folder,
        checks=checks,
        approval=approval,
        most_age=most_age,
        evidence_conn_id=evidence_conn_id,
        compare_url=compare_url,
        task_options=task_options or {},
        publish_options=publish_options or {},
    )
    with TaskGroup(group_id) as group:
        way = asked.way.begun()
        for each in asked.environments[:-1]:
            way.rehearse(each, subset, to=subsets, options=subset_options or {})
        way.produce(asset=asset, release=release)
        way.end()
    return group


def promote_model(  # noqa: PLR0913  # as above
    group_id: str,
    *,
    environments: Sequence[Environment],
    sha: str,
    training: Training,
    registry: str,
    folder: str = "",
    test: ModelTest | None = None,
    checks: Mapping[str, Any] | None = None,
    approval: Mapping[str, Any] | None = None,
    most_age: timedelta | None = timedelta(days=14),
    compare_url: str = "",
    release: Release | None = None,
    asset: Asset | None = None,
    evidence_conn_id: str = EVIDENCE_CONNECTION,
    task_options: Mapping[str, Any] | None = None,
) -> TaskGroup:
    """Train a model once, in the first environment, and take that very model through the others.

    In the first environment the group ``model`` trains, judges, registers and shares the model with a registry, that
    every workspace may read; ``digest`` reads all its files. Then ``test``, ``checks`` and ``evidence``. In each of the
    others ``verify`` reads the files in the registry and refuses a model that is another one. The last has what
    ``release`` makes.

    Args:
        group_id: The group's id.
        environments: The environments in order, the last for users; see `promote_code`.
        sha: The commit of the code that trains, templated; see ``folder``.
        training: What is trained; its pipeline is published in the first environment already.
        registry: The registry's name.
        folder: A folder of the git repository on the workers, templated; without one, ``sha`` is all 40 digits.
        test: Makes what tests the model in an environment before the last, such as a deployment and a smoke test.
        checks: See `promote_code`.
        approval: See there.
        most_age: See there.
        compare_url: See there.
        release: Makes what deploys the model, of its id in the registry,
            ``azureml://registries/REGISTRY/models/MODEL/versions/VERSION``, templated.
        asset: What is updated when a version is registered in the first environment.
        evidence_conn_id: See `promote_code`.
        task_options: See there.

    Raises:
        ConfigError: An argument is wrong; the message lists all that are.
    """
    told = {"checks": checks, "approval": approval, "most_age": most_age, "compare_url": compare_url}
    wrong = [*_without_data(environments[:1], training), *([] if registry else ["registry is empty"])]
    asked = _Asked.of(
        "promote_model",
        group_id,
        environments,
        wrong,
        training=training,
        sha=sha,
        folder=folder,
        evidence_conn_id=evidence_conn_id,
        task_options=task_options or {},
        **told,
    )
    with TaskGroup(group_id) as group:
        _take_model(asked, registry, test=test, release=release, asset=asset)
    return group


def promote_hybrid(  # noqa: PLR0913  # as above
    group_id: str,
    *,
    environments: Sequence[Environment],
    folder: str,
    sha: str,
    training: Training,
    registry: str,
    test: ModelTest | None = None,
    checks: Mapping[str, Any] | None = None,
    approval: Mapping[str, Any] | None = None,
    most_age: timedelta | None = timedelta(days=14),
    compare_url: str = "",
    release: Release | None = None,
    asset: Asset | None = None,
    evidence_conn_id: str = EVIDENCE_CONNECTION,
    task_options: Mapping[str, Any] | None = None,
    publish_options: Mapping[str, Any] | None = None,
) -> TaskGroup:
    """Publish code to the first environment, train there on all data, and take that very model to production.

    As `promote_model`, but that the first environment gets the commit's pipelines first. For whoever may read
    production's data in staging, and wants production to train nothing.

    Args:
        group_id: The group's id.
        environments: The environments in order, the last for users; see `promote_code`.
        folder: The folder of the pipelines in a git repository on the workers, templated.
        sha: The commit, templated.
        training: What is trained, on the data of the first environment.
        registry: The registry's name.
        test: See `promote_model`.
        checks: See `promote_code`.
        approval: See there.
        most_age: See there.
        compare_url: See there.
        release: See `promote_model`.
        asset: See there.
        evidence_conn_id: See `promote_code`.
        task_options: See there.
        publish_options: See there.

    Raises:
        ConfigError: An argument is wrong; the message lists all that are.
    """
    told = {"checks": checks, "approval": approval, "most_age": most_age, "compare_url": compare_url}
    empty = [name for name, value in {"registry": registry, "folder": folder}.items() if not value]
    asked = _Asked.of(
        "promote_hybrid",
        group_id,
        environments,
        [*_without_data(environments[:1], training), *(f"{name} is empty" for name in empty)],
        training=training,
        sha=sha,
        folder=folder,
        evidence_conn_id=evidence_conn_id,
        task_options=task_options or {},
        publish_options=publish_options or {},
        **told,
    )
    with TaskGroup(group_id) as group:
        _take_model(asked, registry, test=test, release=release, asset=asset, publishes=True)
    return group


def _take_model(
    asked: _Asked,
    registry: str,
    *,
    test: ModelTest | None,
    release: Release | None,
    asset: Asset | None,
    publishes: bool = False,
) -> None:
    """Make the tasks that train once and take the model on."""
    first, *others = asked.environments
    way = asked.way.begun()
    way.train_once(first, registry, test=test, asset=asset, publishes=publishes)
    for each in others[:-1]:
        way.try_shared(each, registry, test=test)
    way.deploy_shared(registry, release=release)
    way.end()


def _without_data(environments: Sequence[Environment], training: Training) -> list[str]:
    """Say which environments train and have no data to train on."""
    if training.data is None or training.data.uri:
        return []
    return [f"environment {each.name} has no data" for each in environments if not each.data]
