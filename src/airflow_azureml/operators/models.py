"""Registering models: the version that a job's output becomes, and the champion that the next one is compared with."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from airflow_azureml.core.evaluation import MOST_BYTES, Evaluation
from airflow_azureml.core.findings import Verdict
from airflow_azureml.core.lineage import DataVersion, Lineage
from airflow_azureml.core.model_card import card
from airflow_azureml.core.models import Kind, Registration, check_verdict, expected_champion
from airflow_azureml.core.register_results import JobOutput, RegisterResult, is_told
from airflow_azureml.core.triage import may_pass
from airflow_azureml.errors import AzureMLError, ConfigError, ProtocolError, RefusedError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.hooks.instance import this_instance
from airflow_azureml.links import MODEL_URL_KEY, AzureMLModelLink
from airflow_azureml.operators.tries import map_index
from airflow_azureml.wire import outputs

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.models import Registrar

__all__ = ["AzureMLChampionOperator", "AzureMLRegisterModelOperator"]

#: Where registers are kept, unless told otherwise.
REGISTER = "azureml://datastores/workspaceblobstore/paths/airflow-azureml/models/"
#: Events of the asset that are looked through for one that tells of the version already.
EVENTS_READ = 500


class AzureMLChampionOperator(BaseOperator):
    """Finds the version of a model that is the champion now, for the gate to compare the next one with.

    Returns ``model``, ``version``, ``uri`` (where its files are), ``job``, ``evaluation`` (the URI of the folder with
    its ``evaluation.json``, or an empty text) and ``data_version`` (what that was made on, or an empty text); or an
    empty mapping when there is no champion yet. A champion that was archived or deleted outside counts as none, and the
    log says so. Tags that lag behind the register are mended on the way.

    Args:
        model: The model's name, templated.
        register: Where registers are kept, ``azureml://datastores/NAME/paths/FOLDER/``, templated.
        conn_id: The Airflow connection of type ``azureml``, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("model", "register", "conn_id")
    ui_color = "#e8f1fb"

    def __init__(
        self,
        *,
        model: str,
        register: str = REGISTER,
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.register = register
        self.conn_id = conn_id

    def execute(self, context: "Context") -> dict[str, str]:
        """Look."""
        from airflow_azureml.client.models import open_registrar  # noqa: PLC0415  # not when a DAG is parsed

        del context
        try:
            with open_registrar(AzureMLHook(self.conn_id).settings, folder=self.register) as registrar:
                champion = registrar.champion(self.model)
        except AzureMLError as error:
            raise _for_airflow(error) from error
        if champion is None:
            self.log.info("Model %s has no champion", self.model)
            return {}
        self.log.info("The champion of model %s is version %s, of job %s", self.model, champion.version, champion.job)
        return champion.to_wire()


class AzureMLRegisterModelOperator(BaseOperator):
    """Registers a completed job's output as a version of a model, and makes it the champion that the gate let pass.

    The same job, output and path are the same version, on every try, after a clear, and from another DAG run. The
    version is the champion only if the champion is still the one that the verdict compared it with; otherwise it is
    registered as ``challenger``, with the reason in XCom: the gate must look again. What is wrong is refused before
    anything is written: a job that is not completed, an output that is not there, a verdict that is a no or about
    another job.

    What it returns is described at `airflow_azureml.core.register_results.RegisterResult.to_wire`.

    Args:
        model: The model's name, templated.
        result: What the task of the training pipeline returned, templated: it names the job and its outputs.
        output_name: The output with the model, templated.
        path: Where in the output the model is, templated; all of it by default.
        kind: ``custom``, ``mlflow`` or ``triton``.
        verdict: What the gate decided, templated: its facts name the ``job`` and the version of the ``champion`` that
            the model was compared with (``none`` for none).
        without_verdict: Whether it may be registered without a verdict; then ``expected`` says whether it becomes the
            champion. False by default.
        crown: Whether it is to become the champion. True by default.
        expected: The champion that it was compared with, templated; an empty text for none. By default the verdict's.
        verdict_uri: Where the verdict is kept with all its findings, templated; by default as the gate says.
        evaluation: The URI of the folder with ``evaluation.json``, templated; by default the job's output
            ``evaluation``, where it has one.
        data: What the model was trained on, templated: paths, mappings with ``path``, ``etag``, ``rows`` and
            ``digest``, or what data tests returned.
        git_sha: The commit of the code, templated; by default the one that the evaluation tells.
        tags: Tags for the version, templated; ``stage`` is kept by the register.
        description: Markdown, templated; by default a short model card.
        registry: A registry to share the version with, templated, once it is what it was to become.
        asset: What is updated when a version is registered and is what it was to become: `registered_model(...)`. Once
            for each version, as far as Airflow tells of the events that it has.
        register: Where registers are kept, ``azureml://datastores/NAME/paths/FOLDER/``, templated.
        conn_id: The Airflow connection of type ``azureml``, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = (
        *(
            "model",
            "result",
            "output_name",
            "path",
            "verdict",
            "expected",
            "verdict_uri",
            "evaluation",
            "data",
            "git_sha",
        ),
        *("tags", "description", "registry", "register", "conn_id"),
    )
    template_fields_renderers = {"result": "json", "verdict": "json", "data": "json", "tags": "json"}  # noqa: RUF012  # Airflow's own attribute
    operator_extra_links = (AzureMLModelLink(),)
    ui_color = "#e8f1fb"

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        model: str,
        result: Any,
        output_name: str = "model",
        path: str = "",
        kind: str = Kind.CUSTOM.value,
        verdict: Any = None,
        without_verdict: bool = False,
        crown: bool = True,
        expected: str | None = None,
        verdict_uri: str = "",
        evaluation: str = "",
        data: Any = (),
        git_sha: str = "",
        tags: Mapping[str, str] | None = None,
        description: str = "",
        registry: str = "",
        asset: Asset | None = None,
        register: str = REGISTER,
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        # An asset's own event would come whenever the task ends well; an alias tells only what it is told.
        self.alias = None if asset is None else AssetAlias(f"{asset.name}:registered")
        if asset is not None and self.alias is not None:
            kwargs["inlets"] = [*(kwargs.get("inlets") or []), asset]
            kwargs["outlets"] = [*(kwargs.get("outlets") or []), self.alias]
        super().__init__(**kwargs)
        self.model = model
        self.result = result
        self.output_name = output_name
        self.path = path
        self.kind = kind
        self.verdict = verdict
        self.without_verdict = without_verdict
        self.crown = crown
        self.expected = expected
        self.verdict_uri = verdict_uri
        self.evaluation = evaluation
        self.data = data
        self.git_sha = git_sha
        self.tags = tags
        self.description = description
        self.registry = registry
        self.asset = asset
        self.register = register
        self.conn_id = conn_id

    def execute(self, context: "Context") -> dict[str, Any]:
        """Register, crown, share, tell."""
        from airflow_azureml.client.models import open_registrar  # noqa: PLC0415  # not when a DAG is parsed

        try:
            settings = AzureMLHook(self.conn_id).settings
            made = JobOutput.of_result(self.result, self.output_name)
            verdict = self._verdict(made.job)
            expected = self._expected(verdict)
            with open_registrar(settings, folder=self.register) as registrar:
                registration = self._registration(context, registrar, made, verdict)
                told = self._register(registrar, registration, made, expected)
        except AzureMLError as error:
            raise _for_airflow(error) from error
        context["ti"].xcom_push(key=MODEL_URL_KEY, value=told.page(settings))
        self._tell(context, told)
        return told.to_wire()

    def _register(
        self, registrar: "Registrar", registration: Registration, made: JobOutput, expected: str | None
    ) -> RegisterResult:
        """Register, and have it become what it is to become."""
        registered = registrar.register(registration, source=made.uri)
        version = registered.version.version
        done = "is registered" if registered.is_new else "was registered already"
        self.log.info("Version %s of model %s %s, of job %s", version, self.model, done, made.job)
        told = RegisterResult(registration=registration, version=version, uri=registered.version.uri)
        if expected is not None:
            coronation = registrar.crown(self.model, version, expected=expected)
            told = told.after(coronation)
            if coronation.crowned:
                self.log.info("Version %s of model %s is the champion", version, self.model)
            else:
                self.log.warning("Version %s of model %s is not crowned. %s", version, self.model, coronation.reason)
        if self.registry and told.became:
            told = told.shared_as(registrar.share(self.model, version, registry=self.registry).id)
        return told

    def _registration(
        self,
        context: "Context",
        registrar: "Registrar",
        made: JobOutput,
        verdict: Verdict | None,
    ) -> Registration:
        ti: Any = context["ti"]
        folder = self.evaluation or made.evaluation
        lineage = Lineage(
            git_sha=self.git_sha,
            pipeline=made.pipeline,
            data=[DataVersion.parse(each) for each in _listed(self.data)],
            evaluation=folder,
            evaluated=self._evaluated(registrar, folder),
            verdict=verdict,
            verdict_uri=self.verdict_uri or _told_by(self.verdict),
            metrics=made.metrics,
            owner=f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{map_index(ti)}/{ti.try_number}",
            instance=this_instance(),
        )
        described = self.description or card(self.model, job=made.job, output=self.output_name, lineage=lineage)
        return Registration(
            model=self.model,
            job=made.job,
            output=self.output_name,
            path=self.path,
            kind=self._kind(),
            description=described,
            tags={str(name): str(value) for name, value in (self.tags or {}).items()},
            lineage=lineage,
        )

    def _kind(self) -> Kind:
        if self.kind not in set(Kind):
            raise ConfigError(f"kind is {self.kind!r}; it must be one of {', '.join(Kind)}.")
        return Kind(self.kind)

    def _verdict(self, job: str) -> Verdict | None:
        """Read the verdict, and see to it that it is a yes to this job.

        Raises:
            ConfigError: There is none, it cannot be read, it is a no, or it is about another job.
        """
        if self.verdict is None or self.verdict == "":
            if self.without_verdict:
                return None
            raise ConfigError("There is no verdict: give verdict=, or without_verdict=True if no gate is to be asked.")
        if not isinstance(self.verdict, Mapping):
            raise ConfigError(f"The verdict is {self.verdict!r:.200}; give what the gate returned, as an object.")
        try:
            verdict = Verdict.from_wire(self.verdict)
        except ProtocolError as error:
            raise ConfigError(f"The verdict cannot be read: {error}") from error
        check_verdict(verdict, job=job, model=self.model)
        return verdict

    def _expected(self, verdict: Verdict | None) -> str | None:
        """Say with which champion the model was compared; None where it is not to be the champion."""
        if not self.crown:
            return None
        if self.expected is not None:
            return str(self.expected).strip()
        if verdict is None:
            raise ConfigError(
                "Without a verdict it is not known with which champion the model was compared: give expected=, with an"
                " empty text where there was none, or crown=False."
            )
        return expected_champion(verdict)

    def _evaluated(self, registrar: "Registrar", folder: str) -> Evaluation:
        """Read the evaluation, for the lineage; one that cannot be read is told of, and leaves it without."""
        from airflow_azureml.client.small_files import read_small  # noqa: PLC0415  # not when a DAG is parsed

        if not folder:
            return Evaluation()
        uri, settings = f"{folder.rstrip('/')}/evaluation.json", registrar.settings
        try:
            address = outputs.blob_url(settings.workspace, uri, domain=settings.addresses.storage)
            content = read_small(settings, registrar.client.run(address), most_bytes=MOST_BYTES)
        except (ConfigError, ProtocolError, RefusedError) as error:
            self.log.warning("The evaluation %s is not in the lineage: %s", uri, error)
            return Evaluation()
        found = Evaluation.parse(content) if content is not None else Evaluation.missing("It is not there.")
        for fault in found.faults:
            self.log.warning("The evaluation %s lacks something. %s", uri, fault)
        return found

    def _tell(self, context: "Context", told: RegisterResult) -> None:
        """Update the asset, unless one of its events tells of the version already."""
        if self.asset is None or self.alias is None or not told.became:
            return
        known = context["inlet_events"][self.asset].ascending(False).limit(EVENTS_READ)  # noqa: FBT003  # Airflow's own
        if any(is_told(event.extra, told) for event in known):
            self.log.info("Asset %s was told of version %s before", self.asset.name, told.version)
            return
        context["outlet_events"][self.alias].add(self.asset, extra=told.to_event())


def _listed(data: Any) -> list[Any]:
    """Take one for a list of one."""
    if data is None or data == "":
        return []
    return [data] if isinstance(data, str | Mapping) else [each for each in data if each is not None]


def _told_by(verdict: Any) -> str:
    return str(verdict.get("verdict_uri") or "") if isinstance(verdict, Mapping) else ""


def _for_airflow(error: AzureMLError) -> Exception:
    """Let Airflow retry what a retry can help, and nothing else."""
    return error if may_pass(error) else AirflowFailException(str(error))
