"""What a script's command line, or its ``#HPCORCH`` lines, ask of the site profile. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field

from hpcorch.errors import UsageError
from hpcorch.quick_dataclasses import dataclass
from hpcorch.slurm.sbatch.line import directive_lines, options_of, words_of

RESOURCE_FLAG, POOL_FLAG = "--hpcorch-resource", "--hpcorch-pool"
OUR_OPTIONS = (RESOURCE_FLAG[2:], POOL_FLAG[2:])
_WORD = "#HPCORCH"
_OURS_IN_SCRIPT = {"--resource": RESOURCE_FLAG, "--pool": POOL_FLAG}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of the site profile: by flags of ours, or in ``#HPCORCH`` lines.

    :param resources: name -> how much each job or array element takes
    """

    resources: Mapping[str, int] = field(default_factory=dict)
    pool: str | None = None

    def __bool__(self) -> bool:
        return bool(self.resources) or self.pool is not None

    def over(self, other: Asked) -> Asked:
        """Both together; where they differ, this one's word counts."""
        return Asked(resources={**other.resources, **self.resources}, pool=self.pool or other.pool)


def take_ours(words: Sequence[str], help_text: str = "") -> tuple[Asked, list[str]]:
    """Our flags among sbatch's, and the words without them. They stand before the script, as sbatch's do.

    :param help_text: what ``sbatch --help`` prints, for options that are not Slurm's own
    :raises UsageError: a value is missing or wrong
    """
    asked, end = Asked(), 0
    left: list[str] = []
    for option in options_of(words, help_text, also=OUR_OPTIONS):
        end += len(option)
        name, *values = [*option[0].split("=", 1), *words[end - len(option) + 1 : end]]
        if name in (RESOURCE_FLAG, POOL_FLAG):
            asked = _ask(name, values[0] if values else "").over(asked)
        else:
            left += option
    return asked, [*left, *words[end:]]


def _ask(name: str, value: str) -> Asked:
    if not value:
        example = "scratch_io=1" if name == RESOURCE_FLAG else "debug"
        raise UsageError(f"{name} needs a value, such as {name} {example}")
    return Asked(pool=value) if name == POOL_FLAG else Asked(resources=_resource(value))


def asked_in_script(script: bytes) -> Asked:
    """What ``#HPCORCH --resource scratch_io=1`` and ``#HPCORCH --pool critical`` lines of a script ask for.

    :raises UsageError: a line asks for anything else
    """
    asked = Asked()
    for line in directive_lines(script, _WORD):
        words = [_ours(word, line) for word in words_of(line)]
        more, left = take_ours(words)
        if left:
            raise UsageError(f"the script's line {_WORD}{line} has {left[0]!r}, {_IN_SCRIPT}")
        asked = more.over(asked)
    return asked


_IN_SCRIPT = f"which {_WORD} lines do not have: they have --resource NAME=COUNT and --pool NAME"


def _ours(word: str, line: str) -> str:
    name, equals, value = word.partition("=")
    if name.startswith("--") and name not in _OURS_IN_SCRIPT:
        raise UsageError(f"the script's line {_WORD}{line} has {name}, {_IN_SCRIPT}")
    return _OURS_IN_SCRIPT.get(name, name) + equals + value


def _resource(text: str) -> dict[str, int]:
    name, _, count = text.partition("=")
    if not name or not re.fullmatch(r"\d*", count, re.ASCII):
        raise UsageError(f"{text!r} is not an amount of a resource: write NAME=COUNT, such as scratch_io=1")
    return {name: int(count or 1)}
