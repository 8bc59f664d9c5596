"""A folder and its commits, in real repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_azureml.client.bundle_folder import opened_folder
from airflow_azureml.client.git import Repository
from airflow_azureml.errors import ConfigError
from tests.unit.provider.publishing import git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit, in which a folder has two files."""
    folder = tmp_path / "repo" / "pipelines" / "words"
    folder.mkdir(parents=True)
    (folder / "say.yml").write_text("first")
    (folder / "sub").mkdir()
    (folder / "sub" / "more.txt").write_text("more")
    (tmp_path / "repo" / "README.md").write_text("readme")
    (tmp_path / "repo" / ".gitignore").write_text("*.pyc\n")
    git(tmp_path / "repo", "init", "-q", "-b", "main")
    git(tmp_path / "repo", "add", ".")
    git(tmp_path / "repo", "commit", "-q", "-m", "one")
    return folder


def test_a_folder_is_written_as_it_was_at_a_commit_whatever_is_on_the_disk(repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    (repository / "say.yml").write_text("second")
    git(repository, "commit", "-q", "-a", "-m", "two")
    (repository / "say.yml").write_text("third")

    with opened_folder(repository, sha=first[:10]) as (folder, source):
        found = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}

    assert found == {"say.yml": "first", "sub/more.txt": "more"}
    assert (source.sha, source.dirt, folder.name) == (first, "", "words")
    assert not folder.exists()


def test_the_commit_that_is_checked_out_is_taken_where_none_is_named(repository: Path) -> None:
    with opened_folder(repository) as (folder, source):
        assert (folder / "say.yml").read_text() == "first"
    assert source.sha == git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize("name", ["nowhere", "0" * 40, "--all", "", "a b"])
def test_a_commit_that_is_not_there_is_refused_by_name(repository: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"Find commit {name!r} in "):
        Repository.of(repository).commit(name)


def test_a_dirty_tree_is_refused_by_the_names_of_its_files(repository: Path) -> None:
    (repository / "say.yml").write_text("changed")
    (repository / "new.yml").write_text("new")

    with (
        pytest.raises(
            ConfigError, match=r"differs from commit .*: pipelines/words/new\.yml, pipelines/words/say\.yml\."
        ),
        opened_folder(repository),
    ):
        pytest.fail("it is not opened")


def test_a_dirty_tree_is_published_where_that_is_asked_for_and_its_version_says_so(repository: Path) -> None:
    (repository / "say.yml").write_text("changed")

    with opened_folder(repository, allow_dirty=True) as (folder, source):
        assert (folder / "say.yml").read_text() == "changed"
    assert source.version == f"{git(repository, 'rev-parse', 'HEAD')[:12]}-dirty-{source.dirt[:8]}"


def test_what_differs_is_known_by_its_content(repository: Path) -> None:
    found = Repository.of(repository)
    head = found.commit()
    seen = [found.differs(head)]
    for change in (
        lambda: (repository / "say.yml").write_text("x"),
        lambda: (repository / "say.yml").write_text("y"),
        (repository / "say.yml").unlink,
        (repository / "sub" / "more.txt").unlink,
        lambda: (repository / "é b").write_text("new"),
    ):
        change()
        seen.append(found.differs(head))

    assert seen[0] == ""
    assert len(set(seen)) == len(seen)


def test_what_git_ignores_or_lies_beside_the_folder_is_no_dirt(repository: Path) -> None:
    (repository / "x.pyc").write_text("ignored")
    (repository.parents[1] / "README.md").write_text("changed")

    assert Repository.of(repository).differs("HEAD") == ""


def test_a_folder_that_is_not_in_a_commit_is_refused(repository: Path) -> None:
    later = repository.parent / "later"
    later.mkdir()
    (later / "a.yml").write_text("a")

    with pytest.raises(ConfigError, match=r"Read pipelines/later of commit"), opened_folder(later, sha="HEAD"):
        pytest.fail("it is not opened")


def test_a_folder_in_no_repository_and_one_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist on this worker"):
        Repository.of(tmp_path / "gone")
    with pytest.raises(ConfigError, match=f"Find the git repository of {tmp_path}: .*not a git repository"):
        Repository.of(tmp_path)


def test_another_repository_in_the_environment_is_not_looked_at(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))

    assert Repository.of(repository).folder == "pipelines/words"


def test_the_address_of_a_repository_shows_no_password(repository: Path) -> None:
    assert Repository.of(repository).address == ""
    git(repository, "remote", "add", "origin", "https://me:secret@example.com/a.git")

    assert Repository.of(repository).address == "https://example.com/a.git"
