"""The commands ``airflow azureml rollout …``."""

import asyncio
from argparse import Namespace
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING

from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

from airflow_azureml.cli.connection import CONNECTION, hook_of
from airflow_azureml.errors import AzureMLError, ConfigError

if TYPE_CHECKING:
    from airflow_azureml.client.rollouts import Helm
    from airflow_azureml.core.rollout_record import Rollout

__all__ = ["COMMAND"]


def show(args: Namespace) -> None:
    """Print what is written of an endpoint's last rollout."""

    async def _read(helm: "Helm") -> "Rollout":
        return await helm.written.read(args.endpoint)

    _tell(_at_helm("show", args, _read))


def hold(args: Namespace) -> None:
    """Have a rollout take no further step."""
    _tell(_at_helm("hold", args, lambda helm: _held(helm, args.endpoint, args.why)))


def resume(args: Namespace) -> None:
    """Let a rollout go on."""
    _tell(_at_helm("resume", args, lambda helm: _held(helm, args.endpoint, "")))


def back(args: Namespace) -> None:
    """Give the traffic back."""
    from airflow_azureml.client.rollout_start import END_S  # noqa: PLC0415  # not for every command
    from airflow_azureml.core.rollout_policy import Policy  # noqa: PLC0415  # likewise

    async def _back(helm: "Helm") -> "Rollout":
        given = await helm.give_back(
            args.endpoint, f"Somebody said: {args.why}.", mine=lambda *_: True, is_verdict=True
        )
        if not given.is_open:
            raise ConfigError(f"No rollout is under way on endpoint {args.endpoint}; its traffic stays as it is.")
        return await helm.end(given, policy=Policy(), at_most_s=END_S)

    _tell(_at_helm("back", args, _back))


async def _held(helm: "Helm", endpoint: str, why: str) -> "Rollout":
    from airflow_azureml.core.rollout_record import Phase  # noqa: PLC0415  # not for every command

    def _change(found: "Rollout", now: datetime) -> "Rollout | None":
        if not found.is_open or found.phase is not Phase.ROLLING:
            raise ConfigError(f"No rollout is under way on endpoint {endpoint}.")
        return None if found.held == why else found.holding(why, now=now)

    return await helm.written.change(endpoint, _change)


def _at_helm(verb: str, args: Namespace, do: "Callable[[Helm], Awaitable[Rollout]]") -> "Rollout":
    """Do something with what moves traffic; what goes wrong is one sentence."""
    from airflow_azureml.client.rollouts import helm  # noqa: PLC0415  # not for every command
    from airflow_azureml.client.sdk import emulator_in_reach  # noqa: PLC0415  # likewise

    async def _steer() -> "Rollout":
        async with helm(settings) as opened:
            return await do(opened)

    try:
        settings = hook_of(args.conn_id).settings
        with emulator_in_reach(settings):
            return asyncio.run(_steer())
    except AzureMLError as error:
        raise SystemExit(f"airflow azureml rollout {verb}: {error}") from error


def _tell(found: "Rollout") -> None:
    if not found.owner:
        print(f"There was no rollout on endpoint {found.endpoint}.")  # noqa: T201  # a command prints
        return
    step = f"step {found.steps[found.step]}" if found.step >= 0 else "no step yet"
    steps = ", ".join(map(str, found.steps))
    rows = {
        "deployment": f"{found.deployment}, {found.phase}",
        "step": f"{step} of {steps}",
        "traffic": f"{found.split}; before: {found.before}",
        "run": f"{found.owner}, since {found.began}; written {found.changed}",
        "in force": f"since {found.since}" if found.since and found.is_open else "",
        "held": found.held,
        "why": " ".join(found.why),
    }
    for name, told in rows.items():
        if told:
            print(f"{name:<10}  {told}")  # noqa: T201  # likewise
    for each in found.rolled_back:
        print(f"{'not again':<10}  {each.deployment}, since {each.at}: {each.why}")  # noqa: T201  # likewise


_ENDPOINT = Arg(("endpoint",), help="The online endpoint")
_WHY = Arg(("--why",), default="by hand", metavar="WORDS", help="Why; it is written down")

COMMAND = GroupCommand(
    name="rollout",
    help="Look at the rollout of an online endpoint, hold it, or give its traffic back",
    subcommands=(
        ActionCommand(name="show", help="Show the last rollout", func=show, args=(_ENDPOINT, CONNECTION)),
        ActionCommand(name="hold", help="Take no further step", func=hold, args=(_ENDPOINT, _WHY, CONNECTION)),
        ActionCommand(name="resume", help="Go on", func=resume, args=(_ENDPOINT, CONNECTION)),
        ActionCommand(name="back", help="Give the traffic back", func=back, args=(_ENDPOINT, _WHY, CONNECTION)),
    ),
)
