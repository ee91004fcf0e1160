"""A training with PyTorch that is preempted in the middle of its epochs. Used by preemptions.py.

Random numbers are drawn wherever PyTorch draws them: for the initial weights, the order of the batches, noise that
the data set adds to each image (in this process or in the loader's workers), and dropout.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from torch import nn
from torch.utils.data import DataLoader, Dataset

import hpcorch

PIXELS, CLASSES, IMAGES = 64, 10, 512


class NoisyImages(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Images of which no two looks are alike."""

    def __init__(self) -> None:
        made = torch.Generator().manual_seed(0)  # every run learns from the same images
        self._labels = torch.randint(CLASSES, (IMAGES,), generator=made)
        self._pixels = torch.randn(CLASSES, PIXELS, generator=made)[self._labels]

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self._pixels[index] + torch.randn(PIXELS), self._labels[index]


@hydra.main(version_base="1.3", config_path=None)
def main(cfg: DictConfig) -> float:
    """The mean loss of the last epoch. Keys: ``epochs``, ``hidden``, ``workers`` and ``every_steps``."""
    run = hpcorch.current_run()
    run.seed_everything()
    model = nn.Sequential(nn.Linear(PIXELS, cfg.hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(cfg.hidden, CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    state: dict[str, Any] = {"epoch": 0, "step": 0, "losses": []}
    if checkpoint := run.restore():
        state = checkpoint.state["position"]
        model.load_state_dict(checkpoint.state["model"])
        optimizer.load_state_dict(checkpoint.state["optimizer"])

    def everything() -> dict[str, Any]:
        return {"position": state, "model": model.state_dict(), "optimizer": optimizer.state_dict()}

    loader = DataLoader(NoisyImages(), batch_size=16, shuffle=True, num_workers=cfg.workers)
    for epoch in range(state["epoch"], cfg.epochs):
        if state["epoch"] != epoch:
            state = {"epoch": epoch, "step": state["step"], "losses": []}
        for pixels, labels in run.batches(loader):
            loss = nn.functional.cross_entropy(model(pixels), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            state["step"] += 1
            state["losses"].append(loss.item())
            run.log(state["step"], loss=loss.item())
            run.checkpoint(state["step"], everything, every_steps=cfg.every_steps)
    weights = [parameter.detach().numpy() for parameter in model.parameters()]
    np.savez(Path(HydraConfig.get().runtime.output_dir) / "weights.npz", *weights)
    return sum(state["losses"]) / len(state["losses"])


if __name__ == "__main__":
    main()
