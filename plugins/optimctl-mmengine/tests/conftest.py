"""A small package of OpenMMLab's kind on the path, and MMEngine's Runner without what only reports."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "packages"))


def _import_the_runner() -> None:
    """MMEngine's Runner imports OpenCV, which mmengine-lite leaves out, and needs it for pictures only."""
    missing = importlib.util.find_spec("cv2") is None
    if missing:
        sys.modules["cv2"] = ModuleType("cv2")
    importlib.import_module("mmengine.runner")
    if missing:
        del sys.modules["cv2"]


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _import_the_runner()


@pytest.fixture
def configs() -> Path:
    """The configurations."""
    return HERE / "configs"


@pytest.fixture(autouse=True)
def _one_scope_a_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test finds the scope, or the messages, of another."""
    from mmengine.logging import MessageHub
    from mmengine.registry import DefaultScope
    from mmengine.runner import Runner, runner

    monkeypatch.setenv("OPTIMCTL_MMENGINE_IMPORTS", "tinymm")  # it lies on the path, and nobody has installed it
    monkeypatch.setattr(Runner, "_log_env", lambda *_: None)  # it asks compilers for their versions
    monkeypatch.setattr(runner, "set_multi_processing", lambda **_: None)  # it would set up the whole process
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # MMEngine's checkpoints hold objects
    yield
    DefaultScope._instance_dict.clear()
    MessageHub._instance_dict.clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory in which it is seen what ran: with modules on the path that leave a mark when they are imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("marking", "marking_package/__init__", "marking_package/registry"):
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            "from pathlib import Path\n\ndef go(*_, **__):\n    Path('ran.txt').touch()\n\ngo()\n", encoding="utf-8"
        )
        monkeypatch.delitem(sys.modules, name.removesuffix("/__init__").replace("/", "."), raising=False)
    return tmp_path
