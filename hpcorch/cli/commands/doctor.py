"""``hpcorch doctor``"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.options import Place, examples, json_option, pass_place
from hpcorch.model.value_text import printable

if TYPE_CHECKING:
    from hpcorch.services.doctor.rows import Row

_TIMEOUT_S = 300


@click.command(
    epilog=examples(
        "hpcorch doctor", "hpcorch doctor --jobs", "hpcorch doctor --profile conf/site/with_licenses.yaml --json"
    )
)
@click.option(
    "--profile",
    "named",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="PATH",
    help="The site profile to check; by default the one that this project uses.",
)
@click.option(
    "--jobs", "--job", "with_jobs", is_flag=True, help="Check compute nodes, too, with two jobs of a minute."
)
@click.option("--pool", metavar="NAME", help="The pool of the profile for these jobs.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
    default=_TIMEOUT_S,
    show_default=True,
    metavar="SECONDS",
    help="Wait at most this long for these jobs, then cancel them.",
)
@json_option
@pass_place
def command(
    place: Place, *, named: Path | None, with_jobs: bool, pool: str | None, timeout_s: float, as_json: bool
) -> int:
    """Check whether everything is ready for sweeps.

    Checks the cluster (release, accounting, limits, what is hidden, preemption, clock), the site profile (licences,
    GPUs, partitions, accounts, QOS, reservations), the ledger (whether you can read and write it), and its folder
    (kind of file system, space, SQLite's locks). Nothing is changed. With --jobs, two jobs of one CPU check whether
    nodes have the interpreter, the folder, Slurm's commands and the right time, and whether locks work between
    them. Without --jobs, no job is submitted.

    Each line is ok, limited (sweeps work, with a restriction), NOT OK or not checked; below a problem is what to
    do. Exits with 1 if something is not ok, and with 3 if Slurm did not answer.
    """
    from hpcorch.journal.project_search import default_ledger
    from hpcorch.services.doctor.report import JobsWanted, Subject, examine  # loads the way to Slurm
    from hpcorch.services.site.project_profile import find_profile, project_at
    from hpcorch.slurm.choose import slurm_client

    if pool is not None and not with_jobs:
        raise click.UsageError("--pool says where trial jobs run; say --jobs, too")
    here = Path.cwd()
    project = project_at(here)
    profile = named.absolute() if named is not None else find_profile(project)
    ledger = place.named.absolute() if place.named is not None else default_ledger(here)
    wanted = JobsWanted(timeout_s=timeout_s, tell=output.note, pool=pool) if with_jobs else None
    report = examine(Subject(profile=profile, project=project, ledger=ledger), slurm_client(), wanted)
    if as_json:
        output.write_json(report.as_plain())
    else:
        for line in _lines(report.rows):
            output.write(line)
    return report.exit_code


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    width = max(len(row.verdict.value) for row in rows)
    for row in rows:
        verdict = row.verdict.value.upper() if row.verdict.value == "not ok" else row.verdict.value
        yield f"{verdict:<{width}}  {printable(f'{row.check}: {row.found}')}"
        if row.cure:
            yield f"{'':<{width}}    {printable(row.cure)}"
    counts = Counter(row.verdict for row in rows)
    told = [f"{counts[verdict]} {verdict.value}" for verdict in type(rows[0].verdict) if verdict in counts]
    yield f"{len(rows)} checks: {', '.join(told)}"
