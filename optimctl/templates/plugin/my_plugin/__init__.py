"""Plugins of optimctl: an optimizer, a constructor and a schedule; each has a file of its own."""
