"""The data collector of online deployments: what models are given and answer, as lines of JSON in blobs.

Source of the lines and their place: learn.microsoft.com, how-to-collect-production-data; of what a scoring process
reads and sends: azureml-ai-monitoring 1.0. All payloads stand in their line here, large ones too.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import logging
import random
import re
import secrets
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import attrs
from azure.core.exceptions import AzureError
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from azureml_emulator.authority import AUTHORITY
from azureml_emulator.clock import utc_now
from azureml_emulator.errors import Json, bad_request
from azureml_emulator.names import WorkspaceName
from azureml_emulator.online_processes import Asked, ClientGoneError, ModelAnswer, TooLargeError
from azureml_emulator.storage import BlobPlace, Storage, StorageError
from azureml_emulator.store import Store

_log = logging.getLogger(__name__)
#: Where scoring processes send what a script collects.
PATH = "/modeldata/log"
#: A folder for the end of a scoring process's path: what stands in for Azure's packages where they are not installed.
STAND_INS = Path(__file__).with_name("stand_ins")
#: Where a collection lies that names no data asset.
_DEFAULT = "azureml://datastores/workspaceblobstore/paths/modelDataCollector"
_PAYLOADS = ("request", "response")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_MOST_COLLECTIONS = 5
_FORMATS = {"year": "%Y", "month": "%Y/%m", "day": "%Y/%m/%d", "hour": "%Y/%m/%d/%H", "minute": "%Y/%m/%d/%H/%M"}
_FLUSH_S = 0.5
#: More lines are not kept while the storage does not answer.
_MOST_LINES = 20_000
#: Azure's bound is 50000 appends; a blob that comes near is followed by another one.
_MOST_APPENDS = 40_000
_MOST_BYTES = 16 * 1024 * 1024
_PREFIX = "azureml.inference."


@attrs.frozen
class _Collected:
    """Which collections a deployment asks for."""

    share: Mapping[str, float]
    data_id: Mapping[str, str]
    rolling: str

    @classmethod
    def of(cls, deployment: Json) -> _Collected:
        """Read a deployment's resource; case is ignored, for azure-ai-ml writes ``enabled`` and Azure ``Enabled``."""
        found = deployment["properties"].get("dataCollector") or {}
        on = {
            str(name).lower(): one
            for name, one in (found.get("collections") or {}).items()
            if str((one or {}).get("dataCollectionMode")).lower() == "enabled"
        }
        return cls(
            share={
                name: 1.0 if one.get("samplingRate") is None else float(one["samplingRate"]) for name, one in on.items()
            },
            data_id={name: str(one["dataId"]) for name, one in on.items() if one.get("dataId")},
            rolling=_FORMATS.get(str(found.get("rollingRate") or "Hour").lower(), _FORMATS["hour"]),
        )


def checked(said: Any) -> Json | None:
    """Check the ``dataCollector`` of a deployment that somebody sends.

    Returns:
        It, as it was sent; None for none.

    Raises:
        WireError: 400 that says what is wrong with it.
    """
    if not said:
        return None
    collections = said.get("collections") if isinstance(said, dict) else None
    if not isinstance(collections, dict) or not 0 < len(collections) <= _MOST_COLLECTIONS:
        raise bad_request(f"dataCollector.collections names no collections; give 1 to {_MOST_COLLECTIONS} of them.")
    rolling = said.get("rollingRate")
    if rolling is not None and str(rolling).lower() not in _FORMATS:
        raise bad_request(f"dataCollector.rollingRate is {rolling!r}; give Year, Month, Day, Hour or Minute.")
    for name, one in collections.items():
        if _NAME.fullmatch(name) is None or not isinstance(one, dict):
            raise bad_request(f"dataCollector.collections.{name} is no collection; give it letters, digits, - and _.")
        share = one.get("samplingRate")
        if share is not None and (isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1):
            raise bad_request(f"dataCollector.collections.{name}.samplingRate is {share!r}; give a share of 0 to 1.")
        mode = one.get("dataCollectionMode")
        if str(mode).lower() not in {"none", "enabled", "disabled"}:
            raise bad_request(f"dataCollector.collections.{name}: {mode!r} is no mode; give Enabled or Disabled.")
        if one.get("dataId") is not None and not isinstance(one["dataId"], str):
            raise bad_request(f"dataCollector.collections.{name}.dataId is no text.")
    return dict(said)


def variables(deployment: Json, *, http: str, folder: Path) -> dict[str, str]:
    """Make the environment variables by which a scoring process knows what to collect, and where to send it.

    Args:
        deployment: The deployment's resource.
        http: The emulator's plain address.
        folder: Where the settings are written.

    Returns:
        The variables; none for a deployment that collects nothing.
    """
    collected = _Collected.of(deployment)
    if not collected.share:
        return {}
    collections = {
        name: {"enabled": True, "sampleRatePercentage": round(share * 100)} for name, share in collected.share.items()
    }
    path, user = folder / "data-collector.json", str(deployment["id"])
    path.write_text(json.dumps({"collections": collections}))
    address = urlsplit(http)
    return {
        "AZUREML_MDC_CONFIG_PATH": str(path),
        # The package writes http://HOST:PORT/…, so that user and password in it tell the deployments apart.
        "AZUREML_MDC_HOST": f"{quote(user, safe='')}:{AUTHORITY.sign(user)}@{address.hostname}",
        "AZUREML_MDC_PORT": str(address.port),
    }


class DataCollection:
    """Takes lines, and writes them about twice a second; what cannot be written is kept for a while.

    Args:
        store: The deployments.
        storage: Where blobs are.
    """

    def __init__(self, store: Store, storage: Storage) -> None:
        self._store = store
        self._storage = storage
        self._instances: dict[str, str] = {}
        self._lines: dict[BlobPlace, list[str]] = {}
        self._appends: dict[BlobPlace, int] = {}
        self._writing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Write what is left."""
        if self._writing is not None:
            self._writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing
        await self._write()

    def payloads(self, deployment: Json, asked: Asked, found: ModelAnswer, *, request_id: str) -> None:
        """Collect a request and its answer, of a deployment that has the collections ``request`` and ``response``."""
        collected = _Collected.of(deployment)
        if not any(name in collected.share for name in _PAYLOADS):
            return
        sampled = random.random()  # noqa: S311  # no secret; both or none
        for name, headers, body in (
            (_PAYLOADS[0], asked.headers, asked.body),
            (_PAYLOADS[1], found.headers, found.body),
        ):
            if sampled >= collected.share.get(name, 0.0):
                continue
            more: Json = {"path": "/score", "method": asked.method}
            more |= {"statuscode": found.status} if name == "response" else {}
            kind = headers.get("content-type", "application/json").partition(";")[0]
            line = _line(deployment, name, body, kind=kind, request_id=request_id)
            self._add(deployment, collected, name, line | more)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take what a scoring process sends."""
        try:
            asked = await Asked.read(scope, receive, most_bytes=_MOST_BYTES)
            answer = self._take(asked)
        except ClientGoneError:
            return
        except TooLargeError:
            answer = _refused(413, f"The body is larger than {_MOST_BYTES} bytes.")
        await answer(scope, receive, send)

    def _take(self, asked: Asked) -> Response:
        user, password = _signed_in(asked.headers.get("authorization", ""))
        if not secrets.compare_digest(password.encode(), AUTHORITY.sign(user).encode()):
            return _refused(401, "Only a deployment's own processes send what it collects.")
        deployment = self._store.get(user)
        if deployment is None:
            return _refused(404, f"There is no deployment {user!r}.")
        kind = asked.headers.get("ce-type", "")
        name, collected = kind.removeprefix(_PREFIX).lower(), _Collected.of(deployment)
        if not kind.startswith(_PREFIX) or name not in collected.share:
            return _refused(400, f"{kind!r} is no collection of the deployment; they are {sorted(collected.share)}.")
        content = asked.headers.get("content-type", "application/json").partition(";")[0]
        request_id = asked.headers.get("ce-x-request-id") or str(uuid.uuid4())
        line = _line(deployment, name, asked.body, kind=content, request_id=request_id)
        line |= {
            "modelversion": asked.headers.get("ce-model-version", "default"),
            "collectdatatype": asked.headers.get("ce-collect-data-type", ""),
            "agent": asked.headers.get("ce-agent", ""),
        }
        self._add(deployment, collected, name, line)
        return Response(status_code=200)

    def _add(self, deployment: Json, collected: _Collected, name: str, line: Json) -> None:
        if sum(map(len, self._lines.values())) >= _MOST_LINES:
            _log.warning("Collection %s of %s: the storage does not keep up; a line is lost", name, deployment["id"])
            return
        endpoint = str(deployment["id"]).split("/")[-3]
        folder = collected.data_id.get(name) or f"{_DEFAULT}/{endpoint}/{deployment['name']}/{name}"
        try:
            place = self._storage.resolve(folder, WorkspaceName.of_arm_id(deployment["id"]).arm_id)
        except StorageError as error:
            _log.warning("Collection %s of %s has no place: %s", name, deployment["id"], error)
            return
        blob = place / utc_now().strftime(collected.rolling) / f"{self._instance(deployment['id'])}.jsonl"
        self._lines.setdefault(blob, []).append(json.dumps(line, separators=(",", ":")))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_soon())

    def _instance(self, deployment: str) -> str:
        """Give the id of this emulator's lines of a deployment, so that blobs of an earlier one stay."""
        return self._instances.setdefault(deployment.lower(), uuid.uuid4().hex)

    async def _write_soon(self) -> None:
        while self._lines:
            await asyncio.sleep(_FLUSH_S)
            await self._write()

    async def _write(self) -> None:
        """Write all lines there are; those of a blob that cannot be written stay."""
        for blob, lines in self._taken():
            try:
                if blob not in self._appends:
                    await self._storage.start_log(blob)
                await self._storage.append(blob, "".join(f"{line}\n" for line in lines).encode())
            except (AzureError, asyncio.CancelledError) as error:
                self._lines[blob] = lines + self._lines.get(blob, [])
                if isinstance(error, asyncio.CancelledError):
                    raise
                _log.warning("Collected data cannot be written to %s: %s", blob, error)
                return
            self._appends[blob] = self._appends.get(blob, 0) + 1
            if self._appends[blob] >= _MOST_APPENDS:
                self._instances.clear()

    def _taken(self) -> Iterator[tuple[BlobPlace, list[str]]]:
        for blob in list(self._lines):
            yield blob, self._lines.pop(blob)


def _line(deployment: Json, name: str, body: bytes, *, kind: str, request_id: str) -> Json:
    """Make a line as the data collector writes it."""
    text = body.decode("utf-8", "replace")
    data: object = text
    if kind.endswith("json"):
        with contextlib.suppress(ValueError):
            data = json.loads(text)
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": deployment["id"],
        "type": f"{_PREFIX}{name}",
        "datacontenttype": kind,
        "time": utc_now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        "data": data,
        "contentrange": f"bytes 0-{max(len(body) - 1, 0)}/{len(body)}",
        "correlationid": request_id,
        "xrequestid": request_id,
    }


def _signed_in(authorization: str) -> tuple[str, str]:
    """Read user and password; both empty where there are none."""
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = base64.b64decode(secret, validate=True).decode().rpartition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password


def _refused(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message}}, status)
