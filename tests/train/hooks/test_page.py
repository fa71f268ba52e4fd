"""The blocks of docs/hooks.md are parts of jobs that can run, and its hook does what the page says."""

import re
from pathlib import Path
from typing import Any

import pytest

from optimctl.assemble import assemble
from optimctl.plugins import installed
from optimctl.train.checkpoint import load_checkpoint
from optimctl.train.run import run
from tests.jobs import blobs

PAGE = (Path(__file__).parents[3] / "docs" / "hooks.md").read_text("utf-8")
BLOCKS: list[str] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_each_block_is_a_part_of_a_job(tmp_path: Path, block: str) -> None:
    assembly = assemble(blobs(tmp_path, extra=block), for_run=True)
    assert [f"hooks.{name}" for name in assembly.hooks] == re.findall(r"^\[(.*)\]$", block, re.MULTILINE)


def test_the_page_has_every_hook_that_ships(tmp_path: Path) -> None:
    ours = [plugin.name for plugin in installed() if plugin.kind == "hooks" and plugin.distribution == "optimctl"]
    assert sorted(re.findall(r"\[hooks\.(\w+)\]", "".join(BLOCKS))) == sorted(ours)


def test_the_hook_of_the_page_tells_its_norm(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(compile(code, "docs/hooks.md", "exec"), scope)
    folder = run(blobs(tmp_path), hooks=[scope["LargestNorm"]()])
    assert load_checkpoint(folder / "checkpoints" / "iteration-00000014.pt")["hooks"]["LargestNorm"]["epoch"] == 2
    last = (folder / "log.txt").read_text("utf-8").splitlines()[-1]
    assert re.fullmatch(r"the weights' norm was largest, \d\.\d+, after epoch 3", last)
