"""Carrying a job out: the loop, its tasks, hooks, checkpoints and the folder that a run leaves."""
