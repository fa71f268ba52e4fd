"""The page as a person sees it, whole, in a narrow and in a wide terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from torch import nn

from optimctl.assemble import assemble
from optimctl.errors import UsageError
from optimctl.job.load import load_job, parse_job
from optimctl.plan.grid import Grid
from optimctl.plan.page import plan_page
from optimctl.plan.plan import make_plan
from optimctl.plan.sketch import Sketch
from optimctl.plan.why import matching, why_page
from tests.jobs import BLOBS

RULES = [
    "optim_wrapper.paramwise_cfg.bias_lr_mult=2",
    "optim_wrapper.paramwise_cfg.custom_keys.hed.lr_mult=2",
]

NARROW = """\
blobs: MLP, 195 parameters in 4 tensors, all trainable, on cpu
Memory: 2.285 KiB, beside activations (weights 780 bytes, gradients 780 bytes,
optimizer state 780 bytes)

SGD (optimctl), fused, 11 updates, one every 2 iterations, gradients clipped to
a norm of 1, 780 bytes of state. 2 groups before any schedule:
All groups: momentum 0.9.
group  tensors  parameters   lr  weight_decay  names
    0        2         176  0.1             0  1.weight, 3.weight
    1        2          19  0.2             0  1.bias, 3.bias

21 iterations in 3 epochs of 7, 11 updates; scheduled options at some
iterations:

lr, 2 groups
0.2           ▁▁▁█████████
           ▂▂▂█████████████████████████████████
        ▂▂▂████████████████████████████████████
  0 ▃▃▃▃████████████████████████████████████████████████████████████
    1                                                             21

iteration  epoch  lr of group 0  lr of group 1
        1      1           0.01           0.02
        3      1          0.055           0.11
        5      1            0.1            0.2
        6      1            0.1            0.2
        7      1            0.1            0.2
        8      2          0.075           0.15
       10      2          0.075           0.15
       12      2          0.075           0.15
       14      2          0.075           0.15
       15      3          0.025           0.05
       16      3          0.025           0.05
       17      3          0.025           0.05
       19      3          0.025           0.05
       21      3          0.025           0.05

warning: --set optim_wrapper.paramwise_cfg.custom_keys.hed.lr_mult=2:
optim_wrapper.paramwise_cfg.custom_keys.hed: no parameter's name contains 'hed';
its parts are '1' and '3' [rule-matches-nothing]

note: blobs.toml:22:23: optim_wrapper.accumulative_counts: the last of 21
iterations make a window of 1 [short-last-window]

note: blobs.toml:28:3: param_scheduler.0: its 5 iterations are 3 updates, as 2
batches make one [counts-iterations]

note: blobs.toml:33:3: param_scheduler.1: LinearLR and CosineAnnealingLR both
act from iteration 0 to 5: they multiply [schedule-overlap]
"""

WIDE = """\
blobs: MLP, 195 parameters in 4 tensors, all trainable, on cpu
Memory: 2.285 KiB, beside activations (weights 780 bytes, gradients 780 bytes, optimizer state 780 bytes)

SGD (optimctl), fused, 11 updates, one every 2 iterations, gradients clipped to a norm of 1, 780 bytes of state. 2 groups before any schedule:
All groups: momentum 0.9.
group  tensors  parameters   lr  weight_decay  names
    0        2         176  0.1             0  1.weight, 3.weight
    1        2          19  0.2             0  1.bias, 3.bias

21 iterations in 3 epochs of 7, 11 updates; scheduled options at some iterations:

lr, 2 groups
0.2           ▁▁▁█████████
           ▂▂▂█████████████████████████████████
        ▂▂▂████████████████████████████████████
  0 ▃▃▃▃████████████████████████████████████████████████████████████
    1                                                             21

iteration  epoch  lr of group 0  lr of group 1
        1      1           0.01           0.02
        3      1          0.055           0.11
        5      1            0.1            0.2
        6      1            0.1            0.2
        7      1            0.1            0.2
        8      2          0.075           0.15
       10      2          0.075           0.15
       12      2          0.075           0.15
       14      2          0.075           0.15
       15      3          0.025           0.05
       16      3          0.025           0.05
       17      3          0.025           0.05
       19      3          0.025           0.05
       21      3          0.025           0.05

warning: --set optim_wrapper.paramwise_cfg.custom_keys.hed.lr_mult=2: optim_wrapper.paramwise_cfg.custom_keys.hed: no parameter's name contains 'hed'; its parts
are '1' and '3' [rule-matches-nothing]

note: blobs.toml:22:23: optim_wrapper.accumulative_counts: the last of 21 iterations make a window of 1 [short-last-window]

note: blobs.toml:28:3: param_scheduler.0: its 5 iterations are 3 updates, as 2 batches make one [counts-iterations]

note: blobs.toml:33:3: param_scheduler.1: LinearLR and CosineAnnealingLR both act from iteration 0 to 5: they multiply [schedule-overlap]
"""  # noqa: E501


def shown(*parts: object, width: int, **console: object) -> str:
    screen = Console(file=io.StringIO(), width=width, highlight=False, **console)  # type: ignore[arg-type]
    with screen.capture() as captured:
        screen.print(*parts)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


@pytest.mark.parametrize(("width", "page"), [(80, NARROW), (160, WIDE)])
def test_the_whole_page(width: int, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("blobs.toml").write_text(BLOBS, "utf-8")
    plan = make_plan(assemble(load_job("blobs.toml", overrides=RULES), without_weights=True))
    assert "".join(shown(part, width=width) for part in plan_page(plan)) == page


def test_a_sketch_where_there_is_only_ascii() -> None:
    class Old(io.StringIO):
        encoding = "ascii"

    sketch = Sketch("lr", [0.0, 0.5, 1.0, 1.0], "1", "4")
    screen = Console(file=Old(), width=20, highlight=False)
    with screen.capture() as captured:
        screen.print(sketch)
    assert captured.get().isascii()
    assert captured.get().splitlines()[1:] == [
        "1          ########",
        "           ########",
        "       ############",
        "0      ############",
        "  1               4",
    ]


def test_what_is_zero_all_the_time_is_a_flat_line() -> None:
    assert "█" not in shown(Sketch("lr", [0.0] * 5, "0", "5"), width=40)


def test_what_is_not_finite_is_at_the_top() -> None:
    lines = shown(Sketch("lr", [1.0, 2.0, float("inf"), float("nan"), -1.0], "2", "5"), width=16).splitlines()
    assert lines[1:5] == ["2    ████████", "     ████████", "  ███████████", "0 ███████████"]


SCHEDULE = Grid(
    ["iteration", "lr of group 0", "lr of group 1"], [["1", "0.00118098", "0.1"], ["1,000", "1e-05", "2"]], needed=2
)
GROUPS = Grid(
    ["group", "lr", "names"],
    [["0", "0.1", "backbone.layer1.conv, neck"], ["1", "0.01", "a\x1b[31m[bold]"]],
    needed=3,
    flows=True,
)

WIDE_ENOUGH = """\
iteration  lr of group 0  lr of group 1
        1     0.00118098            0.1
    1,000          1e-05              2
"""
HEADINGS_BREAK = """\
                       lr of
                lr of  group
iteration     group 0      1
        1  0.00118098    0.1
    1,000       1e-05      2
"""
A_COLUMN_LESS = """\
                lr of
iteration     group 0
        1  0.00118098
    1,000       1e-05
and 1 more column,
for which the screen
is too narrow
"""
NO_TABLE = """\
iteration 1,
lr of group 0
0.00118098, lr
of group 1 0.1
iteration
1,000, lr of
group 0 1e-05,
lr of group 1
2
"""
NAMES_BREAK = """\
group    lr  names
    0   0.1  backbone.layer1.c
             onv, neck
    1  0.01  a\\x1b[31m[bold]
"""


@pytest.mark.parametrize(
    ("grid", "width", "lines"),
    [
        (SCHEDULE, 40, WIDE_ENOUGH),
        (SCHEDULE, 28, HEADINGS_BREAK),
        (SCHEDULE, 21, A_COLUMN_LESS),
        (SCHEDULE, 14, NO_TABLE),
        (GROUPS, 30, NAMES_BREAK),
    ],
)
def test_a_table_never_cuts_a_number(grid: Grid, width: int, lines: str) -> None:
    assert shown(grid, width=width) == lines


def test_names_from_elsewhere_cannot_paint_the_screen() -> None:
    model = nn.Module()
    model.add_module("a\x1b[31m\nred", nn.Linear(2, 2))
    model.add_module("[/bold]", nn.Linear(2, 2))
    text = '[optim_wrapper]\noptimizer = { type = "SGD", lr = 0.1 }\n'
    plan = make_plan(assemble(parse_job(text), without_weights=True, model=model))
    page = "".join(shown(part, width=100) for part in [*plan_page(plan), *why_page(plan, ["[/bold].weight"])])
    assert "a\\x1b[31m\\nred.weight" in page
    assert "[/bold].weight (2, 2), group 0" in page
    assert "\x1b" not in page


def test_why_says_what_the_job_lacks() -> None:
    plan = make_plan(assemble(parse_job("[train_cfg]\nmax_iters = 3\n"), without_weights=True, model=nn.Linear(2, 2)))
    with pytest.raises(UsageError, match=r"no parameter is called 'weight'; the job has no \[optim_wrapper\]"):
        matching(plan, "weight")
