"""Optimizers and constructors that only this package has."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper, OptimWrapperDict

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


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class BatchSizeConstructor(DefaultOptimWrapperConstructor):
    """Takes an argument out of the optimizer's table, as YOLOv5's does, and gives the head a momentum, or betas, of its own."""

    def __call__(self, model: Any) -> Any:
        self.optimizer_cfg.pop("batch_size_per_gpu", None)
        return super().__call__(model)

    def add_params(self, params: Any, module: Any, prefix: str = "", is_dcn_module: Any = None) -> None:
        own = {"betas": (0.5, 0.6)} if "betas" in self.optimizer_cfg else {"momentum": 0.5}
        parameters = list(module.named_parameters())
        params.append({"params": [p for name, p in parameters if not name.startswith("head")], "lr_scale": 1.0})
        params.append({"params": [p for name, p in parameters if name.startswith("head")], "lr_scale": 2.0, **own})


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TwoOptimizers:
    """Builds several optimizers."""

    def __init__(self, optim_wrapper_cfg: Any, paramwise_cfg: Any = None) -> None:
        self.cfg = optim_wrapper_cfg["optimizer"]

    def __call__(self, model: Any) -> OptimWrapperDict:
        parts = {"backbone": model.backbone, "head": model.head}
        return OptimWrapperDict(
            **{name: OptimWrapper(torch.optim.SGD(part.parameters(), self.cfg["lr"])) for name, part in parts.items()}
        )
