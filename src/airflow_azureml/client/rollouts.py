"""Rollouts: what is written of them, in a document for each endpoint, and traffic that follows what is written."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from airflow_azureml.client.azureml import AsyncClient
from airflow_azureml.client.workspace_documents import FOLDER, WorkspaceDocuments, workspace_documents
from airflow_azureml.core.rollout import SOON_S, Act, Deed, LookAgain, Progress, decide
from airflow_azureml.core.rollout_policy import Policy
from airflow_azureml.core.rollout_record import Phase, Rollout, document_of
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import AzureMLError, RefusedError, RollbackFailedError, UnavailableError
from airflow_azureml.wire import online
from airflow_azureml.wire.online_sights import truth
from airflow_azureml.wire.rollout import look

if TYPE_CHECKING:
    from airflow_azureml.core.workspace import ConnectionSettings

log = logging.getLogger(__name__)

#: What Azure answers while another change of the endpoint is under way.
CONFLICT = 409
#: How what is written changes, by the store's time; None for what needs no change.
Change = Callable[[Rollout, datetime], Rollout | None]


@frozen
class Rollouts:
    """What is written of the rollouts of a workspace.

    Args:
        documents: Where.
    """

    documents: WorkspaceDocuments

    async def read(self, endpoint: str) -> Rollout:
        """Read what is written of an endpoint's last rollout; one without an owner where there never was any.

        Raises:
            ProtocolError: It cannot be read.
            ServiceError: Storage refused, or does not answer.
        """
        return _parsed(endpoint, await self.documents.read(document_of(endpoint)))

    async def change(self, endpoint: str, change: Change) -> Rollout:
        """Change what is written, by compare-and-set.

        Returns:
            What is written now.

        Raises:
            ProtocolError: What is written cannot be read.
            UnavailableError: Others were always faster, or storage does not answer.
            RefusedError: The identity may not write there (role Storage Blob Data Contributor).
        """

        def _changed(text: str | None, now: datetime) -> tuple[Rollout, str | None]:
            found = _parsed(endpoint, text)
            wanted = change(found, now)
            return (found, None) if wanted is None else (wanted, wanted.to_text())

        doing = f"Write down the rollout of {endpoint}"
        return await self.documents.change(document_of(endpoint), _changed, doing=doing)

    async def texts(self) -> list[str]:
        """Read what is written of the last rollout of each endpoint; see `Rollout.from_text`.

        Raises:
            ServiceError: Storage refused, or does not answer.
        """
        return await self.documents.texts("rollouts/")


def _parsed(endpoint: str, text: str | None) -> Rollout:
    return Rollout(endpoint=endpoint) if text is None else Rollout.from_text(text)


@frozen(kw_only=True)
class Helm:
    """Moves traffic as what is written says; what is to be is written first.

    Args:
        client: Talks to the workspace.
        workspace: Where the endpoints are.
        written: What is written of them.
        pause: Waits for so many seconds.
    """

    client: AsyncClient
    workspace: Workspace
    written: Rollouts
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def do(self, rollout: Rollout, act: Act, *, policy: Policy) -> Rollout:
        """Do what a look came to, unless somebody else has written meanwhile; then nothing is done.

        Nor is a step taken that is not due by the store's clock.

        Args:
            rollout: What was written at that look.
            act: What to do.
            policy: The rules.

        Returns:
            What is written now.

        Raises:
            RollbackFailedError: Traffic could not be given back.
            AzureMLError: It could not be done; doing it again is safe.
        """
        match act.deed:
            case Deed.SET:
                return await self._set(rollout)
            case Deed.REMOVE:
                return await self._remove(rollout, act.target)
            case Deed.ASK | Deed.GIVE_UP:
                return rollout
            case _:
                wanted = await self._write(rollout, act, policy=policy)
        if wanted.count != rollout.count + 1 or act.deed not in {Deed.ADVANCE, Deed.BACK}:
            return wanted
        return await self._begun(await self._set(wanted), policy=policy)

    async def passed(self, rollout: Rollout, *, policy: Policy) -> Rollout:
        """Write down that the present step has shown all that it had to, if it is due; return what is written now."""

        def _change(found: Rollout, now: datetime) -> Rollout | None:
            is_to_be = found.count == rollout.count and policy.is_due(found, now)
            return evolve(found, passed=found.step).written(now=now) if is_to_be else None

        return await self.written.change(rollout.endpoint, _change)

    async def end(self, rollout: Rollout, *, policy: Policy, at_most_s: float) -> Rollout:
        """See a rollout that is being given back, or has been proven, to its end.

        Args:
            rollout: What is written. One that goes on is left alone, and so is the next one of the endpoint.
            policy: Whose patience holds.
            at_most_s: How long to stay at it. Seconds.

        Returns:
            What is written now.

        Raises:
            RollbackFailedError: Traffic could not be given back, or not in time.
            AzureMLError: The end could not be written; trying again is safe.
        """
        until, progress = time.monotonic() + at_most_s, Progress.new(time.time())
        while rollout.is_open and rollout.phase is not Phase.ROLLING:
            now = time.time()
            seen = await self.client.run(look(self.workspace, rollout, until=now))
            decision = decide(rollout, progress, seen, policy=policy, now=now)
            is_given_up = isinstance(decision, Act) and decision.deed is Deed.GIVE_UP
            if is_given_up or time.monotonic() >= until:
                told = " ".join(decision.why) if isinstance(decision, Act) else decision.told
                raise await self._failed(rollout, told or "The time is up.")
            progress = decision.progress
            if isinstance(decision, Act) and decision.deed is not Deed.ASK:
                rollout = await self.do(rollout, decision, policy=policy)
            if isinstance(decision, LookAgain) or decision.deed in {Deed.SET, Deed.REMOVE, Deed.ASK}:
                await self.pause(min(SOON_S, max(0.0, until - time.monotonic())))
        return rollout

    async def give_back(
        self, endpoint: str, why: str, *, mine: Callable[[Rollout, datetime], bool], is_verdict: bool = False
    ) -> Rollout:
        """Write down that traffic is to be given back; where a rollout is not open, or not ours, nothing is written.

        One that has been proven is not given back: what it replaces may be gone.

        Args:
            endpoint: The endpoint.
            why: The reason, a sentence.
            mine: Tells whether a rollout may be ended, by the store's time.
            is_verdict: Whether that is for what the new deployment is; see `Rollout.given_back`.

        Returns:
            What is written now; see `end`.
        """

        def _change(found: Rollout, now: datetime) -> Rollout | None:
            is_to_be = found.is_open and found.phase is Phase.ROLLING and mine(found, now)
            return found.given_back(why, now=now, is_verdict=is_verdict) if is_to_be else None

        return await self.written.change(endpoint, _change)

    async def _begun(self, rollout: Rollout, *, policy: Policy) -> Rollout:
        """Write down that a step is in force, where Azure was quick; else whoever looks later does."""
        if rollout.phase is not Phase.ROLLING:
            return rollout
        now = time.time()
        seen = await self.client.run(look(self.workspace, rollout, until=now))
        decision = decide(rollout, Progress.new(now), seen, policy=policy, now=now)
        if isinstance(decision, Act) and decision.deed is Deed.IN_FORCE:
            return await self._write(rollout, decision, policy=policy)
        return rollout

    async def _write(self, rollout: Rollout, act: Act, *, policy: Policy) -> Rollout:
        def _change(found: Rollout, now: datetime) -> Rollout | None:
            return _after(found, act, now=now, policy=policy) if found.count == rollout.count else None

        return await self.written.change(rollout.endpoint, _change)

    async def _remove(self, rollout: Rollout, deployment: str) -> Rollout:
        """Ask for a deployment's end; while Azure is at something else, another look asks again."""
        try:
            await self.client.run(online.delete_deployment(self.workspace, rollout.endpoint, deployment))
        except AzureMLError as error:
            if getattr(error, "status", 0) != CONFLICT:
                raise await self._failed(rollout, str(error)) from error
            log.info("%s; looking again", error)
        return rollout

    async def _set(self, rollout: Rollout) -> Rollout:
        """Have the endpoint do what is written; if that has changed meanwhile, have it do that."""
        try:
            await self.client.run(
                online.set_traffic(self.workspace, rollout.endpoint, rollout.split.traffic, rollout.split.mirror)
            )
        except RefusedError as error:
            if error.status != CONFLICT:
                raise await self._failed(rollout, str(error)) from error
            log.info("%s; looking again", error)
        except AzureMLError as error:
            raise await self._failed(rollout, str(error)) from error
        written = await self.written.read(rollout.endpoint)
        if written.count == rollout.count or written.phase is Phase.LEFT:
            return written
        log.warning("The rollout of %s went on meanwhile; its traffic is set once more", rollout.endpoint)
        return await self._set(written)

    async def _failed(self, rollout: Rollout, why: str) -> AzureMLError:
        """Make the error that says what is true now."""
        now = await self.client.run(truth(self.workspace, rollout.endpoint))
        if rollout.phase is Phase.ROLLING:
            return UnavailableError(f"Set the traffic of {rollout.endpoint} to {rollout.split}", message=f"{why} {now}")
        what = "The deployments that were replaced could not be removed" if rollout.phase is Phase.RETIRING else (
            f"Traffic could not be given back to {rollout.split}")  # fmt: skip
        return RollbackFailedError(
            f"{what}: {why} {now} Mend what Azure complains of; this task's retry, or the guard, then goes on. Or set "
            f"the traffic of endpoint {rollout.endpoint} by hand, which ends the rollout."
        )


def _after(found: Rollout, act: Act, *, now: datetime, policy: Policy) -> Rollout | None:
    """Say what is written after something was decided; None for nothing."""
    match act.deed:
        case Deed.ADVANCE:
            return _advanced(found, act, now=now, policy=policy) if policy.is_due(found, now) else None
        case Deed.BACK:
            return found.given_back(*act.why, now=now, is_verdict=True)
        case Deed.LEAVE:
            return found.moved(Phase.LEFT, *act.why, now=now)
        case Deed.END:
            is_good = found.phase is Phase.RETIRING
            return found.moved(Phase.RELEASED if is_good else Phase.REVERTED, now=now)
        case Deed.IN_FORCE | Deed.LOST | Deed.FOUND:
            return _noted(found, act.deed, now=now)
        case Deed.SET | Deed.REMOVE | Deed.ASK | Deed.GIVE_UP:
            return None


def _advanced(found: Rollout, act: Act, *, now: datetime, policy: Policy) -> Rollout:
    """Say what is written when the present step has shown all that it had to."""
    if not found.is_last:
        return found.advanced(act.champion, now=now)
    is_over = policy.keep_old or not found.replaced
    return found.moved(Phase.RELEASED if is_over else Phase.RETIRING, now=now)


def _noted(found: Rollout, deed: Deed, *, now: datetime) -> Rollout:
    """Say what is written when something was seen, or can be seen no more."""
    if deed is Deed.IN_FORCE:
        return found.in_force(now=now)
    return found.lost(now=now) if deed is Deed.LOST else found.found(now=now)


@contextlib.asynccontextmanager
async def helm(settings: "ConnectionSettings", *, folder: str = FOLDER) -> AsyncIterator[Helm]:
    """Open what moves traffic.

    Where the workspace is an emulator's, the caller has it in reach; see
    `airflow_azureml.client.sdk.emulator_in_reach`.

    Args:
        settings: The connection; its identity needs the role Storage Blob Data Contributor in that folder.
        folder: A folder of a datastore; whoever rolls out on the same endpoints must name the same.

    Raises:
        RefusedError: The identity may not read the workspace's datastores, or there is no such datastore.
        UnavailableError: The workspace does not answer.
        ConfigError: The datastore is no container of blobs, or this is no folder of one.
    """
    async with AsyncClient(settings) as client, workspace_documents(settings, client, folder) as documents:
        yield Helm(client=client, workspace=settings.workspace, written=Rollouts(documents))
