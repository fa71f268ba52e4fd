"""An optimizer and a constructor that only this package has."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.optim import DefaultOptimWrapperConstructor

from tinymm.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS


@OPTIMIZERS.register_module()
class PlainSGD(torch.optim.SGD):
    """SGD under another name."""


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class FastHeadConstructor(DefaultOptimWrapperConstructor):
    """The head learns ten times as fast; ``head_mult`` says otherwise."""

    def add_params(self, params: Any, module: Any, prefix: str = "", is_dcn_module: Any = None) -> None:
        factor = self.paramwise_cfg.get("head_mult", 10)
        for name, parameter in module.named_parameters():
            lr = self.base_lr * (factor if name.startswith("head") else 1)
            params.append(
                {"params": [parameter], "lr": lr, "weight_decay": 0.0 if parameter.ndim == 1 else self.base_wd}
            )
