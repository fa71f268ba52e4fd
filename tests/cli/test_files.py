"""Files that a command leaves: all or none, whatever stood there before."""

from pathlib import Path

import pytest

from optimctl.cli.files import NewFile, write_all
from optimctl.errors import UsageError


def test_files_are_written_gone_on_with_and_written_anew_and_their_folders_made(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\n")
    (tmp_path / "state").write_bytes(b"a long one")
    files = [
        NewFile(tmp_path / "a/b/new", b"new", ""),
        NewFile(tmp_path / "log", b"two\n", "", "ab"),
        NewFile(tmp_path / "state", b"short", "", "wb"),
    ]
    write_all(files)
    assert [file.path.read_bytes() for file in files] == [b"new", b"one\ntwo\n", b"short"]


def test_where_one_cannot_be_written_all_is_as_before(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"one\n")
    (tmp_path / "state").write_bytes(b"a long one")
    (tmp_path / "there").write_bytes(b"mine")
    files = [
        NewFile(tmp_path / "a/b/new", b"new", ""),
        NewFile(tmp_path / "log", b"two\n", "", "ab"),
        NewFile(tmp_path / "state", b"short", "", "wb"),
        NewFile(tmp_path / "fresh", b"fresh", "", "ab"),
        NewFile(tmp_path / "there", b"ours", ""),
    ]
    with pytest.raises(UsageError, match=r"there cannot be written: File exists"):
        write_all(files)
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert left == {"log": b"one\n", "state": b"a long one", "there": b"mine"}
