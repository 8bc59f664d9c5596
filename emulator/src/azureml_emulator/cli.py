"""The command line: ``serve``, ``up`` with an Azurite, ``env`` for who asks how to reach it, ``publish`` as v1 did."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import logging
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

from azureml_emulator import __version__, azurite, publishing
from azureml_emulator.authority import known_clients
from azureml_emulator.settings import (
    DEFAULT_WORKSPACE,
    ENVIRONMENTS,
    Addresses,
    EventQueue,
    MLEventQueue,
    Settings,
    SettingsError,
)
from azureml_emulator.state_file import make_folder

_DEFAULT_STATE = Path(".azureml-emulator")
_PORTS = {
    "http": "the control plane and the pages, over plain http",
    "tls": "the control plane over TLS, with the names of Azure's hosts",
    "proxy": "the CONNECT proxy",
    "blob": "Azurite's blob service behind the proxy that tells of new blobs",
    "queue": "Azurite's queue service",
}


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"azureml-emulator: {message.rstrip('.')}. See azureml-emulator --help.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 2 for a bad option, 1 when it could not serve."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0].startswith("-") and given[0] not in {"-h", "--help", "--version"}):
        given = ["serve", *given]
    said = _parser().parse_args(given)
    if said.command == "env":
        return _env(said)
    if said.command == "publish":
        return _publish(said)
    if said.command == "up":
        return _up(said)
    try:
        settings = _settings(said)
    except SettingsError as error:
        return _complain(error, 2)
    return _serve(settings, said.log_level)


def settings(arguments: Sequence[str]) -> Settings:
    """Read the options of ``serve``.

    Raises:
        SettingsError: One is wrong.
    """
    return _settings(_parser().parse_args(arguments))


def _complain(error: Exception, code: int) -> int:
    sys.stderr.write(f"azureml-emulator: {error}\n")
    return code


def _up(said: argparse.Namespace) -> int:
    """Serve, with an Azurite unless one is named, and print the settings to copy."""

    def _tell(*_: object) -> None:
        sys.stdout.write(_ready(said.state_dir.absolute()))
        sys.stdout.flush()

    if bool(said.azurite_blob) != bool(said.azurite_queue):
        return _complain(SettingsError("Give both --azurite-blob and --azurite-queue, or neither."), 2)
    try:
        make_folder(said.state_dir.absolute())
        if said.azurite_blob:
            return _serve(_settings(said), said.log_level, ready=_tell)
        with _ended_by_sigterm(), azurite.running(said.state_dir.absolute() / "azurite", named=said.azurite) as found:
            said.azurite_blob, said.azurite_queue = found.blob, found.queue
            return _serve(_settings(said), said.log_level, ready=_tell)
    except SettingsError as error:
        return _complain(error, 2)


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the process as Ctrl-C does, so that Azurite ends with it; serving has handlers of its own."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ready(state_dir: Path) -> str:
    """Write what a person copies into another shell."""
    found = Addresses.read(state_dir)
    variables = "".join(f"  export {name}={shlex.quote(value)}\n" for name, value in environment(state_dir).items())
    return (
        f"Ready. What happens there: {found.http}/ui\n\nIn the shell of a client:\n\n"
        f'  eval "$(azureml-emulator env --state-dir {shlex.quote(str(state_dir))})"\n\nwhich is\n\n{variables}\n'
        "Ctrl-C ends it; jobs, models and blobs are kept for the next time.\n"
    )


def _serve(settings: Settings, log_level: str, *, ready: Callable[..., None] | None = None) -> int:
    from azureml_emulator.server import run  # noqa: PLC0415  # half a second that `env` need not wait for

    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("azure", "uvicorn", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        run(settings, ready=ready)
    except SettingsError as error:
        return _complain(error, 1)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="azureml-emulator", description="An Azure Machine Learning workspace on your own machine.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", parser_class=_Parser)
    serve = commands.add_parser("serve", help="serve until SIGTERM; the default")
    _add_serving(serve)
    _add_azurite(serve, blob="http://127.0.0.1:10000", queue="http://127.0.0.1:10001")
    up = commands.add_parser("up", help="serve, start Azurite too, and print the settings to copy")
    _add_serving(up)
    _add_azurite(up, blob="", queue="")
    up.add_argument(
        "--azurite",
        default="",
        metavar="PROGRAM",
        help="Azurite's command or its azurite.js, where neither address is given; default: azurite of the PATH",
    )
    env = commands.add_parser("env", help="print the settings with which unmodified clients reach the emulator")
    _add_state(env)
    env.add_argument("--format", default="shell", choices=["shell", "json"])
    publish = commands.add_parser("publish", help="publish a pipeline component as SDK v1 would have; print its id")
    _add_state(publish)
    publishing.add_options(publish)
    return parser


def _add_azurite(parser: argparse.ArgumentParser, *, blob: str, queue: str) -> None:
    for name, default in (("blob", blob), ("queue", queue)):
        said = f"default {default}" if default else "default: that of the Azurite that is started"
        parser.add_argument(f"--azurite-{name}", default=default, metavar="URL", help=said)


def _add_serving(serve: argparse.ArgumentParser) -> None:
    _add_state(serve)
    for name, what in _PORTS.items():
        serve.add_argument(f"--{name}-port", type=int, default=0, metavar="N", help=f"{what}; 0 (default): a free one")
    serve.add_argument("--host", default="127.0.0.1", help="address to bind; default %(default)s: this machine only")
    serve.add_argument(
        "--allow-remote",
        action="store_true",
        help="needed for any other --host: whoever reaches the ports can run commands as you",
    )
    serve.add_argument(
        "--workspace",
        action="append",
        metavar="SUB/RG/NAME",
        help=f"a workspace that exists at the start; repeatable; default {DEFAULT_WORKSPACE}",
    )
    serve.add_argument(
        "--python", type=Path, default=Path(sys.executable), metavar="PATH", help="what jobs find as python"
    )
    serve.add_argument(
        "--environments",
        default=ENVIRONMENTS[0],
        choices=ENVIRONMENTS,
        help="recorded: jobs run with --python, whatever their environment; build: with the pip packages of its conda"
        " file, by uv; default %(default)s",
    )
    serve.add_argument(
        "--throttle",
        action="store_true",
        help="limit requests as Azure Resource Manager does: 250 reads and 25 more a second, 200 writes and 10",
    )
    serve.add_argument(
        "--tenant", default="", metavar="ID", help="take tokens of this tenant alone, signed here; default: any token"
    )
    serve.add_argument(
        "--client",
        action="append",
        default=[],
        metavar="ID=SECRET",
        help="a service principal of the tenant; repeatable; nobody else signs in",
    )
    _add_limits(serve)
    serve.add_argument(
        "--event-queue",
        action="append",
        default=[],
        metavar="QUEUE[:CONTAINER[/PREFIX]]",
        help="a storage queue to tell of new blobs; repeatable",
    )
    serve.add_argument(
        "--ml-event-queue",
        action="append",
        default=[],
        metavar="QUEUE[:TYPE[,TYPE…]]",
        help="a storage queue to tell of models, deployments and jobs; repeatable",
    )
    serve.add_argument(
        "--control",
        action="store_true",
        help="serve /control (scripts, clock, faults) on the loopback plain http port; for tests",
    )
    serve.add_argument("--location", default="westeurope", metavar="X", help="the region; default %(default)s")
    serve.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])


def _add_limits(serve: argparse.ArgumentParser) -> None:
    made = Settings(state_dir=_DEFAULT_STATE)  # its defaults depend on the machine
    number = "default %(default)s"
    serve.add_argument(
        "--max-steps", type=int, default=made.max_steps, metavar="N", help=f"processes at once; {number}"
    )
    serve.add_argument(
        "--serverless-nodes",
        type=int,
        default=made.serverless_nodes,
        metavar="N",
        help=f"jobs without a compute that run at once; {number}",
    )
    serve.add_argument(
        "--node-start",
        type=float,
        default=made.node_start_s,
        metavar="SECONDS",
        help=f"how long a node of a cluster takes to start; {number}",
    )


def _add_state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=_DEFAULT_STATE,
        metavar="DIR",
        help="what outlives a restart; default %(default)s",
    )


def _settings(said: argparse.Namespace) -> Settings:
    """Read the options.

    Raises:
        SettingsError: One is wrong.
    """
    for option in ("azurite_blob", "azurite_queue"):
        url = urlsplit(getattr(said, option))
        if url.scheme != "http" or not url.hostname or url.path.strip("/") or not _has_port(url):
            name = option.replace("_", "-")
            raise SettingsError(f"--{name} {getattr(said, option)!r} is no http://HOST:PORT.")
    if not said.allow_remote and not _is_loopback(said.host):
        raise SettingsError(
            f"--host {said.host} can be reached from other machines, and whoever reaches it can run commands as you;"
            " add --allow-remote if that is what you want."
        )
    if not os.access(said.python, os.F_OK):  # Path.exists raises where a folder above may not be looked into
        raise SettingsError(f"--python {said.python} does not exist.")
    if not (os.access(said.python, os.X_OK) and said.python.is_file()):
        raise SettingsError(f"--python {said.python} is no program; name an interpreter.")
    if said.tenant:
        known_clients(said.tenant, said.client)
    elif said.client:
        raise SettingsError("--client needs --tenant.")
    if not re.fullmatch(r"[a-z0-9]+", said.location):
        raise SettingsError(f"--location {said.location!r} is no region; write it as Azure does, e.g. westeurope.")
    return Settings(
        state_dir=said.state_dir.absolute(),
        host=said.host,
        **{f"{name}_port": getattr(said, f"{name}_port") for name in _PORTS},
        azurite_blob=said.azurite_blob.rstrip("/"),
        azurite_queue=said.azurite_queue.rstrip("/"),
        location=said.location,
        workspaces=tuple(said.workspace or (DEFAULT_WORKSPACE,)),
        job_python=said.python.absolute(),
        environments=said.environments,
        max_steps=said.max_steps,
        serverless_nodes=said.serverless_nodes,
        node_start_s=said.node_start,
        event_queues=tuple(EventQueue.parse(text) for text in said.event_queue),
        ml_event_queues=tuple(MLEventQueue.parse(text) for text in said.ml_event_queue),
        control=said.control,
        throttle=said.throttle,
        tenant=said.tenant,
        clients=tuple(said.client),
    )


def _has_port(url: SplitResult) -> bool:
    """Whether the port is one, or is left out."""
    try:
        return url.port is None or url.port > 0
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def environment(state_dir: Path) -> dict[str, str]:
    """List the variables with which an unmodified client reaches the emulator, and nothing else.

    Raises:
        SettingsError: No emulator is ready there, or its secret cannot be read.
    """
    found = Addresses.read(state_dir)
    ca = str(state_dir / "tls" / "ca.pem")
    try:
        secret = (state_dir / "identity-header").read_text()
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{state_dir / 'identity-header'} cannot be read ({error}); start the emulator anew."
        ) from error
    local = "localhost,127.0.0.1,::1"
    return {
        "HTTPS_PROXY": found.proxy,
        "https_proxy": found.proxy,
        "HTTP_PROXY": found.proxy,
        "http_proxy": found.proxy,
        "NO_PROXY": local,
        "no_proxy": local,
        "REQUESTS_CA_BUNDLE": ca,
        "SSL_CERT_FILE": ca,
        "CURL_CA_BUNDLE": ca,
        "IDENTITY_ENDPOINT": f"{found.http}/msi/token",
        "IDENTITY_HEADER": secret,
    }


def _publish(said: argparse.Namespace) -> int:
    try:
        sys.stdout.write(publishing.publish(said))
    except SettingsError as error:
        return _complain(error, 1)
    return 0


def _env(said: argparse.Namespace) -> int:
    try:
        variables = environment(said.state_dir.absolute())
    except SettingsError as error:
        return _complain(error, 1)
    if said.format == "json":
        sys.stdout.write(json.dumps(variables, indent=2) + "\n")
    else:
        sys.stdout.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    return 0
