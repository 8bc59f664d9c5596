"""Compute clusters that exist while they are needed."""

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException
from attrs import define

from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import AzureMLError, ConfigError, RefusedError, UnavailableError
from airflow_azureml.hooks.azureml import AzureMLHook
from airflow_azureml.wire import compute as wire
from airflow_azureml.wire.compute import Cluster, Operation, Scale
from airflow_azureml.wire.http import Flow

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_azureml.client.azureml import Client

__all__ = ["AzureMLComputeOperator"]

ACTIONS = ("ensure", "delete")
PRIORITIES = ("Dedicated", "LowPriority")
CONFLICT = 409


class AzureMLComputeOperator(BaseOperator):
    """Sees to it that a compute cluster is there as described, or is not there; doing it twice is doing it once.

    ``ensure`` creates the cluster in the workspace's region, changes its limits where they differ, repairs one whose
    creation failed, and otherwise takes what is there. It refuses a compute of another kind or machine size: Azure
    cannot change those. ``delete`` is a success when there is none. Use them as ``.as_setup()`` and ``.as_teardown()``.

    The task holds a worker slot while Azure works, seconds to a few minutes. A kill leaves Azure to finish; the next
    try goes on from what is there.

    Args:
        compute: The compute's name, templated.
        action: ``ensure`` or ``delete``.
        vm_size: The machines, such as ``Standard_DS3_v2``, templated; needed to ensure.
        max_nodes: Most nodes, at least 1.
        min_nodes: Nodes that are kept and paid for, used or not; 0 by default.
        idle_s: Seconds without a job after which a node is given back.
        vm_priority: ``Dedicated``, or ``LowPriority`` for machines that Azure may take away; counts at creation only.
        timeout: How long Azure may take.
        conn_id: The Airflow connection of type ``azureml``, templated.
        kwargs: Airflow's own.
    """

    template_fields: Sequence[str] = ("compute", "vm_size", "conn_id")
    ui_color = "#e8f1fb"

    def __init__(  # noqa: PLR0913  # an operator's options are its face, and all by name
        self,
        *,
        compute: str,
        action: str = "ensure",
        vm_size: str = "",
        max_nodes: int = 1,
        min_nodes: int = 0,
        idle_s: int = 120,
        vm_priority: str = "Dedicated",
        timeout: timedelta = timedelta(minutes=30),
        conn_id: str = AzureMLHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.compute = compute
        self.action = action
        self.vm_size = vm_size
        self.max_nodes = max_nodes
        self.min_nodes = min_nodes
        self.idle_s = idle_s
        self.vm_priority = vm_priority
        self.timeout = timeout
        self.conn_id = conn_id

    def execute(self, context: "Context") -> dict[str, Any]:
        """Ensure or delete; returns the compute's name, its id, and what was done."""
        del context
        try:
            self._check_options()
            hook = AzureMLHook(self.conn_id)
            workspace = hook.settings.workspace
            with hook.get_conn() as client:
                work = _Work(client, workspace, self.compute, time.monotonic() + self.timeout.total_seconds())
                done = self._ensure(work) if self.action == "ensure" else self._delete(work)
        except AzureMLError as error:
            raise error if error.retryable else AirflowFailException(str(error)) from error
        self.log.info("Compute %s: %s", self.compute, done)
        return {"compute": self.compute, "id": f"{workspace.arm_id}/computes/{self.compute}", "done": done}

    def _ensure(self, work: "_Work") -> str:
        scale = Scale(min_nodes=self.min_nodes, max_nodes=self.max_nodes, idle_s=self.idle_s)
        done = ""
        while True:
            found = work.settled()
            what = self._missing_of(found, scale)
            if not what:
                return done or "was there as wanted"
            if done and found is not None:
                message = f"it was {done}, and is {found.state} with {found.scale}. {found.trouble}"
                raise RefusedError(f"Ensure compute {self.compute}", message=message)
            self.log.info("Compute %s is to be %s", self.compute, what)
            if found is None or found.state != "Succeeded":
                begun = work.begin(
                    wire.create(
                        work.workspace, self.compute, vm_size=self.vm_size, vm_priority=self.vm_priority, scale=scale
                    )
                )
            else:
                begun = work.begin(wire.rescale(work.workspace, found, scale))
            done = what if begun else done

    def _missing_of(self, found: Cluster | None, scale: Scale) -> str:
        """Say what is to be done about a compute; empty when it is as wanted."""
        if found is None:
            return "created"
        if found.kind != wire.KIND:
            raise ConfigError(
                f"Compute {self.compute} is there as {found.kind}, not as a cluster; choose another name."
            )
        if found.vm_size.upper() != self.vm_size.upper():
            raise ConfigError(
                f"Compute {self.compute} is there with machines {found.vm_size}, not {self.vm_size}. Azure cannot "
                "change that: delete it first, or choose another name."
            )
        if found.state != "Succeeded":
            return "repaired"
        return "" if found.scale == scale else f"changed to {scale}"

    def _delete(self, work: "_Work") -> str:
        found = work.look()
        if found is None:
            return "was not there"
        if found.state != "Deleting":
            work.begin(wire.delete(work.workspace, self.compute))
        left = work.settled()
        if left is not None:
            raise RefusedError(f"Delete compute {self.compute}", message=f"it is still {left.state}: {left.trouble}")
        return "deleted"

    def _check_options(self) -> None:
        wrong = []
        if not self.compute:
            wrong.append("compute is empty")
        if self.action not in ACTIONS:
            wrong.append(f"action is {self.action!r}, not one of {ACTIONS}")
        if self.action == "ensure" and not self.vm_size:
            wrong.append("vm_size is empty")
        if not 0 <= self.min_nodes <= self.max_nodes or self.max_nodes < 1:
            wrong.append(f"{self.min_nodes} to {self.max_nodes} nodes is no range with a node in it")
        if self.idle_s < 1:
            wrong.append(f"idle_s is {self.idle_s}, less than 1")
        if self.vm_priority not in PRIORITIES:
            wrong.append(f"vm_priority is {self.vm_priority!r}, not one of {PRIORITIES}")
        if wrong:
            raise ConfigError(f"Task {self.task_id}: {'; '.join(wrong)}.")


@define
class _Work:
    """Conversations about one compute, until its deadline (of ``time.monotonic``)."""

    client: "Client"
    workspace: Workspace
    name: str
    deadline: float

    def look(self) -> Cluster | None:
        """Look at the compute."""
        return self.client.run(wire.get(self.workspace, self.name))

    def settled(self) -> Cluster | None:
        """Look until the compute does not change any more, or is not there."""
        while True:
            found = self.look()
            if found is None or found.state in wire.FINAL:
                return found
            self._wait(wire.RETRY_AFTER_S, f"it is {found.state}")

    def begin(self, flow: Flow[Operation] | Flow[Operation | None]) -> bool:
        """Ask Azure to do something and follow it to its end; False when something else was under way there."""
        try:
            operation = self.client.run(flow)
        except RefusedError as error:
            if error.status != CONFLICT:
                raise
            self._wait(wire.RETRY_AFTER_S, str(error))
            return False
        while operation is not None and operation.url and operation.status not in wire.FINAL:
            self._wait(operation.retry_after_s, f"{operation.doing} is {operation.status}")
            operation = self._follow(operation)
        if operation is not None and operation.status in {"Failed", "Canceled"}:
            raise RefusedError(
                operation.doing, code=operation.status, message=operation.trouble or "Azure does not say why"
            )
        return True

    def _follow(self, operation: Operation) -> Operation:
        try:
            return self.client.run(wire.follow(operation))
        except UnavailableError:
            # The next look may be answered, and the deadline holds.
            return operation

    def _wait(self, seconds: float, why: str) -> None:
        if time.monotonic() + seconds >= self.deadline:
            raise UnavailableError(f"Wait for compute {self.name}", message=f"the time is up, and {why}")
        time.sleep(seconds)
