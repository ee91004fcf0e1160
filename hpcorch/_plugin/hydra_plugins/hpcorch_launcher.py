"""The module that Hydra's plugin scanner finds; everything else is in :mod:`hpcorch.launcher`.

The scanner executes this module before it is in ``sys.modules``, and again if it was imported earlier, so it
holds nothing that minds: three names, and a registration that can be repeated.
"""

from hpcorch.launcher.config import register
from hpcorch.launcher.launch import LocalSweepLauncher, SlurmSweepLauncher
from hpcorch.launcher.sweeping.sweeper import GridSweeper

register()


class SlurmLauncher(SlurmSweepLauncher):
    """``hydra/launcher=hpcorch_slurm``. Hydra accepts only classes whose module is below hydra_plugins."""


class LocalLauncher(LocalSweepLauncher):
    """``hydra/launcher=hpcorch_local``."""


class Sweeper(GridSweeper):
    """``hydra/sweeper=hpcorch``."""
