"""Initial weights: what fits is loaded, what does not is counted, and no code in a file is executed."""

from __future__ import annotations

import collections
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from optimctl.assemble import assemble
from optimctl.cli.main import exit_code
from optimctl.errors import JobError
from optimctl.job.schema import LoadFrom
from optimctl.train.loop import Run
from optimctl.train.run import run
from optimctl.weights import LoadedWeights, load_weights
from tests.jobs import blobs, write_blobs


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def state() -> dict[str, Tensor]:
    """The state dict of a network with other weights."""
    return net(1).state_dict()


def load(model: nn.Module, path: str, **options: Any) -> LoadedWeights:
    return load_weights(model, LoadFrom(path=path, **options))


def equal(model: nn.Module, expected: dict[str, Tensor]) -> bool:
    own = model.state_dict()
    return all(torch.equal(own[name], value) for name, value in expected.items())


# --- what a file may be


def wrapped(holder: str) -> dict[str, Any]:
    return {"epoch": 3, holder: state(), "optimizer": {"state": {}, "lr": 0.1}}


@pytest.mark.parametrize(
    "content",
    [
        state(),
        collections.OrderedDict(state()),
        *(wrapped(holder) for holder in ("state_dict", "model", "module", "model_state_dict")),
        {"model": {"state_dict": state()}},
        dict([*state().items(), ("epoch", 3), (7, torch.zeros(2))]),
    ],
)
def test_a_state_dict_wherever_other_tools_put_it(content: dict[Any, Any]) -> None:
    torch.save(content, "weights.pth")
    model = net()
    told = load(model, "weights.pth", strict=True)
    assert equal(model, state())
    assert (told.loaded, told.missing, told.left_over, told.other_shape) == (9, (), (), ())
    assert str(told) == "9 tensors loaded from weights.pth"


def test_safetensors() -> None:
    save_file(state(), "weights.safetensors")
    model = net()
    assert load(model, "weights.safetensors", strict=True).loaded == 9
    assert equal(model, state())


def test_safetensors_of_tied_weights_lack_no_name() -> None:
    def tied(seed: int) -> nn.Module:
        model = nn.ModuleDict({"words": nn.Embedding(4, 2), "head": nn.Linear(2, 4, bias=False)})
        model["head"].weight = model["words"].weight
        nn.init.constant_(model["words"].weight, float(seed))  # type: ignore[arg-type]
        return model

    save_model(tied(7), "tied.safetensors")
    model = tied(0)
    told = load(model, "tied.safetensors", strict=True)
    assert (told.loaded, told.missing) == (1, ())
    assert bool((model["words"].weight == 7).all())  # type: ignore[index]


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(state(), "weights.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(JobError, match="need the package safetensors: pip install safetensors"):
        load(net(), "weights.safetensors")


def test_another_number_type_is_converted() -> None:
    save_file(
        {name: value.half() if value.is_floating_point() else value for name, value in state().items()}, "h.safetensors"
    )
    model = net()
    load(model, "h.safetensors", strict=True)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model.state_dict()["0.weight"], state()["0.weight"], rtol=1e-3, atol=1e-3)


# --- what fits


def test_a_prefix_is_cut_off_and_the_rest_is_left() -> None:
    other = {"neck.0.weight": torch.zeros(3, 2)}
    torch.save({f"backbone.{name}": value for name, value in state().items()} | other, "weights.pth")
    model = net()
    told = load(model, "weights.pth", prefix="backbone.", strict=True)
    assert equal(model, state())
    assert told.left_over == ()


def test_what_does_not_fit_is_counted_and_keeps_its_values() -> None:
    saved = state()
    del saved["0.bias"]
    saved["2.weight"] = torch.zeros(5, 3)
    saved["4.weight"] = torch.zeros(1)
    torch.save(saved, "weights.pth")
    model = net()
    told = load(model, "weights.pth")
    assert (told.loaded, told.missing, told.left_over) == (7, ("0.bias",), ("4.weight",))
    assert told.other_shape == ("2.weight: (5, 3), (2, 3)",)
    assert equal(
        model,
        {
            "0.weight": saved["0.weight"],
            "0.bias": net().state_dict()["0.bias"],
            "2.weight": net().state_dict()["2.weight"],
        },
    )
    sentence = (
        "7 tensors loaded from weights.pth, 1 missing in it ('0.bias'), 1 left over ('4.weight'), "
        "1 of another shape ('2.weight: (5, 3), (2, 3)')"
    )
    assert str(told) == sentence
    with pytest.raises(JobError) as caught:
        load(net(), "weights.pth", strict=True)
    assert str(caught.value) == f"job.load_from.strict: {sentence}"


def test_many_names_are_shortened() -> None:
    torch.save({"0.weight": state()["0.weight"]}, "weights.pth")
    assert str(load(net(), "weights.pth")) == (
        "1 tensor loaded from weights.pth, 8 missing in it ('0.bias', '1.weight', '1.bias' and 5 more)"
    )


# --- what cannot be used


OTHER_NAMES = (
    "no tensor of weights.pth fits the model: the model has names like '0.weight', '0.bias' and 7 more, the file like "
    "'module.0.weight', 'module.0.bias' and 7 more; set load_from.prefix"
)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("exploded",))


@pytest.mark.parametrize("protocol", ["zip", "legacy", "plain pickle"])
def test_a_pickle_with_code_in_it_is_refused(protocol: str) -> None:
    content = {"state_dict": state(), "meta": Bomb()}
    if protocol == "plain pickle":
        import pickle

        Path("bomb.pth").write_bytes(pickle.dumps(Bomb()))
    else:
        torch.save(content, "bomb.pth", _use_new_zipfile_serialization=protocol == "zip")
    with pytest.raises(JobError) as caught:
        load(net(), "bomb.pth")
    assert not Path("exploded").exists()
    if protocol != "plain pickle":
        assert str(caught.value) == (
            f"job.load_from: bomb.pth cannot be read as weights: it would execute code, {os.mkdir.__module__}.mkdir; "
            "save the state dict alone, with torch.save(model.state_dict(), ...)"
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(2), "weights.pth cannot be read as weights: it holds a Tensor, and no state dict"),
        ([1, 2], "weights.pth cannot be read as weights: it holds a list, and no state dict"),
        ({"epoch": 3}, "no tensor of weights.pth fits the model: it has none, or none with the prefix"),
        ({"state_dict": {}}, "no tensor of weights.pth fits the model: it has none, or none with the prefix"),
        (
            {f"module.{name}": value for name, value in state().items()},
            OTHER_NAMES,
        ),
        (
            {"0.weight": torch.zeros(9, 9)},
            "no tensor of weights.pth fits the model: they have other shapes ('0.weight: (9, 9), (3, 2)')",
        ),
    ],
)
def test_where_nothing_fits_the_message_says_why(content: Any, message: str) -> None:
    torch.save(content, "weights.pth")
    with pytest.raises(JobError) as caught:
        load(net(), "weights.pth")
    assert str(caught.value) == f"job.load_from: {message}"


@pytest.mark.parametrize("name", ["empty.pth", "empty.safetensors", "text.pth", "text.safetensors", "cut.pth"])
def test_a_damaged_file_is_told(name: str) -> None:
    torch.save(state(), "cut.pth")
    contents = {"empty": b"", "text": b"no weights at all", "cut": Path("cut.pth").read_bytes()[:500]}
    Path(name).write_bytes(contents[name.partition(".")[0]])
    with pytest.raises(
        JobError, match=f"^job.load_from: {name} cannot be read as weights: it is damaged, or something else"
    ):
        load(net(), name)


@pytest.mark.parametrize("path", ["nowhere.pth", "."])
def test_a_missing_file_is_told(path: str) -> None:
    with pytest.raises(JobError) as caught:
        load(net(), path)
    assert str(caught.value) == f"job.load_from: there is no file {path}"


# --- in a job


def test_a_run_starts_from_the_checkpoint_of_another(tmp_path: Path) -> None:
    folder = run(blobs(tmp_path))
    file = folder / "checkpoints/iteration-00000021.pt"
    ready = Run(assemble(blobs(tmp_path, f'job.load_from="{file}"'), for_run=True))
    saved = torch.load(file, weights_only=True)["model"]
    assert equal(ready.model, saved)
    assert ready.iteration == 0


def test_loading_changes_nothing_else_of_a_run(tmp_path: Path) -> None:
    """The order of the data and the random numbers are those of a run without it."""
    plain = Run(assemble(blobs(tmp_path), for_run=True))
    torch.save(plain.model.state_dict(), "start.pth")
    plain.train()
    loaded = Run(assemble(blobs(tmp_path, 'job.load_from="start.pth"'), for_run=True))
    loaded.train()
    assert equal(loaded.model, plain.model.state_dict())


PAGE = """\
blobs: MLP, 195 parameters in 4 tensors, all trainable, on cpu
Initial weights: 2 tensors loaded from start.pth, 1 missing in it ('3.bias'), 1 left over ('9.bias'), 1 of another shape \
('3.weight: (4, 16), (3, 16)')
"""


def test_the_page_of_the_plan_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_blobs(tmp_path)
    weights = {
        "1.weight": torch.zeros(16, 8),
        "1.bias": torch.zeros(16),
        "3.weight": torch.zeros(4, 16),
        "9.bias": torch.zeros(1),
    }
    torch.save(weights, "start.pth")
    arguments = ["blobs.toml", "--set", 'job.load_from={path="start.pth", strict=false}']
    assert exit_code(["inspect", *arguments]) == 0
    first, _, *rest = capsys.readouterr().out.splitlines()
    assert [first, rest[0]] == PAGE.splitlines()
    assert exit_code(["run", *arguments, "--set", "train_cfg.max_iters=1"]) == 0
    assert PAGE.splitlines()[1].removeprefix("Initial weights: ") in capsys.readouterr().err
    assert exit_code(["run", "blobs.toml", "--set", 'job.load_from={path="start.pth", strict=true}']) == 2
    assert "job.load_from.strict: 2 tensors loaded from start.pth, 1 missing" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_told_at_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = write_blobs(tmp_path).read_text("utf-8")
    Path("job.toml").write_text(text.replace('device = "cpu"\n', 'device = "cpu"\nload_from = "gone.pth"\n'), "utf-8")
    assert exit_code(["run", "job.toml"]) == 2
    assert capsys.readouterr().err == (
        'job.toml:5:13: job.load_from: there is no file gone.pth\n    load_from = "gone.pth"\n                ^\n'
    )
