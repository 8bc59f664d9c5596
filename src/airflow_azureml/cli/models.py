"""The commands ``airflow azureml models …``."""

import contextlib
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

from airflow_azureml.cli.connection import CONNECTION, hook_of
from airflow_azureml.errors import AzureMLError, ConfigError

if TYPE_CHECKING:
    from airflow_azureml.client.models import Registrar
    from airflow_azureml.core.models import Register

__all__ = ["COMMAND"]


def show(args: Namespace) -> None:
    """Print the register of a model."""
    with _registrar("show", args) as registrar:
        _tell(registrar.registers.read(args.model))


def crown(args: Namespace) -> None:
    """Make a version the champion, in the place of the one that is it."""
    with _registrar("crown", args) as registrar:
        before = registrar.registers.read(args.model)
        done = registrar.crown(args.model, args.version, expected=before.champion, again=args.again)
        _tell(done.register)
        if not done.crowned:
            raise ConfigError(f"{done.reason} To go back to it, say --again." if not args.again else done.reason)


def retire(args: Namespace) -> None:
    """Have no champion any more."""
    with _registrar("retire", args) as registrar:
        champion = registrar.registers.read(args.model).champion
        if not champion:
            raise ConfigError(f"Model {args.model} has no champion.")
        registrar.retire(args.model, champion)
        _tell(registrar.registers.read(args.model))


def rebuild(args: Namespace) -> None:
    """Write a register that was lost, or cannot be read, anew."""
    with _registrar("rebuild", args) as registrar:
        _tell(registrar.rebuild(args.model, champion=args.champion))


@contextlib.contextmanager
def _registrar(verb: str, args: Namespace) -> "Iterator[Registrar]":
    """Open the registrar; what goes wrong is one sentence."""
    from airflow_azureml.client.models import FOLDER, open_registrar  # noqa: PLC0415  # not for every command

    try:
        with open_registrar(hook_of(args.conn_id).settings, folder=args.register or FOLDER) as registrar:
            yield registrar
    except AzureMLError as error:
        raise SystemExit(f"airflow azureml models {verb}: {error}") from error


def _tell(register: "Register") -> None:
    for entry in register.entries:
        stage = register.stage_of(entry.version).value
        print(f"{entry.version:>6}  {stage:<10}  {entry.job or '-'}")  # noqa: T201  # a command prints
    champion = f"version {register.champion}" if register.champion else "none"
    print(f"{len(register.entries)} versions of {register.model} are in its register; its champion: {champion}.")  # noqa: T201  # likewise


_MODEL = Arg(("model",), help="The model's name")
_REGISTER = Arg(
    ("--register",),
    default="",
    metavar="FOLDER",
    help="The folder with the registers, where tasks name another (azureml://datastores/NAME/paths/FOLDER/)",
)
_WHERE = (_REGISTER, CONNECTION)

COMMAND = GroupCommand(
    name="models",
    help="Look which version of a model is the champion, and change it",
    subcommands=(
        ActionCommand(name="show", help="Show a model's register", func=show, args=(_MODEL, *_WHERE)),
        ActionCommand(
            name="crown",
            help="Make a version the champion, without a gate: the first one, or one to go back to",
            func=crown,
            args=(
                _MODEL,
                Arg(("version",), help="The version"),
                Arg(("--again",), action="store_true", help="Also one that was the champion before"),
                *_WHERE,
            ),
        ),
        ActionCommand(
            name="retire",
            help="Have no champion any more: the next gate has none to beat",
            func=retire,
            args=(_MODEL, *_WHERE),
        ),
        ActionCommand(
            name="rebuild",
            help="Write a register that was lost, or cannot be read, anew from the versions",
            func=rebuild,
            args=(
                _MODEL,
                Arg(("--champion",), default="", metavar="VERSION", help="Who is the champion; none when left out"),
                *_WHERE,
            ),
        ),
    ),
)
