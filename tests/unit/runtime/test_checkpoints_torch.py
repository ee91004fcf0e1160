"""Checkpoints of PyTorch: tensors as they were, and training that goes on bit-identical."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpcorch.model.ids import AttemptId
from hpcorch.runtime.checkpoint.pickling import rebuild_storage
from hpcorch.runtime.checkpoint.store import CheckpointStore
from hpcorch.runtime.run.generators import capture, restore

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def restored(state: Any, folder: Path) -> Any:
    store = CheckpointStore(folder / "c", AttemptId(run=0, submission=0, restart=0))
    store.save(1, state, generators={}, extras={}, keep=1)
    found, rejected = store.newest()
    assert rejected == []
    assert found is not None
    return found.state


def same_bits(first: Any, second: Any) -> bool:
    return (
        first.dtype == second.dtype
        and first.shape == second.shape
        and first.stride() == second.stride()
        and torch.equal(
            first.contiguous().view(-1).view(torch.uint8), second.contiguous().view(-1).view(torch.uint8)
        )
    )


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(5, 7),
        torch.randn(1 << 19),
        torch.randn(64, 3).to(torch.bfloat16),
        torch.randn(6).to(torch.float16),
        torch.randn(6, dtype=torch.complex64),
        torch.randn(6).to(torch.float8_e4m3fn),
        torch.arange(10) > 4,
        torch.randn(8, 6).t(),
        torch.randn(8, 6)[1::2, ::3],
        torch.randn(1, 4).expand(3, 4),
        torch.empty(0, 3),
        torch.tensor(float("nan")),
    ],
    ids=[
        *("float", "large", "bfloat16", "half", "complex", "float8", "bool", "transposed", "strided", "expanded"),
        *("empty", "0-dim"),
    ],
)
def test_tensor_is_restored_bit_for_bit(tensor: Any, tmp_path: Path) -> None:
    found = restored({"deep": [tensor]}, tmp_path)["deep"][0]
    assert same_bits(found, tensor)
    assert type(found) is torch.Tensor


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_tensor_of_a_cuda_device_is_restored_there(tmp_path: Path) -> None:
    tensor = torch.randn(5, 7, device="cuda")[:, ::2]
    found = restored(tensor, tmp_path)
    assert found.device == tensor.device
    assert same_bits(found.cpu(), tensor.cpu())


def test_tensor_of_a_device_that_is_not_here_is_restored_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    storage = rebuild_storage("cuda:7", bytearray(b"\1\2"))
    assert storage.device.type == "cpu"
    assert list(storage) == [1, 2]


def test_parameters_keep_what_they_are(tmp_path: Path) -> None:
    frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    trained = torch.nn.Parameter(torch.ones(2))
    leaf = torch.ones(2, requires_grad=True)
    found = restored([frozen, trained, leaf], tmp_path)
    assert [type(one) for one in found] == [torch.nn.Parameter, torch.nn.Parameter, torch.Tensor]
    assert [one.requires_grad for one in found] == [False, True, True]


def test_tied_parameters_and_views_of_the_same_memory_stay_so(tmp_path: Path) -> None:
    layer = torch.nn.Linear(3, 3)
    flat = torch.zeros(10)
    first, second, view, whole = restored([layer.weight, layer.weight, flat[2:4], flat], tmp_path)
    assert second is first
    whole[2] = 5.0
    assert view[0] == 5.0


def test_module_as_a_whole_keeps_its_tied_weights(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    model[1].weight = model[0].weight
    found = restored(model, tmp_path)
    assert found[1].weight is found[0].weight
    assert same_bits(found[0].weight, model[0].weight)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.randn(3, dtype=torch.complex64).conj(),
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        lambda: torch.nn.parameter.Buffer(torch.ones(3)),
    ],
    ids=["sparse", "conjugated", "quantized", "subclass"],
)
@pytest.mark.filterwarnings("ignore")  # PyTorch's own, of its rarer kinds of tensors
def test_rarer_kinds_of_tensors_are_pickled_as_pytorch_does(make: Any, tmp_path: Path) -> None:
    tensor = make()
    found = restored(tensor, tmp_path)
    assert found.layout == tensor.layout
    assert str(found) == str(tensor)


def test_memory_of_tensors_is_not_copied_for_a_save(tmp_path: Path) -> None:
    """The peak of a process with 256 MiB of tensors does not grow by as much in a save."""
    program = """
import resource, sys, torch
from pathlib import Path
from hpcorch.model.ids import AttemptId
from hpcorch.runtime.checkpoint.store import CheckpointStore

store = CheckpointStore(Path(sys.argv[1]), AttemptId(run=0, submission=0, restart=0))
def save(state):
    store.save(1, state, generators={}, extras={}, keep=1)
state = {str(n): torch.zeros(1 << 24) + 1 for n in range(4)}
save({"small": torch.ones(1)})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
save(state)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "c"], check=True, stdout=subprocess.PIPE)
    assert int(done.stdout) < 64 << 10  # KiB


class Training:
    """A small training whose every step draws from three generators."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        random.seed(1)
        self.shuffle = torch.Generator().manual_seed(2)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(20, 32), torch.nn.BatchNorm1d(32), torch.nn.Dropout(0.3), torch.nn.Linear(32, 1)
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 40)
        self.data = torch.linspace(-1, 1, 2000).view(100, 20)

    def parts(self) -> tuple[Any, ...]:
        return self.model, self.optimizer, self.schedule

    def run(self, steps: int) -> None:
        for _ in range(steps):
            batch = self.data[torch.randperm(100, generator=self.shuffle)[:16]]
            loss = (self.model(batch + torch.randn(16, 20) * 0.01) - random.random()).square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()


def test_restored_training_ends_with_the_same_bits_as_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed = Training()
    undisturbed.run(30)

    first = Training()
    first.run(11)
    CheckpointStore(tmp_path / "c", AttemptId(run=0, submission=0, restart=0)).save(
        11,
        [part.state_dict() for part in first.parts()],
        generators=capture({"shuffle": first.shuffle}),
        extras={},
        keep=1,
    )
    first.run(5)  # lost with the process

    second = Training()
    found, _ = CheckpointStore(tmp_path / "c", AttemptId(run=0, submission=0, restart=1)).newest()
    assert found is not None
    for part, state in zip(second.parts(), found.state, strict=True):
        part.load_state_dict(state)
    assert restore(found.generators, {"shuffle": second.shuffle}) == ["random", "numpy", "torch", "shuffle"]
    second.run(30 - found.step)

    expected, found_state = undisturbed.model.state_dict(), second.model.state_dict()
    assert all(same_bits(found_state[name].view(-1), expected[name].view(-1)) for name in expected)
    for name, moments in undisturbed.optimizer.state_dict()["state"].items():
        for key, value in moments.items():
            assert torch.equal(second.optimizer.state_dict()["state"][name][key], value)
