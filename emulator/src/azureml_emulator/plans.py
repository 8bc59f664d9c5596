"""What a pipeline run is going to do: its settings, its steps, and the runs of these steps."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Self

import attrs

from azureml_emulator.layout import PIPELINE, Step, compute_name, lay_out
from azureml_emulator.parallel import PARALLEL, as_command
from azureml_emulator.reuse import MADE_BY
from azureml_emulator.steps import SpecificationError, effective_inputs
from azureml_emulator.storage import long_uri
from azureml_emulator.store import Run, Store
from azureml_emulator.sweep_steps import SWEEP, as_component

Json = dict[str, Any]

DEFAULT_DATASTORE = "workspaceblobstore"
#: How deep pipelines may stand in pipelines; the outermost is the first.
MOST_DEEP = 10


@attrs.frozen(kw_only=True)
class Course:
    """How the steps of a pipeline are run; pipelines inside of it take it over.

    Attributes:
        root: The name of the outermost pipeline run.
        force_rerun: Whether every step is run, and none of them is for others to reuse.
        goes_on: Whether steps that do not depend on a failed one are still run (``continue_on_step_failure``).
        goes_on_without: Whether a step is run without an optional input whose maker failed.
        compute: Where steps run that name no compute; empty for serverless.
        datastore: Where outputs go that nobody gave a URI.
        depth: 1 for the outermost pipeline.
    """

    root: str
    force_rerun: bool
    goes_on: bool
    goes_on_without: bool
    compute: str
    datastore: str
    depth: int = 1

    @classmethod
    def of(cls, run: Run) -> Self:
        """Read it from a pipeline run, the outermost or an inner one."""
        settings = run.spec.get("settings") or {}
        store = str(settings.get("default_datastore") or DEFAULT_DATASTORE)
        # Recorded: a pipeline job's own is true unless it says otherwise, an endpoint's is false.
        goes_on_without = settings.get("continue_run_on_failed_optional_input", run.endpoint is None)
        return cls(
            root=str(run.spec.get("root") or run.name),
            force_rerun=is_true(settings.get("force_rerun")),
            goes_on=is_true(settings.get("continue_on_step_failure")),
            goes_on_without=is_true(goes_on_without),
            compute=compute_name(settings.get("default_compute") or run.spec.get("computeId")),
            datastore=store.rpartition("/")[2].rpartition(":")[2],
            depth=int(run.spec.get("depth", 1)),
        )

    def settings_of(self, step: Step) -> Json:
        """Write the settings of a pipeline inside of this one."""
        return {
            "force_rerun": self.force_rerun,
            "continue_on_step_failure": self.goes_on,
            "continue_run_on_failed_optional_input": self.goes_on_without,
            "default_compute": step.compute or self.compute or None,
            "default_datastore": self.datastore,
        }


def is_true(said: object) -> bool:
    """Read a flag, which the service writes as ``True``."""
    return str(said).lower() == "true"


def plan(store: Store, run: Run, course: Course) -> list[Step]:
    """Bind the nodes of a pipeline, of the run itself or of the pipeline component it names.

    Raises:
        SpecificationError: They cannot be run as they are written.
    """
    jobs, inputs, outputs = run.spec.get("jobs") or {}, run.inputs, run.outputs
    if component_id := str(run.spec.get("componentId") or ""):
        component = _component(store, component_id, whose=f"Job {run.name}")
        _demand(component, PIPELINE, f"Job {run.name}", component_id)
        whose = f"Pipeline component {component.get('name', component_id)}"
        declared = component.get("outputs") or {}
        if unknown := sorted(outputs.keys() - declared.keys() - {"default"}):
            raise SpecificationError(f"{whose} has no output {', '.join(unknown)}.")
        jobs = component.get("jobs") or {}
        inputs = effective_inputs(component.get("inputs") or {}, inputs, whose=whose)
        outputs = {
            name: {"jobOutputType": (one or {}).get("type"), **outputs.get(name, {})} for name, one in declared.items()
        }
    if not jobs:
        raise SpecificationError("The pipeline has no nodes.")
    if course.depth == 1:
        _check_depth(store, jobs, ())
    steps = lay_out(
        jobs,
        {node: _component_of(store, node, spec) for node, spec in jobs.items()},
        inputs=inputs,
        outputs=outputs,
        names={node: str(uuid.uuid4()) for node in jobs},
        datastore=course.datastore,
    )
    _check_computes(store, run, course, steps)
    return steps


def _check_computes(store: Store, run: Run, course: Course, steps: list[Step]) -> None:
    for step in steps:
        compute = step.compute or course.compute
        if compute and store.get(f"{run.workspace}/computes/{compute}") is None:
            raise SpecificationError(
                f"Node {step.node} is to run on compute target {compute}, which was not found in the workspace."
            )


def _check_depth(store: Store, jobs: Mapping[str, Json], above: tuple[str, ...]) -> None:
    """Refuse pipelines in pipelines that go too deep, before anything runs.

    Raises:
        SpecificationError: They do; a component that has come to name itself does for ever.
    """
    seen: set[str] = set()
    for node, spec in jobs.items():
        named = spec.get("componentId") or spec.get("component")
        path = (*above, node)
        if not named or (isinstance(named, str) and named in seen):
            continue
        seen.add(str(named))
        component = _component_of(store, node, spec)
        if str(component.get("type", "command")) != PIPELINE:
            continue
        if len(path) >= MOST_DEEP:
            raise SpecificationError(
                f"Pipelines stand in each other more than {MOST_DEEP} deep, at /{'/'.join(path)}; the emulator runs"
                f" {MOST_DEEP} at most. Does a pipeline component name itself?"
            )
        _check_depth(store, component.get("jobs") or {}, path)


def _component_of(store: Store, node: str, spec: Mapping[str, Any]) -> Json:
    """Find a node's component; the node's own settings go over it."""
    is_sweep, whose = spec.get("type") == SWEEP, f"Node {node}"
    named = _named(spec)
    if not named:
        raise SpecificationError(f"Node {node} names no component.")
    component = dict(named) if isinstance(named, Mapping) else _component(store, str(named), whose=whose)
    kind = str(component.get("type", "command"))
    if kind == PIPELINE and not is_sweep:
        return component
    if kind == PARALLEL and not is_sweep:
        component = as_command(component, spec, whose=whose)
    _demand(component, "command", whose, str(named))
    if is_sweep:
        return as_component(component, spec, whose=whose)
    own = {name: spec[name] for name in ("limits", "resources") if spec.get(name)}
    variables = {**(component.get("environment_variables") or {}), **(spec.get("environment_variables") or {})}
    return {**component, **own, "environment_variables": variables}


def _named(spec: Mapping[str, Any]) -> Any:
    """Find what a node says of its component, or a sweep of its trial's: an id, or the component itself."""
    found = spec
    if spec.get("type") == SWEEP:
        found = spec.get("trial") or {}
        if not isinstance(found, Mapping):
            return found
    return found.get("componentId") or found.get("component") or (found if found.get("command") else None)


def find_component(store: Store, named: str) -> Json | None:
    """Find a component by its id; the labels ``default`` and ``latest`` mean its newest active version."""
    arm_id = named.removeprefix("azureml:")
    container, _, label = arm_id.rpartition("/labels/")
    if not container or label not in ("default", "latest"):
        return store.get(arm_id)
    versions = store.children(f"{container}/versions")
    return next((one for one in reversed(versions) if not one["properties"]["isArchived"]), None)


def _component(store: Store, arm_id: str, *, whose: str) -> Json:
    found = find_component(store, arm_id)
    if found is None:
        raise SpecificationError(f"{whose} names component {arm_id}, which is not there.")
    component: Json = found["properties"]["componentSpec"]
    return component


def _demand(component: Json, kind: str, whose: str, named: str) -> None:
    has = str(component.get("type", "command"))
    if has != kind:
        raise SpecificationError(
            f"{whose} names component {named} of type {has}, where the emulator runs only a {kind} component."
        )


def child_of(run: Run, step: Step, course: Course) -> Run:
    """Make the run of a step."""
    named = {
        "azureml.moduleid": step.component_id.rpartition("/")[2],
        "azureml.moduleName": step.component.get("name", ""),
        "azureml.runsource": "azureml.StepRun",
        "azureml.nodeid": step.run[:8],
        "azureml.pipelinerunid": course.root,
        "azureml.pipeline": course.root,
    }
    outputs = _asked_of_pipeline(step) if step.is_pipeline or step.is_sweep else _places(step, run.workspace)
    return Run(
        workspace=run.workspace,
        name=step.run,
        kind="Step",
        parent=run.name,
        node=step.node,
        display_name=step.node,
        experiment=run.experiment,
        spec={**_spec(step, course), "root": course.root},
        properties={name: str(value) for name, value in named.items() if value},
        inputs=step.inputs,
        outputs=outputs,
    )


def _places(step: Step, workspace: str) -> dict[str, Json]:
    return {
        name: {**output, "uri": long_uri(output["uri"], workspace), MADE_BY: f"{step.run}/{name}"}
        for name, output in step.outputs.items()
    }


def _asked_of_pipeline(step: Step) -> dict[str, Json]:
    """Show the outputs of an inner pipeline or a sweep: what is in it says where they go, unless somebody above did."""
    return {name: {**output, "uri": step.asked.get(name, {}).get("uri")} for name, output in step.outputs.items()}


def _spec(step: Step, course: Course) -> Json:
    component = step.component
    if step.is_pipeline:
        jobs = {} if step.component_id else {"jobs": component.get("jobs") or {}}
        return {
            "type": PIPELINE,
            "componentId": step.component_id,
            "settings": course.settings_of(step),
            "depth": course.depth + 1,
            **jobs,
        }
    if step.is_sweep:
        return {"type": SWEEP, **component[SWEEP], "computeId": step.compute or course.compute or None}
    return {
        "command": component.get("command", ""),
        "code": component.get("code"),
        "environment": component.get("environment"),
        "environment_variables": component.get("environment_variables") or {},
        "component": step.component_id,
        "computeId": step.compute or course.compute or None,
        "limits": component.get("limits"),
        "resources": component.get("resources"),
        "may_be_empty": sorted({*step.sources, *(name for name, one in step.inputs.items() if one.get(MADE_BY))}),
    }
