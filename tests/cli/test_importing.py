"""``optimctl import`` as its user sees it: files of another format become jobs, comments, and a table of results."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from optimctl.cli.main import exit_code
from optimctl.job.load import load_job
from tests.jobs import BLOBS
from tests.plugins_on_disk import Site

Captured = pytest.CaptureFixture[str]

IMPORTER = '''
    from optimctl.errors import UsageError
    from optimctl.export import Document, Imported

    def ini(file, keep=True, prefix: str = ""):
        """Lines of key = value, and @file for one that it builds on.

        Args:
            keep: Whether unknown keys stand as comments.
            prefix: What unknown keys begin with.
        """
        print("at work")
        data, comments, bases, left = {}, {(): f"from {file.name}"}, [], 0
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if line.startswith("@"):
                bases.append(file.parent / line[1:])
                yield from ini(bases[-1], keep, prefix)
            elif "=" not in line:
                raise UsageError(f"{file}:{number}: no key = value")
            else:
                key, _, value = line.partition("=")
                if key in ("seed", "name"):
                    data.setdefault("job", {})[key] = int(value) if key == "seed" else value
                    if key == "seed":
                        comments["job", "seed"] = "the seed"
                else:
                    left += 1
                    if keep:
                        comments["job", key] = f"{prefix}{key} = {value}"
        told = {"carried": str(len(data.get("job", {}))), "left out": str(left)}
        yield Imported(file, Document(data, comments), tuple(bases), told)

    def strange(file):
        return 3

    def silent(file):
        return []

    def nothing_in_it(file):
        return Imported(file, Document({"job": {"seed": None}}))

    def lost(file):
        return Imported(file, Document({}), (file.parent / "base.ini",))

    def breaks(file):
        return 1 / 0

    def plain(file):
        return Imported(file, {"job": {"seed": 1}})

    def listed(file):
        return Imported(file, Document([1]))

    def itself(file):
        return Imported(file, Document({}), (file,))

    def circle(file):
        base = file.parent / "base.ini"
        return Imported(file, Document({}), (base,)), Imported(base, Document({}), (file,))

    def another(file):
        return Imported(file.parent / "base.ini", Document({}))

    def deep(file):
        value = ()
        for _ in range(700):
            value = (value,)
        return Imported(file, Document({"job": value}))

    def numbers(file):
        import numpy
        lr = numpy.float64(0.1)
        return Imported(file, Document({"optim_wrapper": {"optimizer": {"type": "SGD", "lr": lr}}}))
    '''
NAMES = re.findall(r"^    def (\w+)", IMPORTER, re.MULTILINE)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    site.install("formats", {"importers": {name: f"formats:{name}" for name in NAMES}}, {"formats": IMPORTER})
    write("one.ini", "seed=3\nmood=good\n")


def write(name: str, text: str) -> None:
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")


def refusal(capsys: Captured, *arguments: str) -> str:
    assert exit_code(["import", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err.removeprefix("at work\n")


ONE = """\
# from one.ini

[job]
# the seed
seed = 3
# mood = good
"""


def test_one_job_is_printed_and_its_results_are_told(capsys: Captured) -> None:
    assert exit_code(["import", "ini", "one.ini"]) == 0
    assert capsys.readouterr() == (ONE, "at work\ncarried: 1\nleft out: 1\n")


@pytest.mark.parametrize(("target", "file"), [("new.toml", "new.toml"), ("jobs", "jobs/one.toml"), (".", "one.toml")])
def test_one_job_is_written_to_a_file_or_into_a_folder(target: str, file: str, capsys: Captured) -> None:
    assert exit_code(["import", "ini", "one.ini", "-o", target]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"file     {'job'.ljust(len(file))}  carried  left out",
        f"one.ini  {file}  1        1",
    ]
    assert Path(file).read_text("utf-8") == ONE
    assert load_job(file).job.seed == 3


def test_options_are_the_arguments_of_the_importer(capsys: Captured) -> None:
    assert exit_code(["import", "ini", "one.ini", "--option", "prefix=old_"]) == 0
    assert "# old_mood = good\n" in capsys.readouterr().out
    assert exit_code(["import", "ini", "one.ini", "--option", "keep=false"]) == 0
    assert "mood" not in capsys.readouterr().out
    assert refusal(capsys, "ini", "one.ini", "--option", "keeps=false") == (
        "--option keeps=false: keeps: ini (formats) has no argument 'keeps'; did you mean 'keep'?\n"
    )


def test_what_several_build_on_is_written_once_and_they_extend_it(capsys: Captured) -> None:
    write("configs/base/runtime.ini", "seed=1\n")
    write("configs/base/second.ini", "@runtime.ini\nname=two\n")
    write("configs/a.ini", "@base/runtime.ini\nseed=2\n")
    write("configs/deep/c.ini", "@../base/second.ini\n@../a.ini\nmood=bad\n")
    names = ["configs/a.ini", "configs/deep/c.ini"]
    assert exit_code(["import", "ini", *names, "-o", "jobs"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "file                job               carried  left out",
        "configs/a.ini       jobs/a.toml       1        0",
        "configs/deep/c.ini  jobs/deep/c.toml  0        1",
    ]
    assert sorted(str(file) for file in Path("jobs").rglob("*.toml")) == [
        *("jobs/a.toml", "jobs/base/runtime.toml", "jobs/base/second.toml", "jobs/deep/c.toml"),
    ]
    assert Path("jobs/deep/c.toml").read_text("utf-8") == (
        '# from c.ini\n\nextends = ["../base/second.toml", "../a.toml"]\n# mood = bad\n'
    )
    assert 'extends = "base/runtime.toml"\n' in Path("jobs/a.toml").read_text("utf-8")
    assert load_job("jobs/deep/c.toml").plain()["job"] == {"name": "two", "seed": 2}


def test_one_that_fails_of_several_is_told_and_the_others_are_written(capsys: Captured) -> None:
    write("two.ini", "seed\n")
    assert exit_code(["import", "ini", "one.ini", "two.ini", "gone.ini", "-o", "jobs"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "file      job            carried  left out",
        "one.ini   jobs/one.toml  1        1",
        "two.ini   not read",
        "gone.ini  not read",
    ]
    assert err == "at work\nat work\noptimctl: two.ini:1: no key = value\noptimctl: there is no file gone.ini\n"
    assert [file.name for file in Path("jobs").iterdir()] == ["one.toml"]


def test_where_none_can_be_read_nothing_is_written(capsys: Captured) -> None:
    assert refusal(capsys, "ini", "gone.ini", "-o", "jobs") == "optimctl: there is no file gone.ini\n"
    assert (
        refusal(capsys, "ini", ".")
        == "optimctl: ini (formats) raised IsADirectoryError: [Errno 21] Is a directory: '.' (formats.py:14 in ini)\n"
    )
    assert not Path("jobs").exists()


def test_several_need_a_folder_of_their_own(capsys: Captured) -> None:
    write("two.ini", "seed=4\n")
    both = "optimctl: 2 jobs come of this, of 'one.ini' and 'two.ini'; name a folder for them, as with -o jobs\n"
    assert refusal(capsys, "ini", "one.ini", "two.ini").removeprefix("at work\n") == both
    assert refusal(capsys, "ini", "one.ini", "two.ini", "-o", "x.toml").removeprefix("at work\n") == both
    write("one.cfg", "seed=4\n")
    told = refusal(capsys, "ini", "one.ini", "one.cfg", "-o", "jobs").removeprefix("at work\n")
    assert told.endswith("would all become jobs/one.toml; import them one by one\n")
    assert not Path("jobs").exists()


def test_nothing_is_overwritten_unless_it_is_asked_for(capsys: Captured) -> None:
    write("two.ini", "seed=4\n")
    write("jobs/two.toml", "old")
    command = ["ini", "one.ini", "two.ini", "-o", "jobs"]
    told = "optimctl: 'jobs/two.toml' is already there; --force replaces it\n"
    assert refusal(capsys, *command).removeprefix("at work\n") == told
    assert [file.name for file in Path("jobs").iterdir()] == ["two.toml"]
    assert exit_code(["import", *command, "--force"]) == 0
    assert load_job("jobs/two.toml").job.seed == 4
    capsys.readouterr()
    assert refusal(capsys, "ini", "one.ini", "-o", "jobs/two.toml") == (
        "optimctl: 'jobs/two.toml' is already there; --force replaces it\n"
    )


def test_what_is_there_as_it_would_be_written_is_no_hindrance(capsys: Captured) -> None:
    write("configs/base.ini", "seed=1\n")
    for name in ("a", "b"):
        write(f"configs/{name}.ini", f"@base.ini\nname={name}\n")
        assert exit_code(["import", "ini", f"configs/{name}.ini", "-o", "jobs"]) == 0
    write("configs/base.ini", "seed=2\n")
    capsys.readouterr()
    assert refusal(capsys, "ini", "configs/a.ini", "-o", "jobs").endswith(
        "'jobs/base.toml' is already there; --force replaces it\n"
    )


ADVICE = "write Imported(file, Document({...}))"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("strange", "strange (formats) returned 'int'; an importer returns an Imported, or several"),
        ("silent", "silent (formats) returned nothing; an importer returns an Imported, or several"),
        ("nothing_in_it", "one.ini: job.seed: TOML has no null; leave the key out"),
        ("lost", "lost (formats) says that one.ini builds on 'base.ini', and does not say what is in it"),
        ("itself", "itself (formats) says that 'one.ini' builds on itself"),
        ("circle", "circle (formats) says that 'one.ini' and 'base.ini' build on each other"),
        ("another", "another (formats) returned nothing of one.ini itself; an importer returns that, too"),
        ("deep", "one.ini is nested deeper than 64 levels"),
        *(
            (
                name,
                f"{name} (formats) returned an Imported whose document is no Document of a table; {ADVICE}",
            )
            for name in ("plain", "listed")
        ),
        ("breaks", "breaks (formats) raised ZeroDivisionError: division by zero (formats.py:46 in breaks)"),
        ("inni", "no importer is called 'inni'; did you mean 'ini'?"),
    ],
)
def test_what_an_importer_does_wrong_is_its_own(name: str, message: str, capsys: Captured) -> None:
    assert refusal(capsys, name, "one.ini") == f"optimctl: {message}\n"


def test_numbers_of_numpy_are_written_as_numbers(capsys: Captured) -> None:
    assert exit_code(["import", "numbers", "one.ini"]) == 0
    assert "\nlr = 0.1\n" in capsys.readouterr().out


def test_where_one_holds_what_is_no_value_of_toml_the_others_are_written(capsys: Captured) -> None:
    write("bad.json", '{"job": {"name": null}}')
    write("good.json", '{"job": {"name": "good"}}')
    assert exit_code(["import", "json", "bad.json", "good.json", "-o", "jobs"]) == 1
    assert [file.name for file in Path("jobs").iterdir()] == ["good.toml"]


def test_the_name_of_one_job_says_whether_it_is_a_file_or_a_folder(capsys: Captured) -> None:
    assert refusal(capsys, "ini", "one.ini", "-o", "one.txt") == (
        "optimctl: a job's file ends in .toml, and 'one.txt' does not; for a folder of that name: -o one.txt/\n"
    )
    assert exit_code(["import", "ini", "one.ini", "-o", "one.txt/"]) == 0
    assert load_job("one.txt/one.toml").job.seed == 3
    capsys.readouterr()
    assert exit_code(["import", "ini", "one.ini", "-o", "-"]) == 0
    assert capsys.readouterr().out == ONE


def test_help_tells_the_formats_and_what_each_is(capsys: Captured) -> None:
    assert exit_code(["import", "--help"]) == 0
    page = capsys.readouterr().out
    assert "  ini            of formats\n" in page
    assert exit_code(["import", "ini", "--help"]) == 0
    assert capsys.readouterr().out.endswith(
        "\nini (formats):\n  Lines of key = value, and @file for one that it builds on.\n\n"
        "  --option keep=…    Whether unknown keys stand as comments.  [default: true]\n"
        "  --option prefix=…  What unknown keys begin with.\n"
    )


# --- json


def test_json_comes_back_as_it_went(capsys: Captured) -> None:
    write("blobs.toml", BLOBS)
    assert exit_code(["export", "json", "blobs.toml", "-o", "blobs.json"]) == 0
    assert exit_code(["import", "json", "blobs.json", "-o", "again.toml"]) == 0
    capsys.readouterr()
    for name in ("blobs.toml", "again.toml"):
        assert exit_code(["export", "toml", name]) == 0
    before_and_after = capsys.readouterr().out
    half = len(before_and_after) // 2
    assert before_and_after[:half] == before_and_after[half:]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "bad.json is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[1]", "bad.json holds no job: a job is an object, and this is list"),
        ('{"job": {"name": null}}', "bad.json: job.name: TOML has no null; leave the key out"),
        ("[" * 100_000, "bad.json is nested too deeply"),
        ('{"a": ' * 700 + "1" + "}" * 700, "bad.json is nested deeper than 64 levels"),
        (r'{"a": "\ud800"}', "bad.json: a: '\\ud800' is no value of TOML; take it out"),
        (r'{"a\ud800": 1}', "bad.json: \"a\\ud800\": 'a\\ud800' is no value of TOML; take it out"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "bad.json has the key 'b' twice in one object; take one of them out"),
        ("\xff", "bad.json is not UTF-8"),
    ],
)
def test_what_is_no_job_in_json(text: str, message: str, capsys: Captured) -> None:
    Path("bad.json").write_bytes(text.encode("latin-1"))
    assert refusal(capsys, "json", "bad.json") == f"optimctl: {message}\n"


def test_json_may_begin_with_a_byte_order_mark(capsys: Captured) -> None:
    Path("theirs.json").write_bytes(b'\xef\xbb\xbf{"job": {"name": "theirs"}}')
    assert exit_code(["import", "json", "theirs.json"]) == 0
    assert capsys.readouterr().out == '[job]\nname = "theirs"\n'


def test_json_of_another_program_is_a_job_that_validate_can_check(capsys: Captured) -> None:
    write("theirs.json", json.dumps({"train_cfg": {"max_epoch": 3}}))
    assert exit_code(["import", "json", "theirs.json", "-o", "theirs.toml"]) == 0
    assert exit_code(["validate", "theirs.toml"]) == 2
    assert "did you mean 'max_epochs'?" in capsys.readouterr().err
