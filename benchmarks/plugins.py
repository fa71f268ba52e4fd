"""Plugins: what finding those of 300 distributions takes, against reading all entry points of the environment and no more.

Run it with ``python benchmarks/plugins.py``.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from side_by_side import medians

from optimctl.plugins import find

DISTRIBUTIONS = 300
KINDS = ("optimizers", "constructors", "schedulers", "models", "datasets")
README = "What the package is for, and how it is installed.\n" * 80


def write_distributions(folder: Path) -> None:
    """Three hundred distributions of five plugins, as pip leaves them; their modules are not there, so nothing can import them."""
    for number in range(DISTRIBUTIONS):
        info = folder / f"fake_{number:03d}-1.0.dist-info"
        info.mkdir()
        head = f"Metadata-Version: 2.4\nName: fake-{number:03d}\nVersion: 1.0\nRequires-Dist: torch\n"
        (info / "METADATA").write_text(f"{head}\n{README}", "utf-8")
        groups = [f"[optimctl.{kind}]\nPart{number:03d} = fake_{number:03d}.parts:Part\n" for kind in KINDS]
        (info / "entry_points.txt").write_text("\n".join(groups), "utf-8")


def process(*arguments: str, path: Path) -> Callable[[], None]:
    """A whole Python process, from its start to its end."""
    environment = {**os.environ, "PYTHONPATH": str(path)}

    def run() -> None:
        subprocess.run([sys.executable, *arguments], env=environment, check=True, capture_output=True)

    return run


def measure() -> dict[str, float]:
    """Times over the time of the bare ``importlib.metadata.entry_points()``; the aim is 3 at most."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_distributions(folder)
        sys.path.insert(0, name)
        try:
            inside = medians({"ours": find, "bare": importlib.metadata.entry_points}, rounds=30)
        finally:
            sys.path.remove(name)
        bare = process("-c", "import importlib.metadata; importlib.metadata.entry_points()", path=folder)
        whole = medians({"ours": process("-m", "optimctl", "plugins", "list", path=folder), "bare": bare}, rounds=10)
    what = f"time over a bare `entry_points()`, with {DISTRIBUTIONS} distributions of {len(KINDS)} plugins"
    return {
        f"finding plugins: {what}": inside["ours"] / inside["bare"],
        f"`optimctl plugins list`, the whole process: {what}": whole["ours"] / whole["bare"],
    }


if __name__ == "__main__":
    for line, ratio in measure().items():
        print(f"{ratio:8.3g}  {line}")
