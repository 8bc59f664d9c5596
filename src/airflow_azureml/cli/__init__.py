"""The commands ``airflow azureml …``. Airflow reads this with each of its commands, so nothing of Azure is imported."""

from typing import TYPE_CHECKING

from airflow.cli.cli_config import GroupCommand

from airflow_azureml.cli import dead_letters, evidence, ledger, migration, models, publish, rollout

if TYPE_CHECKING:
    from airflow.cli.cli_config import CLICommand

__all__ = ["get_cli_commands"]

#: One row for each command.
COMMANDS: "tuple[CLICommand, ...]" = (
    migration.COMMAND,
    dead_letters.COMMAND,
    ledger.COMMAND,
    models.COMMAND,
    publish.COMMAND,
    evidence.COMMAND,
    rollout.COMMAND,
)


def get_cli_commands() -> "list[CLICommand]":
    """List the commands."""
    return [GroupCommand(name="azureml", help="Work with Azure Machine Learning", subcommands=COMMANDS)]
