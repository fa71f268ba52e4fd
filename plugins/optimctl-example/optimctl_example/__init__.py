"""Three plugins of optimctl, to copy from: an optimizer, an optimizer-wrapper constructor and a scheduler."""
