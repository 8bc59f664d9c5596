"""The tries of a task instance, and what it remembers from one to the next."""

from typing import TYPE_CHECKING, Any

from airflow_azureml.core.jobs import (
    INSTANCE_PROPERTY,
    LEAVE,
    ON_KILL_PROPERTY,
    IfExists,
    JobKey,
    Memory,
    Situation,
    Stage,
)
from airflow_azureml.errors import ConfigError
from airflow_azureml.hooks.instance import this_instance
from airflow_azureml.operators.start import Try

if TYPE_CHECKING:
    from airflow.sdk import Context

#: What a task instance remembers of its job, in Airflow's task_state_store.
MEMORY_KEY = "azureml_job"


def map_index(ti: Any) -> int:
    """Return a task instance's map index; -1 when it is not mapped."""
    return -1 if ti.map_index is None else int(ti.map_index)


def try_of(context: "Context", key: JobKey, *, if_exists: str, cancels_on_kill: bool, preflight: bool = False) -> Try:
    """Describe the try that is being executed.

    Raises:
        ConfigError: ``if_exists`` is no word we know.
    """
    if if_exists not in set(IfExists):
        raise ConfigError(f"if_exists is {if_exists!r}; it must be one of {', '.join(IfExists)}.")
    ti = context["ti"]
    memory = recall(context)
    instance = "".join(f"{part}/" for part in (ti.dag_id, ti.run_id, ti.task_id, map_index(ti)))
    situation = Situation(
        cleared=memory is not None and memory.was_cleared(ti.max_tries),
        cancels_on_kill=cancels_on_kill,
        remembered=memory.job if memory else "",
        stopping=memory.job if memory and memory.stage is Stage.STOPPING else "",
        if_exists=IfExists(if_exists),
        instance=instance,
    )
    return Try(
        key=key,
        memory=memory,
        number=ti.try_number,
        situation=situation,
        owner=f"{instance}{ti.try_number}",
        note=lambda: remember(context, Stage.HELD, ""),
        marks=marks(cancels_on_kill=cancels_on_kill),
        preflight=preflight,
    )


def marks(*, cancels_on_kill: bool) -> dict[str, str]:
    """Write what a job is to say of its task beside its owner: which Airflow's it is, and whether it may be left."""
    instance = this_instance()
    return {
        **({INSTANCE_PROPERTY: instance} if instance else {}),
        **({} if cancels_on_kill else {ON_KILL_PROPERTY: LEAVE}),
    }


def recall(context: "Context") -> Memory | None:
    """Return what the task instance remembers of its job, from this try or an earlier one."""
    return Memory.from_wire(context["task_state_store"].get(MEMORY_KEY))


def remember(context: "Context", stage: Stage, job_name: str) -> None:
    """Write down how far this try has come, where a crash does not reach it."""
    ti = context["ti"]
    memory = Memory(stage=stage, job=job_name, try_number=ti.try_number, max_tries=ti.max_tries)
    context["task_state_store"].set(MEMORY_KEY, memory.to_wire())
