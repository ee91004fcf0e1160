"""Values that shells, Slurm, Hydra's grammar and careless quoting would change: always the same 1,000."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

COUNT = 1000
_WHOLE = (
    *("", " ", "  two  words  ", "\t", "\n", "\r\n", "a\nb", "\n\n", "ends in a newline\n", "\x01\x02\x1b[31m\x7f"),
    *("'", '"', "it's", 'say "hi"', "'\"'\"'", "`id`", "$(touch gone)", "$HOME", "${HOME}", "$$", "$((1+1))"),
    *(
        "\\",
        "\\\\",
        "\\n",
        "\\'",
        'a\\"b',
        "ends in a backslash\\",
        "*",
        "?",
        "[a-z]*",
        "{a,b}",
        "~",
        "~root",
        "!!",
    ),
    *(
        "-",
        "--",
        "-n",
        "-e",
        "--help",
        "--array=1-3",
        "--wrap=true",
        "--hpcorch-pool=x",
        "--hpcorch-resource",
        "-H",
    ),
    *(
        "#",
        "# a comment",
        "a#b",
        ";",
        "; touch gone",
        "&",
        "&& touch gone",
        "|",
        "||",
        ">gone",
        "<",
        "<<EOF",
        "(",
        ")",
    ),
    *("a,b", ",", "a=b", "=", "+a", "~a", "a@b", ":", "::", "1:2", "a: b", "[", "]", "[]", "{}", "{a: 1}", "[1,2"),
    *(
        "%j",
        "%A_%a",
        "%%",
        "%",
        "%s%n",
        "null",
        "None",
        "true",
        "no",
        "1e5",
        "007",
        "0x1f",
        ".5",
        "nan",
        "inf",
        "????",
    ),
    *("${hydra:job.num}", "${oc.env:HOME}", "\\${x}", "$", "${", "}", "choice(1,2)", "range(3)", "int('1')"),
    *(
        "\u00fc\u2028\u20ac",
        "\u65e5\u672c\u8a9e",
        "\U0001f9ea",
        "e\u0301",
        "\u202eright to left",
        "\ufeffbom",
        "\u00a0",
    ),
    *("\ud7ff\ue000", "\U0010ffff", "\u0085", "/", "/etc/passwd", "../..", ".", "con", "job.sh", ":(){ :|:& };:"),
    *('"; DROP TABLE runs; --', "a" * 10240, "'" * 1000, "\\" * 999, "\n" * 500, "\u20ac" * 3413 + "!"),
)
_PIECES = tuple(text for text in _WHOLE if 0 < len(text) < 20)
_BAD_BYTES = ("\udcff", "\udcc3", "\udced\udca0\udc80", "\udcf5\udc80", "\udc80abc")


def _texts() -> Iterator[str]:
    yield from _WHOLE
    choose = random.Random(7)
    while True:
        yield "".join(choose.choice(_PIECES) for _ in range(choose.randint(2, 6)))


def _distinct(texts: Iterator[str]) -> Iterator[str]:
    seen: set[str] = set()
    for text in texts:
        if text not in seen:
            seen.add(text)
            yield text


# Text, as configurations have it; no NUL, which nothing that is passed to a program can hold.
HOSTILE_TEXTS: tuple[str, ...] = tuple(islice(_distinct(_texts()), COUNT))
# As arguments, of which every tenth is no text in UTF-8 (os.fsencode gives the bytes).
HOSTILE_ARGUMENTS: tuple[str, ...] = tuple(
    text + _BAD_BYTES[number // 10 % len(_BAD_BYTES)] if number % 10 == 9 else text
    for number, text in enumerate(HOSTILE_TEXTS)
)
