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
    O=overcommit p=partition q=qos Q=quiet s=oversubscribe S=core-spec t=time v=verbose V=version w=nodelist
    W=wait x=exclude
"""
_SHORT: Mapping[str, str] = dict(pair.split("=", 1) for pair in _SHORT_NAMES.split())
_NOTHING = """
    consolidate-segments contiguous external help hold ignore-pbs no-requeue overcommit oversubscribe parsable
    quiet reboot share spread-job spread-segments stepmgr test-only usage use-min-nodes verbose version wait
"""
_MAYBE = """
    exclusive get-user-env nice no-kill oom-kill-step propagate requeue resv-ports
"""
_VALUE = """
    account acctg-freq array autocomplete batch bb bbf begin chdir cluster cluster-constraint clusters comment
    constraint container container-id container-type context core-spec cores-per-socket cpu-freq cpus-per-gpu
    cpus-per-task deadline delay-boot dependency distribution error exclude export export-file extra
    extra-node-info gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-flags hint
    input job-name kill-on-invalid-dep licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu
    mem-per-gpu mem-update mincpus network nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu
    ntasks-per-node ntasks-per-socket ntasks-per-tres open-mode output partition power prefer priority profile
    qos reservation resources runtime segment signal sockets-per-node switches tasks-per-node thread-spec
    threads-per-core time time-min tmp tres-bind tres-per-task uid wait-all-nodes wckey wrap
"""
OPTIONS: Mapping[str, Takes] = {
    **dict.fromkeys(_NOTHING.split(), Takes.NOTHING),
    **dict.fromkeys(_MAYBE.split(), Takes.MAYBE),
    **dict.fromkeys(_VALUE.split(), Takes.VALUE),
}
# Other names of an option. sbatch knows them, its help does not.
_SAME: Mapping[str, str] = {
    "cluster": "clusters",
    "runtime": "container-type",
    "share": "oversubscribe",
    "tasks-per-node": "ntasks-per-node",
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
_SPACE = " \t\r\f\v"  # what C calls a space: others are letters to sbatch
_WORD = re.compile(rf"""#|(?:\\[^{_SPACE[1:]}]|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^{_SPACE}#"'\\])+""", re.DOTALL)
_PART = re.compile(r""""((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|((?:\\.|[^"'\\])+)""", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_WORDS = ("#SBATCH", "#SLURM")
_NEXT_COMPONENT = re.compile(rf"[{_SPACE}]*(?:het|pack)job(?=[{_SPACE}]|$)", re.IGNORECASE)
_HELP_LINE = re.compile(r"^\s*(?:-(\w),?)?\s*--([A-Za-z0-9][\w-]*)(\[?=)?", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SbatchLine:
    """A command line of sbatch, taken apart.

    :param flags: the words before the script, as they were written
    :param script: the script's file; None where it comes from standard input or ``--wrap``
    :param arguments: what follows the script
    :param values: long name -> value, of repeated options the last; empty for one without
    :param unknown: words that look like options, and of which it is not known whether they take a value
    :param is_cut_short: the last option lacks its value
    """

    flags: Sequence[str]
    script: str | None
    arguments: Sequence[str]
    values: Mapping[str, str]
    unknown: Sequence[str] = ()
    is_cut_short: bool = False

    @property
    def words(self) -> list[str]:
        """All of it, as it was written."""
        return [*self.flags, *([] if self.script is None else [self.script]), *self.arguments]


@dataclass(slots=True)
class _Reader:
    options: Mapping[str, Takes]
    short: Mapping[str, str]
    values: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def read(self, words: Sequence[str]) -> int:
        """Read options up to the first other word; the number of words, a missing value included."""
        at = 0
        while taken := self.read_one(words, at):
            at += taken
        return at

    def read_one(self, words: Sequence[str], at: int) -> int:
        """Read the option that begins at a word; the number of its words, 0 if no option begins there."""
        word = words[at] if at < len(words) else ""
        if word == "--" or len(word) < 2 or not word.startswith("-"):
            return 0
        following = words[at + 1] if at + 1 < len(words) else ""
        more = self._long(word[2:], following) if word.startswith("--") else self._shorts(word[1:], following)
        return 1 + more

    def _long(self, text: str, following: str) -> int:
        """Read a long option; how many of the following words belong to it."""
        written, equals, value = text.partition("=")
        name = full_name(written, self.options)
        if name is None:
            self.unknown.append(f"--{written}")
            meant = {self.options[one] for one in _beginning(written, self.options)}
            return 0 if equals or meant != {Takes.VALUE} else 1
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
            if takes is Takes.MAYBE:
                self.values[name] = rest
                return 0
            self.values[name] = ""
        return 0


def parse_line(words: Sequence[str], help_text: str = "", *, also: Iterable[str] = ()) -> SbatchLine:
    """Parse the arguments of sbatch. Options end at the first word that is not an option (getopt's POSIX mode).

    :param help_text: what ``sbatch --help`` prints, for options that are not Slurm's own
    :param also: long options with a value that somebody else will take out
    """
    reader = _reader(help_text, also)
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
        is_cut_short=end > len(words),
    )


def options_of(words: Sequence[str], help_text: str = "", *, also: Iterable[str] = ()) -> Iterator[Sequence[str]]:
    """The options that a command line begins with, each with its value if that is a word of its own."""
    reader, at = _reader(help_text, also), 0
    while taken := reader.read_one(words, at):
        yield words[at : at + taken]
        at += taken


def parse_directives(script: bytes, help_text: str = "") -> Mapping[str, str]:
    """The options in a script's ``#SBATCH`` lines: long name -> value. They end at the first command.

    Those of a heterogeneous job are its first component's. Of ``#PBS`` lines an array is read.
    """
    reader = _reader(help_text)
    words: list[str] = []  # one command line, wherever its lines break
    for line in directive_lines(script, *_WORDS):
        if _NEXT_COMPONENT.match(line):
            break
        words += words_of(line)
    reader.read(words)  # up to a word that is none: sbatch refuses the script then
    array = None if "ignore-pbs" in reader.values else _pbs_array(script)
    return reader.values if array is None else {**reader.values, "array": array}


def _pbs_array(script: bytes) -> str | None:
    for line in directive_lines(script, "#PBS"):
        option, *values = list(words_of(line)) or [""]
        if option in ("-t", "-J") and values:
            return values[0]
    return None


def is_heterogeneous(line: SbatchLine, script: bytes = b"") -> bool:
    """Whether a heterogeneous job is requested: by a ``:``, or a ``#SBATCH hetjob`` line."""
    return line.script == ":" or any(map(_NEXT_COMPONENT.match, directive_lines(script, *_WORDS)))


def directive_lines(script: bytes, *words: str) -> Iterator[str]:
    """What follows any of the words at the beginning of a script's lines, up to the script's first command."""
    for line in script.decode("utf-8", "surrogateescape").split("\n"):
        if line.startswith(words):
            yield next(line[len(word) :] for word in words if line.startswith(word))
        elif (rest := line.lstrip(_SPACE)) and not rest.startswith("#"):
            return


def words_of(line: str) -> Iterator[str]:
    """The words of a directive: quotes group, a backslash gives the next character as it is, ``#`` ends them.

    So does an empty word: to sbatch it looks like the end of the line.
    """
    for word in _WORD.findall(line):
        text = "".join(_ESCAPED.sub(r"\1", part) for parts in _PART.findall(word) for part in parts)
        if word == "#" or not text:
            return
        yield text


def full_name(written: str, options: Iterable[str] = OPTIONS) -> str | None:
    """The option that a name, or an unambiguous abbreviation, means; None if there is none."""
    if written in options:
        return _SAME.get(written, written)
    found = {_SAME.get(name, name) for name in _beginning(written, options)}
    return found.pop() if len(found) == 1 else None


def _beginning(written: str, options: Iterable[str]) -> list[str]:
    return [name for name in options if name.startswith(written)] if written else []


def _reader(help_text: str, also: Iterable[str] = ()) -> _Reader:
    options, short = {**OPTIONS, **dict.fromkeys(also, Takes.VALUE)}, dict(_SHORT)
    for letter, name, equals in _HELP_LINE.findall(help_text):
        if name not in options:
            options[name] = {"": Takes.NOTHING, "=": Takes.VALUE, "[=": Takes.MAYBE}[equals]
            if letter:
                short.setdefault(letter, name)
    return _Reader(options, short)
