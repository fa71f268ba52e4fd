"""The optimizers of the library pytorch-optimizer, as plugins of optimctl; what little some of them need is in ``optimizers``."""
