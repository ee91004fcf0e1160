"""Programs around the recipes of the guide: what a reader has already, and runs that are interrupted at step 11."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

from tests.docs.pages import Page

RECIPES = Page("docs/guide/recipes.md")

# At step 11 the first run that is to be interrupted asks itself to end, as `hpcorch cancel --checkpoint` does,
# or waits until Slurm asks it.
_STEPS = """\
import os
import signal
import time
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

import hpcorch


def reached(step, stops=lambda: hpcorch.current_run().stop_requested):
    directory = Path(os.environ["HPCORCH_RUN_DIR"])
    with (directory / "steps").open("a") as steps:
        steps.write(f"{step} ")
    words, interrupted = HydraConfig.get().overrides.task, directory.parent / "interrupted"
    if step == 11 and not interrupted.exists():
        if "+interrupted=asked" in words:
            interrupted.touch()
            os.kill(os.getpid(), signal.SIGUSR2)
        elif "+interrupted=preempted" in words:
            interrupted.touch()
            while not stops():
                time.sleep(0.1)
"""

_TORCH = """\
import hydra
import torch
from steps import reached


def layers():
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))


def told(model, world=1):
    return {"weights": [float(one.detach().double().sum()) for one in model.parameters()], "world": world}


def examples():
    points = torch.randn(64, 4)
    return points, points.sum(dim=1, keepdim=True)


"""

_LIGHTNING = """\
import lightning
from torch.utils.data import DataLoader, TensorDataset


class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = layers()

    def training_step(self, batch, index):
        inputs, targets = batch
        return torch.nn.functional.mse_loss(self.layers(inputs), targets)

    def on_train_batch_end(self, *_):
        if self.global_rank == 0:
            reached(self.global_step, stops=lambda: False)  # an exception ends it

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


def new_model(cfg):
    return Model()


def new_loader(cfg):
    return DataLoader(TensorDataset(*examples()), batch_size=8, shuffle=True)


@hydra.main(version_base="1.3", config_path="conf", config_name="lightning")
def main(cfg):
{body}
    return told(model, trainer.world_size)


if __name__ == "__main__":
    main()
"""

_TRANSFORMERS = """\
import transformers
from end_with_run import EndWithRun


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = layers()
        self.register_buffer("steps", torch.zeros((), dtype=int))

    def forward(self, inputs, labels):
        self.steps += 1
        reached(int(self.steps))
        return {{"loss": torch.nn.functional.mse_loss(self.layers(inputs), labels)}}


@hydra.main(version_base="1.3", config_path="conf", config_name="transformers")
def main(cfg):
    model = Model()
    data = [{{"inputs": one, "labels": label}} for one, label in zip(*examples())]
{body}
    return told(model)


if __name__ == "__main__":
    main()
"""

_EPOCHS = """\
import random

from steps import reached


def train_one_epoch(model, rate, epoch):
    reached(epoch)
    return model - rate * (model - random.random())
"""

_SCALING = """\
from steps import reached


def scaled(value):
    reached(int(value))
    return 2 * value
"""

_SEARCH = """\
import hydra
from zen_train import train


@hydra.main(version_base="1.3", config_path="conf", config_name="optuna")
def main(cfg):
    return train(rate=cfg.x, epochs=16)


if __name__ == "__main__":
    main()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A project that follows a recipe, and what is typed after ``python`` to run its program."""

    packages: tuple[str, ...]
    files: Mapping[str, str]
    words: str
    goes_on_at: int = 12
    """The step after the interruption."""


def _written(*names: str) -> dict[str, str]:
    """Files that the guide has whole, and the module of all programs."""
    return {"steps.py": _STEPS, **{name: RECIPES.block(f"file: {name}") for name in names}}


def _program(frame: str, marker: str) -> dict[str, str]:
    return {"train.py": _TORCH + frame.format(body=indent(RECIPES.block(f"in the program: {marker}"), "    "))}


def steps_of(directory: Path) -> list[int]:
    """The steps that a run has taken in all its attempts, by its output directory."""
    return [int(step) for step in (directory / "steps").read_text().split()]


_ZEN = {**_written("zen_train.py"), "epochs.py": _EPOCHS}
# Tests execute each of these undisturbed and interrupted.
RESUMED = {
    "lightning": Recipe(
        packages=("lightning",),
        files={
            **_written("conf/lightning.yaml", "random_states.py"),
            **_program(_LIGHTNING, "lightning"),
        },
        words="train.py -m seed=1 +trainer.accelerator=cpu +trainer.logger=false",
        goes_on_at=9,  # with the second epoch
    ),
    "transformers": Recipe(
        packages=("transformers", "accelerate"),
        files={
            **_written("conf/transformers.yaml", "end_with_run.py"),
            **_program(_TRANSFORMERS, "transformers"),
        },
        words="train.py -m +seed=1 +arguments.disable_tqdm=true",
    ),
    "hydra-zen": Recipe(
        packages=("hydra_zen",),
        files=_ZEN,
        words="zen_train.py -m +seed=1 epochs=16 hydra.job.name=zen_train",
    ),
    "optuna": Recipe(
        packages=("hydra_zen", "optuna", "hydra_plugins.hydra_optuna_sweeper"),
        files={**_ZEN, **_written("conf/optuna.yaml"), "search.py": _SEARCH},
        words="search.py -m +seed=1 hydra.sweeper.n_trials=2 hydra.sweeper.n_jobs=1",
    ),
    "rootutils": Recipe(
        packages=("rootutils", "dotenv"),
        files={
            **_written("rooted/train.py"),
            "rooted/__init__.py": "",
            "rooted/scaling.py": _SCALING,
            "data/values.txt": "".join(f"{number}\n" for number in range(1, 17)),
            ".project-root": "",
            ".env": "OWNER=alice\n",
        },
        words="rooted/train.py -m +seed=1",
    ),
}
