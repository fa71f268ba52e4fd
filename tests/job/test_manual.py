"""The reference page: current, whole, and right in its examples and links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tomli

from optimctl.job.manual import TOLD, manual
from optimctl.job.schema import TABLES, Inheritance, read_inheritance, read_job

PAGE = manual()
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_is_what_the_tables_say() -> None:
    page = (Path(__file__).parents[2] / "docs" / "job.md").read_text("utf-8")
    assert page == PAGE, "python -m optimctl.job.manual > docs/job.md"


def test_every_key_of_every_table_is_told_once() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| \[?`", line)]
    assert len(rows) == sum(len(model.model_fields) for models in set(TABLES.values()) for model in models)
    assert all(row.count(" | ") == 4 and row.endswith(". |") for row in rows)


def test_every_link_leads_to_a_table() -> None:
    anchors = re.findall(r'<a id="([^"]+)"></a>\n#', PAGE)
    assert len(set(anchors)) == len(anchors) == len(set(TABLES.values()))
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) == set(anchors)


def test_what_is_told_is_told_of_a_table() -> None:
    assert TOLD.keys() <= TABLES.keys()
    assert len(BLOCKS) >= 20


@pytest.mark.parametrize("block", BLOCKS)
def test_every_example_is_a_job(block: str) -> None:
    data = tomli.loads(block)
    read_inheritance(data)
    read_job({name: value for name, value in data.items() if name not in Inheritance.model_fields})


@pytest.mark.parametrize(
    "row",
    [
        "| `max_epochs` | whole number (1 or more) | epochs |  | The run's length; excludes `max_iters`. |",
        "| [`save_best`](#checkpoint-save_best) | string or table |  |  | Keeps the best checkpoint beside them: ",
        "| `metric` | string |  | **required** | A metric of the task. |",
        '| `rule` | `"max"` or `"min"` |  | what the task says of its metric | Which way is better. |',
        "| `norm_types` | array of strings |  | `[]` | Further classes of modules, by name, that count as norm layers. |",
    ],
)
def test_a_row_says_type_unit_default_and_what_it_does(row: str) -> None:
    assert row in PAGE


def test_rules_and_short_forms_are_told() -> None:
    assert "- `max_epochs` and `max_iters` exclude each other.\n" in PAGE
    assert "- One of `max_epochs` and `max_iters` is needed: a run has an end.\n" in PAGE
    assert 'Short form: `load_from = "..."` is `load_from = { path = "..." }`.' in PAGE
