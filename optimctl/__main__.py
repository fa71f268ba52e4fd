"""``python -m optimctl``: the same program as ``optimctl``."""

from optimctl.cli.main import main

if __name__ == "__main__":
    main()
