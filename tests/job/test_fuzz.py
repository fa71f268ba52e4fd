"""Whatever a file holds, it is a job, or each of its mistakes is told in a place where it is.

Jobs that are generated from the format's own tables, every file of ``examples/`` with some of its bytes changed, and options of the
command line. The suite tries some hundred of them; more, say 20,000 of each, with

    OPTIMCTL_FUZZ=20000 python -m pytest tests/job/test_fuzz.py
"""

from __future__ import annotations

import copy
import datetime
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli
import tomli_w
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from optimctl import plugins
from optimctl.cli.output import problem_json, problem_text
from optimctl.errors import JobError, Key, Problem
from optimctl.job.load import load_job, parse_job
from optimctl.job.origins import AT_KEY
from optimctl.job.schema import KEYS, Job
from optimctl.plugins import Plugin, Plugins
from tests.job import conftest
from tests.job.test_bad_jobs import GOOD

MANY = int(os.environ.get("OPTIMCTL_FUZZ", "120"))
EXAMPLES = Path(__file__).parent.parent.parent / "examples"
FILES = sorted(EXAMPLES.rglob("*.toml"))

# A job takes some milliseconds: what takes seconds hangs. It is also short enough to be read as it was found.
fuzz = settings(
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    max_examples=MANY,
    deadline=datetime.timedelta(seconds=2),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True, scope="module")
def fixed_plugins() -> Iterator[None]:
    """Those of the other tests, and each that an example names."""
    claims = conftest.claims()
    for kind, name in _named_in_examples():
        claims.setdefault(kind, {}).setdefault(name, (Plugin(kind, name, "examples", "1.0", f"nowhere:{name}"),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "installed", lambda: Plugins(claims))
        yield


def _named_in_examples() -> Iterator[tuple[str, str]]:
    kinds = ("models", "tasks", "datasets", "optimizers", "optim_wrappers", "constructors", "schedulers", "hooks")
    waiting: list[Any] = [tomli.loads(file.read_text("utf-8")) for file in FILES]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            names = [value.get(key) for key in ("type", "constructor")]
            yield from ((kind, name) for name in names if isinstance(name, str) for kind in kinds)
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


# --- what must hold


def check(
    name: str, texts: Mapping[str, str | None], overrides: tuple[str, ...] = (), unset: tuple[str, ...] = ()
) -> None:
    """A job comes out of the file ``name``, or problems that stand where they are said to stand.

    Args:
        texts: What its files hold, by the names that a problem calls them by; None where that is no text.
    """
    try:
        job = load_job(name, overrides, unset)
    except JobError as error:
        assert error.problems  # noqa: PT017 - either is right
        for problem in error.problems:
            assert problem.message
            check_place(problem, texts)
            problem_text(problem)
            json.dumps(problem_json(problem), allow_nan=False)
    else:
        check_job(job)


def check_job(job: Job) -> None:
    """A job is written and read again as itself."""
    plain = job.plain()
    if "nan" not in repr(plain):
        assert parse_job(tomli_w.dumps(plain)).plain() == plain


def check_place(problem: Problem, texts: Mapping[str, str | None]) -> None:
    place = problem.place
    assert place is not None, problem
    text = texts.get(place.source)
    if text is None:
        assert place.source.startswith(("--set ", "--unset ")) or problem.code in ("no-file", "encoding"), problem
        return
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if place.line is None or place.column is None:
        assert not within(problem.key, tomli.loads(text)), problem
        return
    lines = text.split("\n")
    assert place.excerpt == lines[place.line - 1], problem
    assert 1 <= place.column <= len(place.excerpt) + 1, problem
    if problem.key:
        offset = sum(len(line) + 1 for line in lines[: place.line - 1]) + place.column - 1
        assert stands_at(problem, text, offset), problem


def within(key: Key, data: Any) -> Key:
    """The longest beginning of a key that is in the data; a constructor's name stands for its table."""
    for length, part in enumerate(key):
        in_table = isinstance(data, dict) and part in data
        in_array = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if not in_table and not in_array:
            return key[:length]
        data = data[part]
    return key


MARK = "mark"


def stands_at(problem: Problem, text: str, offset: int) -> bool:
    """Whether the key or its value stands at a point of a text: a mark that is written there turns up there in the data."""
    key = within(problem.key, tomli.loads(text))
    at_key = problem.code in AT_KEY and key == problem.key
    if not at_key and found_in(text[:offset] + f'"{MARK}"', key):
        return True
    if isinstance(key[-1], int):  # an element of an array of tables: its header
        named = found_in(text[:offset] + f'"{MARK}"]]', (*key[:-2], MARK, 0), exactly=False)
        return named and elements(text[:offset], key[:-1]) == key[-1]
    marked = (*key[:-1], MARK)
    return any(found_in(text[:offset] + f'"{MARK}"{end}', marked, exactly=False) for end in (f' = "{MARK}"', "]", "]]"))


def found_in(text: str, key: Key, exactly: bool = True) -> bool:
    """Whether a text that ends in a mark has it at a key, once its brackets are closed."""
    for _ in range(70):
        try:
            data: Any = tomli.loads(text)
        except tomli.TOMLDecodeError as error:
            closing = {"Unclosed array": "]", "Unclosed inline table": "}"}
            missing = next((char for start, char in closing.items() if str(error).startswith(start)), None)
            if missing is None:
                return False
            text += missing
        else:
            break
    if within(key, data) != key:
        return False
    for part in key:
        data = data[part]
    return data == MARK if exactly else True


def elements(text: str, key: Key) -> int:
    """How many elements an array of tables has before the header that a text breaks off in."""
    data: Any = tomli.loads(text[: text.rindex("[[")])
    if within(key, data) != key:
        return 0
    for part in key:
        data = data[part]
    return len(data)


@pytest.mark.parametrize(
    ("key", "line", "column", "right"),
    [
        (("model", "type"), 2, 8, True),
        (("model", "type"), 2, 6, False),
        (("model", "type"), 3, 10, False),
        (("model", "hidden", 1), 3, 14, True),
        (("model", "hidden", 1), 3, 11, False),
        (("model", "absent"), 1, 2, True),
        (("model", "absent"), 2, 1, False),
        (("a", 1, "b", "c"), 6, 7, True),
        (("a", 1, "b", "c"), 6, 3, True),
        (("a", 1, "b"), 6, 1, True),
        (("a", 1), 5, 3, True),
        (("a", 0), 5, 3, False),
        (("a", 1, "x"), 4, 3, False),
    ],
)
def test_the_check_knows_a_wrong_place(key: Key, line: int, column: int, right: bool) -> None:
    text = '[model]\ntype = "MLP"\nhidden = [1, 2]\n[[a]]\n[[a]]\nb.c = 1\n'
    lines = text.split("\n")
    offset = sum(len(one) + 1 for one in lines[: line - 1]) + column - 1
    assert stands_at(Problem(key, "x", "wrong-type"), text, offset) is right


# --- jobs out of the format's own tables

MORE = """
[optim_wrapper.generator]
optimizer = { type = "SGD", lr = 0.1 }
clip_grad = { type = "value", clip_value = 0.5 }
[optim_wrapper.critic]
type = "AmpOptimWrapper"
accumulative_counts = 2
optimizer = { type = "AdamW", betas = [0.5, 0.9] }
paramwise_cfg = { custom_keys = { "glob:*.bias" = { lr_mult = 2 }, head = { lr = 0.1 } } }
[[param_scheduler.generator]]
type = "LinearLR"
end = "5%"
[[param_scheduler.critic]]
type = "MultiStepMomentum"
milestones = [2, 3]
"""
GOOD_VALUES: dict[str, Any] = tomli.loads(GOOD)
GOOD_JOBS = [GOOD_VALUES, *(tomli.loads(text) for text in (MORE, *(file.read_text("utf-8") for file in FILES)))]
for _job in GOOD_JOBS:
    _job.pop("extends", None)
    _job.pop("unset", None)
NAMES = sorted({name for names in KEYS.values() for name in names})
ODD_NAMES = st.sampled_from(["x", "é", "a.b", "", 'q"uote', "lr", "0", "max_epoch", "tyPe", "\t", "日本"])

scalars = (
    st.booleans()
    | st.integers(-3, 100)
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
    | st.sampled_from(["5%", "150%", "auto", "cpu", "MLP", "SGD", "Routes", "value", "inf", "epoch", "../base.toml"])
    | st.dates()
    | st.times()
    | st.datetimes()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | ODD_NAMES, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def tables(draw: st.DrawFn, path: Key = ()) -> dict[str, Any]:
    """A table of the format: some of its keys, with values that are right more often than not."""
    good = good_table(path)
    table: dict[str, Any] = {}
    for name in KEYS.get(path, ()):
        below, odds = (*path, name), draw(st.sampled_from(range(12)))
        if odds < 4 or name in ("extends", "unset"):
            continue
        if odds == 4:
            table[name] = draw(values)
        elif below in KEYS:
            table[name] = (
                draw(tables(below)) if name != "param_scheduler" else draw(st.lists(tables(below), max_size=2))
            )
        elif (*below, "*") in KEYS:
            table[name] = draw(st.dictionaries(ODD_NAMES | st.just("head"), tables((*below, "*")), max_size=2))
        elif name in good:
            table[name] = good[name]
    return table


@st.composite
def edited(draw: st.DrawFn) -> dict[str, Any]:
    """A good job, less some of its keys, with a few mistakes in it."""
    data: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(GOOD_JOBS)))
    for _ in range(draw(st.sampled_from([0, 0, 1, 2, 5]))):
        holder, part, _ = draw(st.sampled_from(items_of(data)))
        del holder[part]
    for _ in range(draw(st.sampled_from([0, 0, 1, 2, 4]))):
        holder, part, path = draw(st.sampled_from(items_of(data)))
        known = KEYS.get(tuple(one for one in path if isinstance(one, str)), tuple(NAMES))
        name = draw(st.sampled_from(known) | st.sampled_from(NAMES) | ODD_NAMES)
        if isinstance(holder, list) or draw(st.booleans()):
            holder[part] = draw(values)
        elif draw(st.booleans()):
            holder[name] = holder.pop(part)
        else:
            holder[name] = draw(values)
    return data


def items_of(value: Any, path: Key = ()) -> list[tuple[Any, Any, Key]]:
    """Each table or array in a job with each key in it, and the path of the table; never none."""
    found = []
    for part, inner in value.items() if isinstance(value, dict) else enumerate(value):
        found += [(value, part, path), *(items_of(inner, (*path, part)) if isinstance(inner, (dict, list)) else ())]
    return found or ([] if path else [({"x": 0}, "x", ())])


def good_table(path: Key) -> dict[str, Any]:
    data: Any = GOOD_VALUES
    for part in path:
        data = next(iter(data.values()), {}) if part == "*" else data.get(part, {})
        data = data[0] if isinstance(data, list) else data
    return data if isinstance(data, dict) else {}


def key_of(draw: st.DrawFn, name: str) -> str:
    bare = name.isascii() and name.replace("_", "").isalnum()
    return name if bare and draw(st.integers(0, 5)) else tomli_w.dumps({name: 0})[:-5] if not bare else f'"{name}"'


def value_of(draw: st.DrawFn, value: Any) -> str:
    """A value on one line, or an array on several."""
    if isinstance(value, dict):
        pairs = [f"{key_of(draw, name)} = {value_of(draw, item)}" for name, item in value.items()]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    if isinstance(value, list):
        between = draw(st.sampled_from([", ", ",\n  ", " , # é\n"]))
        return "[" + between.join(value_of(draw, item) for item in value) + "]"
    return tomli_w.dumps({"v": value})[4:].rstrip("\n")


@st.composite
def written(draw: st.DrawFn, table: dict[str, Any], header: str = "") -> str:
    """A table as TOML, in one of the many ways to write it."""
    own, below = [], []
    for name, value in table.items():
        key = key_of(draw, name)
        is_tables = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
        if isinstance(value, dict) and draw(st.booleans()):
            below.append(f"[{header}{key}]\n" + draw(written(value, f"{header}{key}.")))
        elif is_tables and draw(st.booleans()):
            below += [f"[[{header}{key}]]\n" + draw(written(item, f"{header}{key}.")) for item in value]
        else:
            own.append(f"{key} = {value_of(draw, value)}\n")
    return "".join(own) + "".join(below)


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, str]:
    """The files of a job, by name: its own, and perhaps a base, some of whose keys it takes away."""
    texts = {"job.toml": draw(written(draw(edited() | edited() | tables())))}
    if draw(st.booleans()):
        texts["base.toml"] = draw(written(draw(edited() | edited() | tables())))
        top = {"extends": draw(st.sampled_from(["base.toml", ["base.toml"], ["./base.toml", "base.toml"], "bas.toml"]))}
        keys = draw(
            st.lists(
                st.sampled_from(["model", "train_cfg.max_epochs", "job.nam", "param_scheduler.0.end", "a..b"]),
                max_size=2,
            )
        )
        texts["job.toml"] = tomli_w.dumps({**top, **({"unset": keys} if keys else {})}) + texts["job.toml"]
    if draw(st.integers(0, 3)) == 0:
        texts = {name: text.replace("\n", "\r\n") for name, text in texts.items()}
    return texts


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder to write jobs into, and to stand in."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.chdir(name)
        yield Path(name)


@fuzz
@given(jobs())
def test_generated_jobs(folder: Path, texts: dict[str, str]) -> None:
    for name in ("job.toml", "base.toml"):
        Path(name).write_bytes(texts.get(name, "").encode())
    check("job.toml", {"base.toml": "", **texts})


# --- examples with some of their bytes changed

PIECES = [
    *(b"[", b"]", b"{", b"}", b"=", b".", b",", b'"', b"'", b'"""', b"#", b"\n", b"\r\n", b"\r", b" ", b"\t", b"\0"),
    *(
        b"\xff",
        b"\xc3\xa9",
        b"\xe2\x80\x9c",
        b"\xf0\x9f\x98\x80",
        b"\xef\xbb\xbf",
        b"\\",
        b"\\u0041",
        b"\\ud800",
        b"\x7f",
    ),
    *(b"true", b"nan", b"-inf", b"1e999", b"0x1", b"1_0", b"07:32", b"1979-05-27", b"9" * 30, b"9" * 5000, b"[" * 100),
    *(
        b'type = "SGD"\n',
        b"[optim_wrapper.x]\n",
        b"[[param_scheduler]]\n",
        b"{ type = 'x' }",
        b"extends = 'base.toml'\n",
    ),
    *(b"unset = ['model']\n", b"a.b.c = 1\n", b"[a]\n", b"'' = 0\n"),
]


@st.composite
def mutations(draw: st.DrawFn, content: bytes) -> bytes:
    """``content`` with a few changes: bytes replaced, pieces put in, lines taken out, doubled or exchanged."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        match draw(st.sampled_from(["bytes", "piece", "cut", "line", "double", "swap"])):
            case "bytes":
                content = content[:at] + draw(st.binary(max_size=3)) + content[at + draw(st.integers(0, 3)) :]
            case "piece":
                content = content[:at] + draw(st.sampled_from(PIECES)) + content[at:]
            case "cut":
                content = content[:at]
            case change:
                lines = content.splitlines(keepends=True)
                one, other = (draw(st.integers(0, max(0, len(lines) - 1))) for _ in range(2))
                content = b"".join(changed_lines(change, lines, one, other))
    return content


def changed_lines(change: str, lines: list[bytes], one: int, other: int) -> list[bytes]:
    if not lines:
        return lines
    if change == "line":
        return lines[:one] + lines[one + 1 :]
    if change == "double":
        return [*lines[:other], lines[one], *lines[other:]]
    lines[one], lines[other] = lines[other], lines[one]
    return lines


@fuzz
@given(st.data())
def test_mutated_examples(folder: Path, data: st.DataObject) -> None:
    file = data.draw(st.sampled_from(FILES))
    contents = {sibling.name: sibling.read_bytes() for sibling in (file, *file.parent.glob("base.toml"))}
    changed = data.draw(st.sampled_from(sorted(contents)))
    contents[changed] = data.draw(mutations(contents[changed]))
    for name, content in contents.items():
        Path(name).write_bytes(content)
    check(file.name, {name: decoded(content) for name, content in contents.items()})


def decoded(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


# --- options

option_keys = st.lists(st.sampled_from([*NAMES, "0", "1", "a.b", "é", "hidden"]), min_size=1, max_size=4).map(".".join)
option_values = values.map(
    lambda value: repr(value) if isinstance(value, dict) else tomli_w.dumps({"v": value})[4:].strip()
)
option_texts = st.text(max_size=12) | st.sampled_from(["=", "a=", "a.=1", "job.seed=[", 'x="', "model={type='MLP'}"])


@fuzz
@given(
    st.lists(st.tuples(option_keys, option_values).map("=".join) | option_texts, max_size=3),
    st.lists(option_keys | option_texts, max_size=2),
)
def test_options(folder: Path, overrides: list[str], unset: list[str]) -> None:
    Path("job.toml").write_text(GOOD, "utf-8")
    check("job.toml", {"job.toml": GOOD}, tuple(overrides), tuple(unset))
