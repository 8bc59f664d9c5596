"""The tasks of a promotion that no other operator does: which commit, what has passed before, what came of it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, SkipMixin

from airflow_azureml.core.environments import Environment, chain
from airflow_azureml.core.evidence import is_sha
from airflow_azureml.core.findings import Finding, Verdict
from airflow_azureml.core.promotion import Facts, Wanted, plan
from airflow_azureml.core.promotion_outcomes import PromotionOutcome
from airflow_azureml.errors import AzureMLError, ConfigError, EvidenceMismatchError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.hooks.evidence import EVIDENCE_CONNECTION, evidence_keys
from airflow_azureml.operators.batch_work import for_airflow
from airflow_azureml.operators.evidence import FOLDER

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = [
    "AzureMLEnterEnvironmentOperator",
    "AzureMLModelDigestOperator",
    "AzureMLPromotionOutcomeOperator",
    "AzureMLPromotionPlanOperator",
]


class AzureMLPromotionPlanOperator(BaseOperator):
    """Finds the commit that is to be promoted, and what of that is still to be done, by the evidence there is.

    Where the commit has passed in an environment already, and was approved where that is asked, it is not run there
    again; see `airflow_azureml.core.promotion.plan`. Evidence that somebody has altered fails the task.

    Returns ``sha`` (all its digits), ``base`` (the commit of the champion in the last environment; empty where it does
    not say), ``diff_url`` (where what changes is shown; empty where nobody says) and ``steps`` (what is still to be
    done, by environment).

    Args:
        environments: The environments, in order.
        sha: The commit: its digits, the first of them, a branch or a tag; templated.
        folder: A folder of the git repository on the worker, templated; without one, ``sha`` is all 40 digits.
        approved: Whether a person must have agreed to what ran in the environment before the last.
        most_age: How old the evidence of an environment may be when the next one begins; None for any age.
        model: The model whose champion says which commit the last environment has; empty for none. Templated.
        compare_url: Where two commits are compared, with ``{base}`` and ``{sha}``:
            ``https://github.com/acme/models/compare/{base}...{sha}``.
        evidence: The folder of a datastore where evidence is kept, in each environment, templated.
        evidence_conn_id: The Airflow connection that holds the keys of evidence, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("sha", "folder", "model", "evidence", "evidence_conn_id")
    ui_color = "#e8f1fb"

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        environments: Sequence[Environment],
        sha: str,
        folder: str = "",
        approved: bool = True,
        most_age: timedelta | None = None,
        model: str = "",
        compare_url: str = "",
        evidence: str = FOLDER,
        evidence_conn_id: str = EVIDENCE_CONNECTION,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environments = environments
        self.sha = sha
        self.folder = folder
        self.approved = approved
        self.most_age = most_age
        self.model = model
        self.compare_url = compare_url
        self.evidence = evidence
        self.evidence_conn_id = evidence_conn_id

    def execute(self, context: "Context") -> dict[str, Any]:
        """Find it, and look."""
        del context
        try:
            sha = self._commit()
            steps = plan(self._facts(sha), self._wanted(sha))
            base = self._base() if self.model and self.compare_url else ""
        except AzureMLError as error:
            raise for_airflow(error) from error
        self.log.info("Commit %s is to be promoted; %s has %s", sha, self.environments[-1].name, base or "another")
        for step in steps:
            self.log.info("To be done: %s in %s", step.verb, step.environment)
        if not steps:
            self.log.info("Nothing is to be done: commit %s has passed everywhere", sha)
        url = self.compare_url.replace("{base}", base).replace("{sha}", sha) if base and base != sha else ""
        todo = {each.name: [step.verb.value for step in steps if step.environment == each.name] for each in self._chain}
        return {"sha": sha, "base": base, "diff_url": url, "steps": todo}

    @property
    def _chain(self) -> tuple[Environment, ...]:
        return chain(self.environments)

    def _wanted(self, sha: str) -> Wanted:
        names = [each.name for each in self._chain]
        return Wanted(sha=sha, environments=names, approved=self.approved, most_age=self.most_age)

    def _facts(self, sha: str) -> Facts:
        from airflow_azureml.client.evidence import open_evidences  # noqa: PLC0415  # not when a DAG is parsed

        keys, found = evidence_keys(self.evidence_conn_id), {}
        for each in self._chain:
            with open_evidences(AzureMLHook(each.conn_id).settings, keys, folder=self.evidence) as evidences:
                stored = evidences.find(sha, each.name)
            if stored is not None:
                self.log.info("Environment %s has evidence of it: %s", each.name, stored.uri)
                found[each.name] = stored.evidence
        return Facts(evidence=found, now=datetime.now(UTC))

    def _commit(self) -> str:
        from airflow_azureml.client.git import Repository  # noqa: PLC0415  # not when a DAG is parsed

        name = str(self.sha or "").strip()
        if self.folder:
            return Repository.of(Path(self.folder)).commit(name or "HEAD")
        if not is_sha(name):
            raise ConfigError(f"sha is {name!r}; without a folder of a git repository it must be all 40 digits.")
        return name

    def _base(self) -> str:
        from airflow_azureml.client.models import open_registrar  # noqa: PLC0415  # not when a DAG is parsed
        from airflow_azureml.wire import models  # noqa: PLC0415  # as above

        with open_registrar(AzureMLHook(self.environments[-1].conn_id).settings) as registrar:
            champion = registrar.champion(self.model)
            if champion is None:
                return ""
            workspace = registrar.settings.workspace
            found = registrar.client.run(models.get(workspace, champion.model, champion.version))
        sha = found.properties.get("git_sha", "") if found is not None else ""
        return sha if is_sha(sha) else ""


class AzureMLEnterEnvironmentOperator(BaseOperator, SkipMixin):
    """Goes on to what is still to be done in an environment, or past it; and sees that it may be written to.

    A connection that may not write to a protected environment fails the task, before anything is done there.

    Returns ``passed``: whether nothing is to be done there.

    Args:
        environment: The environment.
        plan: The task that plans, an `AzureMLPromotionPlanOperator`. It is no task right before this one: those say
            by their states whether the run comes here.
        todo: The task that begins there.
        passed: The task to go on with where nothing is to be done.
        kwargs: Airflow's own.
    """

    inherits_from_skipmixin = True
    ui_color = "#e8f1fb"

    def __init__(self, *, environment: Environment, plan: str, todo: str, passed: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.plan = plan
        self.todo = todo
        self.passed = passed

    def execute(self, context: "Context") -> dict[str, Any]:
        """Look, and go on."""
        try:
            self.environment.check_writer(AzureMLHook(self.environment.conn_id).settings)
            passed = self._is_done(context["ti"])
        except AzureMLError as error:
            raise for_airflow(error) from error
        told = {"passed": passed}
        ti: Any = context["ti"]
        # Whoever skips tasks ends by an exception, and so returns nothing.
        ti.xcom_push(key="return_value", value=told)
        self.skip_all_except(ti, self.passed if passed else self.todo)
        return told

    def _is_done(self, ti: Any) -> bool:
        told = ti.xcom_pull(task_ids=self.plan)
        steps = told.get("steps") if isinstance(told, Mapping) else None
        if not isinstance(steps, Mapping) or self.environment.name not in steps:
            raise ConfigError(
                f"Task {self.plan} has left no plan for environment {self.environment.name}: {told!r:.200}."
            )
        return not steps[self.environment.name]


class AzureMLModelDigestOperator(BaseOperator):
    """Reads all files of a model and says what identifies them; refuses a model that is another than was tested.

    Returns a verdict, as `airflow_azureml.core.findings.Verdict` writes it, and with it ``model``, ``digest``
    (``sha256:…`` over the paths and contents of all files) and ``files`` (how many).

    Args:
        model: ``NAME:VERSION`` of the connection's workspace, or the id of a registry's model,
            ``azureml://registries/REGISTRY/models/MODEL/versions/VERSION``; templated.
        expected: The digest that it must have, templated; empty for any.
        conn_id: The Airflow connection of type ``azureml`` whose identity reads, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("model", "expected", "conn_id")
    ui_color = "#e8f1fb"

    def __init__(
        self, *, model: str, expected: str = "", conn_id: str = AzureMLHook.default_conn_name, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.expected = expected
        self.conn_id = conn_id

    def execute(self, context: "Context") -> dict[str, Any]:
        """Read them."""
        from airflow_azureml.client.model_digests import digest_of  # noqa: PLC0415  # not when a DAG is parsed

        del context
        try:
            found = digest_of(AzureMLHook(self.conn_id).settings, self.model)
            if self.expected and found.digest != self.expected:
                raise EvidenceMismatchError(
                    f"Model {self.model} has the digest {found.digest}, and the model that was tested and approved has"
                    f" {self.expected}: it is another one. Nothing was deployed; share the tested one anew, under"
                    " another version, and see who may write to the registry."
                )
        except AzureMLError as error:
            raise for_airflow(error) from error
        self.log.info("Model %s: %d files, %s", self.model, found.files, found.digest)
        wanted = "is the one that was tested" if self.expected else "has files"
        reason = f"It has {found.files} files, whose digest is {found.digest}."
        finding = Finding(check=f"the model {wanted}", passed=True, reason=reason, value=found.files)
        verdict = Verdict(subject=f"model {self.model}", policy="", findings=[finding])
        return {**verdict.to_wire(), "model": self.model, "digest": found.digest, "files": found.files}


class AzureMLPromotionOutcomeOperator(BaseOperator):
    """Tells what a promotion came to; a no of the gate or of a person is an answer, and no failure.

    What it returns is described at `airflow_azureml.core.promotion_outcomes.PromotionOutcome.to_wire`.

    Args:
        what: What is promoted, for people.
        sha: What the task that finds the commit returned, templated.
        verdicts: By environment, the task that decides there; its result is read, if there is one.
        approvals: By environment, the task that asks a person.
        entered: By environment, the task that looks what has passed there before.
        final: The task whose success says that it is in production.
        model: The model that is in production then, templated; by default as ``final`` says.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("what", "sha", "model")
    ui_color = "#e8f1fb"

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        what: str,
        sha: str,
        verdicts: Mapping[str, str],
        approvals: Mapping[str, str],
        entered: Mapping[str, str],
        final: str,
        model: str = "",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.what = what
        self.sha = sha
        self.verdicts = dict(verdicts)
        self.approvals = dict(approvals)
        self.entered = dict(entered)
        self.final = final
        self.model = model

    def execute(self, context: "Context") -> dict[str, Any]:
        """Read what the tasks left, and tell."""
        ti: Any = context["ti"]

        def _left(tasks: Mapping[str, str]) -> dict[str, Any]:
            found = {name: ti.xcom_pull(task_ids=task) for name, task in tasks.items()}
            return {name: each for name, each in found.items() if isinstance(each, Mapping)}

        found = PromotionOutcome.of(
            self.what,
            self.sha,
            verdicts=_left(self.verdicts),
            approvals=_left(self.approvals),
            entered=_left(self.entered),
            final=ti.xcom_pull(task_ids=self.final),
            model=self.model,
        )
        self.log.info("%s", found.sentence)
        return found.to_wire()
