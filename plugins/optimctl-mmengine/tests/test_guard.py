"""While MMEngine works for a job, its registries import nothing, and checkpoints bring no code; for a person's own Python they do."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, EVALUATOR, FUNCTIONS, MODELS, OPTIMIZERS, DefaultScope
from mmengine.registry.registry import Registry
from optimctl_mmengine.guard import OBJECTS, guarded
from optimctl_mmengine.parts import build_model
from optimctl_mmengine.tasks import build_task

from optimctl.errors import JobError

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
    pytest.mark.usefixtures("folder"),
]

FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
BATCH = {"inputs": [torch.ones(4), torch.zeros(4)], "data_samples": torch.tensor([0, 1])}


class Code:
    """What runs where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("echo > ran.txt",)


# --- registries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["marking.go", "marking", "marking_package.Net", "os.system"])
def test_a_string_under_any_key_leads_to_what_is_registered_only(path: str, folder: Path) -> None:
    assert build_model({"type": "LooksUp", "policy": path}, "tinymm").policy is None
    model = build_model({"type": "LooksUp", "later": path}, "tinymm")
    build_task().loss(model, BATCH)
    assert model.policy is None
    assert not {"marking", "marking_package"} & set(sys.modules)
    assert not (folder / "ran.txt").exists()


@pytest.mark.parametrize("name", ["pseudo_collate", "mmengine.dataset.pseudo_collate", "mmengine.pseudo_collate"])
def test_what_is_registered_is_found_by_all_its_names(name: str) -> None:
    assert build_model({"type": "LooksUp", "policy": name}, "tinymm").policy is pseudo_collate


def test_a_part_of_a_class_is_of_the_kind_that_the_class_asks_for(folder: Path) -> None:
    part = {"type": "mmengine.runner.Runner", "work_dir": str(folder / "made")}
    with pytest.raises(KeyError, match=r"mmengine.runner.Runner is not in the tinymm::model registry"):
        build_model({"type": "LooksUp", "part": part}, "tinymm")
    assert not (folder / "made").exists()


def test_registries_give_out_what_their_own_tree_has() -> None:
    path = "mmengine.evaluator.Evaluator"
    with guarded():
        assert EVALUATOR.get(path) is Evaluator
        assert MODELS.get(path) is DATASETS.get(path) is MODELS.get("Evaluator") is None
        assert OPTIMIZERS.get("torch.optim.SGD") is OPTIMIZERS.get("SGD") is torch.optim.SGD
        assert MODELS.get("tinymm.TinyNet") is MODELS.get("tinymm.models.TinyNet") is not None


def test_a_scope_is_imported_if_a_job_may(folder: Path) -> None:
    with guarded(), DefaultScope.overwrite_default_scope("marking_package"):
        assert type(OPTIMIZERS.build({"type": "SGD", "params": [torch.ones(1)]})) is torch.optim.SGD
    assert not (folder / "ran.txt").exists()


def test_outside_of_it_mmengine_does_as_it_does(folder: Path) -> None:
    before = Registry.get, dict(os.environ)
    with guarded():
        with pytest.raises(TypeError), guarded():
            MODELS.get(1)
        assert Registry.get is not before[0]
    assert (Registry.get, dict(os.environ)) == before
    assert FUNCTIONS.get("marking.go").__name__ == "go"
    assert (folder / "ran.txt").exists()


# --- checkpoints ------------------------------------------------------------------------------------------------------


@pytest.fixture
def downloaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch looks first for what an address ends with."""
    monkeypatch.delenv(OBJECTS)
    monkeypatch.setenv("TORCH_HOME", str(folder))
    (folder / "hub" / "checkpoints").mkdir(parents=True)
    return folder / "hub" / "checkpoints" / "weights.pth"


@pytest.mark.parametrize("place", ["http://localhost/weights.pth", "hub/checkpoints/weights.pth"])
def test_a_checkpoint_brings_no_code(place: str, downloaded: Path, folder: Path) -> None:
    torch.save({"state_dict": Code()}, downloaded)
    why = "a checkpoint that it is initialized from holds more than weights, and its objects can be code; if you trust where"
    with pytest.raises(JobError, match=rf"^cfg: {why} it comes from, set the environment variable {OBJECTS}=1$"):
        build_model({"type": "LooksUp", "init_cfg": {"type": "Pretrained", "checkpoint": place}}, "tinymm")
    assert not (folder / "ran.txt").exists()
    assert FORCED not in os.environ


@pytest.mark.parametrize("place", ["http://localhost/weights.pth", "hub/checkpoints/weights.pth"])
def test_weights_are_loaded(place: str, downloaded: Path) -> None:
    torch.save({"state_dict": {"layer.weight": torch.full((3, 4), 7.0), "layer.bias": torch.zeros(3)}}, downloaded)
    model = build_model({"type": "LooksUp", "init_cfg": {"type": "Pretrained", "checkpoint": place}}, "tinymm")
    assert model.layer.weight.unique().tolist() == [7.0]  # type: ignore[union-attr]


def test_a_person_lets_objects_in(downloaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OBJECTS, "1")
    torch.save({"state_dict": {"layer.bias": torch.ones(3)}, "when": Path("now")}, downloaded)
    init = {"type": "Pretrained", "checkpoint": str(downloaded)}
    assert build_model({"type": "LooksUp", "init_cfg": init}, "tinymm").layer.bias.tolist() == [1, 1, 1]  # type: ignore[union-attr,operator]
