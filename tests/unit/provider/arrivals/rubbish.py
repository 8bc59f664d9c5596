"""Messages that a queue might hold, seeded: good ones, others, and broken ones of every kind we could think of."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Any

import attrs

from tests.unit.provider.arrivals.listening import ACCOUNT

SECRET = "U0VDUkVU%2bnobody%2bmay%2bread"  # noqa: S105  # that of nothing
SAS = f"sv=2024-11-04&ss=b&srt=o&sp=r&se=2026-02-01T00:00:00Z&spr=https&sig={SECRET}"


class Fate(Enum):
    """What must become of a message."""

    TOLD = auto()
    DELETED = auto()
    REFUSED = auto()
    #: It is told or deleted or refused, and nothing else: what that one field says is not looked at by everybody.
    ANY = auto()


@attrs.frozen
class Sample:
    """A message, the path of the blob that it tells of, and what must become of it."""

    text: str
    path: str
    fate: Fate
    kind: str


Event = dict[str, Any]
Breaker = Callable[[random.Random, Event], None]


def samples(count: int, seed: int) -> Iterator[Sample]:
    """Make so many messages; the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311  # guards nothing
    for number in range(count):
        yield _sample(chance, f"in/{number}{chance.choice(NAMES) if number % 4 == 0 else ''}")


def _sample(chance: random.Random, path: str) -> Sample:
    lot = chance.random()
    event = chance.choice((_grid, _cloud))(path)
    if lot < 0.3:
        return Sample(_written(chance, event), path, Fate.TOLD, "good")
    if lot < 0.4:
        name, change = chance.choice(list(SILENT.items()))
        change(chance, event)
        return Sample(_written(chance, event), path, Fate.DELETED, name)
    if lot < 0.75:
        name, change = chance.choice(list(BREAKERS.items()))
        change(chance, event)
        return Sample(_written(chance, event), path, Fate.REFUSED, name)
    if lot < 0.85:
        name, text = chance.choice(list(TEXTS.items()))
        return Sample(text(chance, _written(chance, event)), path, Fate.REFUSED, name)
    _one_field(chance, event)
    return Sample(_written(chance, event), path, Fate.ANY, "one field")


#: What blobs are called beside a number.
NAMES = (
    "",
    ".csv",
    " é.csv",
    "/%2e%2e/x",
    "/a%2Fb",
    "\u202e.csv",
    "\U0001f600",
    "\x01",
    "/..x",
    "/x..",
    "?#&",
    "x" * 900,
)


def _grid(path: str) -> Event:
    return {
        "topic": f"/subscriptions/s/resourceGroups/r/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}",
        "subject": f"/blobServices/default/containers/incoming/blobs/{path}",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-01-31T18:41:00.9584103Z",
        "id": path,
        "data": {
            "api": "PutBlob",
            "clientRequestId": "6d79dbfb-0e37-4fc4-981f-442c9ca65760",
            "eTag": "0x8D4BCC2E4835CD0",
            "contentType": "text/csv",
            "contentLength": 10,
            "blobType": "BlockBlob",
            "url": f"http://127.0.0.1:10000/{ACCOUNT}/incoming/blob",
            "sequencer": "00000000000004420000000000028963",
            "storageDiagnostics": {"batchId": "b68529f3"},
        },
        "dataVersion": "",
        "metadataVersion": "1",
    }


def _cloud(path: str) -> Event:
    event = _grid(path)
    named = {"topic": "source", "eventType": "type", "eventTime": "time"}
    renamed = {named.get(name, name): value for name, value in event.items() if "Version" not in name}
    return {**renamed, "specversion": "1.0"}


def _key(event: Event, name: str) -> str:
    return {"topic": "source", "eventType": "type", "eventTime": "time"}[name] if "specversion" in event else name


def _written(chance: random.Random, event: Event) -> str:
    body: Any = chance.choice((event, [event]))
    text = json.dumps(body, ensure_ascii=chance.random() < 0.5)
    if not _is_unicode(text):
        text = json.dumps(body)
    return base64.b64encode(text.encode()).decode() if chance.random() < 0.5 else text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _set(name: str, *values: Any) -> Breaker:
    def change(chance: random.Random, event: Event) -> None:
        outer, _, inner = name.partition(".")
        value = chance.choice(values)
        if inner:
            event[outer][inner] = value
        else:
            event[_key(event, outer) if outer in {"topic", "eventType", "eventTime"} else outer] = value

    return change


def _lose(name: str) -> Breaker:
    def change(_: random.Random, event: Event) -> None:
        outer, _dot, inner = name.partition(".")
        if inner:
            del event[outer][inner]
        else:
            del event[_key(event, outer) if outer in {"topic", "eventType", "eventTime"} else outer]

    return change


_OTHER_TYPES: tuple[Any, ...] = (None, 7, 1.5, True, [], ["x"], {}, {"x": "y"}, "", float("nan"), float("inf"), 10**400)
_TOPIC = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Storage/storageAccounts/"
_WORKSPACE = "/subscriptions/s/resourceGroups/r/providers/Microsoft.MachineLearningServices/workspaces/w"
_SUBJECT = "/blobServices/default/containers/incoming/blobs/"

#: Events that are right and that nobody waits for.
SILENT: dict[str, Breaker] = {
    "deleted": _set("eventType", "Microsoft.Storage.BlobDeleted", "Microsoft.Storage.BlobRenamed"),
    "begun": _set("data.api", "CreateFile", "SftpCreate"),
    "empty": _set("data.contentLength", 0),
    "elsewhere in the container": _set("subject", f"{_SUBJECT}out/x", f"{_SUBJECT}IN/x"),
    "own container": _set("subject", "/blobServices/default/containers/airflow-azureml-ledger/blobs/in/x"),
}


def _of_workspace(chance: random.Random, event: Event) -> None:
    event[_key(event, "topic")] = _WORKSPACE
    event[_key(event, "eventType")] = f"Microsoft.MachineLearningServices.{chance.choice(_ML_TYPES)}"
    event["data"] = chance.choice((event["data"], {"RunId": "a", "RunStatus": SAS}, {}, {"ModelName": ["x"]}))


_ML_TYPES = ("ModelRegistered", "RunCompleted", "RunStatusChanged", "ModelDeployed", "DatasetDriftDetected", "Painted")

#: What makes a right event wrong, each by itself.
BREAKERS: dict[str, Breaker] = {
    **{f"no {name}": _lose(name) for name in ("topic", "subject", "eventType", "eventTime", "data", "data.api")},
    **{f"no {name}": _lose(name) for name in ("data.eTag", "data.url")},
    **{
        f"{name} of another type": _set(name, *_OTHER_TYPES)
        for name in ("topic", "subject", "eventType", "eventTime", "data", "data.api", "data.eTag", "data.url")
    },
    **{
        f"{name} with half a letter": _set(name, f"{start}\ud800", f"{start}\udfff\ud83d")
        for name, start in (
            ("topic", _TOPIC + ACCOUNT),
            ("subject", f"{_SUBJECT}in/"),
            ("data.eTag", "0x"),
            ("data.contentType", "text/"),
            ("data.sequencer", "0"),
        )
    },
    "another account": _set("topic", f"{_TOPIC}another", f"{_TOPIC}{ACCOUNT}2", f"{_TOPIC}{ACCOUNT}/x", _TOPIC),
    "another container": _set(
        "subject",
        "/blobServices/default/containers/incoming2/blobs/in/x",
        "/blobServices/default/containers/../blobs/in/x",
        "/blobServices/default/containers/incoming/../other/blobs/in/x",
        "/blobServices/default/containers//blobs/in/x",
    ),
    "a path that climbs": _set("subject", f"{_SUBJECT}in/../../x", f"{_SUBJECT}..", f"{_SUBJECT}in/./x", _SUBJECT),
    "a path too long": _set("subject", f"{_SUBJECT}in/{'x' * 1100}"),
    "a topic that climbs": _set(
        "topic", "..", f"{_TOPIC}..", "/../storageAccounts/", "https://evil.example/" + ACCOUNT
    ),
    "an address elsewhere": _set(
        "data.url",
        "https://evil.example/incoming/x",
        f"https://{ACCOUNT}.blob.core.windows.net/incoming/x",
        f"https://{ACCOUNT}.blob.core.chinacloudapi.cn/incoming/x",
        f"https://user:{SECRET}@127.0.0.1/{ACCOUNT}/x",
        "http://169.254.169.254/metadata",
        "http://127.0.0.1:10000/another/incoming/x",
        "file:///etc/passwd",
        "http://[",
        "http://127.0.0.1:99999/x/y",
    ),
    "a token in the address": _set("data.url", f"http://127.0.0.1:10000/{ACCOUNT}/incoming/x?{SAS}"),
    "a token elsewhere": _set("data.api", SAS, f"PutBlob?{SAS}"),
    "a token as the topic": _set("topic", f"{_TOPIC}{ACCOUNT}?{SAS}", f"https://x/?{SAS}"),
    "a token as the subject": _set("subject", f"https://x/?{SAS}", f"x{SAS}"),
    "a token as the type": _set("eventType", f"Microsoft.Storage.{SAS}"),
    "a token as the time": _set("eventTime", SAS),
    "a token as the size": _set("data.contentLength", SAS),
    "a size that is none": _set("data.contentLength", -1, "10", 1.0, [], [True], {}, float("nan"), 2**63, 10**400),
    "an unknown type": _set("eventType", "Microsoft.Storage.BlobPainted", "microsoft.storage.blobcreated", "\x00"),
    "an unknown operation": _set("data.api", "PaintBlob", "putblob", "\n\nFATAL everything is lost"),
    "a time that is none": _set("eventTime", "yesterday", "2026-01-31T18:41:00", "0001-01-01T00:00:00+23:59", "9" * 99),
    "an eTag of quotes": _set("data.eTag", '"', '""'),
    "a field without end": _set("data.eTag", "x" * 20_000),
    "an event of Azure ML's that nobody asked for": _of_workspace,
}


def _cut(chance: random.Random, text: str) -> str:
    """Cut a text where what is left can be neither JSON nor base64 of JSON."""
    return text[: chance.randrange(1, len(text) - 2)] + "~"


TEXTS: dict[str, Callable[[random.Random, str], str]] = {
    "empty": lambda *_: "",
    "words": lambda *_: f"hello, here is your token: https://x/y?{SAS}",
    "cut": _cut,
    "deep": lambda chance, _: chance.choice(("[", '{"a":')) * chance.randrange(1_000, 3_000),
    "deep and whole": lambda chance, _: "[" * (depth := chance.randrange(1_000, 3_000)) + "]" * depth,
    "a huge number": lambda *_: "9" * 6_000,
    "a huge number in a list": lambda *_: f"[{'9' * 6_000}]",
    "no event": lambda chance, _: chance.choice(
        ("[]", "[1]", "[null]", "{}", "null", "NaN", "[[]]", '[{}, "x"]', "{}{}")
    ),
    "two texts": lambda _, text: f"{text} {text}",
    "base64 twice": lambda _, text: base64.b64encode(base64.b64encode(text.encode())).decode(),
    "base64 of bytes": lambda chance, _: base64.b64encode(b"\xff\xfe" + chance.randbytes(20)).decode(),
    "base64 of a token": lambda *_: base64.b64encode(f"https://x/y?{SAS}".encode()).decode(),
    "one bad of three": lambda *_: json.dumps([_grid("in/x"), _grid("in/y"), {**_grid("in/z"), "eventType": "x"}]),
    "a key twice": lambda *_: json.dumps(_grid("in/x"))[:-1] + ', "subject": 7, "eventType": "x"}',
    "controls": lambda chance, _: "".join(chr(chance.randrange(1, 32)) for _ in range(30)),
}


def _one_field(chance: random.Random, event: Event) -> None:
    """Set any field to anything."""
    place = chance.choice((event, event["data"]))
    place[chance.choice([*place, "new"])] = chance.choice(
        (*_OTHER_TYPES, "x" * 2_000, "\ud800", "../..", {"a": [1, {"b": None}]}, -1, "2026-01-31T18:41:00Z", "\x00")
    )
