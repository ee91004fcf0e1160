"""What was typed, what of it a job gets, and which variables a program draws from a clock or from chance."""

from __future__ import annotations

import random
import uuid
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcorch.runtime.program.calling_program import parse_command_line, words_given
from hpcorch.runtime.program.drawn import drawn_values, still_drawn
from hpcorch.runtime.program.execution import job_argv


@pytest.mark.parametrize(
    ("line", "options", "module", "file", "arguments"),
    [
        ("python train.py -m x=1", "", None, "train.py", "-m x=1"),
        ("python -O -X dev -W error train.py", "-O -X dev -W error", None, "train.py", ""),
        ("python -OOXdev -Werror -um pkg.train a", "-OO -X dev -W error -u", "pkg.train", None, "a"),
        ("python -mpkg.train", "", "pkg.train", None, ""),
        ("python -iB train.py", "-B", None, "train.py", ""),
        ("python -c print(1) a", "", None, None, "a"),
        ("python --check-hash-based-pycs always -s x.py", "--check-hash-based-pycs always -s", None, "x.py", ""),
        ("python - a", "", None, "-", "a"),
        ("python", "", None, None, ""),
    ],
)
def test_a_command_line_of_python_is_taken_apart_as_python_does(line, options, module, file, arguments):
    found = parse_command_line(line.split())
    assert found.options == tuple(options.split())
    assert (found.module, found.file) == (module, file)
    assert found.arguments == tuple(arguments.split())


@pytest.mark.parametrize(
    ("typed", "overrides", "argv"),
    [
        ("t.py -m lr=1,2 --scale 5", ["lr=1"], "t.py lr=1 --scale 5"),
        ("t.py --multirun +x=range(3) ~y", ["+x=2", "~y"], "t.py +x=2 ~y"),
        ("t.py -m a=b --data q=r,s", ["a=b"], "t.py a=b --data q=r,s"),
        ("t.py -m model=x,y hydra/launcher=l", ["model=x", "seed=3"], "t.py model=x hydra/launcher=l seed=3"),
        ("t.py ++x=1,2 -m", ["++x=2"], "t.py ++x=2"),
        ("t.py hydra.mode=MULTIRUN x=1,2", ["x=2"], "t.py hydra.mode=RUN x=2"),
    ],
)
def test_a_job_has_the_typed_arguments_with_the_values_of_its_run(typed, overrides, argv):
    words = typed.split()
    assert job_argv(words, words_given(words, words[1:]), overrides) == argv.split()


@pytest.mark.parametrize(
    ("typed", "given", "argv"),
    [
        ("t.py -m fast x=1,2", "--multirun x=1,2", "t.py -m fast x=1"),
        ("t.py x=own -m x=1,2", "-m x=1,2", "t.py x=own x=1"),
        ("t.py a -m -- -m x=1,2", "-m x=1,2", "t.py a -m -- x=1"),
        ("t.py --x=1,2 -m", "-m x=1,2", "t.py --x=1,2 x=1"),
    ],
)
def test_arguments_that_a_program_has_taken_for_itself_stay_as_they_were_typed(typed, given, argv):
    words = typed.split()
    assert job_argv(words, words_given(words, given.split()), ["x=1"]) == argv.split()


@given(st.lists(st.text(st.characters(exclude_characters="=\0"), max_size=8)))
def test_arguments_that_are_no_overrides_stay_as_they_were_typed(words):
    typed = ["t.py", *words]
    assert job_argv(typed, words_given(typed, words), []) == [w for w in typed if w not in ("-m", "--multirun")]
    assert job_argv(typed, words_given(typed, []), []) == typed


SOURCE = """
import datetime, os, random, time, uuid
from datetime import datetime as moment
from pathlib import Path
from uuid import uuid4

def name():
    return f"run-{random.randint(0, 10**9)}"

def outer():
    return name()

A = uuid.uuid4()
B = f"{moment.now():%H}"
C = Path("out") / B
D: int = random.randint(0, 9)
E = [time.time(), "x"]
F = outer()
if True:
    G, H = uuid4().hex, 1
WORD = "same"
CPUS = os.cpu_count()
DEVICE = os.environ.get("DEVICE", "cpu")
WHEN = datetime.datetime(2020, 1, 1)
OBJECT = object()
STARTED = [object(), time.time()]
B2 = "set" ; I = uuid4() ; I = "set later"
"""


def test_what_is_drawn_from_a_clock_or_from_chance_is_told_from_the_rest():
    namespace: dict[str, object] = {}
    exec(SOURCE, namespace)
    drawn = drawn_values(SOURCE.encode(), namespace)
    assert drawn == {name: namespace[name] for name in ("A", "B", "C", "D", "E", "F", "G", "H")}


def test_what_a_corrected_program_assigns_otherwise_is_not_what_it_had_drawn():
    before = b"import time\ndef stamp():\n    return time.time()\nA = time.time()\nB = stamp()\nC = time.time()\n"
    after = before.replace(b"return time.time()", b"return 2 * time.time()").replace(b"C = time.time()", b"C = 5")
    drawn = {"A": 1.0, "B": 2.0, "C": 3.0}
    assert still_drawn(drawn, before, before) == drawn
    assert still_drawn(drawn, before, after) == {"A": 1.0}


def test_a_source_that_python_cannot_read_has_no_drawn_values():
    assert drawn_values(b"x = (", {}) == {}


def test_only_plain_values_are_taken():
    class Token(str):
        """Of the program's own."""

    source = b"import random\nA = random.choice(['x'])\nB = random.choice(['x'])\n"
    values = {"random": random, "A": Token("x"), "B": Path("x")}
    assert drawn_values(source, values) == {"B": Path("x")}
    found = {"random": random, "A": {"when": date(2020, 1, 1), "id": uuid.UUID(int=1)}, "B": print}
    assert drawn_values(source, found) == {"A": found["A"]}
