"""The nodes of computes: who has them, who waits for them, in which order, and how many are up."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs

from azureml_emulator.clock import CLOCK
from azureml_emulator.durations import seconds
from azureml_emulator.settings import Settings
from azureml_emulator.store import Store

Json = dict[str, Any]


class ComputeError(Exception):
    """A job cannot have the nodes that it needs; the message says why.

    Attributes:
        code: The innermost code of its error.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@attrs.frozen(kw_only=True)
class Limits:
    """How a compute scales.

    Attributes:
        most: How many nodes it may have; 0 or more.
        least: How many it always has.
        idle_s: How long a node stays up that nobody uses, in seconds.
    """

    most: int
    least: int = 0
    idle_s: float = 0.0


@attrs.frozen(kw_only=True)
class Nodes:
    """How many nodes of a compute there are at one moment, by what they do."""

    preparing: int
    running: int
    idle: int

    @property
    def current(self) -> int:
        """All of them."""
        return self.preparing + self.running + self.idle


@attrs.define(eq=False)
class Ticket:
    """A job's place in the queue of a compute.

    Attributes:
        nodes: How many nodes it needs; at least 1.
        fresh: How many of its nodes have to be started first; None while it waits.
        is_running: Whether its nodes are up.
    """

    nodes: int
    fresh: int | None = None
    is_running: bool = False


class Cluster:
    """One compute's nodes. Whoever came first is served first, and nobody overtakes; times are Unix times."""

    def __init__(self) -> None:
        self._waiting: deque[Ticket] = deque()
        self._holding: list[Ticket] = []
        self._idle_since: list[float] = []

    def join(self, ticket: Ticket) -> None:
        """Stand in the queue, at its end."""
        self._waiting.append(ticket)

    def serve(self, limits: Limits, now_s: float) -> list[Ticket]:
        """Give nodes to those at the head of the queue, as far as there are any, and say to whom."""
        served = []
        while self._waiting and self._held() + self._waiting[0].nodes <= limits.most:
            idle = self.nodes(limits, now_s).idle
            ticket = self._waiting.popleft()
            ticket.fresh = max(0, ticket.nodes - idle)
            del self._idle_since[: ticket.nodes - ticket.fresh]
            self._holding.append(ticket)
            served.append(ticket)
        return served

    def leave(self, ticket: Ticket, now_s: float) -> None:
        """Give the nodes back, or leave the queue; nodes that came up stay for a while."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)
        elif ticket in self._holding:
            self._holding.remove(ticket)
            up = ticket.nodes if ticket.is_running else ticket.nodes - (ticket.fresh or 0)
            self._idle_since += [now_s] * up

    def nodes(self, limits: Limits, now_s: float) -> Nodes:
        """Count the nodes, once those are gone that were idle for too long."""
        held, idle = self._held(), sorted(self._idle_since)
        kept = max(0, limits.least - held)
        young = sum(now_s - since < limits.idle_s for since in idle)
        idle = _newest(idle, max(young, kept))
        idle += [now_s] * (kept - len(idle))
        self._idle_since = _newest(idle, limits.most - held)
        preparing = sum(ticket.fresh or 0 for ticket in self._holding if not ticket.is_running)
        return Nodes(preparing=preparing, running=held - preparing, idle=len(self._idle_since))

    @property
    def waiting(self) -> tuple[Ticket, ...]:
        """Who waits, the next one first."""
        return tuple(self._waiting)

    def _held(self) -> int:
        return sum(ticket.nodes for ticket in self._holding)


def _newest(times: list[float], count: int) -> list[float]:
    return times[-count:] if count > 0 else []


class NodeQueues:
    """The queues of all computes of all workspaces; what no compute is named for is serverless, and has a bound too."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._clusters: dict[str, Cluster] = {}
        self._calls: dict[Ticket, asyncio.Future[None]] = {}

    @contextlib.asynccontextmanager
    async def hold(self, workspace: str, compute: str, *, nodes: int, waits: Callable[[], None]) -> AsyncIterator[None]:
        """Wait for nodes, and have them while the block runs.

        Args:
            workspace: The workspace's ARM id.
            compute: The compute's name; empty for serverless.
            nodes: How many.
            waits: Called when they are not to be had at once.

        Raises:
            ComputeError: They can never be had: the compute is gone, or it has fewer.
        """
        arm_id = compute_id(workspace, compute)
        self._check(arm_id, nodes)
        cluster = self._clusters.setdefault(arm_id.lower(), Cluster())
        ticket = Ticket(nodes)
        call = self._calls[ticket] = asyncio.get_running_loop().create_future()
        cluster.join(ticket)
        try:
            self.serve(arm_id)
            if ticket.fresh is None or (ticket.fresh and compute):
                waits()
            await call
            if ticket.fresh and compute:
                await asyncio.sleep(self._settings.node_start_s)
            ticket.is_running = True
            yield
        finally:
            del self._calls[ticket]
            cluster.leave(ticket, CLOCK.now_s())
            self.serve(arm_id)

    def serve(self, arm_id: str) -> None:
        """Look at a compute's queue again: nodes came free, or the compute was changed or deleted."""
        cluster = self._clusters.get(arm_id.lower())
        if cluster is None:
            return
        limits = self._limits(arm_id)
        if limits is None:
            for ticket in cluster.waiting:
                cluster.leave(ticket, CLOCK.now_s())
                self._tell(ticket, _gone(arm_id))
            return
        for ticket in cluster.serve(limits, CLOCK.now_s()):
            self._tell(ticket)

    def nodes(self, arm_id: str) -> Nodes:
        """Count the nodes of a compute."""
        limits = self._limits(arm_id) or Limits(most=0)
        return self._clusters.setdefault(arm_id.lower(), Cluster()).nodes(limits, CLOCK.now_s())

    def _tell(self, ticket: Ticket, error: ComputeError | None = None) -> None:
        call = self._calls.get(ticket)
        if call is None or call.done():
            return
        if error is None:
            call.set_result(None)
        else:
            call.set_exception(error)

    def _check(self, arm_id: str, nodes: int) -> None:
        limits = self._limits(arm_id)
        if limits is None:
            raise _gone(arm_id)
        if nodes > limits.most and limits.most > 0:
            raise ComputeError(
                f"The job asks for {nodes} nodes, and compute target {_name(arm_id)} has {limits.most} at most.",
                "NodeCountExceeded",
            )

    def _limits(self, arm_id: str) -> Limits | None:
        if not _name(arm_id):
            return Limits(most=self._settings.serverless_nodes)
        found = self._store.get(arm_id)
        if found is None:
            return None
        scale = found["properties"]["properties"].get("scaleSettings") or {}
        return Limits(
            most=int(scale.get("maxNodeCount", 1)),
            least=int(scale.get("minNodeCount") or 0),
            idle_s=seconds(str(scale.get("nodeIdleTimeBeforeScaleDown") or "PT2M"), "The idle time"),
        )


def compute_id(workspace: str, compute: str) -> str:
    """Make the ARM id of a compute; an empty name stands for serverless."""
    return f"{workspace}/computes/{compute}"


def _name(arm_id: str) -> str:
    return arm_id.rpartition("/")[2]


def _gone(arm_id: str) -> ComputeError:
    where = arm_id.split("/")[-3]
    return ComputeError(f"The compute target {_name(arm_id)} was not found in workspace {where}.", "ComputeNotFound")
