from mmengine.config import read_base

with read_base():
    from ._base_.runtime import default_hooks, default_scope
    from ._base_.schedule import optim_wrapper, param_scheduler, train_cfg

from mmdet.models import RetinaNet
from mmdet.models.backbones import ResNet

model = dict(type=RetinaNet, backbone=dict(type=ResNet, depth=50))
optim_wrapper.update(dict(optimizer=dict(lr=0.01), paramwise_cfg=dict(norm_decay_mult=0.0)))
