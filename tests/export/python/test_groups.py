"""The groups and optimizers of exported scripts, as a person would write them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from optimctl.export.python import export_python
from optimctl.export.source import Source
from optimctl.job.load import load_job
from tests.export.python.variants import (
    function,
    script_of,
)
from tests.jobs import write_blobs


def test_groups_are_told_apart_as_a_person_would() -> None:
    assert function(script_of("examples/digits.toml"), "make_groups") == dedent(
        '''\
        def make_groups(model: nn.Module) -> list[dict[str, Any]]:
            """Parameter groups: one for each set of options."""
            decay, no_decay = [], []
            for name, parameter in model.named_parameters():
                if "norm" in name:
                    no_decay.append(parameter)
                else:
                    decay.append(parameter)
            return [{"params": decay}, {"params": no_decay, "weight_decay": 0.0}]
        '''
    )


def test_where_there_are_many_groups_each_option_says_its_rule() -> None:
    assert function(script_of("examples/customize_optimizer/19_my_constructor.toml"), "make_groups") == dedent(
        '''\
        def make_groups(model: nn.Module, lr: float) -> list[dict[str, Any]]:
            """Parameter groups: one for each set of options."""
            groups: dict[Any, dict[str, Any]] = {}
            for name, parameter in model.named_parameters():
                options = {
                    "lr": lr * 0.1 if "head" in name else lr,
                    "weight_decay": 0.0 if parameter.ndim < 2 else 0.0001,
                }
                group = groups.setdefault(tuple(options.values()), {"params": [], **options})
                group["params"].append(parameter)
            return list(groups.values())
        '''
    )


def test_each_of_several_optimizers_has_its_share_of_the_model() -> None:
    script = script_of("examples/muon.toml")
    assert function(script, "split_parameters") == dedent(
        '''\
        def split_parameters(model: nn.Module) -> tuple[dict[str, nn.Parameter], ...]:
            """What muon and adamw train, by the names of the parameters."""
            muon: dict[str, nn.Parameter] = {}
            adamw: dict[str, nn.Parameter] = {}
            for name, parameter in model.named_parameters():
                if "blocks." in name and parameter.ndim == 2:
                    muon[name] = parameter
                else:
                    adamw[name] = parameter
            return muon, adamw
        '''
    )
    assert function(script, "make_muon") == dedent(
        '''\
        def make_muon(model: nn.Module, lr: float) -> torch.optim.Optimizer:
            """Muon over its share of the parameters."""
            muon, _ = split_parameters(model)
            return torch.optim.Muon(muon.values(), lr=lr, weight_decay=0.05)
        '''
    )
    assert "    adamw = make_adamw(model, args.adamw_lr)\n" in function(script, "train")


@pytest.mark.parametrize(
    ("rules", "rates"),
    [
        ("{head={lr=0.05}}", [0.2, 0.05]),
        ("{head={lr=0.01}}", [0.2, 0.01]),  # the job's own, at first
        ("{head={lr=0.005},stem={lr_mult=0.5}}", [0.1, 0.2, 0.005]),  # what is one group at first
        ("{head={lr_mult=5}}", [0.2, 1.0]),
    ],
)
@pytest.mark.usefixtures("project")
def test_another_learning_rate_leaves_alone_what_a_rule_gives_as_a_number(rules: str, rates: list[float]) -> None:
    script = export_python(Source(load_job("job.toml", [f"optim_wrapper.paramwise_cfg.custom_keys={rules}"])))
    names: dict[str, Any] = {}
    exec(script, names)
    optimizer = names["make_optimizer"](names["Net"](), 0.2)
    assert [group["lr"] for group in optimizer.param_groups] == rates


@pytest.mark.usefixtures("project")
def test_another_learning_rate_leaves_alone_what_a_constructor_gives_as_a_number() -> None:
    script = export_python(Source(load_job("job.toml", ['optim_wrapper.constructor="Odd"'])))
    names: dict[str, Any] = {}
    exec(script, names)
    optimizer = names["make_optimizer"](names["Net"](), 0.2)
    assert {group["lr"] for group in optimizer.param_groups} == {0.01, 0.02, 0.03, 0.04, 0.05}


@pytest.mark.parametrize("note", ["1979-05-27", "1979-05-27T07:32:00Z", "[1979-05-27T07:32:00-02:00,07:32:00]"])
@pytest.mark.usefixtures("project")
def test_an_optimizer_may_have_a_date_among_its_arguments(note: str) -> None:
    job = load_job("job.toml", [f'optim_wrapper.optimizer={{type="Noting",lr=0.1,note={note}}}'])
    names: dict[str, Any] = {}
    exec(export_python(Source(job)), names)
    optimizer = names["make_optimizer"](names["Net"](), 0.2)
    assert optimizer.defaults["note"] == job.plain()["optim_wrapper"]["optimizer"]["note"]


def test_a_very_large_learning_rate_is_written_as_a_formatter_would(tmp_path: Path) -> None:
    script = export_python(Source(load_job(write_blobs(tmp_path), ["optim_wrapper.optimizer.lr=1e30"])))
    assert 'parser.add_argument("--lr", type=float, default=1e30)' in script


def test_layers_are_counted_as_their_names_do() -> None:
    script = script_of("examples/layer_decay.toml")
    assert function(script, "layer_of") == dedent(
        '''\
        def layer_of(name: str) -> int:
            """The layer of a parameter: 0 is the input's, 5 the output's."""
            if name.startswith("blocks."):
                return int(name.split(".")[1]) + 1
            return 5 if name.startswith(("head.", "norm.")) else 0
        '''
    )
    assert '"lr": lr * 0.9 ** (5 - layer_of(name)),' in function(script, "make_groups")
    assert 'if parameter.ndim < 2 or name in ("cls_token", "pos_embed"):' in function(script, "weight_decay_of")


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("examples/video_swin.toml", ['"lr": lr * 0.5 if "backbone" in name else lr,']),
        ("examples/video_tsm.toml", ['if name == "head.weight":', "return 5 * lr"]),
        ("examples/customize_optimizer/04_lr_mult.toml", ["lr=lr * 0.5,"]),
        ("examples/customize_optimizer/09_custom_keys.toml", ['{"params": head, "lr": lr * 0.1},']),
        ("examples/customize_optimizer/01_sgd.toml", ["model.parameters()"]),
        ("plugins/optimctl-pytorch-optimizer/examples/normuon.toml", ['[{"params": list(model.parameters())}],']),
    ],
)
def test_what_the_groups_of_examples_say(name: str, lines: list[str]) -> None:
    script = script_of(name)
    assert [line for line in lines if line not in script] == []


@pytest.mark.usefixtures("project")
def test_the_groups_of_a_constructor_that_needs_optimctl_are_told_by_names() -> None:
    script = export_python(Source(load_job("job.toml", ['optim_wrapper.constructor="Odd"'])))
    assert "needs_us" not in script
    assert '    if name == "stem.bias":\n        return 0.03\n' in function(script, "lr_of")
