"""A fixed set of plugins, so that these tests do not depend on what is installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from optimctl import plugins
from optimctl.plugins import Plugin, Plugins

NAMES = {
    "optimizers": ["Muon", "SGD", "AdamW"],
    "optim_wrappers": ["OptimWrapper", "AmpOptimWrapper"],
    "constructors": ["DefaultOptimWrapperConstructor", "LayerDecay", "Routes"],
    "schedulers": ["LinearLR", "MultiStepLR"],
    "models": ["MLP"],
    "datasets": ["Synthetic"],
    "tasks": ["Classification"],
    "hooks": ["EMA"],
}


def claims() -> dict[str, dict[str, tuple[Plugin, ...]]]:
    found: dict[str, dict[str, tuple[Plugin, ...]]] = {
        kind: {name: (Plugin(kind, name, "optimctl", "1.0", f"nowhere:{name}"),) for name in names}
        for kind, names in NAMES.items()
    }
    found["models"]["Twice"] = tuple(Plugin("models", "Twice", by, "1.0", "nowhere:Twice") for by in ("one", "two"))
    return found


@pytest.fixture(autouse=True, scope="module")
def fixed_plugins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "installed", lambda: Plugins(claims()))
        yield
