"""Command lines of sbatch and the directives of scripts, read as sbatch reads them."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcorch.slurm.array_elements import array_indices
from hpcorch.slurm.sbatch.line import (
    OPTIONS,
    Takes,
    full_name,
    is_heterogeneous,
    parse_directives,
    parse_line,
    words_of,
)

# Names that mean another option, as values have it.
MEANS = {
    "cluster": "clusters",
    "runtime": "container-type",
    "share": "oversubscribe",
    "tasks-per-node": "ntasks-per-node",
}
SHORT = {"J": "job-name", "a": "array", "n": "ntasks", "o": "output", "t": "time", "W": "wait", "k": "no-kill"}
WITH_VALUE = [name for name, takes in OPTIONS.items() if takes is Takes.VALUE]


def meant(name: str) -> str:
    return MEANS.get(name, name)


def script(*lines: str) -> bytes:
    return "\n".join(["#!/bin/bash", *lines, "true"]).encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_read_on_each_way_of_writing_it(name):
    takes = OPTIONS[name]
    apart = parse_line([f"--{name}", "job.sh", "next"])
    if takes is Takes.VALUE:
        assert (apart.values, apart.script, apart.arguments) == ({meant(name): "job.sh"}, *wrapped(name))
        assert parse_line([f"--{name}"]).values == {meant(name): ""}
    else:
        assert (apart.values, apart.script, apart.arguments) == ({meant(name): ""}, "job.sh", ["next"])
    joined = parse_line([f"--{name}=a=b c", "job.sh"])
    assert joined.values == {meant(name): "a=b c"}
    assert joined.flags == [f"--{name}=a=b c"]
    assert not apart.unknown


def wrapped(name: str) -> tuple[str | None, list[str]]:
    """Script and arguments where an option took the first word: with --wrap there is no script."""
    return (None, ["next"]) if name == "wrap" else ("next", [])


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["-J", "name", "job.sh"], {"job-name": "name"}),
        (["-Jname", "job.sh"], {"job-name": "name"}),
        (["-J=name", "job.sh"], {"job-name": "=name"}),
        (["-HWn4", "job.sh"], {"hold": "", "wait": "", "ntasks": "4"}),
        (["-HJ", "-x", "job.sh"], {"hold": "", "job-name": "-x"}),
        (["-koff", "job.sh"], {"no-kill": "off"}),
        (["-k", "job.sh"], {"no-kill": ""}),
        (["-J", "a", "-J", "b", "--job-name=c", "job.sh"], {"job-name": "c"}),
        (["-J", "", "job.sh"], {"job-name": ""}),
        (["--nice", "job.sh"], {"nice": ""}),
        (["--comment", "--hold", "job.sh"], {"comment": "--hold"}),
    ],
)
def test_values_stand_with_their_options_or_after_them(words, values):
    line = parse_line(words)
    assert (line.values, line.script) == (values, "job.sh")


@pytest.mark.parametrize(
    ("words", "flags", "name", "arguments"),
    [
        ([], [], None, []),
        (["job.sh"], [], "job.sh", []),
        (["job.sh", "-J", "x", "--"], [], "job.sh", ["-J", "x", "--"]),
        (["-H", "--", "-job.sh", "-n"], ["-H"], "-job.sh", ["-n"]),
        (["--", "--", "x"], [], "--", ["x"]),
        (["-H", "-", "x"], ["-H"], "-", ["x"]),
        (["", "x"], [], "", ["x"]),
        (["--wrap", "job.sh"], ["--wrap", "job.sh"], None, []),
        (["-H", "--wrap=a b", "c"], ["-H", "--wrap=a b"], None, ["c"]),
        (["-J"], ["-J"], None, []),
    ],
)
def test_options_end_at_the_first_word_that_is_none(words, flags, name, arguments):
    line = parse_line(words)
    assert (line.flags, line.script, line.arguments) == (flags, name, arguments)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("part", "partition"),
        ("arr", "array"),
        ("job", "job-name"),
        ("mem", "mem"),
        ("time", "time"),
        ("wait", "wait"),
        ("clusters", "clusters"),
        ("cluster", "clusters"),
        ("exclu", None),
        ("gpu", None),
        ("no", None),
        ("clu", None),
        ("", None),
        ("nosuch", None),
        ("Partition", None),
    ],
)
def test_an_unambiguous_beginning_names_an_option(written, name):
    assert full_name(written) == name


def test_an_ambiguous_beginning_takes_its_word_if_all_that_it_may_mean_do():
    assert parse_line(["--tres", "x", "job.sh"]).script == "job.sh"
    assert parse_line(["--spread", "job.sh"]).script == "job.sh"
    assert parse_line(["--tres=x", "job.sh"]).unknown == ["--tres"]


def test_a_plugins_option_takes_what_the_help_says():
    help_text = "  -Z, --site=where   a site's\n      --flag    none\n      --may[=x]   perhaps\n"
    words = ["--site", "here", "--flag", "--may", "job.sh"]
    assert parse_line(words).unknown == ["--site"]
    known = parse_line(words, help_text)
    assert (known.script, known.unknown) == ("job.sh", [])
    assert known.values == {"site": "here", "flag": "", "may": ""}
    assert parse_line(["-Z", "here", "job.sh"], help_text).script == "job.sh"


options = st.sampled_from(sorted(OPTIONS))
texts = st.text(st.characters(exclude_characters="\0"), max_size=12)


@st.composite
def written_option(draw):
    """(the words of an option, its name, its value)"""
    name, value = draw(options), draw(texts)
    takes = OPTIONS[name]
    if takes is Takes.NOTHING or (takes is Takes.MAYBE and draw(st.booleans())):
        return [f"--{name}"], name, ""
    if takes is Takes.VALUE and draw(st.booleans()):
        return [f"--{name}", value], name, value
    return [f"--{name}={value}"], name, value


@given(
    st.lists(written_option(), max_size=6),
    st.booleans(),
    texts.filter(lambda text: not text.startswith("-")),
    st.lists(texts, max_size=4),
)
def test_what_was_written_is_found_again_word_for_word(written, dashes, name, arguments):
    flags = [word for words, _, _ in written for word in words]
    line = parse_line([*flags, *(["--"] if dashes else []), name, *arguments])
    expected = {}
    for _, option, value in written:
        expected[meant(option)] = value
    assert (line.flags, line.values) == (flags, expected)
    if "wrap" in expected:
        assert (line.script, line.arguments) == (None, [name, *arguments])
    else:
        assert (line.script, line.arguments) == (name, arguments)


@given(
    st.lists(st.text(st.characters(exclude_characters="\0"), max_size=8) | options.map("--{}".format), max_size=8)
)
def test_no_command_line_is_too_odd_to_be_read(words):
    line = parse_line(words)
    named = [] if line.script is None else [line.script]
    assert [*line.flags, *named, *line.arguments] in (words, without_first_dashes(words, len(line.flags)))


@pytest.mark.parametrize("words", [["-J"], ["-HJ"], ["--job-name"], ["-H", "--wrap"], ["--job"]])
def test_an_option_whose_value_is_missing_is_noticed(words):
    assert parse_line(words).is_cut_short
    assert not parse_line([*words, "job.sh"]).is_cut_short


def without_first_dashes(words, at):
    return [*words[:at], *words[at + 1 :]]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (" -J name --time=1", ["-J", "name", "--time=1"]),
        (' -J "two words"', ["-J", "two words"]),
        (" -J 'it\"s'", ["-J", 'it"s']),
        (" --comment=\"a\"b'c'", ["--comment=abc"]),
        (r" -J a\"b\#c", ["-J", 'a"b#c']),
        (r' -J "a\"b\\"', ["-J", 'a"b\\']),
        (" -J name # a comment", ["-J", "name"]),
        (" -J na#me -H", ["-J", "na"]),
        (' -J "na#me" -H', ["-J", "na#me", "-H"]),
        (' -J "" -H', ["-J"]),
        (" -J name\r", ["-J", "name"]),
        (" -J a\u00a0b\u2003c", ["-J", "a\u00a0b\u2003c"]),
        ("\t-J\x0bname", ["-J", "name"]),
        ("", []),
        (" # -H", []),
    ],
)
def test_a_directive_is_split_as_sbatch_splits_it(line, words):
    assert list(words_of(line)) == words


def test_directives_end_at_the_first_command():
    text = script(
        "#SBATCH -J first",
        "",
        "   ",
        "# a comment",
        "  # another",
        "##SBATCH --qos=none",
        " #SBATCH --account=none",
        "#SBATCH --time=5 # five minutes",
        "#SLURM -n 2",
        "cd /tmp",
        "#SBATCH -p late",
    )
    assert parse_directives(text) == {"job-name": "first", "time": "5", "ntasks": "2"}


@pytest.mark.parametrize(
    ("lines", "values"),
    [
        (["#SBATCH -J", "#SBATCH name"], {"job-name": "name"}),
        (["#SBATCH -J a", "#SBATCH -J b"], {"job-name": "b"}),
        (["#SBATCH"], {}),
        (["#SBATCH-J name"], {"job-name": "name"}),
        (["#SBATCH -J \u00e9\udcff"], {"job-name": "\u00e9\udcff"}),
        (["\u00a0", "#SBATCH -H"], {}),
        (["#PBS -t 1-3", "#PBS -N name"], {"array": "1-3"}),
        (["#PBS -J 1-3", "#SBATCH --ignore-pbs"], {"ignore-pbs": ""}),
        (["#SBATCH -N1", "#SBATCH hetjob", "#SBATCH -N2"], {"nodes": "1"}),
    ],
)
def test_odd_directives_mean_what_they_mean_to_sbatch(lines, values):
    assert parse_directives(script(*lines)) == values


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"#SBATCH -J x", b"true\n#SBATCH -J x", b"\xff\xfe\0", b"#!/bin/sh\r\n"]
)
def test_any_bytes_can_be_looked_through_for_directives(text):
    assert parse_directives(text) == ({"job-name": "x"} if text.startswith(b"#SB") else {})


def test_a_job_of_differing_components_is_recognised():
    assert is_heterogeneous(parse_line(["-n1", ":", "-n2", "job.sh"]))
    assert is_heterogeneous(parse_line(["job.sh"]), script("#SBATCH HetJob"))
    assert is_heterogeneous(parse_line(["job.sh"]), script("#SBATCH packjob"))
    assert not is_heterogeneous(parse_line(["job.sh", ":"]), script("#SBATCH -J hetjobs", "#SBATCH hetjobs"))


# What each of 22.05, 24.11 and 26.05 made of these.
@pytest.mark.parametrize(
    ("spec", "indices", "limit"),
    [
        ("7", [7], None),
        ("0-15:4", [0, 4, 8, 12], None),
        ("1,3-5%2", [1, 3, 4, 5], 2),
        ("1-3%2,5", [1, 2, 3, 5], 2),
        ("3,1-3", [1, 2, 3], None),
        ("[1-3]", [1, 2, 3], None),
        ("1,,3,", [1, 3], None),
        (" 2- 3", [2, 3], None),
        ("+1", [1], None),
        ("%2", [0], 2),
        ("1-3%0", [1, 2, 3], None),
        ("1-3%x", [1, 2, 3], None),
        ("1-3%2x", [1, 2, 3], 2),
    ],
)
def test_an_array_has_the_indices_that_slurm_gives_it(spec, indices, limit):
    assert array_indices(spec) == (indices, limit)


@pytest.mark.parametrize(
    "spec", ["", ",", "1 ", "3-1", "1:2", "0x3", "7-", "-3", "1-2-3", "1-3:0", "a", "\u0661", "1;2"]
)
def test_what_slurm_refuses_is_no_array(spec):
    assert array_indices(spec) is None


ranges = st.tuples(st.integers(0, 900), st.integers(0, 90), st.integers(1, 9))


@given(st.lists(ranges, min_size=1, max_size=5), st.none() | st.integers(1, 99))
def test_arrays_of_any_ranges_are_counted_out(parts, limit):
    spec = ",".join(f"{first}-{first + more}:{step}" for first, more, step in parts)
    expected = sorted({n for first, more, step in parts for n in range(first, first + more + 1, step)})
    assert array_indices(spec if limit is None else f"{spec}%{limit}") == (expected, limit)


@given(st.text(string.printable, max_size=20))
def test_no_array_is_too_odd_to_be_read(spec):
    found = array_indices(spec)
    assert found is None or found[0] == sorted(set(found[0]))
