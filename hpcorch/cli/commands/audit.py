"""``hpcorch audit``"""

from __future__ import annotations

from pathlib import Path

import click

from hpcorch.cli.shared import output
from hpcorch.cli.shared.findings import counted, finding_text
from hpcorch.cli.shared.options import Place, examples, json_option, pass_place
from hpcorch.ledger import LAST, Ledger
from hpcorch.model.value_text import printable
from hpcorch.services.audit.anchors import Anchor, anchor_of, read_anchors
from hpcorch.services.audit.audit import Audit, audit
from hpcorch.services.reports.reruns import rerun_text
from hpcorch.services.selection.selectors import Selector, parse_selector


@click.command(
    epilog=examples(
        "hpcorch audit last",
        "hpcorch audit last/3 --json",
        "hpcorch audit last --report appendix.md",
        "hpcorch audit --anchor >> anchors.txt",
        "hpcorch audit --all --against anchors.txt",
        "hpcorch audit --bundle reviewed/",
    )
)
@click.argument("selectors", nargs=-1, metavar="[SELECTOR]...")
@click.option("--all", "everything", is_flag=True, help="Audit all sweeps of the ledger.")
@click.option("--anchor", "anchor_only", is_flag=True, help="Only print an anchor, for you to publish.")
@click.option(
    "--against",
    metavar="FILE|ANCHOR",
    help="Check that anchors published earlier still hold.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="DIRECTORY",
    help="Audit a bundle that `hpcorch export bundle` wrote.",
)
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write a report in Markdown, for the appendix of a paper.",
)
@json_option
@pass_place
def command(
    place: Place,
    *,
    selectors: tuple[str, ...],
    everything: bool,
    anchor_only: bool,
    against: str | None,
    bundle: Path | None,
    report: Path | None,
    as_json: bool,
) -> int:
    """Prove what produced results, and that nothing has changed since.

    For each run, shows commit, configuration, seed, environment and inputs, its attempts, the checkpoints between
    them, whether random states carried over, and all drift. Compares byte for byte the ledger's chain of events,
    journals, manifests, task files, snapshots, checkpoints and result files. Exits with 1 if a finding is worse
    than a note.

    Whoever can write to the ledger can forge all of it. An anchor is one line that vouches for all events until
    now: publish it where nobody can change it, and check it later with --against.
    """
    if bundle is not None and (everything or selectors):
        raise click.UsageError("--bundle audits all that the bundle holds: leave out selectors and --all")
    if everything and selectors:
        raise click.UsageError("--all and selectors exclude each other")
    anchors = [] if against is None else read_anchors(against)
    if bundle is not None:
        from hpcorch.services.audit.bundle_audit import audit_bundle

        found: Audit = audit_bundle(bundle, against=anchors)
    else:
        with Ledger.open(place.ledger_path()) as ledger:
            if anchor_only:
                return _print_anchor(anchor_of(ledger), as_json=as_json)
            found = audit(ledger, None if everything else _parsed(selectors), against=anchors)
    if report is not None:
        from hpcorch.cli.shared.audit_report import markdown

        report.write_text(markdown(found), encoding="utf-8")
    _write(found, as_json=as_json)
    output.notes(found.notices)
    return found.exit_code


def _parsed(selectors: tuple[str, ...]) -> list[Selector]:
    return [parse_selector(text) for text in selectors or (LAST,)]


def _print_anchor(anchor: Anchor, *, as_json: bool) -> int:
    if as_json:
        output.write_json(
            {"anchor": str(anchor), "events": anchor.events, "hash": anchor.digest, "time": anchor.time}
        )
    else:
        output.write(str(anchor))
    return 0


def _write(found: Audit, *, as_json: bool) -> None:
    if as_json:
        output.write_json(found.as_plain())
        return
    for finding in found.findings:
        output.write(printable(finding_text(finding)))
    for sweep in found.sweeps:
        runs = "1 run" if len(sweep.runs) == 1 else f"{len(sweep.runs)} runs"
        origin = "" if sweep.rerun is None else f"  {rerun_text(sweep.rerun)}"
        output.write(printable(f"sweep {sweep.summary.sweep.id}  {sweep.summary.sweep.name}  {runs}{origin}"))
    output.write(f"as recorded: {counted(found.intact)}")
    if found.anchor is not None:
        output.write(str(found.anchor))
