"""``json``: the job, with every default written out, for other programs; and back."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from optimctl.errors import JobError, Key, Problem, UsageError
from optimctl.export.imported import Imported
from optimctl.export.source import Source
from optimctl.job.write import Document


def export_json(source: Source) -> str:
    """The resolved job as JSON, with every default written out: the values of the format toml, without its comments.

    A date, inf and nan, which JSON does not have, are errors. `optimctl import json` makes a job file of it again.
    """
    from optimctl.export.resolved import with_defaults

    data = with_defaults(source.job).data
    problems = list(_unsayable((), data))
    if problems:
        raise JobError(source.job.located(problems))
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _unsayable(key: Key, value: Any) -> Iterator[Problem]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _unsayable((*key, name), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unsayable((*key, index), item)
    elif not isinstance(value, (str, int, float)) or (isinstance(value, float) and not math.isfinite(value)):
        yield Problem(key, f"JSON cannot say {value}; export it as toml", "not-exportable")


def import_json(file: Path) -> Imported:
    """A job out of JSON, such as `optimctl export json` writes."""
    try:
        data = json.loads(file.read_text("utf-8-sig"), object_pairs_hook=_object(file))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8") from error
    except ValueError as error:
        raise UsageError(f"{file} is not JSON: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{file} is nested too deeply") from error
    if not isinstance(data, dict):
        raise UsageError(f"{file} holds no job: a job is an object, and this is {type(data).__name__}")
    return Imported(file, Document(data))


def _object(file: Path) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """Makes an object, in which a key that stands twice is a mistake: the first value would go in silence."""

    def make(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
            raise UsageError(f"{file} has the key '{twice}' twice in one object; take one of them out")
        return made

    return make
