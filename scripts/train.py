"""Train a small neural network to read digits: the example application of hpcorch.

It is a plain Hydra application, and the lines with `run` make it one that may be preempted at any time:

    python scripts/train.py                                             one run, here and now
    python scripts/train.py -m hydra/launcher=hpcorch_slurm \\
        model.lr=0.05,0.1 seed=1,2,3                                    six runs, one Slurm job array

Equal configurations give bit-identical results on the same hardware with the same libraries and thread count,
whether or not the training was interrupted on its way.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from numpy.typing import NDArray
from omegaconf import DictConfig

import hpcorch

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

SIDE = 8  # pixels
PIXELS = SIDE * SIDE
CLASSES = 10
IMAGES = 1797
# The digits from 0 to 9 in 5 by 7 dots: for each, its rows from the top, and in a row a bit for each dot.
FONT = (
    (14, 17, 19, 21, 25, 17, 14),
    (4, 12, 4, 4, 4, 4, 14),
    (14, 17, 1, 2, 4, 8, 31),
    (31, 2, 4, 2, 1, 17, 14),
    (2, 6, 10, 18, 31, 2, 2),
    (31, 16, 30, 1, 1, 17, 14),
    (6, 8, 16, 30, 17, 17, 14),
    (31, 1, 2, 4, 8, 8, 8),
    (14, 17, 17, 14, 17, 17, 14),
    (14, 17, 17, 15, 1, 2, 12),
)
NOISE = 0.2  # standard deviation of a pixel, where ink is 1 and paper 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Flattened images, one a row, with pixels from 0 to 1, and the digit that each shows."""

    pixels: Floats
    labels: Labels

    def subset(self, rows: NDArray[np.int64]) -> Images:
        return Images(pixels=self.pixels[rows], labels=self.labels[rows])


@dataclass(slots=True, kw_only=True)
class TrainingState:
    """All that the rest of a training depends on: whoever restores it continues bit-identically.

    `parameters` alternates weights and biases, from the first layer to the last. The moments have the same
    shapes; what they hold is up to the optimizer.
    """

    epoch: int  # completed
    step: int  # completed, over all epochs
    parameters: list[Floats]
    first_moments: list[Floats]
    second_moments: list[Floats]
    rng: np.random.Generator


Optimizer = Callable[[TrainingState, Sequence[Floats], float, DictConfig], None]
"""Moves the parameters, in place, by one step: (state, gradients, learning rate, options)."""


def draw_images() -> Images:
    """Noisy images of digits, shifted by a pixel or not: the same ones at every call."""
    rng = np.random.default_rng(0)
    dots = np.array([[[row >> bit & 1 for bit in range(4, -1, -1)] for row in rows] for rows in FONT])
    labels = rng.integers(CLASSES, size=IMAGES)
    images = np.zeros((IMAGES, SIDE, SIDE))
    for image, label in zip(images, labels, strict=True):
        height, width = dots[label].shape
        top, left = rng.integers(2), rng.integers(1, 3)
        image[top : top + height, left : left + width] = dots[label]
    noisy = np.clip(images + rng.normal(scale=NOISE, size=images.shape), 0, 1)
    return Images(pixels=noisy.reshape(IMAGES, PIXELS), labels=labels)


def load_images(validation_fraction: float, split_seed: int) -> tuple[Images, Images]:
    """The images to train on and, disjoint from them, the images to validate on."""
    images = draw_images()
    order = np.random.default_rng(split_seed).permutation(IMAGES)
    validation, training = np.split(order, [round(validation_fraction * IMAGES)])
    return images.subset(training), images.subset(validation)


def initial_state(hidden: Sequence[int], seed: int) -> TrainingState:
    """A fully connected network with these hidden layers, before its first epoch."""
    rng = np.random.default_rng(seed)
    sizes = [PIXELS, *hidden, CLASSES]
    parameters: list[Floats] = []
    for inputs, outputs in pairwise(sizes):
        # He initialisation: keeps the variance of the activations through layers of ReLU.
        parameters.append(rng.normal(scale=math.sqrt(2 / inputs), size=(inputs, outputs)))
        parameters.append(np.zeros(outputs))
    return TrainingState(
        epoch=0,
        step=0,
        parameters=parameters,
        first_moments=[np.zeros_like(parameter) for parameter in parameters],
        second_moments=[np.zeros_like(parameter) for parameter in parameters],
        rng=rng,
    )


def forward(parameters: Sequence[Floats], pixels: Floats) -> list[Floats]:
    """The input of every layer, and last the logits of the classes."""
    activations = [pixels]
    for weights, biases in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
        activations.append(np.maximum(activations[-1] @ weights + biases, 0))
    activations.append(activations[-1] @ parameters[-2] + parameters[-1])
    return activations


def loss_and_gradients(parameters: Sequence[Floats], batch: Images) -> tuple[float, list[Floats]]:
    """The mean cross-entropy of a batch, and its derivative by each parameter."""
    *inputs, logits = forward(parameters, batch.pixels)
    rows = np.arange(len(batch.labels))
    shifted = logits - logits.max(axis=1, keepdims=True)  # or exp overflows
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -log_probabilities[rows, batch.labels].mean()

    delta = np.exp(log_probabilities)
    delta[rows, batch.labels] -= 1
    delta /= len(rows)
    gradients: list[Floats] = []
    for weights, layer_input in zip(parameters[-2::-2], reversed(inputs), strict=True):
        gradients[:0] = [layer_input.T @ delta, delta.sum(axis=0)]
        delta = (delta @ weights.T) * (layer_input > 0)
    return float(loss), gradients


def sgd(state: TrainingState, gradients: Sequence[Floats], lr: float, _options: DictConfig) -> None:
    for parameter, gradient in zip(state.parameters, gradients, strict=True):
        parameter[:] -= lr * gradient


def momentum(state: TrainingState, gradients: Sequence[Floats], lr: float, options: DictConfig) -> None:
    for parameter, gradient, velocity in zip(state.parameters, gradients, state.first_moments, strict=True):
        velocity[:] = options.beta * velocity + gradient
        parameter[:] -= lr * velocity


def adam(state: TrainingState, gradients: Sequence[Floats], lr: float, options: DictConfig) -> None:
    """Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1."""
    moments = zip(state.first_moments, state.second_moments, strict=True)
    beta1, beta2 = options.beta1, options.beta2
    for parameter, gradient, (mean, square) in zip(state.parameters, gradients, moments, strict=True):
        mean[:] = beta1 * mean + (1 - beta1) * gradient
        square[:] = beta2 * square + (1 - beta2) * gradient**2
        unbiased_mean = mean / (1 - beta1**state.step)
        unbiased_square = square / (1 - beta2**state.step)
        parameter[:] -= lr * unbiased_mean / (np.sqrt(unbiased_square) + options.epsilon)


OPTIMIZERS: dict[str, Optimizer] = {"sgd": sgd, "momentum": momentum, "adam": adam}


def shuffled_batches(images: Images, size: int, rng: np.random.Generator) -> Iterator[Images]:
    order = rng.permutation(len(images.labels))
    for start in range(0, len(order), size):
        yield images.subset(order[start : start + size])


def train_epoch(state: TrainingState, images: Images, cfg: DictConfig) -> float:
    """Take `state` through one more epoch, in place; returns the mean loss of its batches."""
    run = hpcorch.current_run()
    optimizer = OPTIMIZERS[cfg.optimizer.name]
    lr = cfg.model.lr * cfg.optimizer.lr_scale
    losses: list[float] = []
    for batch in shuffled_batches(images, cfg.batch_size, state.rng):
        loss, gradients = loss_and_gradients(state.parameters, batch)
        state.step += 1
        optimizer(state, gradients, lr, cfg.optimizer)
        losses.append(loss)
        run.log(state.step, loss=loss)
    state.epoch += 1
    return sum(losses) / len(losses)


def accuracy(parameters: Sequence[Floats], images: Images) -> float:
    """The fraction of images, from 0 to 1, that the network classifies correctly."""
    predictions = forward(parameters, images.pixels)[-1].argmax(axis=1)
    return float((predictions == images.labels).mean())


def train(state: TrainingState, cfg: DictConfig) -> float:
    """Train `state`, in place, until it has completed `cfg.epochs` epochs; returns the validation accuracy.

    Raises FloatingPointError when training diverges: the accuracy of such a network would look like a result.
    """
    run = hpcorch.current_run()
    training, validation = load_images(cfg.data.validation_fraction, cfg.data.split_seed)
    for epoch in range(state.epoch, cfg.epochs):
        loss = train_epoch(state, training, cfg)
        if not math.isfinite(loss):
            raise FloatingPointError(f"training diverged in epoch {epoch + 1} (loss {loss}): lower model.lr")
        val_accuracy = accuracy(state.parameters, validation)
        log.info("epoch %d: training loss %.4f, validation accuracy %.4f", epoch + 1, loss, val_accuracy)
        run.log(state.step, val_accuracy=val_accuracy)
        run.checkpoint(state.epoch, state, every_minutes=cfg.checkpoint_minutes)
    return accuracy(state.parameters, validation)


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(cfg: DictConfig) -> float:
    """One run; what it returns is the run's result, and what a sweeper like Optuna's can maximise."""
    log.info("model %s, optimizer %s, seed %s", cfg.model.name, cfg.optimizer.name, cfg.seed)
    checkpoint = hpcorch.current_run().restore()
    state = checkpoint.state if checkpoint is not None else initial_state(cfg.model.hidden, cfg.seed)
    val_accuracy = train(state, cfg)
    np.savez(Path(HydraConfig.get().runtime.output_dir) / "weights.npz", *state.parameters)
    log.info("validation accuracy %.4f after %d epochs", val_accuracy, state.epoch)
    return val_accuracy


if __name__ == "__main__":
    main()
