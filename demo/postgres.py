"""A PostgreSQL cluster of one's own, gone when the block is left."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from demo.processes import Child, StartError, free_ports, own_environment

INSTALL = "apt-get install postgresql"
#: Where Debian and Ubuntu put what is not on the path, by version.
_DEBIAN = Path("/usr/lib/postgresql")
#: Durability is worth nothing here: nothing outlives the block.
_SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")


class MissingError(RuntimeError):
    """PostgreSQL is not installed; the message says how to get it."""


def programs(debian: Path = _DEBIAN, *, path: str | None = None) -> Path:
    """Find the folder with ``initdb`` and ``postgres``, the newest version's first.

    Args:
        debian: Where Debian has a folder for each version.
        path: Where to look besides; the environment's by default.

    Raises:
        MissingError: There is none.
    """
    versions = [each for each in debian.glob("*/bin") if each.parent.name.isdecimal()]
    folders = sorted(versions, key=lambda each: int(each.parent.name), reverse=True)
    if found := shutil.which("initdb", path=path):
        folders.append(Path(found).resolve().parent)
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "postgres", "pg_isready")):
            return folder
    raise MissingError(f"PostgreSQL was found neither below {debian} nor on the path; install it: {INSTALL}")


class Postgres:
    """A cluster with one database for Airflow, on a free port of 127.0.0.1; use it with ``with``.

    Started by root, it runs as the user ``postgres`` (or ``nobody``), since PostgreSQL refuses root.

    Args:
        folder: Where its log goes; its data is in a temporary folder that any user can reach.

    Raises:
        MissingError: PostgreSQL is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._programs = programs()
        self._password = secrets.token_urlsafe(16)
        (self._port,) = free_ports(1)
        self._home = Path()
        self._log = folder / "postgres.log"
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """SQLAlchemy's address of the database; it holds a password."""
        return f"postgresql+psycopg2://airflow:{self._password}@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="airflow-postgres-"))
        try:
            self._make()
            command = [*_as_user(), str(self._programs / "postgres"), "-D", str(self._home / "data")]
            command += ["-h", "127.0.0.1", "-p", str(self._port), "-k", ""]
            for setting in _SETTINGS:
                command += ["-c", setting]
            environment = own_environment({})
            self._child = Child(name="PostgreSQL", command=command, environment=environment, log=self._log)
            self._child.start()
            self._child.wait_until(self._is_ready, deadline_s=60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            # PostgreSQL's fast shutdown.
            self._child.kill(signal.SIGINT)
        shutil.rmtree(self._home, ignore_errors=True)

    def _make(self) -> None:
        secret = self._home / "password"
        secret.touch(mode=0o600)
        secret.write_text(self._password)
        if os.geteuid() == 0:
            owner = _owner()
            for path in (self._home, secret):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        command = [*_as_user(), str(self._programs / "initdb"), "-D", str(self._home / "data"), "--no-sync"]
        command += ["-U", "airflow", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "--locale=C"]
        made = subprocess.run(command, check=False, capture_output=True, text=True, cwd=self._home)
        if made.returncode:
            raise StartError(f"initdb ended with {made.returncode}.\n{made.stderr[-2000:]}")

    def _is_ready(self) -> bool:
        command = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        return subprocess.run(command, check=False).returncode == 0


def _owner() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _as_user() -> list[str]:
    """Begin a command that root may not run itself."""
    if os.geteuid() != 0:
        return []
    owner = _owner()
    return ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups", "--"]
