import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimctl.errors import UsageError
from optimctl.job.length import Length, parse_length, parse_share


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("0%", 0.0), ("100%", 1.0), ("2.5%", 0.025), ("101%", None), ("-5%", None)]
)
def test_share(text: str, share: float | None) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["", "5", "%", ".5%", "5 %", "5%%", "\u0665%", "1e1%"])
def test_no_share(text: str) -> None:
    assert parse_share(text) is None


@pytest.mark.parametrize(
    ("text", "length"),
    [("500it", Length(500, "iterations")), ("2ep", Length(2, "epochs")), ("10%", Length(0.1, "share"))],
)
def test_length(text: str, length: Length) -> None:
    assert parse_length(text) == length


@pytest.mark.parametrize("text", ["5", "5epochs", "", "-1it", "1.5ep", "200%"])
def test_no_length(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_length(text)
    assert str(error.value) == (
        f"'{text}' is no length; write iterations as 500it, epochs as 2ep, or a share of the run as 10%"
    )


@given(st.integers(0, 100))
def test_a_whole_percentage_is_the_nearest_float(percent: int) -> None:
    assert parse_share(f"{percent}%") == percent / 100


@pytest.mark.parametrize(
    ("text", "iterations"),
    [("5it", 5), ("2ep", 14), ("10%", 10), ("0%", 1), ("500it", 100), ("99ep", 100), ("0.4%", 1)],
)
def test_in_iterations(text: str, iterations: int) -> None:
    assert parse_length(text).iterations(epoch_length=7, total=100) == iterations
