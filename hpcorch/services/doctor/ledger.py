"""What doctor says of the ledger itself: whether it is there and whole, and whether this user may write it."""

from __future__ import annotations

import os
from pathlib import Path

from hpcorch.journal.files import is_there
from hpcorch.ledger import TROUBLES, Ledger
from hpcorch.ledger.schema.cures import adoption, permission
from hpcorch.services.doctor.rows import Row, not_ok, of_error, ok

_CHECK = "ledger"


def ledger_row(path: Path) -> Row:
    """Read what ``hpcorch ls`` reads of all sweeps, and see whether more could be recorded."""
    try:
        found = is_there(path)
    except OSError as error:  # its folder is closed
        return not_ok(_CHECK, f"{path} cannot be seen ({error.strerror})", permission(path))
    if not found:
        lost = f"if it was lost, {adoption(path)} makes it again from the sweep directories"
        return ok(_CHECK, f"there is none at {path} yet, and the first sweep makes it; {lost}")
    try:
        with Ledger.unchanged(path) as ledger:
            sweeps = len(ledger.sweeps())
    except TROUBLES as error:
        return of_error(_CHECK, error)
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)):
        return not_ok(_CHECK, f"{path} can be read and not written, so nothing can be recorded", permission(path))
    return ok(_CHECK, f"{path} can be read, sweeps in it: {sweeps} (`hpcorch ledger check` looks at all of it)")
