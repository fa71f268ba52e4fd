"""Pictures: what their files are, and that few points look the same as all."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from textwrap import dedent

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from optimctl.errors import UsageError
from optimctl.pictures import Line, Panel, Span, check_picture, draw_panels, is_better_in_log, outline, staircase
from tests.plugins_on_disk import run_python


def line(*values: float, label: str = "a line") -> Line:
    return Line(label, np.arange(float(len(values))), np.array(values))


def drawn(file: Path, *panels: Panel, title: str = "a title", iterations: int = 12) -> str:
    """The picture as text; of a PNG, its size."""
    draw_panels(panels, file, title=title, iterations=iterations, epoch_length=3)
    data = file.read_bytes()
    if file.suffix == ".svg":
        return data.decode()
    assert data.startswith(b"\x89PNG\r\n")
    return "{} x {}".format(*struct.unpack(">II", data[16:24]))


def test_the_ending_says_which_kind_of_file_it_is(tmp_path: Path) -> None:
    panel = Panel("lr", [line(1.0, 2.0)])
    assert drawn(tmp_path / "a.png", panel) == "1495 x 455"
    assert drawn(tmp_path / "a.svg", panel).startswith("<?xml")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.pdf", "a.pdf: a picture is a PNG or an SVG; its name ends in '.png' or '.svg'"),
        ("picture", "picture: a picture is a PNG or an SVG; its name ends in '.png' or '.svg'"),
        ("a.pngg", "a.pngg: a picture is a PNG or an SVG; did you mean '.png'?"),
        ("nowhere/a.png", "nowhere/a.png: there is no folder nowhere"),
    ],
)
def test_where_no_picture_can_be_is_told_before_any_work(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        check_picture(Path(name))
    assert str(caught.value) == message


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        UsageError, match=r"a picture needs matplotlib \(.*\); get it with: pip install 'optimctl\[plot\]'"
    ):
        check_picture(Path("a.png"))


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(UsageError, match=r"a\.png cannot be written: Is a directory"):
        drawn(tmp_path / "a.png", Panel("lr", [line(1.0)]))


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_same_data_give_the_same_bytes(ending: str, tmp_path: Path) -> None:
    panel = Panel("lr", [line(0.0, 1e-5, 1.0)], [Span("LinearLR", 0, 6)])
    first, second = tmp_path / f"1.{ending}", tmp_path / f"2.{ending}"
    assert drawn(first, panel) == drawn(second, panel)
    assert first.read_bytes() == second.read_bytes()
    assert b"<dc:date>" not in first.read_bytes()


def test_drawing_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    drawn(tmp_path / "a.png", Panel("lr", [line(1.0, 2.0)]))
    assert dict(matplotlib.rcParams) == before
    code = """
    import sys
    from pathlib import Path
    import numpy as np
    from optimctl.pictures import Line, Panel, draw_panels
    panel = Panel("lr", [Line("a", np.arange(3.0), np.arange(3.0))])
    draw_panels([panel], Path("a.png"), title="", iterations=2)
    print("matplotlib.pyplot" in sys.modules)
    """
    assert run_python("-c", dedent(code), cwd=tmp_path) == "False\n"


def test_text_stays_text_and_means_nothing_else(tmp_path: Path) -> None:
    panel = Panel("a$b$", [line(1.0, label="x<y> & $\\alpha$ 學習\x07")], [Span("_Own $LR$", 0, 12)])
    picture = drawn(tmp_path / "a.svg", panel, title="a <job> of $5 & $6")
    for text in (
        "a$b$",
        "x&lt;y&gt; &amp; $\\alpha$ 學習\N{REPLACEMENT CHARACTER}",
        "_Own $LR$",
        "a &lt;job&gt; of $5 &amp; $6",
    ):
        assert f">{text}</text>" in picture
    drawn(tmp_path / "a.png", panel)


def test_what_there_is_to_say_is_in_the_picture(tmp_path: Path) -> None:
    panels = [
        Panel("lr", [line(0.1, 0.2, label="first"), line(0.3, label="second")], [Span("LinearLR", 0, 2)], "groups"),
        Panel("momentum", [line(0.9, 0.95, label="third")]),
    ]
    picture = drawn(tmp_path / "a.svg", *panels)
    for text in ("lr", "momentum", "first", "second", "third", "groups", "LinearLR", "iterations", "epochs"):
        assert picture.count(f">{text}</text>") == 1
    assert [epoch for epoch in range(20) if f">{epoch}</text>" in picture] == [0, 1, 2, 3, 4, 6, 8, 10, 12]


def test_forty_lines_make_a_panel_as_tall_as_their_legend(tmp_path: Path) -> None:
    lines = [line(0.0, float(index), label=f"line {index}") for index in range(40)]
    assert drawn(tmp_path / "a.png", Panel("lr", lines)) == "1495 x 1028"
    picture = drawn(tmp_path / "a.svg", Panel("lr", lines))
    assert all(f">line {index}</text>" in picture for index in range(40))
    many = [line(0.0, float(index), label=f"line {index}") for index in range(500)]
    picture = drawn(tmp_path / "a.svg", Panel("lr", many))
    assert picture.count(">line ") == 60
    assert ">line 0<" in picture
    assert ">line 499<" in picture


@pytest.mark.parametrize(
    "values", [[0.0], [0.0, 0.0], [1e-300, 1.0], [np.nan, np.nan], [np.nan, 3.0], [-1.0, 1e9], [1e38] * 3]
)
def test_odd_values_are_drawn(values: list[float], tmp_path: Path) -> None:
    drawn(tmp_path / "a.png", Panel("loss", [line(*values)]))


# --- the axis of the values


DECADES = [line(*[10.0**-k] * 10) for k in range(6)]


@pytest.mark.parametrize(
    ("lines", "in_log"),
    [
        ([line(0.1)], False),
        ([line(*np.linspace(0.1, 0.2, 50))], False),
        ([line(*(1 + np.cos(np.linspace(0, np.pi, 100))))], False),  # touches zero at its end
        ([line(*np.linspace(1e-6, 1, 50), *[1.0] * 950)], False),  # a warm-up
        ([line(*[1.0] * 80, *[0.1] * 30, *[0.01] * 10)], True),  # milestones
        ([line(*[1.0] * 80, *[0.1] * 30, *[0.01] * 10), line(*[2.0] * 80, *[0.2] * 30, *[0.02] * 10)], True),
        ([line(*np.geomspace(1, 1e-5, 100))], True),
        (DECADES, True),
        ([*DECADES, line(*[0.0] * 10)], True),
        ([*DECADES, line(-1.0)], False),
        ([line(0.0, 0.0)], False),
    ],
)
def test_values_that_span_decades_stand_on_a_logarithmic_axis(lines: list[Line], in_log: bool) -> None:
    assert is_better_in_log(lines) is in_log


def test_zero_has_its_place_on_a_logarithmic_axis(tmp_path: Path) -> None:
    with_zero = drawn(tmp_path / "a.svg", Panel("lr", [*DECADES, line(*[0.0] * 10, label="frozen")]))
    assert [text for text in ("0", "1e-05", "0.0001", "1") if f">{text}</text>" in with_zero] == [
        "0",
        "1e-05",
        "0.0001",
        "1",
    ]
    without = drawn(tmp_path / "b.svg", Panel("lr", DECADES), iterations=12)
    assert without.count(">0</text>") == with_zero.count(">0</text>") - 1


def test_a_moment_has_no_decades_of_its_own(tmp_path: Path) -> None:
    started = line(1e-12, *[1.0] * 400, *[0.1] * 200, *[0.01] * 100)
    picture = drawn(tmp_path / "a.svg", Panel("lr", [started]), iterations=701)
    assert [text for text in ("1e-10", "0.001", "0.01", "0.1", "1") if f">{text}</text>" in picture] == [
        "0.01",
        "0.1",
        "1",
    ]


# --- few points that look the same


@given(arrays(np.float64, st.integers(1, 400), elements=st.floats(-5, 5, width=16)), st.integers(1, 20))
def test_an_outline_has_the_first_the_last_the_lowest_and_the_highest_of_each_column(
    values: NDArray[np.float64], columns: int
) -> None:
    x = np.arange(len(values), dtype=np.float64)
    kept, y = outline(x, values, columns)
    assert np.array_equal(y, values[kept.astype(int)])
    assert (np.diff(kept) > 0).all()
    if len(values) <= 4 * columns:
        assert np.array_equal(np.interp(x, kept, y), values)
        return
    width = -(-len(values) // columns)
    for start in range(0, len(values), width):
        column, own = values[start : start + width], np.interp(x[start : start + width], kept, y)
        assert (own[0], own[-1], own.min(), own.max()) == (column[0], column[-1], column.min(), column.max())


def test_a_few_values_are_stairs() -> None:
    x, y = staircase(np.array([1.0, 1.0, 3.0]))
    assert (x.tolist(), y.tolist()) == ([0, 2, 2, 3], [1, 1, 3, 3])
    x, y = staircase(np.array([5.0]))
    assert (x.tolist(), y.tolist()) == ([0, 1], [5, 5])


def test_a_jump_among_a_million_values_is_no_slope() -> None:
    values = np.concatenate([np.full(666_667, 0.1), np.full(333_333, 0.01)])
    x, y = staircase(values)
    assert (x.tolist(), y.tolist()) == ([0, 666_666, 666_667, 1_000_000], [0.1, 0.1, 0.01, 0.01])


def test_gaps_stay_gaps() -> None:
    values = np.full(100_000, 1.0)
    values[50_000] = np.nan
    _, y = outline(np.arange(100_000.0), values)
    assert np.isnan(y).any()
