"""A computation of several ranks, each with a state of its own, that is preempted. Used by preemptions.py."""

from __future__ import annotations

import time
from pathlib import Path

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import hpcorch


@hydra.main(version_base="1.3", config_path=None)
def main(cfg: DictConfig) -> float:
    """The sum of rank 0's numbers. Keys: ``steps``, ``every_steps`` and ``pause``, in seconds a step."""
    run = hpcorch.current_run()
    assert run.ranks == cfg.ranks or not run.in_job
    own = np.random.default_rng([run.seed, run.rank])
    run.register_generator("own", own)
    checkpoint = run.restore()
    rank, sums = checkpoint.state if checkpoint is not None else (run.rank, np.zeros(1000))
    assert rank == run.rank, "this is another rank's state"
    for step in range(1 + (checkpoint.step if checkpoint is not None else 0), cfg.steps + 1):
        sums = np.sin(3 * sums + own.normal(size=1000) + rank)
        time.sleep(cfg.pause)
        run.log(step, mean=float(sums.mean()))
        run.checkpoint(step, (rank, sums), every_steps=cfg.every_steps)
    np.savez(Path(HydraConfig.get().runtime.output_dir) / f"weights-{rank}.npz", sums)
    return float(sums.sum())


if __name__ == "__main__":
    main()
