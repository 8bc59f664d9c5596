"""A start that cannot be is one clear line and an exit code that says so; nobody has to read a stack trace."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from azureml_emulator.cli import main
from azureml_emulator.settings import SettingsError, addresses_path
from demo.azure import Azurite

NOBODY = 65534


def line_of(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("azureml-emulator: ")
    return said.err.removeprefix("azureml-emulator: ").rstrip("\n")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--http-port", "5055", "--tls-port", "5055"],
            "--http-port and --tls-port are both 5055; each needs its own.",
        ),
        (["--event-queue", "UPPER"], "--event-queue 'UPPER': a queue's name is 3 to 63 of a-z, 0-9 and single hyphens"),
        (["--ml-event-queue", "a--b"], "--ml-event-queue 'a--b': a queue's name is 3 to 63 of a-z, 0-9 and single"),
        (["--event-queue", "new:Upper"], "--event-queue 'new:Upper': there can be no container 'Upper'."),
        (["--workspace", "a/b/.."], "--workspace 'a/b/..': '..' is no name; 1 to 255 letters, digits"),
        (["--workspace", "a/b/c d"], "--workspace 'a/b/c d': 'c d' is no name"),
        (["--python", "/"], "--python / is no program; name an interpreter."),
        (["--azurite-blob", "http://127.0.0.1:many"], "--azurite-blob 'http://127.0.0.1:many' is no http://HOST:PORT."),
        (["--azurite-queue", "http://127.0.0.1:99999"], "--azurite-queue 'http://127.0.0.1:99999' is no http://HOST:"),
        (["--node-start", "nan"], "--node-start nan is no number of seconds from 0 to 600."),
        (["--tenant", "mine"], "--tenant 'mine' is no tenant's id"),
        (["--client", "a=b"], "--client needs --tenant."),
        (["--host", "192.0.2.1"], "--host 192.0.2.1 can be reached from other machines"),
    ],
)
def test_an_option_that_cannot_be_is_said_before_anything_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    code = main(["--state-dir", str(tmp_path / "state"), *options])

    assert line_of(capsys).startswith(sentence)
    assert [code, (tmp_path / "state").exists()] == [2, False]


@pytest.mark.parametrize(
    "options",
    [["--http-port", "many"], ["--environments", "buld"], ["--log-level", "loud"], ["--max-steps", "1.5"], ["--frob"]],
)
def test_an_option_that_cannot_be_read_is_one_line(capsys: pytest.CaptureFixture[str], options: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(options)

    assert line_of(capsys).endswith("See azureml-emulator --help.")
    assert ended.value.code == 2


@pytest.mark.parametrize("word", ["http", "tls", "proxy", "blob", "queue"])
def test_a_port_that_is_taken_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = main(["--state-dir", str(tmp_path), f"--{word}-port", str(port)])

    assert line_of(capsys) == f"--{word}-port {port} on 127.0.0.1 cannot be used: Address already in use."
    assert [code, addresses_path(tmp_path).exists()] == [1, False]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_host_that_nobody_knows_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--state-dir", str(tmp_path), "--host", "nowhere.invalid", "--allow-remote", "--log-level", "error"])

    assert "--http-port 0 on nowhere.invalid cannot be used: " in line_of(capsys)
    assert code == 1


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[str]:
    """Something that answers, and is no Azurite."""
    with HTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("word", ["blob", "queue"])
def test_what_answers_and_is_no_azurite_is_told_so(
    tmp_path: Path, azurite: Azurite, page: str, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    told = {"blob": azurite.blob_url, "queue": azurite.queue_url} | {word: page}
    options = [part for name, url in told.items() for part in (f"--azurite-{name}", url)]

    code = main(["--state-dir", str(tmp_path), *options])

    assert line_of(capsys) == f"What answers at --azurite-{word} {page} is no Azurite; give the address of one."
    assert [code, addresses_path(tmp_path).exists()] == [1, False]


@pytest.mark.parametrize("command", ["serve", "up"])
def test_a_state_folder_below_a_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "state"

    code = main([command, "--state-dir", str(folder)])

    assert line_of(capsys) == f"--state-dir {folder} cannot be written to: Not a directory. Choose a folder that can."
    assert code == (1 if command == "serve" else 2)


def test_a_state_folder_that_may_not_be_written_to_is_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    tmp_path.chmod(0o555)
    as_nobody = f"import os; os.setgid({NOBODY}); os.setuid({NOBODY})" if os.geteuid() == 0 else ""
    code = f"import sys, azureml_emulator.server\nfrom azureml_emulator.cli import main\n{as_nobody}\n"
    code += "sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--state-dir", str(tmp_path / "state"), "--python", "/bin/sh"]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert done.stderr == (
        f"azureml-emulator: --state-dir {tmp_path / 'state'} cannot be written to: Permission denied."
        " Choose a folder that can.\n"
    )
    assert done.returncode == 1


def test_up_without_nodejs_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "azurite.js").touch()

    codes = [
        main(["up", "--state-dir", str(tmp_path / "state"), "--azurite", str(tmp_path / "azurite.js")]),
        main(["up", "--state-dir", str(tmp_path / "state")]),
    ]

    first, second = capsys.readouterr().err.splitlines()
    assert first == (f"azureml-emulator: {tmp_path / 'azurite.js'} needs Node.js, and there is no node on the PATH.")
    assert second.startswith(
        "azureml-emulator: There is no azurite on the PATH: install it with `npm install -g azurite`"
    )
    assert codes == [2, 2]


def test_up_tells_in_one_line_what_an_azurite_said_that_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "azurite.js").write_text("console.log('no\\nspace left'); process.exit(3)")

    code = main(["up", "--state-dir", str(tmp_path / "state"), "--azurite", str(tmp_path / "azurite.js")])

    assert line_of(capsys) == "Azurite ended with 3. It said: no space left"
    assert code == 2


@pytest.mark.parametrize("text", ["", "{}", "[]", "not json", '{"http": 1}'])
def test_env_says_that_the_addresses_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    addresses_path(tmp_path).write_text(text)

    code = main(["env", "--state-dir", str(tmp_path)])

    said = line_of(capsys)
    assert said.startswith(f"{addresses_path(tmp_path)} cannot be read (")
    assert said.endswith("); start the emulator anew, which writes it.")
    assert code == 1


@pytest.mark.parametrize("secret", ["", "short", "x" * 42, "y" * 43 + "\n"])
def test_a_secret_that_was_damaged_is_no_way_in(
    tmp_path: Path, azurite: Azurite, capsys: pytest.CaptureFixture[str], secret: str
) -> None:
    from azureml_emulator.server import identity_header  # noqa: PLC0415  # half a second

    del azurite, capsys
    (tmp_path / "identity-header").write_text(secret)

    with pytest.raises(SettingsError, match="identity-header is damaged"):
        identity_header(tmp_path)
