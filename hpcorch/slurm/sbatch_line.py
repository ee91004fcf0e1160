"""Reading a command line of sbatch, and the ``#SBATCH`` lines of a script, as sbatch itself reads them. Pure.

The options are those of sbatch 22.05, 24.11 and 26.05 (``sbatch --help`` and the texts of the programs). A site's
plugins add others; whether one of those takes a value is read from what ``sbatch --help`` prints there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum


class Takes(Enum):
    """Whether an option takes a value."""

    NOTHING = "nothing"
    VALUE = "a value"
    MAYBE = "a value after = only"


_SHORT_NAMES = """
    a=array A=account b=begin B=extra-node-info c=cpus-per-task C=constraint d=dependency D=chdir e=error F=nodefile
    G=gpus h=help H=hold i=input J=job-name k=no-kill L=licenses m=distribution M=clusters n=ntasks N=nodes o=output
    O=overcommit p=partition q=qos Q=quiet s=oversubscribe S=core-spec t=time u=usage v=verbose V=version w=nodelist
    W=wait x=exclude
"""
_SHORT: Mapping[str, str] = dict(pair.split("=", 1) for pair in _SHORT_NAMES.split())
_NOTHING = frozenset(
    (
        *("consolidate-segments", "contiguous", "help", "hold", "ignore-pbs", "no-requeue", "overcommit"),
        *("oversubscribe", "parsable", "quiet", "reboot", "share", "spread-job", "spread-segments", "test-only"),
        *("usage", "use-min-nodes", "verbose", "version", "wait"),
    )
)
_MAYBE = frozenset(
    ("exclusive", "get-user-env", "nice", "no-kill", "oom-kill-step", "propagate", "requeue", "resv-ports")
)
_VALUE = frozenset(
    (
        *("account", "acctg-freq", "array", "batch", "bb", "bbf", "begin", "chdir", "cluster-constraint"),
        *("clusters", "comment", "constraint", "container", "container-id", "container-type", "core-spec"),
        *("cores-per-socket", "cpu-freq", "cpus-per-gpu", "cpus-per-task", "deadline", "delay-boot", "dependency"),
        *("distribution", "error", "exclude", "export", "export-file", "extra", "extra-node-info", "gid"),
        *(
            "gpu-bind",
            "gpu-freq",
            "gpus",
            "gpus-per-node",
            "gpus-per-socket",
            "gpus-per-task",
            "gres",
            "gres-flags",
        ),
        *("hint", "input", "job-name", "kill-on-invalid-dep", "licenses", "mail-type", "mail-user", "mcs-label"),
        *("mem", "mem-bind", "mem-per-cpu", "mem-per-gpu", "mincpus", "network", "nodefile", "nodelist", "nodes"),
        *("ntasks", "ntasks-per-core", "ntasks-per-gpu", "ntasks-per-node", "ntasks-per-socket", "open-mode"),
        *("output", "partition", "power", "prefer", "priority", "profile", "qos", "reservation", "segment"),
        *("signal", "sockets-per-node", "switches", "thread-spec", "threads-per-core", "time", "time-min", "tmp"),
        *("tres-bind", "tres-per-task", "uid", "wait-all-nodes", "wckey", "wrap"),
    )
)
OPTIONS: Mapping[str, Takes] = {
    **dict.fromkeys(sorted(_NOTHING), Takes.NOTHING),
    **dict.fromkeys(sorted(_MAYBE), Takes.MAYBE),
    **dict.fromkeys(sorted(_VALUE), Takes.VALUE),
}
# Variables that stand for an option; the command line wins over them, and they over the script (sbatch(1)).
VARIABLES: Mapping[str, str] = {
    **{
        name: f"SBATCH_{name.upper().replace('-', '_')}"
        for name in (
            *("account", "clusters", "error", "export", "gpus", "gpus-per-node", "gpus-per-task", "gres"),
            *("job-name", "output", "partition", "qos", "reservation", "wait"),
        )
    },
    "array": "SBATCH_ARRAY_INX",
    "time": "SBATCH_TIMELIMIT",
    "mem": "SBATCH_MEM_PER_NODE",
}
_WORD = re.compile(r"""#|(?:\\.|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s#"'\\])+""")
_PART = re.compile(r""""((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|((?:\\.|[^"'\\])+)""")
_ESCAPED = re.compile(r"\\(.)")
_HELP_LINE = re.compile(r"^\s*(?:-(\w),?)?\s*--([A-Za-z0-9][\w-]*)(\[?=)?", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SbatchLine:
    """A command line of sbatch, taken apart.

    :param flags: the words before the script, as they were written
    :param script: the script's file; None where it comes from standard input or ``--wrap``
    :param arguments: what follows the script
    :param values: long name -> value, of repeated options the last; empty for one without
    :param unknown: words that look like options, and of which it is not known whether they take a value
    """

    flags: Sequence[str]
    script: str | None
    arguments: Sequence[str]
    values: Mapping[str, str]
    unknown: Sequence[str] = ()


@dataclass(slots=True)
class _Reader:
    options: Mapping[str, Takes]
    short: Mapping[str, str]
    values: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def read(self, words: Sequence[str]) -> int:
        """Read options up to the first word that is none; how many words that are."""
        at = 0
        while at < len(words):
            word = words[at]
            if word == "--" or len(word) < 2 or not word.startswith("-"):
                break
            at += 1
            following = words[at] if at < len(words) else ""
            at += self._long(word[2:], following) if word.startswith("--") else self._shorts(word[1:], following)
        return min(at, len(words))

    def _long(self, text: str, following: str) -> int:
        """Read a long option; how many of the following words belong to it."""
        written, equals, value = text.partition("=")
        name = full_name(written, self.options)
        if name is None:
            self.unknown.append(f"--{written}")
            return 0
        if equals or self.options[name] is not Takes.VALUE:
            self.values[name] = value
            return 0
        self.values[name] = following
        return 1

    def _shorts(self, letters: str, following: str) -> int:
        for place, letter in enumerate(letters):
            name = self.short.get(letter)
            if name is None:
                self.unknown.append(f"-{letter}")
                return 0
            takes, rest = self.options[name], letters[place + 1 :]
            if takes is Takes.VALUE:
                self.values[name] = rest or following
                return 0 if rest else 1
            self.values[name] = ""
        return 0


def parse_line(words: Sequence[str], help_text: str = "") -> SbatchLine:
    """Take the arguments of sbatch apart. Options end at the first word that is none (getopt's POSIX mode).

    :param help_text: what ``sbatch --help`` prints, for options that are not Slurm's own
    """
    reader = _reader(help_text)
    end = reader.read(words)
    rest = list(words[end:])
    flags = list(words[:end])
    if rest and rest[0] == "--":
        rest = rest[1:]
    script = rest[0] if rest and "wrap" not in reader.values else None
    return SbatchLine(
        flags=flags,
        script=script,
        arguments=rest if script is None else rest[1:],
        values=reader.values,
        unknown=reader.unknown,
    )


def parse_directives(script: bytes, word: str = "#SBATCH", help_text: str = "") -> Mapping[str, str]:
    """The options in a script's ``#SBATCH`` lines: long name -> value. They end at the first command."""
    reader = _reader(help_text)
    for line in directive_lines(script, word):
        words = list(words_of(line))
        at = 0
        while at < len(words):  # what is no option between options is passed over
            at += reader.read(words[at:]) or 1
    return reader.values


def directive_lines(script: bytes, word: str) -> Iterator[str]:
    """What follows a word at the beginning of a script's lines, up to the script's first command."""
    for line in script.decode("utf-8", "surrogateescape").split("\n"):
        if line.startswith(word):
            yield line[len(word) :]
        elif line.strip() and not line.lstrip().startswith("#"):
            return


def words_of(line: str) -> Iterator[str]:
    """The words of a directive: quotes group, a backslash gives the next character as it is, ``#`` ends them."""
    for word in _WORD.findall(line):
        if word == "#":
            return
        yield "".join(_ESCAPED.sub(r"\1", part) for parts in _PART.findall(word) for part in parts)


def full_name(written: str, options: Iterable[str] = OPTIONS) -> str | None:
    """The option that a name or an unambiguous beginning of one means; None if there is none."""
    if written in options:
        return written
    found = [name for name in options if name.startswith(written)] if written else []
    return found[0] if len(found) == 1 else None


def _reader(help_text: str) -> _Reader:
    options, short = dict(OPTIONS), dict(_SHORT)
    for letter, name, equals in _HELP_LINE.findall(help_text):
        if name not in options:
            options[name] = {"": Takes.NOTHING, "=": Takes.VALUE, "[=": Takes.MAYBE}[equals]
            if letter:
                short.setdefault(letter, name)
    return _Reader(options, short)


def array_indices(spec: str) -> tuple[list[int], int | None] | None:
    """The indices of ``--array`` (``0-15:4``, ``1,3-5%2``), ascending, and how many may run at once.

    None for what sbatch will refuse.
    """
    text, percent, limit = spec.strip().strip("[]").partition("%")
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,7})(?:-(\d{1,7})(?::(\d{1,7}))?)?", part.strip(), re.ASCII)
        if match is None:
            return None
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if last < first or step < 1:
            return None
        found.update(range(first, last + 1, step))
    if percent and not limit.isdigit():
        return None
    return sorted(found), int(limit) if percent and int(limit) else None
