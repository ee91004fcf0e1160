"""A cheap digest of the environment: while it is equal, nothing recorded has been installed, removed or loaded."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpcorch.provenance.environment.containers import container
from hpcorch.provenance.environment.packages import listing, package_folders


def fingerprint(variables: Mapping[str, str] | None = None, sys_path: Sequence[str] | None = None) -> str:
    """Digest of the interpreter, the listings of installed packages, loaded modules and the container image.

    It reads a few directories and no package; the node's hardware has no part in it.

    :param variables: environment variables; by default this process's
    :param sys_path: by default this process's
    """
    variables = os.environ if variables is None else variables
    folders = package_folders(sys.path if sys_path is None else sys_path)
    seen = {
        "interpreter": [os.path.realpath(sys.executable), sys.version, sys.prefix, _changed(Path(sys.executable))],
        "packages": {str(folder): listing(folder) for folder in folders},
        "modules": variables.get("LOADEDMODULES", ""),
        "module files": variables.get("_LMFILES_", ""),
        "container": container(variables),
    }
    return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
