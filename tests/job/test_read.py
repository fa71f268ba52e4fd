"""Whatever a path leads to is read, or refused in one sentence; nothing hangs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from optimctl.errors import JobError, Place
from optimctl.job.read import LARGEST, read_text


def refusal(path: str) -> str:
    with pytest.raises(JobError) as error:
        read_text(path)
    return str(error.value)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_utf8_with_and_without_a_mark() -> None:
    Path("job.toml").write_bytes(b"\xef\xbb\xbfa = '\xc3\xa9'\r\n")
    assert read_text("job.toml") == "a = 'é'\r\n"


def test_no_file() -> None:
    Path("digits.toml").touch()
    assert refusal("digit.toml") == "digit.toml: there is no such file; did you mean 'digits.toml'?"
    assert refusal("nowhere/digits.toml") == "nowhere/digits.toml: there is no such file"


def test_a_folder() -> None:
    Path("jobs").mkdir()
    assert refusal("jobs") == "jobs: is a folder, and a job is a file"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_not_waited_for() -> None:
    os.mkfifo("pipe.toml")
    assert refusal("pipe.toml") == "pipe.toml: is a named pipe, and a job is a file"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_a_device() -> None:
    assert refusal("/dev/null") == "/dev/null: is no regular file, and a job is a file"
    assert refusal("/dev/zero") == "/dev/zero: is no regular file, and a job is a file"


def test_too_large() -> None:
    with Path("job.toml").open("wb") as file:
        file.truncate(50 * 2**20)
    assert refusal("job.toml") == "job.toml: has 50 MiB; a job has at most 256 KiB"
    with Path("job.toml").open("wb") as file:
        file.truncate(300 * 2**10)
    assert refusal("job.toml") == "job.toml: has 300 KiB; a job has at most 256 KiB"
    with Path("job.toml").open("wb") as file:
        file.truncate(LARGEST)
    assert len(read_text("job.toml")) == LARGEST


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a = 1\r\n# \xc3\xa9 \xff\n", "2:5: the byte 0xff is not UTF-8; save the file as UTF-8"),
        (b"\xe9", "1:1: the byte 0xe9 is not UTF-8; save the file as UTF-8"),
        (b"\xef\xbb\xbf\xe9", "1:1: the byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("a = 1\n".encode("utf-16"), "1:1: is UTF-16; save the file as UTF-8"),
    ],
)
def test_not_utf8(content: bytes, problem: str) -> None:
    Path("job.toml").write_bytes(content)
    assert refusal("job.toml") == f"job.toml:{problem}"


def test_a_name_that_no_file_can_have() -> None:
    assert refusal("a\0b") == "a\0b: cannot be read: embedded null byte"
    assert refusal("x" * 5000).endswith(": cannot be read: File name too long")


def test_the_chain_is_kept() -> None:
    with pytest.raises(JobError) as error:
        read_text("no.toml", ("job.toml",))
    assert error.value.problems[0].place == Place("no.toml", chain=("job.toml",))
