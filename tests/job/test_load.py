"""Files over files, options over files; each value knows where it comes from."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli
import tomli_w

from optimctl.errors import JobError, Key, Place, Problem
from optimctl.job.load import job_from_dict, load_job, parse_job
from optimctl.job.schema import Job, OptimWrapperTable

BASE = """\
[train_cfg]
max_iters = 100
[optim_wrapper]
accumulative_counts = 2
[optim_wrapper.optimizer]
type = "SGD"
lr = 0.1
momentum = 0.9
[[param_scheduler]]
type = "LinearLR"
by_epoch = false
end = 10
[[param_scheduler]]
type = "MultiStepLR"
milestones = [1, 2]
"""


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(**files: str) -> None:
    for name, text in files.items():
        file = Path(name.replace("__", "/") + ".toml")
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(text), "utf-8")


def problems(path: str = "job.toml", overrides: Sequence[str] = (), unset: Sequence[str] = ()) -> list[str]:
    with pytest.raises(JobError) as error:
        load_job(path, overrides, unset)
    return str(error.value).splitlines()


def places(job: Job, *keys: Key) -> list[str]:
    return [str(job.place(key)) for key in keys]


# --- extends, unset ---------------------------------------------------------------------------------------------------


def test_a_job_over_its_base() -> None:
    write(
        base=BASE,
        job="""\
            extends = "base.toml"
            unset = ["train_cfg.max_iters", "param_scheduler"]
            train_cfg.max_epochs = 3
            optim_wrapper.optimizer = { type = "AdamW", lr = 1e-3 }
            """,
    )
    job = load_job("job.toml")
    assert job.plain() == {
        "train_cfg": {"max_epochs": 3},
        "optim_wrapper": {"accumulative_counts": 2, "optimizer": {"type": "AdamW", "lr": 1e-3}},
    }
    assert [str(dropped) for dropped in job.dropped] == [
        "optim_wrapper.optimizer: 'lr' and 'momentum' went, because `type` is AdamW, no longer SGD"
    ]
    assert places(job, ("optim_wrapper", "accumulative_counts"), ("optim_wrapper", "optimizer", "lr")) == [
        "base.toml:4:23",
        "job.toml:4:50",
    ]
    assert job.name == "job"
    assert job.file == Path("job.toml")


def test_of_several_bases_the_later_wins_and_a_common_one_counts_once() -> None:
    write(
        common="[log]\ninterval = 1\n[checkpoint]\ninterval = 1\nkeep = 1\n",
        first='extends = "common.toml"\n[log]\ninterval = 2\n[checkpoint]\ninterval = 2\n',
        second='extends = "common.toml"\n[checkpoint]\ninterval = 3\n',
        job='extends = ["first.toml", "second.toml"]\n',
    )
    job = load_job("job.toml")
    assert job.plain() == {"log": {"interval": 2}, "checkpoint": {"interval": 3, "keep": 1}}
    assert places(job, ("log", "interval"), ("checkpoint", "interval"), ("checkpoint", "keep")) == [
        "first.toml:3:12",
        "second.toml:3:12",
        "common.toml:5:8",
    ]


def test_paths_are_relative_to_the_file_that_names_them() -> None:
    write(a__job='extends = "../b/base.toml"', b__base='extends = "more.toml"', b__more="[log]\ninterval = 0")
    with pytest.raises(JobError) as error:
        load_job("a/job.toml")
    (problem,) = error.value.problems
    assert problem.place == Place("b/more.toml", 2, 12, "interval = 0", ("a/job.toml", "b/base.toml"))
    assert problems("a/job.toml") == ["b/more.toml:2:12: log.interval: must be at least 1, not 0"]


def test_a_cycle() -> None:
    write(job='extends = "base.toml"\n', base='extends = ["job.toml"]\n')
    assert problems() == [
        "base.toml:1:12: extends.0: a file cannot build on itself: job.toml extends base.toml extends job.toml"
    ]


def test_a_job_is_made_of_so_many_files_and_no_more() -> None:
    write(**{f"f{number}": f'extends = "f{number + 1}.toml"\n' for number in range(600)}, f600="")
    assert problems("f0.toml") == ["f63.toml:1:11: extends: a job is made of at most 64 files"]
    assert load_job("f540.toml").plain() == {}
    names = [f"g{number}" for number in range(70)]
    write(**dict.fromkeys(names, ""), job=f"extends = {[f'{name}.toml' for name in names]}\n")
    assert problems() == ["job.toml:1:758: extends.63: a job is made of at most 64 files"]


def test_of_many_problems_the_first_are_told() -> None:
    write(job="[job]\n" + "".join(f"k{number} = 1\n" for number in range(700)))
    told = problems()
    assert len(told) == 501
    assert told[499].startswith("job.toml:501:1: job.k499: unknown key; ")
    assert told[500] == "job.toml: 200 more problems are not shown"
    write(job=f"unset = {['x'] * 501}\n")
    assert problems() == ["job.toml:1:9: unset: takes away at most 500 keys, not 501"]
    write(job="[hooks]\n" + "".join(f"k{number} = {{}}\n" for number in range(501)))
    assert problems()[-1] == "job.toml: 1 more problem is not shown"
    write(job="x = [" + f"{2**64}, " * 502 + "]\n")
    told = problems()
    assert told[0] == "job.toml:1:6: x.0: a whole number has at most 64 bits"
    assert told[-1] == "job.toml: 2 more problems are not shown"


def test_what_is_wrong_with_a_base_is_told_where_it_is_named() -> None:
    write(
        job='extends = ["bsae.toml", "folder", "broken.toml", "1"]\nlog = 1 2\n'.replace("log = 1 2", ""),
        base="",
        broken="[log]\ninterval = 1 2\n",
    )
    Path("folder").mkdir()
    assert problems() == [
        "job.toml:1:12: extends.0: 'bsae.toml': there is no such file; did you mean 'base.toml'?",
        "job.toml:1:25: extends.1: 'folder': is a folder, and a job is a file",
        "job.toml:1:50: extends.3: '1': there is no such file",
        "broken.toml:2:14: not TOML: each key = value stands on a line of its own",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("extends = 1", "1:11: extends: must be a path, or an array of paths, not 1"),
        ("extends = ['']", "1:12: extends.0: must not be empty"),
        ("unset = 'x'", "1:9: unset: must be an array, not the string 'x'"),
        ("unset = ['x']", "1:10: unset.0: there is no 'x' to take away"),
        ("unset = ['a..b']", "1:10: unset.0: 'a..b' is no key; write it dotted, as train_cfg.max_iters"),
    ],
)
def test_what_the_top_of_a_file_must_be(text: str, problem: str) -> None:
    write(job=text)
    assert problems() == [f"job.toml:{problem}"]


def test_what_cannot_be_taken_away() -> None:
    keys = ["train_cfg.max_iter", "param_scheduler.0", "param_scheduler.5.end", "param_scheduler.0.begin", "log"]
    write(base=BASE, job=f"extends = 'base.toml'\nunset = {keys}")
    assert problems() == [
        "job.toml:2:10: unset.0: there is no 'train_cfg.max_iter' to take away; did you mean 'max_iters'?",
        "job.toml:2:32: unset.1: an element of the array 'param_scheduler' cannot be taken away; give the whole array anew",
        "job.toml:2:53: unset.2: there is no 'param_scheduler.5.end' to take away",
        "job.toml:2:78: unset.3: there is no 'param_scheduler.0.begin' to take away",
        "job.toml:2:105: unset.4: there is no 'log' to take away",
    ]


def test_of_keys_that_exclude_each_other_the_upper_one_stays() -> None:
    write(base=BASE, job="extends = 'base.toml'\n[train_cfg]\nmax_epochs = 3\n")
    job = load_job("job.toml", ["param_scheduler.0.by=update"])
    assert job.plain()["train_cfg"] == {"max_epochs": 3}
    assert [str(dropped) for dropped in job.dropped] == [
        "train_cfg: 'max_iters' went, because `max_epochs` excludes it",
        "param_scheduler.0: 'by_epoch' went, because `by` excludes it",
    ]


def test_a_constructor_in_two_forms() -> None:
    write(
        base='[optim_wrapper]\nconstructor = "LayerDeca"\noptimizer = { type = "SGD" }\n',
        job='extends = "base.toml"\n[optim_wrapper.constructor]\ndecay_rate = 0.9\n',
    )
    (problem,) = load_problems("job.toml")
    assert (problem.key, str(problem.place)) == (("optim_wrapper", "constructor", "type"), "base.toml:2:15")


def load_problems(path: str) -> Sequence[Problem]:
    with pytest.raises(JobError) as error:
        load_job(path)
    return error.value.problems


# --- --set, --unset ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("model.x=1", 1),
        ("model.x=1e-3", 1e-3),
        ("model.x=true", True),
        ("model.x=True", "True"),
        ('model.x="1"', "1"),
        ("model.x=resnet50", "resnet50"),
        ("model.x=a = b", "a = b"),
        ("model.x=", ""),
        ("model.x=[1, 'a']", [1, "a"]),
        ("model.x={a = {b = 1}}", {"a": {"b": 1}}),
        ("model.x=1\ny = 2", "1\ny = 2"),
        ("model.x=[1,\n2]", [1, 2]),
        ("model.x={a = 1,}", "{a = 1,}"),
        (" model . 'x' = 5 ", 5),
        ("model.x=nan", float("nan")),
    ],
)
def test_a_value_is_toml_or_a_string(option: str, value: Any) -> None:
    job = parse_job('[model]\ntype = "MLP"', overrides=[option])
    assert job.model is not None
    assert repr(job.model.arguments) == repr({"x": value})


def test_options_are_one_layer_in_any_order() -> None:
    write(job=BASE)
    options = [
        "optim_wrapper.optimizer.lr=0.5",
        "optim_wrapper.optimizer.type=AdamW",
        "train_cfg.max_epochs=2",
        "param_scheduler.0.by=update",
        "param_scheduler.0={end = 7}",
        "param_scheduler.1.milestones.1=9",
        'hooks.EMA={"decay" = 0.5}',
    ]
    one, other = load_job("job.toml", options), load_job("job.toml", options[::-1])
    assert one.plain() == other.plain()
    assert one.plain() == {
        "train_cfg": {"max_epochs": 2},
        "optim_wrapper": {"accumulative_counts": 2, "optimizer": {"lr": 0.5, "type": "AdamW"}},
        "param_scheduler": [
            {"type": "LinearLR", "end": 7, "by": "update"},
            {"type": "MultiStepLR", "milestones": [1, 9]},
        ],
        "hooks": {"EMA": {"decay": 0.5}},
    }
    assert [str(dropped) for dropped in one.dropped] == [
        "train_cfg: 'max_iters' went, because `max_epochs` excludes it",
        "param_scheduler.0: 'by_epoch' went, because `by` excludes it",
        "optim_wrapper.optimizer: 'lr' and 'momentum' went, because `type` is AdamW, no longer SGD",
    ]
    assert places(
        one,
        ("optim_wrapper", "optimizer", "lr"),
        ("optim_wrapper", "accumulative_counts"),
        ("param_scheduler", 0, "end"),
        ("param_scheduler", 0, "by"),
        ("param_scheduler", 0, "type"),
        ("param_scheduler", 1, "milestones", 0),
        ("param_scheduler", 1, "milestones", 1),
        ("train_cfg",),
        ("hooks",),
        ("hooks", "EMA", "type"),
    ) == [
        "--set optim_wrapper.optimizer.lr=0.5",
        "job.toml:4:23",
        "--set param_scheduler.0={end = 7}",
        "--set param_scheduler.0.by=update",
        "job.toml:10:8",
        "job.toml:15:15",
        "--set param_scheduler.1.milestones.1=9",
        "job.toml:1:2",
        '--set hooks.EMA={"decay" = 0.5}',
        '--set hooks.EMA={"decay" = 0.5}',
    ]
    assert one.overrides == tuple(f"--set {option}" for option in options)


def test_unset_comes_before_set() -> None:
    write(job=BASE)
    job = load_job("job.toml", ["optim_wrapper.optimizer={type = 'SGD', lr = 1}"], ["optim_wrapper.optimizer"])
    assert job.plain()["optim_wrapper"] == {"accumulative_counts": 2, "optimizer": {"type": "SGD", "lr": 1}}
    assert job.overrides == (
        "--set optim_wrapper.optimizer={type = 'SGD', lr = 1}",
        "--unset optim_wrapper.optimizer",
    )


@pytest.mark.parametrize(
    ("overrides", "unset", "expected"),
    [
        (
            ["optim_wrapper.optimizer.type=SDG", "optim_wrapper.accumulative_counts=abc"],
            [],
            [
                "--set optim_wrapper.optimizer.type=SDG: optim_wrapper.optimizer.type: no optimizer is called 'SDG'; did you mean 'SGD'?",
                ("--set optim_wrapper.accumulative_counts=abc: optim_wrapper.accumulative_counts: "
                "must be a whole number, not the string 'abc'"),
            ],
        ),
        (["extends=x.toml"], [], ["--set extends=x.toml: extends: only a file can say `extends`"]),
        (["log.intervall=5"], [], ["--set log.intervall=5: log.intervall: unknown key; did you mean 'interval'?"]),
        (["train_cfg"], [], ["--set train_cfg: write KEY=VALUE, the key dotted as in train_cfg.max_iters"]),
        (["=1"], [], ["--set =1: write KEY=VALUE, the key dotted as in train_cfg.max_iters"]),
        ([], ["a b"], ["--unset a b: write a key, dotted as in train_cfg.max_iters"]),
        (
            ["param_scheduler.2.end=1", "param_scheduler.last.end=1"],
            [],
            [
                ("--set param_scheduler.2.end=1: param_scheduler.2.end: "
                "the array 'param_scheduler' has 2 elements, counted from 0; '2' is none of them"),
                ("--set param_scheduler.last.end=1: param_scheduler.last.end: "
                "the array 'param_scheduler' has 2 elements, counted from 0; 'last' is none of them"),
            ],
        ),
        (
            ["log.interval=1", "log.interval=2"],
            [],
            [
                "--set log.interval=2: log.interval: `--set log.interval=1` says something else",
            ],
        ),
        (["log.interval=1", "log.interval=1"], ["log"], ["--unset log: there is no 'log' to take away"]),
        (
            ["train_cfg.max_epochs=1", "train_cfg.max_iters=2"],
            [],
            [
                "--set train_cfg.max_epochs=1: train_cfg.max_epochs: `max_epochs` and `max_iters` exclude each other; keep one"
            ],
        ),
        ([], ["train_cfg.max_iters"], ["job.toml:1:2: train_cfg: needs `max_epochs` or `max_iters`"]),
        ([], ["param_scheduler.0"], [
            "--unset param_scheduler.0: an element of the array 'param_scheduler' cannot be taken away; give the whole array anew"
        ]),
        (
            [f"job.seed={2**64}"],
            [],
            [
                f"--set job.seed={2**64}: job.seed: a whole number has at most 64 bits",
            ],
        ),
    ],
)  # fmt: skip
def test_a_bad_option_is_named(overrides: list[str], unset: list[str], expected: list[str]) -> None:
    write(job=BASE)
    said = problems("job.toml", overrides, unset)
    assert [line for line in said if not line.startswith(" ")] == expected


# --- the job that comes out -------------------------------------------------------------------------------------------


def test_the_problems_of_several_files_and_options_come_in_order() -> None:
    write(
        base="[checkpoint]\nkeep = 0\ninterval = 'x'\n",
        job="extends = 'base.toml'\nlog.interval = -1\njob.seed = 1.5\n",
    )
    assert problems("job.toml", ["task.type="]) == [
        "job.toml:2:16: log.interval: must be at least 1, not -1",
        "job.toml:3:12: job.seed: must be a whole number, not 1.5",
        "base.toml:2:8: checkpoint.keep: must be at least 1, not 0",
        "base.toml:3:12: checkpoint.interval: must be a whole number, not the string 'x'",
        "--set task.type=: task.type: must not be empty",
    ]


def test_located() -> None:
    write(job=BASE)
    job = load_job("job.toml")
    found = [
        Problem(("param_scheduler", 1, "gama"), "x", "wrong-value"),
        Problem(("optim_wrapper", "optimizer", "lr"), "x", "wrong-value"),
        Problem(("optim_wrapper", "optimizer", "lr"), "x", "unknown-argument"),
        Problem(("model",), "needed", "missing-section"),
        Problem(("model",), "elsewhere", "any", Place("other.py", 1)),
    ]
    assert [str(problem) for problem in job.located(found)] == [
        "job.toml: model: needed",
        "job.toml:7:1: optim_wrapper.optimizer.lr: x",
        "job.toml:7:6: optim_wrapper.optimizer.lr: x",
        "job.toml:13:3: param_scheduler.1.gama: x",
        "other.py:1: model: elsewhere",
    ]


def test_plain_is_as_written_and_loads_again() -> None:
    write(job=BASE)
    job = load_job("job.toml", ["job.name=again"])
    assert job.plain() == {**tomli.loads(BASE), "job": {"name": "again"}}
    assert parse_job(tomli_w.dumps(job.plain())).plain() == job.plain()
    job.plain()["train_cfg"].clear()
    assert job.plain()["train_cfg"] == {"max_iters": 100}
    assert job.name == "again"


def test_a_job_from_a_dict() -> None:
    job = job_from_dict({"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}}}, ["optim_wrapper.optimizer.lr=1"])
    assert isinstance(job.optim_wrapper, OptimWrapperTable)
    assert job.optim_wrapper.optimizer.arguments == {"lr": 1}
    assert (job.name, job.file, job.place(("optim_wrapper",))) == ("job", None, None)
    with pytest.raises(JobError) as error:
        job_from_dict({"log": {"interval": 0}, "optim_wrapper": {}})
    assert str(error.value) == "optim_wrapper: needs `optimizer`\nlog.interval: must be at least 1, not 0"


def test_a_job_without_a_place_for_a_key() -> None:
    write(job="")
    job = load_job("job.toml")
    assert job.place(("train_cfg", "max_epochs")) == Place("job.toml")
    assert job.plain() == {}
    assert (job.log.interval, job.checkpoint.interval, job.checkpoint.keep, job.hooks) == (10, 1, None, {})


def test_what_it_imports() -> None:
    write(job=BASE, bad="[log]\ninterval = 0")
    script = """
        import sys
        from optimctl.job.load import load_job
        from optimctl.errors import JobError
        load_job("job.toml")
        print(sorted({"torch", "numpy", "tree_sitter"} & set(sys.modules)))
        try:
            load_job("bad.toml")
        except JobError:
            print(sorted({"torch", "numpy", "tree_sitter"} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.splitlines() == ["[]", "['tree_sitter']"]
