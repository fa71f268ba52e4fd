"""What the tests of ``export python`` share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.export.python.variants import make_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_plugins: None) -> Path:
    """A project with parts of its own, which is the working directory."""
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    return folder
