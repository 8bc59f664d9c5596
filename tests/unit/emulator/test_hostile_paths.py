"""Whatever a path or a query names, on whatever route: no file outside the state folder is read, made or removed."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azureml_emulator.names import WorkspaceName
from azureml_emulator.online_front import ROUTES
from azureml_emulator.pages import job_page_path
from azureml_emulator.routes.application import MODULES
from azureml_emulator.testing import emulator
from azureml_emulator.tokens import issue
from demo.azure import Azurite

#: Method and path of every route; the pages and the control interface have a few of their own.
PLACES = sorted(
    {
        (method, route.path)
        for route in [*(route for module in MODULES for route in module.routes()), *ROUTES]
        for method in route.methods or ()
    }
    | {("GET", path) for path in ("/ui/jobs/{workspace}/{run}", "/ui/model", "/ui/endpoint", "/{tenant}/v2.0/x")}
    | {(method, "/control/scripts/{name}") for method in ("GET", "PUT", "DELETE")}
)
_PLACE = re.compile(r"\{(\w+)(?::path)?\}")
#: What a query may name.
_ASKED = ("path", "prefix", "key", "run_id", "artifact_path", "name", "workspace", "version")
_STEPS = ("..", ".", "", "escaped", "logs", "tls", "identity-header", "emulator.db", "secret.txt", "x" * 300, "\0", "é")
_SEPARATORS = ("/", "\\", "//", "/./")
#: As they are, encoded once or twice, or in the ways that decoders differ in.
_WRITINGS = (
    lambda text: quote(text, safe="/\\"),
    lambda text: quote(text, safe=""),
    lambda text: quote(quote(text, safe=""), safe=""),
    lambda text: quote(text, safe="").replace(".", "%2e"),
    lambda text: quote(text, safe="").replace("%2F", "%c0%af"),
    lambda text: quote(text, safe="").replace("%2F", "%u2215"),
)
_climbing = st.integers(1, 9).map(lambda number: "../" * number)
_ends = st.sampled_from(["secret.txt", "escaped", "identity-header", "tls/ca-key.pem", "emulator.db", "etc/passwd", ""])
_made = st.lists(st.sampled_from(_STEPS), min_size=1, max_size=6).flatmap(
    lambda parts: st.sampled_from(_SEPARATORS).map(lambda between: between.join(parts))
)
hostile = st.builds(
    lambda text, begin, write: write(begin + text),
    st.builds(str.__add__, _climbing, _ends) | _made | _made.map(lambda text: text + "/" * 3),
    st.sampled_from(["", "/", "file://", "C:\\", "~/", "azureml://datastores/workspaceblobstore/paths/"]),
    st.sampled_from(_WRITINGS),
)


@attrs.frozen
class Site:
    """An emulator whose state folder lies deep in a folder that holds a secret."""

    root: Path
    state_dir: Path
    address: str
    real: dict[str, str]

    def send(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        """Send a path as it is written: clients that know better make ``..`` go away."""
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=30)
        head = {"Authorization": f"Bearer {issue('https://management.azure.com')}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body, head)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    @property
    def secrets(self) -> list[bytes]:
        """What no answer may hold."""
        key = (self.state_dir / "tls" / "ca-key.pem").read_bytes().splitlines()[1]
        return [
            b"nobody may read this",
            (self.state_dir / "identity-header").read_bytes(),
            key,
            b"SQLite format",
            b"root:x:",
        ]

    def outside(self) -> list[str]:
        """List what is beside the state folder, and above it."""
        within = self.state_dir.relative_to(self.root).parts[0]
        found = [str(path) for path in self.root.iterdir()] + [str(path) for path in self.root.parent.iterdir()]
        for folder in self.state_dir.parents:
            if folder == self.root:
                break
            found += [str(path) for path in folder.iterdir()]
        return sorted({*found, within})


@pytest.fixture(scope="module")
def site(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("hostile") / "root"
    deep = root / "one" / "two"
    deep.mkdir(parents=True)
    for folder in (root, *deep.parents[: len(deep.relative_to(root).parts)], deep):
        (folder / "secret.txt").write_text("nobody may read this")
    with emulator(folder=deep / "own", azurite_blob=azurite.blob_url, azurite_queue=azurite.queue_url) as running:
        workspace = running.workspace("hostile")
        parts = {"sub": workspace.subscription, "group": workspace.resource_group, "ws": workspace.name}
        made = Site(root, running.state_dir, running.addresses.http, parts)
        spec = {"jobType": "Command", "command": "echo hello", "environmentId": "azureml:any:1"}
        status, said = made.send("PUT", f"{workspace.arm_id}/jobs/job", json.dumps({"properties": spec}))
        assert status == 201, said
        deadline = time.monotonic() + 60
        while b'"Completed"' not in made.send("GET", f"{workspace.arm_id}/jobs/job")[1]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for folder in (made.state_dir, *made.state_dir.parents[: len(made.state_dir.relative_to(deep).parts)]):
            (folder / "secret.txt").write_text("nobody may read this")
        yield made


@pytest.mark.parametrize("text", ["../secret.txt", "../../secret.txt", "{root}/secret.txt"])
def test_no_route_reads_a_file_that_a_path_leads_to(site: Site, text: str) -> None:
    name = quote(text.format(root=site.root), safe="")
    query = "&".join(f"{word}={name}" for word in _ASKED)

    for method, path in PLACES:
        filled = _PLACE.sub(
            lambda found: site.real.get(found[1], name if found[0].endswith(":path}") else "job"),
            path,
        )
        status, said = site.send(method, f"{filled}?{query}", "{}" if method in {"PUT", "POST", "PATCH"} else None)

        assert status != 500, (method, path, said)
        assert not [secret for secret in site.secrets if secret in said], (method, path)


@settings(max_examples=300, deadline=None)
@given(
    place=st.sampled_from(PLACES),
    attacked=st.sets(st.integers(0, 9), min_size=1, max_size=2),
    names=st.lists(hostile, min_size=3, max_size=3),
    asks=st.booleans(),
)
def test_no_path_of_any_route_leads_out_of_the_state_folder(
    site: Site, place: tuple[str, str], attacked: set[int], names: list[str], *, asks: bool
) -> None:
    method, path = place
    words = [*_PLACE.finditer(path)]
    chosen = {words[number % len(words)].group(1) for number in attacked} if words else set()
    drawn = iter(names * 9)
    filled = _PLACE.sub(
        lambda found: (
            next(drawn) if found[1] in chosen and found[1] not in site.real else site.real.get(found[1], "job")
        ),
        path,
    )
    query = "&".join(f"{word}={names[0]}" for word in _ASKED) if asks or not words else "api-version=2023-04-01"
    before = site.outside()

    status, said = site.send(method, f"{filled}?{query}", "{}" if method in {"PUT", "POST", "PATCH"} else None)

    assert status != 500, said
    assert not [secret for secret in site.secrets if secret in said]
    assert b"Traceback" not in said
    assert site.outside() == before
    assert all((site.state_dir / name).exists() for name in ("emulator.db", "identity-header", "tls/ca-key.pem"))


@settings(max_examples=150, deadline=None)
@given(name=hostile, word=st.sampled_from(["sub", "group", "ws"]))
def test_no_name_of_a_workspace_leads_out_of_the_state_folder(site: Site, name: str, word: str) -> None:
    real = site.real | {word: name}
    path = "/subscriptions/{sub}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices/workspaces/{ws}"
    before = site.outside()

    status, said = site.send("PUT", f"{path.format(**real)}?api-version=2023-04-01", '{"properties": {}}')

    assert status != 500, said
    assert b"Traceback" not in said
    assert site.outside() == before


def test_what_a_job_has_written_is_read(site: Site) -> None:
    """So the tests above would see a file, if it were opened."""
    workspace = WorkspaceName(site.real["sub"], site.real["group"], site.real["ws"])

    status, said = site.send("GET", job_page_path(workspace.arm_id, "job"))

    assert (status, b"hello" in said) == (200, True)
