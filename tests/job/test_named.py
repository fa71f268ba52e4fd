"""The plugins that a job names, wherever it names them."""

from optimctl.job.load import parse_job
from optimctl.job.named import plugin_tables, put_type

JOB = """

[model]
type = "MLP"
[optim_wrapper]
optimizer = { type = "AdamW" }
[optim_wrapper.constructor]
type = "Routes"
[[optim_wrapper.constructor.routes]]
match = { dimensions = [2] }
optimizer = { type = "Muon" }
[[param_scheduler]]
type = "LinearMomentum"
"""


def test_every_table_that_names_a_plugin_is_found() -> None:
    job = parse_job(JOB)
    assert {".".join(map(str, key)): table.type for key, table in plugin_tables(job)} == {
        "model": "MLP",
        "optim_wrapper": "OptimWrapper",
        "optim_wrapper.optimizer": "AdamW",
        "optim_wrapper.constructor": "Routes",
        "optim_wrapper.constructor.routes.0.optimizer": "Muon",
        "param_scheduler.0": "LinearMomentum",
    }


def test_a_name_is_put_where_it_stood() -> None:
    job = parse_job(JOB)
    plain = job.plain()
    for key, table in plugin_tables(job):
        put_type(plain, key, f"somebody/{table.type}")
    assert plain["optim_wrapper"]["constructor"]["routes"][0]["optimizer"] == {"type": "somebody/Muon"}
    assert plain["param_scheduler"][0]["type"] == "somebody/LinearMomentum"
    assert plain["optim_wrapper"]["type"] == "somebody/OptimWrapper"
