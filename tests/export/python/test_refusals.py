"""What cannot be exported is an error that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from optimctl.cli.main import exit_code
from optimctl.errors import JobError, key_text
from optimctl.export.python import export_python
from optimctl.export.source import Source
from optimctl.job.load import load_job
from tests.export.python.variants import (
    FLOAT16,
    HEAD,
    LBFGS,
)
from tests.jobs import write_blobs
from tests.plugins_on_disk import Site


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            ['task={type="OurTask"}'],
            (
                "task.type: cannot be exported: OurTask comes from needs_us, which needs optimctl (needs_us.py:2); "
                "move it to a module that does not, or import it there under `if TYPE_CHECKING`"
            ),
        ),
        (
            ['optim_wrapper.optimizer={type="OurSGD",lr=0.1}'],
            (
                "optim_wrapper.optimizer.type: cannot be exported: OurSGD comes from needs_us, which needs optimctl (needs_us.py:2); "
                "move it to a module that does not, or import it there under `if TYPE_CHECKING`"
            ),
        ),
        (
            ["hooks.Foreign={}"],
            (
                "hooks.Foreign: cannot be exported: the hook Hook is called with optimctl's run, which a script does not have; "
                "take it out, with --unset hooks.Foreign"
            ),
        ),
        (
            ['optim_wrapper.constructor="Sgd"'],
            (
                "optim_wrapper.optimizer.type: cannot be exported: the constructor makes a SGD of it; "
                'name that one, as in type = "SGD", or let the constructor keep what the job names'
            ),
        ),
        (
            ['optim_wrapper.constructor={type="Sgd",names=["stem","head"]}', 'task={type="Steps"}'],
            (
                "optim_wrapper.constructor: cannot be exported: its constructor makes optimizers that the job does not name; "
                "take it out, with --unset optim_wrapper.constructor, or let Routes make them, which has them in the job"
            ),
        ),
        (
            ['optim_wrapper.constructor={type="Sgd",names=["tail"]}', 'task={type="Steps"}'],
            (
                "optim_wrapper.constructor: cannot be exported: its constructor calls an optimizer 'tail', and the model has no such part; "
                "let it call each by the path of the sub-module that it trains"
            ),
        ),
        (
            [*FLOAT16, 'param_scheduler={type="LinearLR",by="update"}'],
            "param_scheduler.by: cannot be exported: LinearLR counts updates, and float16 may skip some; let it count iterations",
        ),
        (
            [*FLOAT16, "optim_wrapper.loss_scale=512", "hooks.EMA={}"],
            (
                "hooks.EMA: cannot be exported: with a fixed loss_scale, a script does not see which updates float16 has skipped; "
                "let it be dynamic, with --unset optim_wrapper.loss_scale"
            ),
        ),
        (
            [*FLOAT16, 'task={type="Steps"}'],
            (
                "optim_wrapper.dtype: cannot be exported: float16 with several optimizers, or with a task that takes the steps itself; "
                'take bfloat16, with --set optim_wrapper.dtype="bfloat16"'
            ),
        ),
        (
            [LBFGS, 'task={type="Steps"}'],
            (
                "optim_wrapper.optimizer.type: cannot be exported: the task takes the steps itself, and this optimizer evaluates the loss "
                'itself; take another optimizer, as with --set optim_wrapper.optimizer.type="AdamW", or a task without train_step'
            ),
        ),
        (
            [
                'task={type="Steps"}',
                'optim_wrapper.constructor.type="Routes"',
                f"optim_wrapper.constructor.routes=[{HEAD}]",
            ],
            (
                "optim_wrapper.constructor: cannot be exported: the task takes the steps itself, and a script has no wrapper over several "
                "optimizers that it could hand to it; take one optimizer, with --unset optim_wrapper.constructor, or a task without "
                "train_step"
            ),
        ),
        (
            [
                'param_scheduler=[{type="CosineAnnealingWarmRestarts",T_0=2,by_epoch=false},{type="LinearLR"}]',
                "train_cfg.max_epochs=50",
            ],
            (
                "param_scheduler.0.type: cannot be exported: CosineAnnealingWarmRestarts is no schedule of optimctl's own, "
                "and the table of its 300 values would be too long for a script; let it count epochs, or take one of optimctl's own"
            ),
        ),
    ],
)
@pytest.mark.usefixtures("project")
def test_what_cannot_be_exported_is_named(settings: list[str], told: str) -> None:
    with pytest.raises(JobError) as raised:
        export_python(Source(load_job("job.toml", settings)))
    (problem,) = raised.value.problems
    assert f"{key_text(problem.key)}: {problem.message}" == told


@pytest.mark.usefixtures("project")
def test_all_that_stands_in_the_way_is_told_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.toml").write_text('extends = "job.toml"\n[task]\ntype = "OurTask"\n[hooks.Foreign]\n', "utf-8")
    assert exit_code(["export", "python", "bad.toml"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    places = [line.partition(" cannot")[0] for line in err.splitlines() if "cannot be exported" in line]
    assert places == ["bad.toml:3:8: task.type:", "bad.toml:4:8: hooks.Foreign:"]


def test_a_job_without_data_is_none_to_run(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text('[optim_wrapper.optimizer]\ntype = "SGD"\n', "utf-8")
    with pytest.raises(JobError) as raised:
        export_python(Source(load_job(tmp_path / "job.toml")))
    found = [problem.key for problem in raised.value.problems]
    assert found == [("model",), ("task",), ("train_dataloader",), ("train_cfg",)]


def test_a_wrapper_of_somebody_elses_is_not_known(site: Site, tmp_path: Path) -> None:
    module = "from optimctl.optim import OptimWrapper\n\nclass Wrapper(OptimWrapper): ...\n"
    site.install("wrappers", {"optim_wrappers": {"Wrapper": "wrappers:Wrapper"}}, {"wrappers": module})
    with pytest.raises(
        JobError, match="cannot be exported: Wrapper is a wrapper of its own kind; take one of optimctl"
    ):
        export_python(Source(load_job(write_blobs(tmp_path), ['optim_wrapper.type="Wrapper"'])))
