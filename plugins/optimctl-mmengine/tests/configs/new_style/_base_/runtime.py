from mmengine.hooks import CheckpointHook, LoggerHook

default_scope = None
default_hooks = dict(logger=dict(type=LoggerHook, interval=25), checkpoint=dict(type=CheckpointHook, interval=2))
