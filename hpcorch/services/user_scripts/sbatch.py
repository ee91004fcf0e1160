"""``sbatch`` for a user's own script: the same job, with a record of what was submitted.

The script is submitted once, by sbatch itself, with every flag as it was written. The intent is on disk before, so
that a job exists on record whatever dies; it is not held, since nobody will submit it again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from hpcorch import process, tunables
from hpcorch.errors import SlurmUnavailableError
from hpcorch.services.user_scripts.own_flags import OUR_OPTIONS, asked_in_script, take_ours
from hpcorch.services.user_scripts.relay import Outcome, Relay
from hpcorch.services.user_scripts.request import (
    ScriptRequest,
    array_of,
    merged_values,
)
from hpcorch.services.user_scripts.source import read_source
from hpcorch.services.user_scripts.submission import ScriptSubmission
from hpcorch.slurm.choose import slurm_client
from hpcorch.slurm.client import sbatch_program
from hpcorch.slurm.sbatch.line import is_heterogeneous, parse_directives, parse_line

# With these sbatch submits nothing.
_SUBMITS_NOTHING = frozenset({"help", "usage", "version", "test-only"})
_HETEROGENEOUS = "heterogeneous jobs are not recorded"


def sbatch(
    words: Sequence[str],
    *,
    tell: Callable[[bytes], None],
    environ: Mapping[str, str] | None = None,
    read_script: Callable[[], bytes] | None = None,
    shows_errors: bool = True,
) -> Outcome:
    """Submit a batch script as ``sbatch WORDS`` would, and put it on record.

    :param words: the arguments of sbatch, with ``--hpcorch-resource`` and ``--hpcorch-pool`` among them
    :param tell: gets what sbatch is to print, as soon as it is known
    :param read_script: gives the script where no file and no ``--wrap`` does; by default from standard input
    :param shows_errors: whether what sbatch writes to standard error goes to ours as it comes
    :raises UsageError: a resource or pool is asked for that the site profile does not have
    :raises PolicyError: the site profile forbids it, with the numbers
    :raises UnavailableError: it cannot be recorded, or Slurm does not answer; nothing was submitted
    """
    environ = dict(os.environ if environ is None else environ)
    line = parse_line(words, also=OUR_OPTIONS)
    options = help_text() if line.unknown else ""
    if options:
        line = parse_line(words, options, also=OUR_OPTIONS)
    asked, flags = take_ours(line.flags, options)
    own = [*flags, *words[len(line.flags) :]]
    line = replace(line, flags=flags)
    relay = Relay(environ=environ, tell=tell, shows_errors=shows_errors)
    if line.is_cut_short or _SUBMITS_NOTHING & line.values.keys():
        return relay.only(own)
    if is_heterogeneous(line):
        return relay.only(own, lost=_HETEROGENEOUS)
    try:
        source = read_source(line, environ, read_script)
    except OSError as error:
        return relay.only(own, lost=f"hpcorch cannot read its script ({error})")
    relay = replace(relay, source=source)
    try:
        values = merged_values(line, environ, parse_directives(source.text, options))
        indices, parallel = array_of(values)
        client = slurm_client()
        if max(indices or [0]) >= client.config().max_array_size:
            raise ValueError("the cluster's arrays are smaller")
    except (ValueError, SlurmUnavailableError) as error:  # sbatch says best what is wrong
        return relay.only(own, lost=str(error))
    if "test-only" in values:
        return relay.only(own)
    if is_heterogeneous(line, source.text):
        return relay.only(own, lost=_HETEROGENEOUS)
    request = ScriptRequest(
        line=line,
        text=source.text,
        path=source.path,
        values=values,
        asked=asked.over(asked_in_script(source.text)),
        indices=indices,
        parallel=parallel,
    )
    return ScriptSubmission(request=request, relay=relay, client=client).submit()


def help_text() -> str:
    """What ``sbatch --help`` prints; nothing where there is no sbatch, or it does not work."""
    with suppress(process.CommandMissingError, process.CommandTimeoutError, SlurmUnavailableError):
        return process.run([sbatch_program(os.environ), "--help"], timeout_s=tunables.SBATCH_HELP_TIMEOUT_S).stdout
    return ""
