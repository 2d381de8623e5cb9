"""ESR in plain PyTorch, written from the paper's table, to measure against; see `training.py`.

Siqueira et al. 2020 (AAAI), table 1. Raw pixels 0..255 in, logits `(batch, branches, classes)` out.
Other than in the authors' program the branches are in a `ModuleList`, so that `train()` and
`parameters()` reach them.
"""

from typing import Any

import torch
from torch import nn
from torch_networks import Scale


def _step(
    channels: int, filters: int, kernel: int = 3, padding: int = 0, halved: bool = False
) -> list[nn.Module]:
    layers: list[nn.Module] = [
        nn.Conv2d(channels, filters, kernel, padding=padding),
        nn.BatchNorm2d(filters),
        nn.ReLU(inplace=True),
    ]
    return [*layers, nn.MaxPool2d(2)] if halved else layers


class Esr(nn.Module):
    """A base and branches on it, without attention.

    Args:
        num_classes: Number of classes.
        num_branches: Number of branches.
        width: Factor of all channel numbers.
    """

    def __init__(self, num_classes: int, num_branches: int = 9, width: float = 1.0) -> None:
        super().__init__()
        c64, c128, c256, c512 = (max(1, round(width * c)) for c in (64, 128, 256, 512))
        self.base = nn.Sequential(
            Scale(1 / 255, 0.0),
            *_step(3, c64, 5),
            *_step(c64, c128, halved=True),
            *_step(c128, c128),
            *_step(c128, c128, halved=True),
        )
        self.branches = nn.ModuleList(
            nn.Sequential(
                *_step(c128, c128),
                *_step(c128, c256, halved=True),
                *_step(c256, c256),
                *_step(c256, c512, padding=1),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(c512, num_classes),
            )
            for _ in range(num_branches)
        )

    def forward(self, x: Any) -> Any:
        """Returns `(batch, branches, classes)`."""
        x = self.base(x)
        return torch.stack([branch(x) for branch in self.branches], dim=1)
