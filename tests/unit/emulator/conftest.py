"""The emulator's halves on the real Azurite; each test has a workspace, containers and a state folder of its own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
from azure.storage.blob.aio import BlobServiceClient
from azure.storage.queue.aio import QueueClient

from azureml_emulator.events import EventPublisher
from azureml_emulator.settings import DEV_ACCOUNT, EventQueue, Settings
from demo.azure import Azurite
from tests.unit.emulator.serving import KEY, Front, proxying
from tests.unit.emulator.world import World


@pytest.fixture
def settings(tmp_path: Path, azurite: Azurite) -> Settings:
    return Settings(
        state_dir=tmp_path / "state",
        azurite_blob=azurite.blob_url,
        azurite_queue=azurite.queue_url,
        workspaces=(f"{uuid.uuid4()}/group/testing",),
    )


@pytest.fixture
async def world(settings: Settings, tmp_path: Path) -> AsyncIterator[World]:
    shared = tmp_path / "shared"
    shared.mkdir()
    made = World.make(settings, shared)
    yield made
    await made.runner.close()
    await made.storage.close()
    made.store.close()


@pytest.fixture
async def front(settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator[Front]:
    container, queue = f"c{uuid.uuid4().hex}", f"q{uuid.uuid4().hex}"
    filters = getattr(request, "param", {})
    told = attrs.evolve(settings, event_queues=(EventQueue(queue=queue, container=container, **filters),))
    async with proxying(told.azurite_blob, told, EventPublisher(told)) as url:
        service = BlobServiceClient(f"{url}/{DEV_ACCOUNT}", credential=KEY)
        reader = QueueClient(f"{told.azurite_queue}/{DEV_ACCOUNT}", queue, credential=KEY)
        async with service, reader:
            await service.create_container(container)
            yield Front(url=url, settings=told, container=service.get_container_client(container), queue=reader)
