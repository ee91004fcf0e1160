"""``hpcorch doctor``"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcorch.cli import output
from hpcorch.cli.options import examples, json_option
from hpcorch.cli.text import printable

if TYPE_CHECKING:
    from hpcorch.services.doctor import Finding


@click.command(epilog=examples("hpcorch doctor", "hpcorch doctor --profile conf/site/with_licenses.yaml --json"))
@click.option(
    "--profile",
    "named",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="PATH",
    help="The site profile to check; by default the one that serves this project.",
)
@json_option
def command(*, named: Path | None, as_json: bool) -> int:
    """Check that the site profile is true of the cluster.

    Looks at licences, GPUs, open files, partitions, accounts, QOS, reservations, folders of leases and submit
    limits, and says of each thing that is not as the profile has it what to do. Exits with 1 if there is any.
    """
    from hpcorch.services.doctor import CHECKS, examine  # loads the way to Slurm
    from hpcorch.services.site import find_profile, project_at, read_profile
    from hpcorch.services.survey import survey
    from hpcorch.slurm.client import CliClient

    path = named.absolute() if named is not None else find_profile(project_at(Path.cwd()))
    if path is None:
        findings: list[Finding] = []
    else:
        findings = examine(read_profile(path), survey(CliClient()))
    if as_json:
        checks = [check.name for check in CHECKS] if path is not None else []
        plain = [finding.as_plain() for finding in findings]
        output.write_json({"profile": str(path) if path else None, "checks": checks, "findings": plain})
    elif path is None:
        output.note("there is no site profile, so nothing is limited; `hpcorch init` writes one")
    else:
        _write(path, findings, len(CHECKS))
    return int(bool(findings))


def _write(path: Path, findings: Sequence[Finding], checks: int) -> None:
    for finding in findings:
        output.write(printable(f"{finding.check}: {finding.problem}"))
        output.write(printable(f"    {finding.cure}"))
    if not findings:
        output.write(printable(f"{path} is true of the cluster: {checks} checks, nothing to mend"))
