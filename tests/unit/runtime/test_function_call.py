"""The call of the user's function by Hydra's ``run_job``, whose copies of the ``hydra`` node share its content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.types import HydraContext
from omegaconf import OmegaConf, open_dict

from hpcorch.runtime.program import call
from hpcorch.runtime.program.call import call_function

OVERRIDES = ["+x=1", "+model.size=${x}", "+name=${hydra:job.name}-${hydra:job.num}", "hydra/job_logging=none"]


@pytest.fixture(autouse=True)
def _own_state() -> Iterator[None]:
    before = Singleton.get_state()
    yield
    Singleton.set_state(before)


def function(cfg: Any) -> dict[str, Any]:
    of_hydra = HydraConfig.get()
    found = {
        "config": OmegaConf.to_yaml(cfg),
        "resolved": OmegaConf.to_container(cfg, resolve=True),
        "hydra": OmegaConf.to_yaml(of_hydra),
        "values": [of_hydra.runtime.output_dir, of_hydra.job.num, list(of_hydra.overrides.task), of_hydra.mode],
        "of_user": OmegaConf.to_container(HydraConfig.instance().cfg.hydra._get_root(), resolve=False).keys()
        - {"hydra"},
        "readonly": [OmegaConf.is_readonly(of_hydra), OmegaConf.is_readonly(cfg), OmegaConf.is_struct(cfg)],
    }
    cfg.x = 2  # the task's configuration is its own
    with open_dict(cfg):
        cfg.more = {"hydra": 3}
    return {**found, "afterwards": [OmegaConf.to_yaml(HydraConfig.get()), cfg.model.size, cfg.name]}


def called(folder: Path, *, chdir: bool) -> tuple[Any, dict[str, str]]:
    """What the function saw, and what Hydra wrote."""
    with initialize(version_base="1.3", config_path=None):
        config = compose(overrides=[*OVERRIDES, f"hydra.job.chdir={chdir}"], return_hydra_config=True)
        with open_dict(config.hydra):
            config.hydra.job.num, config.hydra.job.id, config.hydra.job.name = 4, "job_4", "app"
            config.hydra.sweep.dir = "runs"
            config.hydra.runtime.output_dir = "runs/4"
        context = HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=Callbacks())
        before = OmegaConf.to_yaml(config.model)
        outcome = call_function(function, config, context)
        assert OmegaConf.to_yaml(config.model) == before
        assert list(config)[-1] != "more"
    written = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.yaml")}
    return (outcome.value, outcome.error, outcome.working_dir, outcome.task_name, Path.cwd()), written


@pytest.mark.parametrize("chdir", [False, True])
def test_a_function_sees_what_it_sees_without_that_and_hydra_writes_the_same(tmp_path, monkeypatch, chdir):
    monkeypatch.chdir(tmp_path)
    shared = called(tmp_path, chdir=chdir)
    assert shared[0][1] is None
    for path in tmp_path.rglob("*.yaml"):
        path.unlink()
    monkeypatch.setattr(call, "_share_hydra_node", lambda _config: None)
    assert called(tmp_path, chdir=chdir) == shared
    assert len(shared[1]) == 3
