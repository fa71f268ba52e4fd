"""What all tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from optimctl import plugins
from tests.plugins_on_disk import Site

# Before torch is imported, and for every process that a test starts: xdist's workers would fight for the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Pictures go to files; a screen is never needed.
os.environ.setdefault("MPLBACKEND", "Agg")

# How long an example takes says something about the machine, nothing about the code.
settings.register_profile("optimctl", deadline=None)
settings.load_profile("optimctl")


@pytest.fixture
def fresh_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plugins are found anew in the test, and again after it; modules below ``tmp_path`` are forgotten."""
    monkeypatch.delenv("OPTIMCTL_PROJECT", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    plugins.installed.cache_clear()
    yield
    plugins.installed.cache_clear()
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def site(tmp_path: Path, fresh_plugins: None) -> Site:
    """An empty folder in front of ``sys.path``, to install distributions into."""
    folder = tmp_path / "site"
    folder.mkdir()
    sys.path.insert(0, str(folder))
    return Site(folder)
