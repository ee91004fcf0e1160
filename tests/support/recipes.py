"""Programs around the recipes of the guide: what a reader has already, and first attempts that are stopped."""

from __future__ import annotations

from textwrap import indent

from tests.docs.pages import Page

RECIPES = Page("docs/guide/recipes.md")

_UNDISTURBED = 'interrupted: "no"\n'

# At a step in the middle of an epoch: what `hpcorch cancel --checkpoint` sends, or a pause in which Slurm preempts.
_INTERRUPTING = """\
import os
import signal
import time

import hydra
import torch


def reached(step, how):
    if step == 11 and not os.environ["HPCORCH_RESUME"]:
        if how == "asked":
            os.kill(os.getpid(), signal.SIGUSR2)
        elif how == "preempted":
            time.sleep(120)


def layers():
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))


def told(model, steps, resume, world=1):
    weights = [float(one.detach().double().sum()) for one in model.parameters()]
    return {"weights": weights, "steps": steps, "resumed": resume and os.path.basename(resume), "world": world}


def examples():
    points = torch.randn(64, 4)
    return points, points.sum(dim=1, keepdim=True)


"""

_LIGHTNING = """\
import lightning
from torch.utils.data import DataLoader, TensorDataset


class Model(lightning.LightningModule):
    def __init__(self, interrupted):
        super().__init__()
        self.layers = layers()
        self.interrupted = interrupted

    def training_step(self, batch, index):
        inputs, targets = batch
        return torch.nn.functional.mse_loss(self.layers(inputs), targets)

    def on_train_batch_end(self, *_):
        if self.global_rank == 0:
            reached(self.global_step, self.interrupted)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


def new_model(cfg):
    return Model(cfg.interrupted)


def new_loader(cfg):
    return DataLoader(TensorDataset(*examples()), batch_size=8, shuffle=True)


@hydra.main(version_base="1.3", config_path="conf", config_name="lightning")
def main(cfg):
{body}
    return told(model, trainer.global_step, cfg.ckpt_path, trainer.world_size)


if __name__ == "__main__":
    main()
"""

_TRANSFORMERS = """\
import transformers
from end_with_run import EndWithRun


class Model(torch.nn.Module):
    def __init__(self, interrupted):
        super().__init__()
        self.layers = layers()
        self.interrupted = interrupted
        self.calls = 0

    def forward(self, inputs, labels):
        self.calls += 1
        reached(self.calls, self.interrupted)
        return {{"loss": torch.nn.functional.mse_loss(self.layers(inputs), labels)}}


@hydra.main(version_base="1.3", config_path="conf", config_name="transformers")
def main(cfg):
    model = Model(cfg.interrupted)
    data = [{{"inputs": one, "labels": label}} for one, label in zip(*examples())]
{body}
    return told(model, trainer.state.global_step, cfg.resume)


if __name__ == "__main__":
    main()
"""


def lightning_files() -> dict[str, str]:
    """The files of a project that trains with Lightning, by their names."""
    return {
        "train.py": _program(_LIGHTNING, "lightning"),
        "random_states.py": RECIPES.block("file: random_states.py"),
        "conf/lightning.yaml": RECIPES.block("file: conf/lightning.yaml") + _UNDISTURBED,
    }


def transformers_files() -> dict[str, str]:
    """The same with the Trainer of transformers."""
    return {
        "train.py": _program(_TRANSFORMERS, "transformers"),
        "end_with_run.py": RECIPES.block("file: end_with_run.py"),
        "conf/transformers.yaml": RECIPES.block("file: conf/transformers.yaml") + _UNDISTURBED,
    }


def _program(frame: str, fragment: str) -> str:
    return _INTERRUPTING + frame.format(body=indent(RECIPES.block(f"in the program: {fragment}"), "    "))
