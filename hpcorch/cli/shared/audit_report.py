"""An audit as a report in Markdown: a page for a sweep of a dozen runs, for the appendix of a paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hpcorch.cli.shared.findings import counted, finding_text
from hpcorch.cli.shared.output import local_time, shell_text, value_text
from hpcorch.model.events import CodeFrozen
from hpcorch.model.ids import named_runs
from hpcorch.model.seeds import SeedSource
from hpcorch.model.value_text import printable, shortened
from hpcorch.provenance.environment.record import Environment
from hpcorch.services.audit.audit import Audit, SweepAudit
from hpcorch.services.audit.findings import Finding
from hpcorch.services.audit.runs import AttemptStory, RunAudit
from hpcorch.services.json_values import attempt_name
from hpcorch.services.reports.reruns import rerun_text

_WIDEST = 60
_DIGITS = 12  # of a digest, as git shows commits
_MOST_FINDINGS = 40
# What computes most results; the record has all.
_TOLD = ("numpy", "scipy", "scikit-learn", "torch", "jax", "tensorflow", "hydra-core")


def markdown(found: Audit) -> str:
    """The report."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Audit) -> Iterator[str]:
    yield "# Audit of computational results"
    yield ""
    yield _verdict(found)
    for sweep in found.sweeps:
        yield from _sweep(sweep)
    yield from _findings(found.findings)
    yield ""
    yield "## How to check this"
    yield ""
    yield (
        "Every event of these runs is in a chain of SHA-256 hashes, and every file was compared with the digest in"
        " it. The line below vouches for the whole chain; `hpcorch audit --against` compares it."
    )
    yield ""
    yield f"    {found.anchor or 'the chain cannot be read'}"


def _verdict(found: Audit) -> str:
    good = f"As recorded: {counted(found.intact)}."
    grave = sum(finding.severity.rank > 0 for finding in found.findings)
    if not grave:
        return f"**Nothing was changed or is missing.** {good}"
    return f"**{grave} finding{'' if grave == 1 else 's'} below.** {good}"


def _sweep(sweep: SweepAudit) -> Iterator[str]:
    made = sweep.summary.sweep
    yield ""
    yield f"## {_cell(made.name)} ({made.id})"
    yield ""
    where = f"{_cell(made.user)} on {_cell(made.host)} ({made.backend.value})"
    yield f"- **Started** {local_time(made.created_at)} by {where}"
    yield from _commands(sweep)
    if sweep.rerun is not None:
        yield f"- **Origin** {_escaped(rerun_text(sweep.rerun))}: each run repeats the one of its index"
    yield f"- **Root seed** {made.root_seed}"
    for code in {run.code.digest: run.code for run in sweep.runs if run.code is not None}.values():
        yield f"- **Code** {_code_text(code)}"
    if not all(run.code for run in sweep.runs):
        yield "- **Code** not recorded for some runs"
    for environment in {run.environment.digest: run.environment for run in sweep.runs if run.environment}.values():
        known = sweep.environments.get(environment.digest)
        yield f"- **Environment** {_environment_text(known)}; record {_short(environment.digest)}"
    inputs = {(one.path, one.digest): one for run in sweep.runs for one in run.inputs}
    for one in inputs.values():
        yield f"- **Input** {_code(one.path)} ({_files(one.files)}, {one.size} bytes), {_short(one.digest)}"
    yield ""
    yield "| run | parameters | seed | state | result | attempts | configuration |"
    yield "|---|---|---|---|---|---|---|"
    for run in sweep.runs:
        yield _row(run)
    restored = [(run, story) for run in sweep.runs for story in run.attempts if story.restored is not None]
    if restored:
        yield ""
        yield "Attempts that went on from a checkpoint:"
        yield ""
        for run, story in restored:
            yield f"- {_restored(run, story)}"


def _commands(sweep: SweepAudit) -> Iterator[str]:
    yield f"- **Command** {_code(shell_text(sweep.summary.sweep.argv))}"
    for launch in sweep.added:
        runs = named_runs(range(launch.first_run, launch.first_run + launch.count))
        yield f"- **Command** that added {runs} {_code(shell_text(launch.argv or ()))}"


def _code_text(code: CodeFrozen) -> str:
    snapshot = f"snapshot {_short(code.digest)} ({_files(code.files)})"
    if code.commit is None:
        return f"{snapshot}, no commit: {_cell(code.lacks_commit)}"
    changed = " with uncommitted changes, recorded as a diff" if code.dirty else ""
    origin = f" of {_cell(code.remote)}" if code.remote else ""
    return f"commit {_code(code.commit)}{origin}{changed}; {snapshot}"


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _environment_text(environment: Environment | None) -> str:
    if environment is None:
        return "cannot be read"
    interpreter, platform = environment.interpreter, environment.platform
    facts = [
        f"{interpreter.get('implementation', 'Python')} {interpreter.get('version', '')}",
        *(f"{name} {version.split()[0]}" for name in _TOLD if (version := environment.packages.get(name))),
        f"{len(environment.packages)} packages in all",
        *(platform.get(name, "") for name in ("distribution", "cpu")),
        *(value for name, value in environment.gpus.items() if name.startswith("model")),
    ]
    return _escaped(", ".join(fact.strip() for fact in facts if fact.strip()))


def _row(run: RunAudit) -> str:
    one = run.run
    params = " ".join(f"{key}={value_text(value)}" for key, value in one.params.items())
    result = f"taken over from {run.reused_from}" if run.reused_from else value_text(one.result)
    attempts = ", ".join(f"{attempt_name(s.attempt)} {s.attempt.state.value}" for s in run.attempts)
    seed = f"{one.seed} (offered)" if one.seed_source == SeedSource.OFFERED.value else str(one.seed)
    cells = (str(one.run), params, seed, one.state.value, result or one.error or "", attempts)
    return f"| {' | '.join(map(_cell, cells))} | {_short(one.config_digest)} |"


def _restored(run: RunAudit, story: AttemptStory) -> str:
    assert story.restored is not None
    generators = ", ".join(story.restored.generators) or "none"
    return (
        f"run {run.run.run}, attempt {attempt_name(story.attempt)}: step {story.restored.step}, saved by"
        f" {_cell(story.restored.attempt)}; random states restored: {_cell(generators)}"
    )


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        return
    yield ""
    yield "## Findings"
    yield ""
    for finding in findings[:_MOST_FINDINGS]:
        yield f"- {_escaped(finding_text(finding))}"
    if len(findings) > _MOST_FINDINGS:
        yield f"- and {len(findings) - _MOST_FINDINGS} more, which `hpcorch audit --json` lists"


def _short(digest: str) -> str:
    return f"`{printable(digest.removeprefix('sha256:'))[:_DIGITS]}`"


def _code(text: str) -> str:
    return f"`{printable(text).replace('`', chr(39))}`"


def _cell(text: str) -> str:
    return _escaped(shortened(text, _WIDEST))


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    shown = printable(text)
    for letter in "\\|<*_`[":
        shown = shown.replace(letter, f"\\{letter}")
    return shown
