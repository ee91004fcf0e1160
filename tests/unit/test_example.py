"""The example application, scripts/train.py with conf/, as a newcomer would run and change it."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import pickle
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tests.support.paths import REPOSITORY

PROJECT = REPOSITORY
MODELS = sorted(path.stem for path in (PROJECT / "conf" / "model").glob("*.yaml"))
OPTIMIZERS = sorted(path.stem for path in (PROJECT / "conf" / "optimizer").glob("*.yaml"))


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("example_train", PROJECT / "scripts" / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses resolve annotations through it
        spec.loader.exec_module(module)
        # The file is parsed anew by every run, and no run changes the images.
        monkeypatch.setattr(module, "load_images", functools.cache(module.load_images))
        yield module


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        return compose("config", list(overrides))


def trained(example: ModuleType, cfg: DictConfig):
    state = example.initial_state(cfg.model.hidden, cfg.seed)
    return example.train(state, cfg), state


def weights(state) -> bytes:
    return b"".join(parameter.tobytes() for parameter in state.parameters)


def test_same_seed_gives_bit_identical_accuracy_and_weights(example):
    cfg = composed("seed=7", "epochs=2")
    first_accuracy, first = trained(example, cfg)
    second_accuracy, second = trained(example, cfg)
    assert first_accuracy == second_accuracy
    assert weights(first) == weights(second)


def test_another_seed_gives_other_weights_from_the_start(example):
    one, other = (example.initial_state([16], seed) for seed in (1, 2))
    assert weights(one) != weights(other)


def test_order_of_the_batches_depends_on_the_seed_too(example):
    cfg = composed("epochs=1")
    one, other = (example.initial_state(cfg.model.hidden, 1) for _ in range(2))
    other.rng = np.random.default_rng(2)
    assert weights(one) == weights(other)
    example.train(one, cfg)
    example.train(other, cfg)
    assert weights(one) != weights(other)


def test_epochs_and_steps_are_counted_in_the_state(example):
    _, state = trained(example, composed("epochs=2", "batch_size=100"))
    assert (state.epoch, state.step) == (2, 2 * 14)


def test_optimizers_move_a_constant_gradient_as_far_as_theory_says(example):
    steps, rate, slope = 200, 0.01, 3.0
    expected = {
        "sgd": rate * slope * steps,
        "momentum": rate * slope * sum((1 - 0.9**n) / (1 - 0.9) for n in range(1, steps + 1)),
        "adam": rate * steps,
    }
    for name, distance in expected.items():
        state = example.initial_state([], 0)
        start = [parameter.copy() for parameter in state.parameters]
        gradients = [np.full_like(parameter, slope) for parameter in start]
        options = OmegaConf.load(PROJECT / "conf" / "optimizer" / f"{name}.yaml")
        for step in range(1, steps + 1):
            state.step = step
            example.OPTIMIZERS[name](state, gradients, rate, options)
        for before, after in zip(start, state.parameters, strict=True):
            np.testing.assert_allclose(before - after, distance, rtol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_continued_from_a_saved_state_ends_bit_identical(example, optimizer):
    cfg = composed("epochs=3", f"optimizer={optimizer}")
    whole_accuracy, whole = trained(example, cfg)
    _, interrupted = trained(example, OmegaConf.merge(cfg, {"epochs": 1}))
    restored = example.TrainingState(**pickle.loads(pickle.dumps(dataclasses.asdict(interrupted))))
    assert example.train(restored, cfg) == whole_accuracy
    assert weights(restored) == weights(whole)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_learns_with_every_optimizer(example, model, optimizer):
    val_accuracy, _ = trained(example, composed(f"model={model}", f"optimizer={optimizer}", "epochs=2"))
    chance = 0.1
    assert 3 * chance < val_accuracy <= 1


@pytest.mark.parametrize("hidden", [[], [6], [6, 5]])
def test_gradients_agree_with_finite_differences(example, hidden):
    parameters = example.initial_state(hidden, 3).parameters
    images, _ = example.load_images(0.25, 0)
    batch = images.subset(np.arange(20))
    _, gradients = example.loss_and_gradients(parameters, batch)
    rng = np.random.default_rng(0)
    distance = 1e-6
    for index, gradient in enumerate(gradients):
        direction = rng.normal(size=gradient.shape)
        ahead, behind = (
            example.loss_and_gradients(
                [p + sign * distance * direction if i == index else p for i, p in enumerate(parameters)],
                batch,
            )[0]
            for sign in (1, -1)
        )
        slope = (ahead - behind) / (2 * distance)
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-5, abs=1e-8)


def test_no_image_is_both_trained_on_and_judged_by(example):
    training, validation = example.load_images(0.25, 0)
    assert (len(training.labels), len(validation.labels)) == (1348, 449)
    seen = {row.tobytes() for row in training.pixels}
    assert not any(row.tobytes() in seen for row in validation.pixels)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, for the overflow that this is about
def test_a_diverging_training_fails_instead_of_reporting_an_accuracy(example):
    with pytest.raises(FloatingPointError, match=r"diverged in epoch \d+ .*lower model\.lr"):
        trained(example, composed("model=deep", "optimizer=sgd", "model.lr=1e200", "epochs=2"))


def test_configuration_leaves_the_launcher_to_the_command_line():
    with initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        cfg = compose("config", return_hydra_config=True)
    assert cfg.hydra.runtime.choices["hydra/launcher"] == "basic"


def test_runs_as_a_plain_hydra_application(tmp_path):
    command = [sys.executable, str(PROJECT / "scripts" / "train.py"), "-m", "model.lr=0.05,0.1", "epochs=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    logs = [path.read_text() for path in tmp_path.glob("multirun/*/*/*/train.log")]
    assert len(logs) == 2
    assert all("after 1 epochs" in text for text in logs)
