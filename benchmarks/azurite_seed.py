"""A container of Azurite's with any number of old blobs, made in seconds.

Azurite keeps what it knows of blobs in one JSON file. One blob is uploaded, and its entry is repeated under other names
and times; Azurite reads the file when it starts, and lists, reads and overwrites such blobs like any others.
"""

import json
import shutil
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from azure.storage.blob import ContainerClient

from demo.azure import ACCOUNT, ACCOUNT_KEY, Azurite

#: Azurite's own file, and the collection in it.
_DATABASE, _BLOBS = "__azurite_db_blob__.json", "$BLOBS_COLLECTION$"
#: The file in the folder that has the last name.
LAST = "last-name"
#: Azurite writes its file every five seconds.
_WRITTEN_S = 60


def container(azurite: Azurite, name: str) -> ContainerClient:
    """Open a container."""
    credential = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
    return ContainerClient.from_container_url(f"{azurite.blob_url}/{ACCOUNT}/{name}", credential=credential)


def seed(folder: Path, name: str, *, blobs: int, naming: Callable[[datetime], str], begin: datetime) -> None:
    """Make a folder of Azurite's with a container of so many blobs, one each three seconds.

    Args:
        folder: Where; nothing may be there.
        name: The container's.
        blobs: How many.
        naming: Gives a blob's name by its time.
        begin: When the first was written; UTC.
    """
    making = folder.with_name(f"{folder.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    database = making / "data" / _DATABASE
    with Azurite(making) as azurite, container(azurite, name) as client:
        client.create_container()
        client.upload_blob("first", b"0123456789", content_type="text/csv")
        until = time.monotonic() + _WRITTEN_S
        while not (database.exists() and '"first"' in database.read_text()) and time.monotonic() < until:
            time.sleep(0.2)
    known = json.loads(database.read_text())
    (found,) = [each for each in known["collections"] if each["name"] == _BLOBS]
    (first,) = found["data"]
    times = [begin + timedelta(seconds=3 * number) for number in range(blobs)]
    named = sorted((naming(at), at) for at in times)
    found["data"] = [_entry(first, number, path, at) for number, (path, at) in enumerate(named)]
    for index in found["binaryIndices"].values():
        index["values"] = list(range(blobs))
    found["maxId"] = blobs
    database.write_text(json.dumps(known, separators=(",", ":")))
    (making / LAST).write_text(named[-1][0])
    making.rename(folder)


def _entry(first: dict[str, Any], number: int, path: str, at: datetime) -> dict[str, Any]:
    written = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    times = {"creationTime": written, "lastModified": written, "accessTierChangeTime": written}
    properties = {**first["properties"], **times, "etag": f'"0x{number:015X}"'}
    return {**first, "name": path, "properties": properties, "$loki": number + 1}
