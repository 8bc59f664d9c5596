"""What is left of blob versions that were done long ago: 20 bytes each, in 256 documents.

A key's first two digits name the document; the other 30 are kept in it as base64, grouped by container, by what became
of the blob, and by the month in which it was settled.
"""

import base64
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Self

from attrs import field, frozen

from airflow_azureml.core.documents import Document
from airflow_azureml.core.ledger import BlobState
from airflow_azureml.errors import ProtocolError

#: Hexadecimal digits of a key that name its shard, and the bytes that the others are.
PREFIX, _BYTES = 2, 15
#: The names of all shards.
SHARDS = tuple(f"{number:0{PREFIX}x}" for number in range(16**PREFIX))


@frozen(kw_only=True)
class Group:
    """What the blob versions in one part of a shard have in common.

    Attributes:
        container: ``ACCOUNT/CONTAINER``.
        state: ``scored`` or ``rejected``.
        month: When they were settled, as ``2026-01``, UTC.
    """

    container: str
    state: BlobState
    month: str


def shard_of(key: str) -> str:
    """Name the shard that a blob version's key belongs to."""
    return key[:PREFIX]


@frozen(kw_only=True)
class Shard:
    """One of the documents.

    Attributes:
        name: The first digits of all its keys.
        groups: The keys; none is empty.
        version: The store's word for what was read; empty where there was nothing.
    """

    name: str
    groups: Mapping[Group, frozenset[str]] = field(factory=dict)
    version: str = field(default="", eq=False)

    @classmethod
    def of(cls, name: str, document: Document | None) -> Self:
        """Read a stored shard; None is one with nothing in it.

        Raises:
            ProtocolError: It is none.
        """
        if document is None:
            return cls(name=name)
        try:
            body: Any = json.loads(document.text)
            groups = {
                Group(container=container, state=BlobState(state), month=month): _keys(name, packed)
                for container, states in body.items()
                for state, months in states.items()
                for month, packed in months.items()
            }
        except (TypeError, ValueError, AttributeError) as error:
            raise ProtocolError(f"Read {document.id} of the ledger: it is no shard: {error!r}") from error
        return cls(name=name, groups=groups, version=document.version)

    def to_text(self) -> str:
        """Write it as it is stored."""
        body: dict[str, dict[str, dict[str, str]]] = {}
        for group, keys in self.groups.items():
            body.setdefault(group.container, {}).setdefault(group.state.value, {})[group.month] = _packed(keys)
        return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def __len__(self) -> int:
        return sum(map(len, self.groups.values()))

    def state_of(self, key: str) -> BlobState | None:
        """Say what became of a blob version; None where the shard does not know it."""
        return next((group.state for group, keys in self.groups.items() if key in keys), None)

    def with_keys(self, more: Iterable[tuple[Group, str]]) -> Self:
        """Enter keys; one that is there already stays where it is."""
        groups = {group: set(keys) for group, keys in self.groups.items()}
        known = set[str]().union(*groups.values())
        for group, key in more:
            if key not in known:
                groups.setdefault(group, set()).add(key)
                known.add(key)
        return self._with(groups)

    def without(self, keys: Collection[str]) -> Self:
        """Take keys out."""
        return self._with({group: known.difference(keys) for group, known in self.groups.items()})

    def only(self, alive: Mapping[str, Collection[str]], *, before: str) -> Self:
        """Drop what was settled before a month and is not alive.

        Args:
            alive: Keys of the blob versions that there are, by container; others' keys stay.
            before: The month.
        """
        return self._with(
            {
                group: keys.intersection(alive[group.container])
                if group.container in alive and group.month < before
                else keys
                for group, keys in self.groups.items()
            }
        )

    def _with(self, groups: Mapping[Group, Collection[str]]) -> Self:
        kept = {group: frozenset(keys) for group, keys in groups.items() if keys}
        return type(self)(name=self.name, groups=kept, version=self.version)


def _packed(keys: Iterable[str]) -> str:
    return base64.b64encode(b"".join(bytes.fromhex(key[PREFIX:]) for key in sorted(keys))).decode()


def _keys(name: str, packed: str) -> frozenset[str]:
    content = base64.b64decode(packed, validate=True)
    if len(content) % _BYTES:
        raise ValueError(f"{len(content)} bytes are no whole number of keys")
    return frozenset(name + content[at : at + _BYTES].hex() for at in range(0, len(content), _BYTES))
