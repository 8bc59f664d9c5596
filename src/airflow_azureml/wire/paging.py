"""Lists that come in pages."""

from collections.abc import Mapping
from typing import Any

from attrs import evolve

from airflow_azureml.errors import ProtocolError
from airflow_azureml.wire.http import Flow, Request

#: A list longer than this is a ``nextLink`` that goes in circles, or nothing to be read whole.
MOST_PAGES = 1000


def all_pages(first: Request) -> Flow[list[Mapping[str, Any]]]:
    """Read every entry of a list, following ``nextLink``.

    Raises:
        RefusedError: The service refused a page.
        UnavailableError: The service did not give a page; asking for the list again is safe.
        ProtocolError: A page has no ``value``, or the list does not end.
    """
    entries: list[Mapping[str, Any]] = []
    request = first
    for _ in range(MOST_PAGES):
        page = (yield request).expect(request, 200)
        value = page.get("value")
        if not isinstance(value, list):
            raise ProtocolError(f"{request.doing}: a page without a list: {sorted(page)}")
        entries += [entry for entry in value if isinstance(entry, dict)]
        following = page.get("nextLink")
        if not following:
            return entries
        request = evolve(first, url=str(following), params={})
    raise ProtocolError(f"{first.doing}: more than {MOST_PAGES} pages")
