"""The envelope of an Event Grid event, in either of its schemas, as a queue's message holds it.

Source: https://learn.microsoft.com/azure/event-grid/event-schema and
https://learn.microsoft.com/azure/event-grid/cloud-event-schema.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from airflow_azureml.core.arrivals import utc
from airflow_azureml.errors import ProtocolError


class MalformedMessageError(ProtocolError):
    """The message is no Event Grid message that we know; see why, and what writes to this queue."""


@frozen
class Envelope:
    """One event; what it holds is looked at when it is asked for.

    Every property raises `MalformedMessageError` where it is missing or of another type.
    """

    body: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The event's type, such as ``Microsoft.Storage.BlobCreated``."""
        return text_of(self.body, "type" if self._is_cloud_event else "eventType")

    @property
    def source(self) -> str:
        """The id of the resource that it is about."""
        return text_of(self.body, "source" if self._is_cloud_event else "topic")

    @property
    def subject(self) -> str:
        """What of that resource it is about."""
        return text_of(self.body, "subject")

    @property
    def time(self) -> str:
        """When it was raised: UTC, as ISO 8601 with ``+00:00``."""
        written = text_of(self.body, "time" if self._is_cloud_event else "eventTime")
        try:
            return utc(written)
        except (ValueError, OverflowError) as error:
            raise MalformedMessageError(f"Read a queue message: {error}") from error

    @property
    def details(self) -> Mapping[str, Any]:
        """What is particular to its type."""
        details = self.body.get("data")
        if not isinstance(details, Mapping):
            raise MalformedMessageError(f"Read a queue message: the event {self.kind} has no data")
        return details

    @property
    def _is_cloud_event(self) -> bool:
        return "specversion" in self.body


def envelopes(text: str) -> list[Envelope]:
    """Read the text of a queue message: an event or several, as JSON or as base64 of it.

    Raises:
        MalformedMessageError: It is not that.
    """
    plain = text.strip().removeprefix("\ufeff")
    try:
        if not plain.startswith(("[", "{")):
            plain = base64.b64decode(plain, validate=True).decode("utf-8-sig")
        body = json.loads(plain)
    except (ValueError, RecursionError, binascii.Error) as error:
        raise MalformedMessageError(f"Read a queue message: neither JSON nor base64 of JSON: {error}") from error
    events = body if isinstance(body, list) else [body]
    if not events or not all(isinstance(event, Mapping) for event in events):
        raise MalformedMessageError("Read a queue message: expected an event or a list of events")
    return [Envelope(event) for event in events]


def text_of(body: Mapping[str, Any], name: str) -> str:
    """Read a field that must be a text, and not an empty one.

    Raises:
        MalformedMessageError: It is not that.
    """
    value = body.get(name)
    if not isinstance(value, str) or not value or not _is_unicode(value):
        raise MalformedMessageError(f"Read a queue message: the field {name} is missing or no text")
    return value


def _is_unicode(text: str) -> bool:
    """Tell whether it can be stored: JSON can write halves of characters, which nothing else can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
