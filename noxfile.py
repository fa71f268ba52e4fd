"""The checks of this project, each in an environment of its own: ``nox``, or one of them with ``nox -s tests``.

pip installs, and ``constraints.txt`` says which versions, as in ``.ci/run``.
"""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"

PLUGINS = tuple(
    argument
    for name in ("optimctl-vision", "optimctl-example", "optimctl-mmengine", "optimctl-pytorch-optimizer")
    for argument in ("-e", f"plugins/{name}")
)


def install(session: nox.Session, *requirements: str) -> None:
    """Install with pip, in the versions that the tests ran with."""
    session.install("-c", "constraints.txt", *requirements)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, of the plugins too; what follows ``--`` goes to pytest."""
    install(session, "-e", ".[test]", *PLUGINS)
    session.run("python", "-m", "pytest", *(session.posargs or ("-n", "2")))


@nox.session
def lint(session: nox.Session) -> None:
    """Hold the code against ruff's rules and its format."""
    install(session, "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, strictly; the packages are installed, since their types are what is checked against."""
    install(session, "-e", ".[test,dev]", *PLUGINS)
    session.run("mypy", *session.posargs)
    with session.chdir("optimctl/templates/plugin"):
        session.run("mypy")


@nox.session
def layers(session: nox.Session) -> None:
    """Check that the rooms of the house import downwards only."""
    install(session, "-e", ".", "import-linter")
    session.run("lint-imports", "--no-cache")
