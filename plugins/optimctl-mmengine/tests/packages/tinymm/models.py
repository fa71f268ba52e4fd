"""A classifier with two losses, and a GAN that drives its optimizers itself."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import FUNCTIONS
from torch import Tensor, nn
from torch.nn import functional

from tinymm.registry import MODELS


@MODELS.register_module()
class Backbone(nn.Module):
    """Two layers and a norm."""

    def __init__(self, width: int, stages: tuple[int, ...]) -> None:
        super().__init__()
        if not isinstance(stages, tuple):
            raise TypeError(f"stages is a tuple, as those of OpenMMLab are, and no {type(stages).__name__}")
        self.layers = nn.Sequential(*(nn.Linear(4 if i == 0 else width, width) for i, _ in enumerate(stages)))
        self.norm = nn.LayerNorm(width)

    def forward(self, inputs: Tensor) -> Tensor:
        for layer in self.layers:
            inputs = layer(inputs).tanh()
        return self.norm(inputs)


@MODELS.register_module()
class TinyNet(BaseModel):
    """A backbone and a head; initialized without chance, so that two programs can begin with the same weights."""

    def __init__(
        self, backbone: dict[str, Any], classes: int = 3, penalty: float | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(backbone["width"], classes)
        self.penalty = penalty

    def init_weights(self) -> None:
        with torch.no_grad():
            for parameter in self.parameters():
                if parameter.ndim > 1:
                    steps = torch.arange(parameter.numel(), dtype=torch.float32)
                    parameter.copy_((steps * math.pi).sin().view_as(parameter) / 2)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        output = self.head(self.backbone(torch.stack(list(inputs))))
        if mode == "tensor":
            return output
        labels = torch.as_tensor(data_samples)
        if mode == "predict":
            return [{"pred": p, "label": label} for p, label in zip(output.argmax(1), labels, strict=True)]
        losses = {"loss_cls": functional.cross_entropy(output, labels)}
        if self.penalty is not None:
            losses["loss_penalty"] = self.penalty * output.square().mean()
        return {**losses, "hits": (output.argmax(1) == labels).float().mean()}


@MODELS.register_module()
class TinyGAN(BaseModel):
    """A generator and a discriminator over one number."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.generator = nn.Linear(2, 4)
        self.discriminator = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 1))

    def init_weights(self) -> None:
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.linspace(-0.5, 0.5, parameter.numel()).view_as(parameter))

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        return self.discriminator(torch.stack(list(inputs)))

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        data = self.data_preprocessor(data, True)
        real = torch.stack(list(data["inputs"]))
        drawn = self.generator(real[:, :2])
        one, other = optim_wrapper["discriminator"], optim_wrapper["generator"]
        with one.optim_context(self.discriminator):
            loss_disc = functional.softplus(-self.discriminator(real)).mean()
            loss_disc = loss_disc + functional.softplus(self.discriminator(drawn.detach())).mean()
        one.update_params(loss_disc)
        with other.optim_context(self.generator):
            loss_gen = functional.softplus(-self.discriminator(drawn)).mean()
        other.update_params(loss_gen)
        return {"loss_disc": loss_disc.detach(), "loss_gen": loss_gen.detach()}


@MODELS.register_module()
class LooksUp(BaseModel):
    """Takes strings to registries: as it is built, and as it runs. It is initialized by its ``init_cfg``."""

    def __init__(self, policy: str | None = None, later: str | None = None, part: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.layer = nn.Linear(4, 3)
        self.policy = policy and FUNCTIONS.get(policy)
        self.part = part and MODELS.build(part)
        self.later = later

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        self.policy = self.later and FUNCTIONS.get(self.later)
        return {"loss": self.layer(torch.stack(list(inputs))).square().mean()}
