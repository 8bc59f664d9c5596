"""Bearer tokens at the proxy: checked as Azure Storage checks them, and replaced by a signature."""

from __future__ import annotations

import re

import aiohttp
import pytest

from azureml_emulator.settings import DEV_ACCOUNT
from tests.unit.emulator.serving import STORAGE, Front, bearer, blob_url

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("audience", [STORAGE, STORAGE.rstrip("/"), f"https://{DEV_ACCOUNT}.blob.core.windows.net"])
async def test_a_token_for_storage_is_good(front: Front, audience: str) -> None:
    metadata = {f"x-ms-meta-{name}": "1" for name in ("my_own", "my1own", "myown")}
    headers = {**bearer(audience), **metadata, "x-ms-blob-type": "BlockBlob", "Content-Type": "text/csv"}
    async with (
        aiohttp.ClientSession() as client,
        client.put(blob_url(front, "in/a%20b.csv"), data=b"a,b\n", headers=headers) as answer,
    ):
        status = answer.status
    async with (
        aiohttp.ClientSession() as client,
        client.get(
            f"{front.url}/{DEV_ACCOUNT}/{front.name}?restype=container&comp=list&prefix=in/a%20", headers=headers
        ) as listed,
    ):
        names = re.findall("<Name>(.*?)</Name>", await listed.text())

    (event,) = await front.told()
    assert (status, listed.status, names) == (201, 200, ["in/a b.csv"])
    assert event["data"]["contentType"] == "text/csv"


async def test_a_client_that_names_azures_host_is_understood(front: Front) -> None:
    host = f"{DEV_ACCOUNT}.blob.core.windows.net"
    headers = {**bearer(), "x-ms-blob-type": "BlockBlob", "Host": host}
    async with (
        aiohttp.ClientSession() as client,
        client.put(f"{front.url}/{front.name}/in/rows.csv", data=b"1234", headers=headers) as answer,
    ):
        status = answer.status

    (event,) = await front.told()
    assert status == 201
    assert event["data"]["url"] == f"http://{host}/{front.name}/in/rows.csv"
    assert event["subject"] == f"/blobServices/default/containers/{front.name}/blobs/in/rows.csv"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (bearer(lifetime_s=-1000), "The token is expired"),
        (bearer("https://management.azure.com/"), "Audience validation failed"),
        (bearer("https://other.blob.core.windows.net"), "Audience validation failed"),
        ({"Authorization": "Bearer opaque"}, "not a JWT"),
    ],
)
async def test_a_token_that_is_not_good_is_refused_as_storage_does(
    front: Front, headers: dict[str, str], said: str
) -> None:
    async with (
        aiohttp.ClientSession() as client,
        client.put(blob_url(front, "x"), data=b"x", headers={**headers, "x-ms-blob-type": "BlockBlob"}) as answer,
    ):
        text = await answer.text()

    assert (answer.status, answer.headers["x-ms-error-code"]) == (401, "InvalidAuthenticationInfo")
    assert said in text
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert not await front.blob("x").exists()
    assert await front.told() == []
