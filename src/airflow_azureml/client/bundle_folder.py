"""A folder on the disk, as it is at a commit, read as something to publish."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from airflow_azureml.client.git import Repository
from airflow_azureml.core.bundle_parts import MANIFEST
from airflow_azureml.core.bundles import Bundle
from airflow_azureml.core.publication import Source
from airflow_azureml.errors import ConfigError


@contextlib.contextmanager
def opened_folder(folder: Path, *, sha: str = "", allow_dirty: bool = False) -> Iterator[tuple[Path, Source]]:
    """Give a folder as it is at a commit.

    Args:
        folder: In the work tree of a git repository.
        sha: The commit: its digits, a branch or a tag. Empty for the one that is checked out; then nothing in the
            folder may differ from it.
        allow_dirty: Whether, without `sha`, what is on the disk is published though it differs; its versions say so.

    Raises:
        ConfigError: There is no such commit, or the folder differs from it, or is not in it.
    """
    repository = Repository.of(folder)
    commit = repository.commit(sha or "HEAD")
    dirt = "" if sha else repository.differs(commit)
    if dirt and not allow_dirty:
        changed = repository.changes(commit)
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""  # noqa: PLR2004  # enough to know what it is about
        raise ConfigError(
            f"Folder {folder} differs from commit {commit[:12]}: {', '.join(changed[:5])}{more}. Commit that first, or"
            " name a commit; to publish what is on the disk all the same, allow a dirty tree."
        )
    if dirt:
        yield folder, Source(sha=commit, dirt=dirt)
        return
    with repository.at(commit) as written:
        yield written, Source(sha=commit)


def read_bundle(folder: Path, *, name: str) -> Bundle:
    """Read a folder.

    Args:
        folder: The folder.
        name: What to call it where its manifest does not say.

    Raises:
        ConfigError: It cannot be published as it is.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    paths = [path.relative_to(folder).as_posix() for path in files]
    texts = {}
    for path, file in zip(paths, files, strict=True):
        if file.suffix in {".yml", ".yaml"}:
            try:
                texts[path] = file.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise ConfigError(f"File {path} is no UTF-8 text (byte {error.start}).") from error
    bundle = Bundle.read(texts, paths=paths, name=name)
    lacking = [
        f"{MANIFEST}: the smoke run of {endpoint} reads ./{path}, and it is not there."
        for endpoint, run in bundle.smoke.items()
        for path in run.paths
        if not (folder / path).exists()
    ]
    if lacking:
        raise ConfigError("\n".join(lacking))
    return bundle
