"""The package optimctl-pytorch-optimizer: every optimizer that it brings is run through the checks, and its README is held against them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytorch_optimizer
import tomli
import torch
from optimctl_pytorch_optimizer import optimizers
from torch import Tensor, nn

from optimctl import build_optimizer, load_job, run
from optimctl.assemble import assemble
from optimctl.errors import JobError
from optimctl.optim import build_optim_wrapper
from optimctl.plan.plan import make_plan
from optimctl.plugins import OWN, installed
from optimctl.testing import CheckFailed, check_optimizer

PACKAGE = Path(__file__).parent.parent / "plugins" / "optimctl-pytorch-optimizer"
NAME = "optimctl-pytorch-optimizer"


def script() -> ModuleType:
    """The package's script, which writes its entry points."""
    spec = importlib.util.spec_from_file_location("entry_points", PACKAGE / "entry_points.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ENTRY_POINTS = script()
LIBRARY: dict[str, type[torch.optim.Optimizer]] = ENTRY_POINTS.library()
BROUGHT: dict[str, str] = ENTRY_POINTS.brought()
KNOWN = {ENTRY_POINTS.names(row[0])[0]: row[1:] for row in ENTRY_POINTS.rows("Know before you use")}
NOT_BROUGHT = [name for row in ENTRY_POINTS.rows("Not brought") for name in ENTRY_POINTS.names(row[0])]


class Matrices(nn.Sequential):
    """For an optimizer of matrices only."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(8, 8, bias=False), nn.Tanh(), nn.Linear(8, 3, bias=False))


class Pair(nn.Module):
    """For an optimizer of the two factors of LoRA."""

    def __init__(self) -> None:
        super().__init__()
        self.lora_a = nn.Parameter(0.3 * torch.randn(2, 8))
        self.lora_b = nn.Parameter(0.3 * torch.randn(3, 2))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs @ self.lora_a.T @ self.lora_b.T


MODELS: dict[str, Callable[[], nn.Module]] = {"LoRARite": Pair, "SpectralSphere": Matrices}


def arguments(name: str) -> dict[str, Any]:
    """What the README says to write, and the kit's own model where that does not do."""
    lines = "\n".join(ENTRY_POINTS.names(KNOWN[name][0])) if name in KNOWN else ""
    return tomli.loads(lines) | ({"model": MODELS[name]} if name in MODELS else {})


def failing(optimizer: Any, **given: Any) -> set[str]:
    """The checks that fail."""
    try:
        check_optimizer(optimizer, **given)
    except CheckFailed as error:
        return error.codes
    return set()


@pytest.mark.parametrize("name", BROUGHT)
def test_each_does_what_a_run_asks_but_for_what_the_readme_says(name: str) -> None:
    stated = set(ENTRY_POINTS.names(KNOWN[name][1])) if name in KNOWN else set()
    assert failing(f"{NAME}/{name}", **arguments(name)) == stated


@pytest.mark.parametrize("name", [name for name in KNOWN if arguments(name)])
def test_what_the_readme_says_to_write_is_needed(name: str) -> None:
    assert failing(f"{NAME}/{name}") - set(ENTRY_POINTS.names(KNOWN[name][1]))


@pytest.mark.parametrize("name", NOT_BROUGHT)
def test_what_is_not_brought_does_not_work(name: str) -> None:
    given = {"num_data": 48} if name == "BSAM" else {}
    kind = optimizers.first_gradients(LIBRARY[name]) if given else LIBRARY[name]
    codes = failing(kind, **given)
    assert codes & {"builds", "steps", "lowers-a-loss", "resumes"}


def test_every_optimizer_of_the_library_is_brought_or_explained() -> None:
    assert sorted([*BROUGHT, *NOT_BROUGHT]) == sorted(LIBRARY)
    assert KNOWN.keys() <= BROUGHT.keys()
    assert f"{len(BROUGHT)} of them" in (PACKAGE / "README.md").read_text("utf-8")


def test_the_entry_points_are_those_that_the_script_writes() -> None:
    assert ENTRY_POINTS.main("--check") == 0, "run: python plugins/optimctl-pytorch-optimizer/entry_points.py"
    declared = tomli.loads((PACKAGE / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
    found = {plugin.name: plugin.object for plugin in installed() if plugin.distribution == NAME}
    assert found == declared["optimctl.optimizers"] == BROUGHT, "install the package again"


def test_the_script_notices_what_is_out_of_date() -> None:
    text = (PACKAGE / "pyproject.toml").read_text("utf-8")
    fewer = {name: place for name, place in BROUGHT.items() if name != "Lion"}
    assert ENTRY_POINTS.written(text, BROUGHT) == text
    assert ENTRY_POINTS.written(text, fewer) == text.replace('Lion = "pytorch_optimizer:Lion"\n', "")


def test_shared_names_are_those_that_the_readme_says() -> None:
    shared = [
        name for name in BROUGHT if (plugin := installed().answering("optimizers", name)) and plugin.distribution == OWN
    ]
    assert sorted(shared) == sorted(ENTRY_POINTS.names(row[0])[0] for row in ENTRY_POINTS.rows("Shared names"))


# --- what the package adds


def quadratic(optimizer: dict[str, Any], updates: int = 1) -> list[float]:
    """Where a weight of 1 goes under the loss w^4 / 4."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    wrapper = build_optim_wrapper(model, {"optimizer": optimizer})
    for _ in range(updates):
        wrapper.update_by_closure(lambda: model(torch.ones(1, 1)).pow(4).sum() / 4)  # type: ignore[union-attr]
    return model.weight.flatten().tolist()


@pytest.mark.parametrize("name", ["SAM", "LookSAM", "FriendlySAM"])
def test_sharpness_is_looked_at(name: str) -> None:
    """The gradient is that uphill, at w + rho, or there without what is common: never the one at w."""
    (there,) = quadratic({"type": name, "rho": 0.1, "lr": 0.1})
    assert there != pytest.approx(1 - 0.1)
    if name == "SAM":
        assert there == pytest.approx(1 - 0.1 * 1.1**3)


def test_the_base_optimizer_is_named() -> None:
    optimizer: Any = build_optimizer(nn.Linear(1, 1), {"type": "SAM", "base_optimizer": "Lion"})
    assert isinstance(optimizer.base_optimizer, pytorch_optimizer.Lion)
    with pytest.raises(
        JobError, match=r"neither torch\.optim nor pytorch_optimizer has an optimizer called 'Optimiser'"
    ):
        build_optimizer(nn.Linear(1, 1), {"type": "SAM", "base_optimizer": "Optimiser"})


@pytest.mark.parametrize("name", ["Muon", "AdaGO", "AdaMuon", "MuonClip", "NorMuon"])
def test_matrices_are_muons_and_the_rest_has_the_adamw_inside(name: str) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    rules = {"custom_keys": {"1.bias": {"lr_mult": 0.5}}}
    optimizer = build_optimizer(model, {"type": f"{NAME}/{name}", "lr": 0.02, "adamw_lr": 0.004}, paramwise_cfg=rules)
    told = [(group["param_names"], group["use_muon"], group["lr"]) for group in optimizer.param_groups]
    assert told == [(["0.weight"], True, 0.02), (["0.bias", "1.weight"], False, 0.004), (["1.bias"], False, 0.002)]


@pytest.mark.parametrize("job", sorted((PACKAGE / "examples").glob("*.toml")), ids=lambda job: job.stem)
def test_its_examples_run(job: Path, tmp_path: Path) -> None:
    planned = make_plan(assemble(load_job(job))).optimizers[0]
    assert planned.distribution == NAME
    folder = run(load_job(job, [f"job.work_dir={tmp_path}"]))
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["status"] == "completed"
    assert summary["metrics"]["accuracy"] > 0.9
