"""``safetensors`` and ``pt2``: what is exported gives the predictions of the run, to the last bit."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, load_model
from torch import Tensor, nn

from optimctl.assemble import assemble
from optimctl.errors import JobError, UsageError
from optimctl.export import Source
from optimctl.export.notes import notes
from optimctl.export.pt2 import export_pt2
from optimctl.export.safetensors import export_safetensors
from optimctl.job.load import job_from_dict, load_job, parse_job
from optimctl.job.schema import Job
from optimctl.train.checkpoint import load_checkpoint, save_checkpoint
from optimctl.train.finished import find_checkpoint
from optimctl.train.run import run
from tests.jobs import blobs
from tests.plugins_on_disk import Site

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A short run of the example."""
    folder = tmp_path_factory.mktemp("digits")
    job = load_job(ROOT / "examples" / "digits.toml", ["train_cfg.max_epochs=2", "job.device=cpu"])
    return source_of(run(job, work_dir=folder))


def source_of(folder: Path, which: str | None = None) -> Source:
    return Source(load_job(folder / "job.toml"), folder, find_checkpoint(folder, which))


def validation_data(job: Job) -> tuple[Tensor, Tensor]:
    """All that the run is validated on, in one batch."""
    loader = assemble(job).val_loader
    assert loader is not None
    inputs, targets = zip(*loader, strict=True)
    return torch.cat(inputs), torch.cat(targets)


def predictions(job: Job, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    model = assemble(job).model
    assert model is not None
    model.load_state_dict(weights)
    with torch.no_grad():
        outputs: Tensor = model.eval()(inputs)
    return outputs


def metric(source: Source, name: str = "accuracy") -> float:
    """The run's own, at the checkpoint that is exported."""
    assert source.checkpoint is not None
    return float(load_checkpoint(source.checkpoint)["metrics"][name])


def test_both_give_the_predictions_of_the_run_on_the_test_digits(digits: Source, tmp_path: Path) -> None:
    (tmp_path / "digits.safetensors").write_bytes(export_safetensors(digits))
    program = torch.export.load(io.BytesIO(export_pt2(digits))).module()
    inputs, targets = validation_data(digits.job)
    expected = predictions(digits.job, digits.weights.state, inputs)
    assert torch.equal(predictions(digits.job, load_file(tmp_path / "digits.safetensors"), inputs), expected)
    assert torch.equal(program(inputs), expected)
    assert float((expected.argmax(1) == targets).float().mean()) == pytest.approx(metric(digits), abs=1e-6)
    for count in (1, 2, 3, 359):
        assert torch.equal(program(inputs[:count]), predictions(digits.job, digits.weights.state, inputs[:count]))


LOADED = """
import sys
sys.modules["optimctl"] = sys.modules["optimctl_vision"] = None
import torch
extra = {"optimctl.job": "", "optimctl.versions": "", "optimctl.weights": "", "optimctl.checkpoint": ""}
program = torch.export.load("digits.pt2", extra_files=extra).module()
print(tuple(program(torch.zeros(5, 1, 8, 8)).shape), extra["optimctl.weights"], extra["optimctl.checkpoint"])
"""


def test_a_program_needs_neither_optimctl_nor_the_models_code(digits: Source, tmp_path: Path) -> None:
    (tmp_path / "digits.pt2").write_bytes(export_pt2(digits))
    done = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    assert digits.checkpoint is not None
    assert done.stdout == f"(5, 10) trained {digits.checkpoint.name}\n"


def test_job_and_versions_stand_beside_the_weights(digits: Source, tmp_path: Path) -> None:
    (tmp_path / "digits.safetensors").write_bytes(export_safetensors(digits))
    with safe_open(tmp_path / "digits.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    assert metadata["optimctl.weights"] == "trained"
    assert json.loads(metadata["optimctl.job"])["model"] == {"type": "optimctl-vision/ResNet"}
    versions = json.loads(metadata["optimctl.versions"])
    assert versions["torch"] == torch.__version__
    assert versions["distributions"].keys() == {"optimctl", "optimctl-vision"}


def test_averaged_weights_are_exported_where_there_are_some(tmp_path: Path) -> None:
    source = source_of(run(blobs(tmp_path, extra="[hooks.EMA]\ndecay = 0.9\n"), work_dir=tmp_path / "runs"))
    assert source.checkpoint is not None
    state = load_checkpoint(source.checkpoint)
    (tmp_path / "ema.safetensors").write_bytes(export_safetensors(source))
    weights = load_file(tmp_path / "ema.safetensors")
    assert all(torch.equal(weights[name], average) for name, average in state["averaged"].items())
    assert not torch.equal(weights["1.weight"], state["model"]["1.weight"])
    program = torch.export.load(io.BytesIO(export_pt2(source))).module()
    inputs, targets = validation_data(source.job)
    outputs = program(inputs)
    assert torch.equal(outputs, predictions(source.job, state["averaged"], inputs))
    assert float((outputs.argmax(1) == targets).double().mean()) == metric(source)


def test_best_and_last_are_those_of_the_run(tmp_path: Path) -> None:
    folder = run(
        blobs(tmp_path, extra='[checkpoint]\nsave_best = { metric = "loss", rule = "max" }\n'),
        work_dir=tmp_path / "runs",
    )
    best, last = source_of(folder, "best"), source_of(folder, "last")
    assert [best.checkpoint, last.checkpoint] == [
        folder / "checkpoints" / f"iteration-{iteration:08d}.pt" for iteration in (7, 21)
    ]
    assert source_of(folder) == best
    assert export_safetensors(best) != export_safetensors(last)
    assert len({export_safetensors(best) for _ in range(5)}) == 1


@pytest.mark.parametrize("content", [None, "3", "[]", "{"])
def test_weights_go_without_versions_where_those_are_lost(content: str | None, tmp_path: Path) -> None:
    told: list[str] = []
    source = replace(source_of(run(blobs(tmp_path), work_dir=tmp_path / "runs")), tell=told.append)
    assert source.run is not None
    file = source.run / "environment.json"
    file.unlink() if content is None else file.write_text(content, "utf-8")
    (tmp_path / "blobs.safetensors").write_bytes(export_safetensors(source))
    with safe_open(tmp_path / "blobs.safetensors", "pt") as written:
        assert written.metadata()["optimctl.versions"] == "{}"
    assert told == [f"warning: {file} is gone or damaged, so that the versions which the run ran with are left out"]


def test_the_job_beside_the_weights_is_json_of_the_standard(tmp_path: Path) -> None:
    job = parse_job(
        'optim_wrapper.optimizer = { type = "SGD", lr = inf }\nmodel = { type = "MLP", high = nan, day = 2020-01-01 }'
    )

    def refuse(text: str) -> None:
        raise AssertionError(text)

    source = Source(job, checkpoint=checkpoint(tmp_path, {}))
    assert json.loads(notes(source)["job"], parse_constant=refuse)["model"]["day"] == "2020-01-01"


# --- of a checkpoint that is made by hand


def checkpoint(tmp_path: Path, state: Mapping[str, Any]) -> Path:
    file = tmp_path / "made.pt"
    save_checkpoint(file, {"model": dict(state)})
    return file


def test_a_tensor_with_several_names_is_written_once_and_loads_again(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
            self.head.weight = self.embedding.weight
            self.register_buffer("empty", torch.zeros(0))
            self.register_buffer("also_empty", torch.zeros(0))

    tied = Tied()
    file = checkpoint(tmp_path, tied.state_dict())
    (tmp_path / "tied.safetensors").write_bytes(export_safetensors(Source(parse_job(""), checkpoint=file)))
    with safe_open(tmp_path / "tied.safetensors", "pt") as written:
        assert set(written.keys()) == {"embedding.weight", "empty", "also_empty"}
        assert written.metadata()["head.weight"] == "embedding.weight"
    fresh = Tied()
    missing, left_over = load_model(fresh, tmp_path / "tied.safetensors")
    assert not missing
    assert not left_over
    assert torch.equal(fresh.head.weight, tied.embedding.weight)


def test_views_of_one_memory_each_get_their_own(tmp_path: Path) -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    state = {"whole": whole, "row": whole[1], "turned": whole.T}
    file = checkpoint(tmp_path, state)
    (tmp_path / "views.safetensors").write_bytes(export_safetensors(Source(parse_job(""), checkpoint=file)))
    assert all(torch.equal(value, state[name]) for name, value in load_file(tmp_path / "views.safetensors").items())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"weight": torch.zeros(1), "_extra_state": {"scale": 1}},
            "safetensors holds tensors alone, and the model's state has more: '_extra_state'",
        ),
        (
            {"sparse": torch.zeros(2, 2).to_sparse()},
            "these weights cannot be written as safetensors: NotImplementedError: ",
        ),
    ],
)
def test_what_safetensors_cannot_hold(state: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        export_safetensors(Source(parse_job(""), checkpoint=checkpoint(tmp_path, state)))
    assert str(caught.value).startswith(message)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(UsageError) as caught:
        export_safetensors(Source(parse_job(""), checkpoint=checkpoint(tmp_path, {})))
    assert str(caught.value) == "safetensors needs the package of that name: pip install 'optimctl[safetensors]'"


def test_a_job_alone_has_no_weights() -> None:
    with pytest.raises(
        UsageError, match="a job has no weights; give the folder of a run, or a checkpoint with --checkpoint"
    ):
        export_safetensors(Source(parse_job("")))


# --- models that torch.export takes, and others

NETS = '''\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, how="plain"):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.how = how

    def forward(self, x, scale=None, target=None):
        y = self.linear(x)
        if self.how == "values" and y.sum() > 0:
            y = -y
        if self.how == "length":
            y = y + torch.zeros(len(x), 2)
        if self.how == "size" and x.shape[0] > 3:
            y = -y
        if self.how == "numpy":
            y = y + torch.from_numpy(y.detach().numpy())
        if self.how == "raises":
            raise RuntimeError("not today")
        if self.how == "random":
            y = nn.functional.dropout(y, training=True)
        if self.how == "text":
            return y, "txt", None
        if self.how == "constant":
            return y * scale.sum()
        if target is None:
            return y
        return {"loss": nn.functional.cross_entropy(y * scale[:, None], target), "y": y}


class Rows(torch.utils.data.Dataset):
    def __init__(self, size=8, named=False):
        self.size, self.named = size, named

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        x = torch.full((4,), float(index))
        return {"x": x, "scale": torch.ones(()), "target": index % 2} if self.named else (x, index % 2)


class Ready(Rows):
    """Comes in batches of its own."""

    def __getitem__(self, index):
        return [torch.full((3, 4), float(index)), torch.zeros(3, dtype=torch.long)]


def ready():
    return torch.utils.data.DataLoader(Ready(), batch_size=None)


class JustEight:
    """A task that wants as many as it is used to."""

    def loss(self, model, batch):
        assert len(batch[0]) == 8
        return model(batch[0]).sum()


class Further(Net):
    def forward(self, x, **further):
        return super().forward(x, **further)


class Steps(nn.Module):
    """Sequence first."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x):
        return self.norm(self.linear(x).sum(0))


class Turns:
    """A task that leaves the model in training mode, as no task should."""

    def loss(self, model, batch):
        return model.train()(batch[0].expand(7, -1, -1)).sum()


class Scales:
    """A task with a tensor that has nothing to do with the batch, but for its length."""

    def loss(self, model, batch):
        return model(batch[0], torch.ones(8)).sum()


class Around:
    """A task that takes the model apart."""

    def loss(self, model, batch):
        return model.linear(batch[0]).sum()

    evaluate = loss
'''
TABLE = """
model = {{ type = "{model}"{how} }}
task = {{ type = "{task}" }}
val_dataloader = {{ batch_size = {batch_size}, num_workers = 2, dataset = {{ type = "Rows", named = {named} }} }}
"""


@pytest.fixture
def nets(site: Site) -> None:
    parts = {
        "models": ("Net", "Further", "Steps"),
        "datasets": ("Rows",),
        "tasks": ("Around", "Turns", "Scales", "JustEight"),
    }
    site.install("nets", {kind: {name: f"nets:{name}" for name in names} for kind, names in parts.items()})
    site.install("made", {"datasets": {"Ready": "nets:ready"}})
    (site.folder / "nets.py").write_text(NETS, "utf-8")


def net(
    tmp_path: Path,
    how: str = "plain",
    task: str = "Classification",
    batch_size: int = 8,
    named: str = "false",
    model: str = "Net",
) -> Source:
    how = f', how = "{how}"' if model != "Steps" else ""
    job = parse_job(TABLE.format(how=how, task=task, batch_size=batch_size, named=named, model=model))
    module = nn.ModuleDict({"linear": nn.Linear(4, 2), **({"norm": nn.BatchNorm1d(2)} if model == "Steps" else {})})
    return Source(job, checkpoint=checkpoint(tmp_path, module.state_dict()))


def loaded_program(source: Source) -> Any:
    return torch.export.load(io.BytesIO(export_pt2(source))).module()


@pytest.mark.usefixtures("nets")
def test_a_batch_of_one_is_as_good_an_example(tmp_path: Path) -> None:
    program = torch.export.load(io.BytesIO(export_pt2(net(tmp_path, batch_size=1)))).module()
    assert program(torch.zeros(5, 4)).shape == (5, 2)


@pytest.mark.usefixtures("nets")
def test_where_one_sample_more_cannot_be_had_the_first_dimension_is_the_batch(tmp_path: Path) -> None:
    assert loaded_program(net(tmp_path, task="JustEight"))(torch.zeros(5, 4)).shape == (5, 2)
    source = net(tmp_path)
    data = {**source.job.plain(), "val_dataloader": {"dataset": {"type": "Ready"}}}
    assert loaded_program(replace(source, job=job_from_dict(data)))(torch.zeros(5, 4)).shape == (5, 2)


@pytest.mark.usefixtures("nets")
def test_the_model_is_called_as_the_task_calls_it(tmp_path: Path) -> None:
    source = net(tmp_path, task="ModelLoss", named="true")
    program = torch.export.load(io.BytesIO(export_pt2(source))).module()
    outputs = program(x=torch.ones(3, 4), scale=torch.ones(3), target=torch.zeros(3, dtype=torch.long))
    linear = nn.Linear(4, 2)
    linear.load_state_dict({name.removeprefix("linear."): value for name, value in source.weights.state.items()})
    assert torch.equal(outputs["y"], linear(torch.ones(3, 4)))


@pytest.mark.usefixtures("nets")
def test_further_keywords_are_arguments_of_the_program(tmp_path: Path) -> None:
    source = net(tmp_path, task="ModelLoss", named="true", model="Further")
    program = torch.export.load(io.BytesIO(export_pt2(source)))
    assert set(program.state_dict) == set(source.weights.state)
    inputs = {"x": torch.ones(3, 4), "scale": torch.ones(3), "target": torch.zeros(3, dtype=torch.long)}
    assert program.module()(**inputs)["y"].shape == (3, 2)


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize("batch_size", [8, 7, 1])
def test_a_task_that_turns_training_on_and_puts_the_batch_second(batch_size: int, tmp_path: Path) -> None:
    source = net(tmp_path, task="Turns", model="Steps", batch_size=batch_size)
    program = loaded_program(source)
    state = source.weights.state
    inputs = torch.randn(7, 3, 4)
    summed = nn.functional.linear(inputs, state["linear.weight"], state["linear.bias"]).sum(0)
    assert torch.equal(program(inputs), nn.BatchNorm1d(2).eval()(summed))
    assert program(inputs[:, :1]).shape == (1, 2)


@pytest.mark.usefixtures("nets")
def test_a_tensor_that_is_as_long_as_the_batch_by_chance(tmp_path: Path) -> None:
    program = loaded_program(net(tmp_path, "constant", task="Scales"))
    assert program(torch.ones(3, 4), torch.ones(8)).shape == (3, 2)


@pytest.mark.usefixtures("nets")
def test_what_torch_writes_and_cannot_load_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError) as caught:
        export_pt2(net(tmp_path, "text"))
    assert str(caught.value) == (
        "pt2 cannot hold the model, which returns more than tensors and numbers: 'str'; safetensors has its weights"
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("nets")
def test_weights_that_do_not_lie_in_one_piece_make_no_noise(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = net(tmp_path)
    state = {name: value.T.contiguous().T for name, value in whole.weights.state.items() if value.ndim == 2}
    source = Source(whole.job, checkpoint=checkpoint(tmp_path, {**whole.weights.state, **state}))
    assert loaded_program(source)(torch.ones(3, 4)).shape == (3, 2)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("nets")
def test_a_program_that_differs_from_the_model_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    source = net(tmp_path, "random")
    torch.manual_seed(3)
    export_pt2(Source(source.job, checkpoint=source.checkpoint, tell=told.append))
    assert [text.partition(" up to ")[0] for text in told] == ["note: on the example, the program's outputs are"]


CANNOT = "torch.export cannot take the model: "
ADVICE = "; a line that works for a batch of any size has x.shape[0] in place of len(x)"


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(NETS.splitlines(), 1) if text in line)


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(
    ("how", "part", "line", "advice"),
    [
        ("values", "data-dependent expression", 'self.how == "values"', ""),
        ("numpy", ".numpy() is not supported", "from_numpy", ""),
        ("length", "your code specialized it to be a constant (8)", "len(x)", ADVICE),
        ("size", "Not all values of batch = L['x'].size()[0] in the specified range", 'self.how == "size"', ""),
    ],
)
def test_what_torch_export_cannot_take_is_told_with_its_line(
    how: str, part: str, line: str, advice: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        export_pt2(net(tmp_path, how))
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.startswith(CANNOT)
    assert part in sentence
    assert sentence.endswith(f" (nets.py:{line_of(line)} in forward){advice}")
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("nets")
def test_other_reasons_why_there_is_no_program(tmp_path: Path) -> None:
    def refusal(source: Source) -> str:
        with pytest.raises((UsageError, JobError)) as caught:
            export_pt2(source)
        return str(caught.value)

    assert refusal(net(tmp_path, "raises")) == (
        f"the model raised RuntimeError: not today (nets.py:{line_of('not today')} in forward)"
    )
    assert refusal(net(tmp_path, task="Around")) == (
        "the task Around does not call the model as a whole, so that pt2 cannot tell what its inputs are; safetensors has its weights"
    )
    other = Source(net(tmp_path).job, checkpoint=checkpoint(tmp_path, {"linear.weight": torch.zeros(3, 4)}))
    assert refusal(other) == (
        'the checkpoint does not fit the job\'s model: Missing key(s) in state_dict: "linear.bias". size mismatch for '
        "linear.weight: copying a param with shape torch.Size([3, 4]) from checkpoint, the shape in current model is torch.Size([2, 4])."
    )
    for section in ("model", "task"):
        job = load_without(net(tmp_path).job, section)
        assert (
            refusal(Source(job, checkpoint=net(tmp_path).checkpoint)) == f"{section}: pt2 needs the table [{section}]"
        )
    job = load_without(net(tmp_path).job, "val_dataloader")
    assert refusal(Source(job, checkpoint=net(tmp_path).checkpoint)) == (
        "val_dataloader: pt2 needs data, for an example of the model's inputs: add [val_dataloader]"
    )


def load_without(job: Job, section: str) -> Job:
    return job_from_dict({name: table for name, table in job.plain().items() if name != section})
