"""Which jobs a listing is of, as clients may ask for it."""

from __future__ import annotations

import attrs

_ARCHIVED = "COALESCE(json_extract(body, '$.spec.isArchived'), 0)"
_HAS = "EXISTS (SELECT 1 FROM json_each(body, '$.{member}') AS one WHERE one.key = ?)"
_HAS_VALUE = "EXISTS (SELECT 1 FROM json_each(body, '$.{member}') AS one WHERE one.key = ? AND one.value = ?)"


@attrs.frozen(kw_only=True)
class Wanted:
    """Which jobs a listing is of; what is empty or None does not matter.

    Attributes:
        archived: Whether they are archived.
        tag: The name of a tag they have.
        properties: Properties they have: name and value, or None for any value.
    """

    endpoint: str = ""
    deployment: str = ""
    kind: str = ""
    archived: bool | None = None
    tag: str = ""
    properties: tuple[tuple[str, str | None], ...] = ()

    def terms(self) -> list[tuple[str, tuple[str, ...]]]:
        """Write it as SQL: each term with its values."""
        found: list[tuple[str, tuple[str, ...]]] = []
        if self.endpoint:
            found.append(("endpoint = ?", (self.endpoint.lower(),)))
        if self.deployment:
            found.append(("json_extract(body, '$.deployment') = ?", (self.deployment,)))
        if self.kind:
            found.append(("kind = ?", (self.kind,)))
        if self.archived is not None:
            found.append((_ARCHIVED if self.archived else f"NOT {_ARCHIVED}", ()))
        if self.tag:
            found.append((_HAS.format(member="tags"), (self.tag,)))
        for name, value in self.properties:
            if value is None:
                found.append((_HAS.format(member="properties"), (name,)))
            else:
                found.append((_HAS_VALUE.format(member="properties"), (name, value)))
        return found
