"""The peers' trainers, held to this machine."""

from __future__ import annotations

import os

# Read when transformers is imported. Nothing here asks the hub for anything; this makes sure that nothing can.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
