"""Ending the rollouts that nobody works on any more."""

import logging
import time
from collections.abc import Callable
from datetime import datetime

from attrs import frozen

from airflow_azureml.client.rollout_start import Plan
from airflow_azureml.client.rollouts import Helm
from airflow_azureml.core.online import READY
from airflow_azureml.core.rollout import Act, Deed, Progress
from airflow_azureml.core.rollout_policy import Policy
from airflow_azureml.core.rollout_record import LATE, Phase, Rollout
from airflow_azureml.errors import AzureMLError, RollbackFailedError
from airflow_azureml.wire.rollout import look

log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Guard:
    """Sees to it that no rollout stays half done.

    Args:
        helm: Moves traffic.
        instance: This Airflow.
        lives: Tells whether a run of this Airflow still works on its rollout.
        at_most_s: How long to stay at each endpoint. Seconds.
    """

    helm: Helm
    instance: str
    lives: Callable[[str], bool]
    at_most_s: float = 900.0

    async def look_after(self) -> list[Rollout]:
        """Look at every endpoint's rollout; return those that were put right.

        Raises:
            RollbackFailedError: Some could not be put right; the others were.
            AzureMLError: What is written could not be read.
        """
        mended, failed = [], []
        for text in await self.helm.written.texts():
            try:
                each = Rollout.from_text(text)
                if await self._mend(each):
                    mended.append(await self.helm.written.read(each.endpoint))
            except AzureMLError as error:
                log.error("%s", error)  # noqa: TRY400  # the sentence says it all
                failed.append(str(error))
        if failed:
            raise RollbackFailedError(" ".join(failed))
        return mended

    async def _mend(self, found: Rollout) -> bool:
        if not found.is_open:
            return await self._correct(found)
        plan = Plan(
            endpoint=found.endpoint,
            deployment=found.deployment,
            policy=Policy(),
            owner="",
            instance=self.instance,
            lives=self.lives,
        )
        if not plan.may_end(found, await self.helm.written.documents.now()):
            log.info("Endpoint %s: the rollout of %s is under way", found.endpoint, found.owner)
            return False
        why = f"The run {found.owner} is over without having ended its rollout."
        given = await self.helm.give_back(found.endpoint, why, mine=plan.may_end)
        if given.phase is Phase.ROLLING:
            return False
        await self.helm.end(given, policy=plan.policy, at_most_s=self.at_most_s)
        return True

    async def _correct(self, found: Rollout) -> bool:
        """Set the traffic of a rollout that has just ended once more, where a task that is no more has written late."""
        if not found.changed or found.phase is Phase.LEFT:
            return False
        if await self.helm.written.documents.now() - datetime.fromisoformat(found.changed) > LATE:
            return False
        now = time.time()
        seen = await self.helm.client.run(look(self.helm.workspace, found, until=now))
        ours = found.between if found.phase is Phase.RELEASED else found.path
        if seen.trouble or seen.state != READY or seen.split == found.split or seen.split not in ours:
            return False
        log.warning("Endpoint %s has %s, late; it is set to %s", found.endpoint, seen.split, found.split)
        await self.helm.do(found, Act(deed=Deed.SET, progress=Progress.new(now)), policy=Policy())
        return True
