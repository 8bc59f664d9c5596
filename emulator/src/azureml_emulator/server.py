"""One process that serves everything: binds, recovers, says that it is ready, and ends cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import attrs
import uvicorn
from azure.core.exceptions import AzureError
from starlette.types import ASGIApp

from azureml_emulator import rights
from azureml_emulator.authority import AUTHORITY
from azureml_emulator.blob_proxy import BlobProxy
from azureml_emulator.connect_proxy import ConnectProxy
from azureml_emulator.control import Control
from azureml_emulator.control_layer import Connections, RouteNames, guard, guard_storage
from azureml_emulator.data_collection import DataCollection
from azureml_emulator.events import EventPublisher
from azureml_emulator.files import write_whole
from azureml_emulator.ml_events import MLEvents
from azureml_emulator.names import Hosts, Plane, WorkspaceName
from azureml_emulator.online_front import ROUTES, OnlineFront
from azureml_emulator.online_metrics import RequestMetrics
from azureml_emulator.record import Record
from azureml_emulator.routes import schedules, workspaces
from azureml_emulator.routes.application import application, login_application
from azureml_emulator.routes.calls import Services
from azureml_emulator.routes.front import FrontDoor
from azureml_emulator.runner import Runner
from azureml_emulator.scheduler import Scheduler
from azureml_emulator.serving import Deployments
from azureml_emulator.settings import Addresses, Settings, SettingsError, addresses_path
from azureml_emulator.state_file import StateError, make_folder
from azureml_emulator.storage import Storage
from azureml_emulator.store import Store
from azureml_emulator.tls import Certificates, certificates
from azureml_emulator.tokens import Lifetime
from azureml_emulator.watched_store import WatchedStore

_log = logging.getLogger(__name__)
#: How long a started Azurite may take until it answers, in seconds.
AZURITE_PATIENCE_S = 30.0
#: How long it may take for one answer, in seconds.
_ANSWER_S = 10.0
_GRACE_S = 2
_BACKLOG = 1024
#: Longer than clients keep a connection that nobody uses: one that the server closes first may break a request off.
_KEEP_ALIVE_S = 75


def identity_header(state_dir: Path) -> str:
    """Find or make the secret of the managed identity's endpoint; the file is the owner's only."""
    path = state_dir / "identity-header"
    if not path.exists():
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(path, secrets.token_urlsafe(32).encode(), mode=0o600)
    found = path.read_text(errors="replace")
    if not re.fullmatch(r"[A-Za-z0-9_-]{43}", found):  # an empty one would let anybody in
        raise StateError(f"{path} is damaged. Remove it: another secret is made, and clients are told of it by `env`.")
    return found


#: What is told that the emulator is ready: its addresses, and what ends it, from any thread.
Ready = Callable[[Addresses, Callable[[], object]], None]


def run(settings: Settings, *, ready: Ready | None = None) -> None:
    """Serve until SIGTERM or SIGINT, or, in a thread that is not the main one, until it is told to end.

    Args:
        settings: What was chosen.
        ready: Called once everything is served.

    Raises:
        SettingsError: Another emulator uses the state directory, what is kept there is damaged, a port is taken, or
            Azurite does not answer.
    """
    if settings.host not in {"127.0.0.1", "::1", "localhost"}:
        _log.warning("Whoever reaches %s can run commands as you: jobs are commands", settings.host)
    with _only_one(settings.state_dir):
        if settings.tenant:
            AUTHORITY.govern(settings.tenant, settings.clients, state_dir=settings.state_dir)
        try:
            asyncio.run(_serve(settings, ready))
        except AzureError as error:  # later ones are answered, not raised
            said = str(error).strip().partition("\n")[0]
            raise SettingsError(f"Azurite refuses what the emulator needs: {said}") from error


@contextlib.contextmanager
def _only_one(state_dir: Path) -> Iterator[None]:
    """Hold the state directory; the lock goes with the process, however that ends."""
    make_folder(state_dir)
    lock: IO[str]
    with (state_dir / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(f"Another emulator is running with --state-dir {state_dir}; end it first.") from None
        addresses_path(state_dir).unlink(missing_ok=True)
        try:
            yield
        finally:
            addresses_path(state_dir).unlink(missing_ok=True)


@attrs.frozen
class _Sockets:
    """What is bound, before anything is served; so all addresses are known from the start."""

    http: socket.socket
    tls: socket.socket
    proxy: socket.socket
    blob: socket.socket
    queue: socket.socket

    @classmethod
    def bind(cls, settings: Settings, stack: contextlib.AsyncExitStack) -> _Sockets:
        """Bind them all; they are closed with the stack."""
        bound = {}
        for name in attrs.fields_dict(cls):
            bound[name] = _bound(settings.host, getattr(settings, f"{name}_port"), name=name)
            stack.callback(bound[name].close)
        return cls(**bound)

    def addresses(self, settings: Settings) -> Addresses:
        host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104  # compared only
        schemes = {name: "https" if name == "tls" else "http" for name in attrs.fields_dict(_Sockets)}
        ports = {name: getattr(self, name).getsockname()[1] for name in schemes}
        return Addresses(**{name: f"{scheme}://{host}:{ports[name]}" for name, scheme in schemes.items()})


def _bound(host: str, port: int, *, name: str) -> socket.socket:
    # asyncio sets TCP_NODELAY only where the protocol is named; without it each answer waits 40 ms for an ACK.
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise SettingsError(f"--{name}-port {port} on {host} cannot be used: {error.strerror}.") from error
    made.setblocking(False)  # noqa: FBT003  # the socket module's own signature
    return made


class _Server(uvicorn.Server):
    """A server that leaves signals to us and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@contextlib.asynccontextmanager
async def _serving(
    app: ASGIApp, bound: socket.socket, connections: Connections, *, files: Certificates | None = None
) -> AsyncIterator[None]:
    """Serve an application on a bound socket while the block runs; ``connections`` learns of its connections.

    Raises:
        SettingsError: Somebody else has begun to listen there.
    """
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        ssl_certfile=files.leaf if files else None,
        ssl_keyfile=files.key if files else None,
    )
    server = _Server(config)
    connections.watch(server)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    waiting = asyncio.create_task(server.ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        waiting.cancel()
        host, port = bound.getsockname()[:2]
        raise SettingsError(f"{host}:{port} cannot be used: {task.exception()}.") from task.exception()
    try:
        yield
    finally:
        waiting.cancel()
        server.should_exit = True
        await task


async def _serve(settings: Settings, ready: Ready | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ():
        loop.add_signal_handler(number, stop.set)
    hosts = Hosts(settings.location, settings.account)
    connections = Connections()
    async with contextlib.AsyncExitStack() as stack:
        sockets = _Sockets.bind(settings, stack)
        addresses = sockets.addresses(settings)
        files = certificates(settings.state_dir, hosts.in_certificate)
        store = WatchedStore(settings.state_dir)
        stack.callback(store.close)
        for url, option in ((settings.azurite_blob, "--azurite-blob"), (settings.azurite_queue, "--azurite-queue")):
            await _azurite(url, option, stop)
        control = Control(store, settings) if settings.control else None
        record = Record()
        publisher = EventPublisher(settings, control.events if control else None, record=record)
        stack.push_async_callback(publisher.close)
        if not stop.is_set():
            await publisher.create_queues()
        may = partial(rights.may_use, store) if control else None
        storage = {
            Plane.BLOB: BlobProxy(settings.azurite_blob, publisher, settings, may=may),
            Plane.QUEUE: BlobProxy(settings.azurite_queue, None, settings),
        }
        for plane, bound in ((Plane.BLOB, sockets.blob), (Plane.QUEUE, sockets.queue)):
            stack.push_async_callback(storage[plane].close)
            guarded = guard_storage(storage[plane], control, connections=connections, plane=plane)
            await stack.enter_async_context(_serving(guarded, bound, connections))
        told = MLEvents(store, settings.ml_event_queues, publisher.tell)
        told.start()
        stack.push_async_callback(told.close)
        services = await _services(store, control, stack, settings=settings, addresses=addresses, record=record)
        online = _online(services, stack)
        http, tls = _control_plane(services, online, storage, hosts=hosts, connections=connections)
        await stack.enter_async_context(_serving(http, sockets.http, connections))
        await stack.enter_async_context(_serving(tls, sockets.tls, connections, files=files))
        await _proxy(sockets, hosts, stack)
        stack.push_async_callback(services.runner.close)
        if not stop.is_set():
            addresses.write(settings.state_dir)
            _log.info("Ready: %s (pages at %s/ui)", addresses, addresses.http)
            if ready is not None:
                ready(addresses, partial(loop.call_soon_threadsafe, stop.set))
            await stop.wait()
        addresses_path(settings.state_dir).unlink(missing_ok=True)
        _log.info("Stopping")


def _online(services: Services, stack: contextlib.AsyncExitStack) -> OnlineFront | None:
    """Make what answers requests for scores."""
    metrics, deployments = services.request_metrics, services.deployments
    if metrics is None or deployments is None:
        return None
    collection = DataCollection(services.store, services.storage)
    stack.push_async_callback(collection.close)
    controlled = services.control is not None
    front = OnlineFront(services.store, deployments, metrics=metrics, collection=collection, controlled=controlled)
    stack.push_async_callback(front.close)
    deployments.pending = front.pending
    return front


def _control_plane(
    services: Services,
    online: OnlineFront | None,
    storage: Mapping[Plane, ASGIApp],
    *,
    hosts: Hosts,
    connections: Connections,
) -> tuple[ASGIApp, ASGIApp]:
    """Make what the plain http port and the TLS port serve."""
    control, settings = services.control, services.settings
    lifetime = control.lifetime if control else Lifetime()
    main = application(services, identity_header=identity_header(settings.state_dir), lifetime=lifetime)
    login = login_application(lifetime)
    front = FrontDoor(
        main,
        login=login,
        storage=storage,
        hosts=hosts,
        services=services,
        online=online,
    )
    names = RouteNames([*main.routes, *login.routes, *ROUTES], hosts)
    return guard(front, control, connections=connections, names=names)


async def _services(
    store: Store,
    control: Control | None,
    stack: contextlib.AsyncExitStack,
    *,
    settings: Settings,
    addresses: Addresses,
    record: Record,
) -> Services:
    """Open what the handlers work with, end what an emulator before left, and create the declared workspaces."""
    storage = Storage(store, settings, blob_url=addresses.blob)
    stack.push_async_callback(storage.close)
    runner = Runner(store, storage, settings, addresses)
    if lost := runner.recover():
        _log.warning("%d runs were live when the emulator stopped; they are Failed now", lost)
    metrics = RequestMetrics(store)
    stack.callback(metrics.close)
    deployments = Deployments(store, storage, settings, http=addresses.http, faults=control.online if control else None)
    deployments.recover()
    stack.push_async_callback(deployments.close)
    services = Services(
        store=store,
        settings=settings,
        addresses=addresses,
        runner=runner,
        storage=storage,
        control=control,
        deployments=deployments,
        request_metrics=metrics,
        record=record,
    )
    scheduler = Scheduler(store, partial(schedules.begin, services))
    services = attrs.evolve(services, scheduler=scheduler)
    stack.push_async_callback(scheduler.close)
    for text in settings.workspaces:
        await workspaces.create(services, WorkspaceName.parse(text))
    scheduler.start()
    return services


async def _proxy(sockets: _Sockets, hosts: Hosts, stack: contextlib.AsyncExitStack) -> None:
    host, port = sockets.tls.getsockname()[:2]
    target = ("127.0.0.1" if host == "0.0.0.0" else host, port)  # noqa: S104  # compared only
    proxy = ConnectProxy(target, lambda name: hosts.plane(name) is not None)
    await proxy.start(sockets.proxy)
    stack.push_async_callback(proxy.close)


async def _azurite(url: str, option: str, stop: asyncio.Event) -> None:
    """Wait until Azurite accepts connections.

    Raises:
        SettingsError: It does not in time, or something else does.
    """
    parts = urlsplit(url)
    deadline = time.monotonic() + AZURITE_PATIENCE_S
    while not stop.is_set():
        head, why = await _head(parts.hostname or "", parts.port or 80)
        if b"\nserver: azurite" in head.lower():
            return
        if head:
            raise SettingsError(f"What answers at {option} {url} is no Azurite; give the address of one.")
        if time.monotonic() > deadline:
            raise SettingsError(f"Azurite does not answer at {option} {url}: {why}. Start it first.")
        await asyncio.sleep(0.1)


async def _head(host: str, port: int) -> tuple[bytes, str]:
    """Ask for whatever is there; gives the head of the answer, or an empty one and why there is none."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port)
            with contextlib.closing(writer):
                writer.write(f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
                return await reader.readuntil(b"\r\n\r\n"), ""
    except asyncio.LimitOverrunError:
        return b"?", ""
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        return b"", str(error) or "it is silent"
