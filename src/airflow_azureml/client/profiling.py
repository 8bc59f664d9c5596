"""Measuring a deployment of an online endpoint: setting it, asking it, and putting it back as it was."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from airflow_azureml.client.load import Asker, Load, Target, press
from airflow_azureml.core.profiling import Measured, Profiling, Setting
from airflow_azureml.core.workspace import Workspace
from airflow_azureml.errors import ConfigError, RefusedError, UnavailableError
from airflow_azureml.wire import online
from airflow_azureml.wire.profiling import put_setting, setting_of

if TYPE_CHECKING:
    from airflow_azureml.client.azureml import Client
    from airflow_azureml.core.online import OnlineDeployment

log = logging.getLogger(__name__)
#: Azure's answer to a change while another one is under way.
_UNDER_WAY = 409


@frozen(kw_only=True)
class Bench:
    """A deployment that is measured.

    Attributes:
        client: Asks Azure ML.
        target: How the deployment itself is asked, whatever the traffic.
        patience_s: How long a new setting may take. Seconds.
        poll_s: Seconds between two looks.
        sleep: Waits.
    """

    client: "Client"
    workspace: Workspace
    endpoint: str
    deployment: str
    target: Target
    patience_s: float = 1800.0
    poll_s: float = 5.0
    sleep: Callable[[float], None] = time.sleep

    def look(self) -> "OnlineDeployment":
        """Look at the deployment.

        Raises:
            ConfigError: It is not there.
            RefusedError: We may not look.
            UnavailableError: The service did not say; asking again is safe.
        """
        found = self.client.run(online.read_deployment(self.workspace, self.endpoint, self.deployment))
        if found is None:
            raise ConfigError(f"There is no deployment {self.deployment} of online endpoint {self.endpoint}.")
        return found

    def check_idle(self) -> None:
        """See to it that nobody but us is served by the deployment.

        Raises:
            ConfigError: It takes traffic.
        """
        found = self.client.run(online.read_endpoint(self.workspace, self.endpoint))
        taken = {**found.traffic, **found.mirror}.get(self.deployment) if found else 0
        if taken:
            raise ConfigError(
                f"Deployment {self.deployment} of online endpoint {self.endpoint} takes {taken} % of its traffic: a"
                " load would harm whoever is served by it. Measure one without traffic, or say with_traffic=True."
            )

    def set(self, setting: Setting) -> None:
        """Have the deployment set so, and wait until it is.

        Raises:
            ConfigError: It is not there, or scales by itself.
            RefusedError: Azure refuses it, such as for want of quota, or it failed to become so.
            UnavailableError: It is not so in time.
        """
        doing = f"Set deployment {self.deployment} of online endpoint {self.endpoint} to {setting}"
        give_up = time.monotonic() + self.patience_s
        asked = False
        while True:
            found = self.look()
            if found.is_ready and setting_of(found) == setting:
                return
            if asked and found.is_broken:
                raise RefusedError(doing, message=f"The deployment is {found.state}; its log says why.")
            if not asked and (found.is_ready or found.is_broken):
                asked = self._ask_for(found, setting)
            if time.monotonic() >= give_up:
                raise UnavailableError(doing, message=f"It is {found.state} after {self.patience_s:.0f} s.")
            self.sleep(self.poll_s)

    def _ask_for(self, found: "OnlineDeployment", setting: Setting) -> bool:
        """Ask for a setting; whether it was taken."""
        try:
            self.client.run(put_setting(self.workspace, found, setting))
        except RefusedError as error:
            if error.status == _UNDER_WAY:
                return False
            raise
        return True

    def measure(self, profiling: Profiling, setting: Setting, bodies: Sequence[bytes]) -> Measured:
        """Set the deployment so, ask it, and count.

        Args:
            profiling: How it is asked.
            setting: How it is set.
            bodies: What is asked, in turn.
        """
        self.set(setting)
        found = asyncio.run(self._press(profiling, setting, bodies))
        log.info("%s: %s", setting, found.to_wire())
        return found

    async def _press(self, profiling: Profiling, setting: Setting, bodies: Sequence[bytes]) -> Measured:
        goal = profiling.goal
        async with Asker(self.target) as asker:
            if profiling.warm_up_s:
                await press(asker, bodies, Load(rate_per_s=goal.rate_per_s, seconds=profiling.warm_up_s))
            tally = await press(asker, bodies, Load(rate_per_s=goal.rate_per_s, seconds=profiling.seconds))
        return Measured.of(setting, tally, goal)
