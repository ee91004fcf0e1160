"""Text that survives being read again: by Slurm in ``#SBATCH`` lines, by bash in the script's body.

Slurm (measured on 22.05) reads quotes in a directive as a shell does, except that a backslash escapes the next
character everywhere, inside single quotes too; a directive ends at its line. Batch scripts that hold a
carriage return before a line feed are refused as having DOS line breaks.
"""

from __future__ import annotations

import shlex

from hpcorch.errors import UsageError

_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", "'": "\\'"}


def for_directive(text: str) -> str:
    """Double the backslashes, so that Slurm's reader gives the text back after shell quoting.

    :raises UsageError: the text has a line break, which no directive can hold
    """
    if any(character in text for character in "\n\r\0"):
        raise UsageError(f"A line of #SBATCH cannot hold a line break or a NUL character: {text!r}.")
    return text.replace("\\", "\\\\")


def for_bash(text: str) -> str:
    """One word of bash, on one line, that means ``text`` byte for byte, in any locale.

    What is not printable is written as the octal numbers of its bytes, also where they are no UTF-8.

    :raises UsageError: the text has a NUL character, which no argument can hold
    """
    if "\0" in text:
        raise UsageError(f"An argument or variable cannot hold a NUL character: {text!r}.")
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(map(_in_ansi_c, text))}'"


def _in_ansi_c(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    if character.isprintable():
        return character
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", errors))


def literal_path(path: str) -> str:
    """A path for ``--output`` and ``--error`` in which ``%`` means itself (sbatch(1), FILENAME PATTERN).

    :raises UsageError: the path has a backslash, which would switch off all replacements, or a line break
    """
    if any(character in path for character in "\\\n\r\0"):
        raise UsageError(
            f"Slurm cannot write logs below {path!r}: a backslash or a line break in the path switches off "
            "the replacement of job ids. Choose another sweep directory."
        )
    return path.replace("%", "%%")


def directives(script_text: str) -> dict[str, str]:
    """The ``#SBATCH --name=value`` lines of a script: long name -> value, empty for a bare flag."""
    found: dict[str, str] = {}
    for line in script_text.splitlines():
        if line.startswith("#SBATCH --"):
            name, _, quoted = line.removeprefix("#SBATCH --").partition("=")
            words = shlex.split(quoted) if _balanced(quoted) else [quoted]
            found[name.strip()] = words[0].replace("\\\\", "\\") if words else ""
        elif line.strip() and not line.startswith("#"):
            break  # Slurm stops there too
    return found


def _balanced(quoted: str) -> bool:
    try:
        shlex.split(quoted)
    except ValueError:
        return False
    return True
