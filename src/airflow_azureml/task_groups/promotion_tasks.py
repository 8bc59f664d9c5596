"""The tasks of promotions, environment by environment."""

from collections.abc import Callable, Mapping
from typing import Any

from airflow.sdk import Asset, BaseOperator, TaskGroup
from attrs import define

from airflow_azureml.core.environments import Environment
from airflow_azureml.core.subsets import Subset
from airflow_azureml.operators.promotion import AzureMLModelDigestOperator
from airflow_azureml.task_groups.promotion_parts import Parts, from_xcom
from airflow_azureml.task_groups.promotion_releases import release_ours
from airflow_azureml.task_groups.promotion_training import Training

__all__ = ["SUBSETS", "ModelTest", "Release", "Training", "Way"]

#: Where subsets are kept unless told otherwise, in the datastore that every workspace has.
SUBSETS = "azureml://datastores/workspaceblobstore/paths/subsets/"
#: What follows in production: made of what registering returned, or of the id of the model that is shared.
Release = Callable[[Any], TaskGroup | BaseOperator]
#: What tests a shared model in an environment: made of the environment and of the model's id in the registry.
ModelTest = Callable[[Environment, Any], TaskGroup | BaseOperator]


@define(kw_only=True)
class Way(Parts):
    """Makes the tasks of one promotion, environment after environment."""

    def rehearse(self, here: Environment, subset: Subset | None, *, to: str, options: Mapping[str, Any]) -> None:
        """Publish, train on the subset, check, judge, record; and ask a person before the last environment."""
        is_first = here is self.environments[0]
        with TaskGroup(here.name) as group:
            begun, passed = self.begin_in(here, group, first="publish" if is_first else "require")
            publish = self.publish_to(here)
            chosen = self.take_subset(here, subset, to=to, options=options)
            train = self.train_in(here, chosen)
            checks, gate = self.check(here, train), self.judge(here, train)
            facts: dict[str, Any] = {"result": train.output, "verdict": gate.output, "checks": checks.output}
            facts |= {} if is_first else {"previous": begun.output}
            shown = {}
            begun >> publish >> (train if chosen is None else chosen)
            if chosen is None:
                facts["data"] = self.paths(here)
            else:
                facts["data"] = chosen.output["data"]
                rows, of, policy = (from_xcom(chosen, name) for name in ("rows", "of", "policy"))
                shown["Trained on"] = f"{rows} of {of} rows: {policy}"
                shown["Estimated cost in production"] = _estimate(checks, chosen)
                chosen >> train
            evidence = self.record(here, "evidence", **facts)
            train >> checks >> gate >> evidence
            last = self.ask(here, evidence, facts, {**shown, "Cost": from_xcom(checks, "cost_text")})
        self.joints = [last, passed]

    def produce(self, *, asset: Asset | None, release: Release | None) -> None:
        """Publish to the last environment, train on all data, register what is better, record, release."""
        here = self.environments[-1]
        with TaskGroup(here.name) as group:
            require, passed = self.begin_in(here, group, first="require")
            publish = self.publish_to(here)
            model = self.retrain_in(here, asset=asset)
            require >> publish >> model
            tasks = _tasks(model)
            facts = {name: tasks[task].output for name, task in _FACTS.items()}
            facts |= {"data": self.trained_on(here, model), "previous": require.output}
            evidence = self.record(here, "evidence", **facts)
            self.only_champion(tasks["register"]) >> evidence
            self.verdicts[here.name] = tasks["gate"].task_id
            self.final = evidence.task_id
            self.ends += [passed, evidence, model]
            if release is not None:
                self.ends.append(release_ours(self, release, after=[evidence, passed]))

    def train_once(
        self, here: Environment, registry: str, *, test: ModelTest | None, asset: Asset | None, publishes: bool
    ) -> None:
        """Train on all data, register what is better, share it, test it, record; and ask a person."""
        with TaskGroup(here.name) as group:
            begun, passed = self.begin_in(here, group, first="publish" if publishes else "model.take")
            before = begun >> self.publish_to(here) if publishes else begun
            model = self.retrain_in(here, asset=asset, registry=registry)
            before >> model
            tasks = _tasks(model)
            digest = AzureMLModelDigestOperator(
                task_id="digest", model=from_xcom(tasks["register"], "asset"), conn_id=here.conn_id, **self.options
            )
            checks = self.check(here, tasks["train"])
            self.only_champion(tasks["register"]) >> digest >> checks
            facts = {name: tasks[task].output for name, task in _FACTS.items()}
            facts |= {"checks": checks.output, "model_sha256": from_xcom(digest, "digest")}
            facts["data"] = self.trained_on(here, model)
            evidence = self.record(here, "evidence", **facts)
            shared = from_xcom(tasks["register"], "registered_in")
            self.put_test(here, test, shared, between=(checks, evidence))
            self.verdicts[here.name] = tasks["gate"].task_id
            last = self.ask(here, evidence, facts, {"Model": shared, "Cost": from_xcom(checks, "cost_text")})
        self.joints = [last, passed]
        self.ends.append(model)

    def try_shared(self, here: Environment, registry: str, *, test: ModelTest | None) -> None:
        """Verify and test the shared model in an environment between."""
        with TaskGroup(here.name) as group:
            require, passed = self.begin_in(here, group, first="require")
            verify, shared = self.verify_in(here, registry, require)
            facts = {**self.carried(require), "checks": verify.output}
            evidence = self.record(here, "evidence", **facts)
            self.put_test(here, test, shared, between=(verify, evidence))
            last = self.ask(here, evidence, facts, {"Model": shared})
        self.joints = [last, passed]

    def deploy_shared(self, registry: str, *, release: Release | None) -> None:
        """Verify the shared model in the last environment, deploy it, and record."""
        here = self.environments[-1]
        with TaskGroup(here.name) as group:
            require, passed = self.begin_in(here, group, first="require")
            verify, shared = self.verify_in(here, registry, require)
            evidence = self.record(here, "evidence", **self.carried(require), checks=verify.output)
            (verify if release is None else verify >> release(shared)) >> evidence
        self.final, self.shared = evidence.task_id, from_xcom(verify, "model")
        self.ends += [passed, evidence]


def _estimate(checks: BaseOperator, chosen: BaseOperator) -> str:
    """Write a template that says what a training on all rows may cost, if that grows as they do; nothing if unknown."""
    return (
        f"{{% set run, part = ti.xcom_pull(task_ids={checks.task_id!r}), ti.xcom_pull(task_ids={chosen.task_id!r}) %}}"
        "{% if run and part and run.get('cost') and part.get('rows') %}"
        "about {{ '%.2f' | format(run['cost'] * part['of'] / part['rows']) }}"
        " {{ run['cost_text'].partition(' (')[0].partition(' ')[2] }}{% endif %}"
    )


#: What evidence tells of a retraining, by the tasks that say it.
_FACTS = {"result": "train", "verdict": "gate", "model": "register"}


def _tasks(model: TaskGroup) -> dict[str, Any]:
    """Find the tasks of a retraining whose results others need."""
    return {name: model.children[f"{model.group_id}.{name}"] for name in _FACTS.values()}
