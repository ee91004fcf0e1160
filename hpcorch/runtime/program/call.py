"""The call of the user's function, through Hydra's own ``run_job``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from omegaconf import AnyNode, DictConfig, open_dict

from hpcorch.errors import DriftError
from hpcorch.journal.manifest import FrozenRun
from hpcorch.quick_dataclasses import dataclass
from hpcorch.runtime.program.configuration import IS_HYDRA_1_3, digest, rebuild, task_plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """The outcome of calling a task: a value, or the exception that it raised."""

    value: Any = None
    error: BaseException | None = None
    working_dir: str | None = None
    task_name: str | None = None


def frozen_config(frozen: FrozenRun, *, job_id: str) -> DictConfig:
    """The run's configuration as it was frozen, verified by its digest.

    :raises DriftError: what can be rebuilt here is not what was frozen
    """
    config = rebuilt(frozen, job_id=job_id)
    found = config_digest(config)
    if found != frozen.run.config_digest:
        raise DriftError(differing(frozen, found))
    return config


def rebuilt(frozen: FrozenRun, *, job_id: str) -> DictConfig:
    """The run's configuration as it can be rebuilt here, not verified."""
    return rebuild(
        frozen.base.pickle,
        overrides=frozen.run.node["overrides"],
        task_overrides=frozen.run.overrides,
        override_dirname=frozen.run.node["override_dirname"],
        frozen=frozen.run.node["frozen"],
        job_num=frozen.run.run,
        job_id=job_id,
    )


def config_digest(config: DictConfig) -> str:
    """What names the task's part of a composed configuration."""
    return digest(task_plain(config))


def differing(frozen: FrozenRun, found: str) -> str:
    """A sentence about a configuration that is not what was frozen."""
    return (
        f"the configuration of run {frozen.run.run} is not the one that was submitted (frozen"
        f" {frozen.run.config_digest}, found {found}): the manifest was changed, or this node's Hydra or"
        " OmegaConf differs from the login node's"
    )


def without_files(config: DictConfig) -> None:
    """Disable Hydra's own files in a run: no ``.hydra`` folder, no log file beside the output."""
    with open_dict(config.hydra):
        config.hydra.output_subdir = None
        logging_config = config.hydra.job_logging
        handlers = logging_config.get("handlers") if logging_config is not None else None
        if not handlers:
            return
        files = [name for name, handler in handlers.items() if "FileHandler" in str(handler.get("class"))]
        for name in files:
            del handlers[name]
        root = logging_config.get("root")
        if root and root.get("handlers"):
            root.handlers = [name for name in root.handlers if name not in files]


def call_function(function: Callable[[Any], Any], config: DictConfig, hydra_context: Any) -> Called:
    """Call the function as Hydra's own launchers do. Only signals and Hydra's own failures leave as exceptions."""
    from hydra.core.utils import JobStatus, run_job

    if IS_HYDRA_1_3:
        _share_hydra_node(config)
    try:
        returned = run_job(
            task_function=function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=hydra_context,
        )
    except BaseException as leaving:
        _leave_alone(leaving)
        if not isinstance(leaving, SystemExit):
            raise
        # Like any Python program: sys.exit() and sys.exit(0) end well, everything else does not.
        return Called() if leaving.code in (None, 0) else Called(error=leaving)
    completed = returned.status is JobStatus.COMPLETED
    value = returned._return_value  # noqa: SLF001 - the property raises the exception that we want to record
    return Called(
        value=value if completed else None,
        error=None if completed else value,
        working_dir=returned.working_dir,
        task_name=returned.task_name,
    )


def _share_hydra_node(config: DictConfig) -> None:
    """Have copies of the configuration leave the ``hydra`` node empty, and copies of that node share its content.

    ``run_job`` copies that node four times, which takes most of its time: to hide it from the task, and to keep it
    for ``HydraConfig``. It is read-only by then, and the process has no other run. What the task gets is copied as
    ever.
    """
    node = vars(config)["_content"]["hydra"]
    # What copy.deepcopy looks for on an object before it takes it apart.
    vars(node)["__deepcopy__"] = lambda _memo: _twin(node)
    vars(config)["__deepcopy__"] = lambda memo: _without_hydra_node(config, memo)


def _twin(node: DictConfig) -> DictConfig:
    """Another node with the same content, to be put elsewhere."""
    twin = DictConfig.__new__(DictConfig)
    vars(twin).update(vars(node))
    return twin


def _without_hydra_node(config: DictConfig, memo: dict[int, Any]) -> DictConfig:
    content = vars(config)["_content"]
    vars(config)["_content"] = {key: value for key, value in content.items() if key != "hydra"}
    try:
        copied: DictConfig = DictConfig.__deepcopy__(config, memo)
    finally:
        vars(config)["_content"] = content
    vars(copied)["_content"]["hydra"] = AnyNode(None)  # run_job deletes it
    return copied


def _leave_alone(error: BaseException) -> None:
    """Take off what Hydra 1.4 hangs on an exception that leaves it: a JobReturn, which holds that exception.

    To pickle the two together takes for ever.
    """
    from hydra.core.utils import JobReturn

    for name, value in list(vars(error).items()):
        if isinstance(value, tuple) and any(isinstance(part, JobReturn) for part in value):
            del vars(error)[name]
