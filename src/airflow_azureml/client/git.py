"""The git repository of a folder: its commits, what differs from them, and the folder as it is at one."""

import contextlib
import hashlib
import io
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import frozen

from airflow_azureml.errors import ConfigError

#: Seconds that one command may take; a repository on a network disk is slow.
LIMIT_S = 120
_WORDS = 300
_ELSEWHERE = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"})
#: How a commit may be named: its digits, a branch, a tag. What begins with a dash would be an option.
_NAME = re.compile(r"[A-Za-z0-9_.@^~/{}][\w.@^~/{}-]*")
#: A user and a password in the address of a repository.
_USER = re.compile(r"(?<=://)[^/@]*@")


@frozen
class Repository:
    """A git repository, and a folder of it.

    Attributes:
        root: Where its work tree begins.
        folder: The folder's path from there; empty for all of it.
    """

    root: Path
    folder: str

    @classmethod
    def of(cls, folder: Path) -> "Repository":
        """Find the repository of a folder.

        Raises:
            ConfigError: There is no such folder, it is in none, or git is not installed here.
        """
        if not folder.is_dir():
            raise ConfigError(f"Folder {folder} does not exist on this worker.")
        root = _git(folder, "rev-parse", "--show-toplevel", doing=f"Find the git repository of {folder}").strip()
        inner = folder.resolve().relative_to(Path(root).resolve()).as_posix()
        return cls(root=Path(root), folder="" if inner == "." else inner)

    def commit(self, name: str = "HEAD") -> str:
        """Give the digits of a commit.

        Args:
            name: Its digits, or the first of them, a branch or a tag.

        Raises:
            ConfigError: There is none of that name, or more than one.
        """
        doing = f"Find commit {name!r} in {self.root}"
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{doing}: that is no name of a commit.")
        try:
            return _git(self.root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", doing=doing).strip()
        except ConfigError as error:
            raise ConfigError(
                f"{doing}: there is none. Fetch it first (git fetch), and see that the clone is not a shallow one."
            ) from error

    def differs(self, sha: str) -> str:
        """Digest how the folder on the disk differs from a commit; empty where it does not.

        Files that git ignores do not count; those that nobody has added do.

        Args:
            sha: The commit.
        """
        found = hashlib.sha256()
        names = self.changes(sha)
        for name in names:
            content = _content(self.root / name)
            found.update(f"{name}\0{len(content)}\0".encode(errors="surrogateescape") + content)
        return found.hexdigest() if names else ""

    def changes(self, sha: str) -> list[str]:
        """Name the files of the folder that differ from a commit, for people."""
        changed = self._paths("diff", "--name-only", "-z", "--no-renames", sha, "--", self._pathspec)
        return sorted(
            {*changed, *self._paths("ls-files", "--others", "--exclude-standard", "-z", "--", self._pathspec)}
        )

    @contextlib.contextmanager
    def at(self, sha: str) -> Iterator[Path]:
        """Write the folder as it is at a commit into a temporary folder, for as long as the block lasts.

        Raises:
            ConfigError: The folder is not in that commit.
        """
        doing = f"Read {self.folder or 'all'} of commit {sha} in {self.root}"
        tree = f"{sha}:{self.folder}" if self.folder else sha
        packed = _run(self.root, "archive", "--format=tar", tree, doing=doing)
        with tempfile.TemporaryDirectory(prefix="publication-") as made:
            # A name of its own: azure-ai-ml names uploads after folders, and two at a time must not meet.
            folder = Path(made) / (Path(self.folder).name or self.root.name)
            folder.mkdir()
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                archive.extractall(folder, filter="data")
            yield folder

    @property
    def address(self) -> str:
        """Where it was cloned from, without user and password; empty where it does not say."""
        try:
            found = _git(self.root, "config", "--get", "remote.origin.url", doing="Read the address of origin").strip()
        except ConfigError:
            return ""
        return _USER.sub("", found)

    @property
    def _pathspec(self) -> str:
        return f":(top,literal){self.folder}" if self.folder else ":/"

    def _paths(self, *words: str) -> list[str]:
        said = _git(self.root, *words, doing=f"Compare {self.folder or self.root} with a commit")
        return [name for name in said.split("\0") if name]


def _content(path: Path) -> bytes:
    """Read what a commit would keep of a path; a mark of its own for one that is gone."""
    if path.is_symlink():
        return b"-> " + os.fsencode(path.readlink())
    return b"file " + path.read_bytes() if path.is_file() else b"gone"


def _git(folder: Path, *words: str, doing: str) -> str:
    return _run(folder, *words, doing=doing).decode("utf-8", "surrogateescape")


def _run(folder: Path, *words: str, doing: str) -> bytes:
    """Run git, which asks nobody for anything and writes nothing.

    Raises:
        ConfigError: It says no, or there is none.
    """
    command = ["git", "-C", str(folder), "--no-optional-locks", *words]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=LIMIT_S, env=_environment())  # noqa: S603  # git's arguments are ours; names are checked
    except FileNotFoundError as error:
        raise ConfigError(f"{doing}: git is not installed on this worker.") from error
    except subprocess.TimeoutExpired as error:
        raise ConfigError(f"{doing}: git did not answer within {LIMIT_S} s.") from error
    if done.returncode:
        said = _USER.sub("", done.stderr.decode("utf-8", "replace").strip())[:_WORDS]
        raise ConfigError(f"{doing}: {said or f'git ended with {done.returncode}'}")
    return done.stdout


def _environment() -> Mapping[str, str]:
    """Keep the process's environment, without what would have git look at another repository than the folder's."""
    kept = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
