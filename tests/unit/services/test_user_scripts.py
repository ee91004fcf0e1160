"""What a user's sbatch command line asks for, and the command line that sbatch is given."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcorch.errors import UsageError
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.provenance.secrets import secret_variable
from hpcorch.services.user_scripts.own_flags import Asked, asked_in_script, take_ours
from hpcorch.services.user_scripts.request import (
    Granted,
    ScriptRequest,
    array_of,
    command_line,
    log_pattern,
    merged_values,
)
from hpcorch.services.user_scripts.source import code_folder, find_script, read_source
from hpcorch.slurm.sbatch.line import parse_directives, parse_line

MARK = "--comment=hpcorch:T"
OURS = ["--parsable", MARK]


def request(*words: str, script: str = "", environ: dict[str, str] | None = None, **made) -> ScriptRequest:
    line = parse_line(words)
    text = f"#!/bin/bash\n{script}\ntrue\n".encode()
    values = merged_values(line, environ or {}, parse_directives(text))
    indices, parallel = array_of(values)
    path = None if line.script is None else Path(line.script)
    return ScriptRequest(
        line=line, text=text, path=path, values=values, asked=Asked(), indices=indices, parallel=parallel, **made
    )


def given_to_sbatch(*words: str, granted: Granted | None = None, **about) -> list[str]:
    asked = request(*words, **about)
    return command_line(asked, granted or Granted(keys=asked.keys()), "T")


@pytest.mark.parametrize(
    ("words", "argv"),
    [
        (["job.sh", "a b", "-n", ""], [*OURS, "job.sh", "a b", "-n", ""]),
        (["-N1", "--qos", "x", "job.sh"], ["-N1", "--qos", "x", *OURS, "job.sh"]),
        (["--wrap", "echo $HOME"], ["--wrap", "echo $HOME", *OURS]),
        (["--wrap=a", "--", "-b"], ["--wrap=a", *OURS, "--", "-b"]),
        (["--", "-job.sh"], [*OURS, "--", "-job.sh"]),
        ([], OURS),
        (["--parsable", "job.sh"], ["--parsable", *OURS, "job.sh"]),
        (["--comment=mine", "job.sh"], ["--comment=mine", "--parsable", "--comment=mine hpcorch:T", "job.sh"]),
        (["--export=NONE", "job.sh"], ["--export=NONE", *OURS, "job.sh"]),
        (["--export=all,A=1", "job.sh"], ["--export=all,A=1", *OURS, "job.sh"]),
        (["-a", "0-9%3", "job.sh"], ["-a", "0-9%3", *OURS, "job.sh"]),
        (["-L", "scratch:1", "job.sh"], ["-L", "scratch:1", *OURS, "job.sh"]),
    ],
)
def test_what_the_user_wrote_stays_as_it_was_written(words, argv):
    assert given_to_sbatch(*words) == argv


words = st.lists(st.text(st.characters(exclude_characters="\0"), max_size=10), max_size=6)


@given(words)
def test_any_script_arguments_reach_sbatch_as_they_are(arguments):
    assert given_to_sbatch("-H", "job.sh", *arguments) == ["-H", *OURS, "job.sh", *arguments]


@given(st.sampled_from(["--hold", "-n2", "--time=5", "--nice"]), words)
def test_our_flags_are_taken_out_wherever_they_stand_before_the_script(flag, arguments):
    ours = ["--hpcorch-pool", "critical", "--hpcorch-resource=a=2"]
    expected = Asked(resources={"a": 2}, pool="critical")
    rest = ["job.sh", *ours, *arguments]
    assert take_ours([*ours, flag, *rest]) == (expected, [flag, *rest])
    assert take_ours([flag, *ours, *rest]) == (expected, [flag, *rest])
    assert take_ours([flag, *rest]) == (Asked(), [flag, *rest])


def test_a_value_that_looks_like_our_flag_is_a_value():
    words = ["-J", "--hpcorch-pool", "--comment", "--hpcorch-resource=a", "job.sh"]
    assert take_ours(words) == (Asked(), words)


def test_of_our_flags_the_last_counts_and_of_each_resource_the_last_amount():
    flags = ["--hpcorch-pool=a", "--hpcorch-pool=b", "--hpcorch-resource=x=1", "--hpcorch-resource=y"]
    asked, left = take_ours([*flags, "--hpcorch-resource=x=3"])
    assert (asked, left) == (Asked(pool="b", resources={"x": 3, "y": 1}), [])


@pytest.mark.parametrize(
    "flags",
    [
        ["--hpcorch-pool"],
        ["--hpcorch-pool="],
        ["--hpcorch-resource"],
        ["--hpcorch-resource", "=1"],
        ["--hpcorch-resource=a=one"],
        ["--hpcorch-resource=a=-1"],
        ["--hpcorch-resource=a=\u00b2"],
    ],
)
def test_a_flag_of_ours_without_a_sound_value_is_refused_in_a_sentence(flags):
    with pytest.raises(UsageError, match=r"hpcorch-pool|hpcorch-resource|not an amount of a resource"):
        take_ours(flags)


def test_lines_of_the_script_ask_too_and_the_command_line_wins():
    text = (
        b"#!/bin/sh\n#HPCORCH --resource scratch=2 --pool night # for the nights\n\n#HPCORCH --resource=b\ntrue\n"
    )
    found = asked_in_script(text + b"#HPCORCH --resource late\n")
    assert found == Asked(resources={"scratch": 2, "b": 1}, pool="night")
    asked, _ = take_ours(["--hpcorch-resource=scratch=1"])
    assert asked.over(found) == Asked(resources={"scratch": 1, "b": 1}, pool="night")


@pytest.mark.parametrize("line", ["--nosuch x", "critical", "--resource", "--pool night extra", "-p x"])
def test_what_no_line_may_ask_is_refused_with_what_it_may(line):
    with pytest.raises(UsageError, match=r"--resource NAME=COUNT|needs a value"):
        asked_in_script(f"#!/bin/sh\n#HPCORCH {line}\n".encode())


def test_the_command_line_wins_over_the_environment_and_that_over_the_script():
    script = "#SBATCH -J script --qos=script --partition=script"
    environ = {"SBATCH_JOB_NAME": "environ", "SBATCH_QOS": "environ", "SBATCH_ARRAY_INX": "1-2"}
    asked = request("-J", "line", "job.sh", script=script, environ=environ)
    assert (asked.name, asked.values["qos"], asked.values["partition"]) == ("line", "environ", "script")
    assert (asked.indices, asked.parallel) == ([1, 2], None)


@pytest.mark.parametrize(
    ("words", "name"),
    [(["dir/job.sh"], "job.sh"), (["--wrap=x"], "wrap"), ([], "sbatch"), (["-J", "n", "job.sh"], "n")],
)
def test_a_job_is_called_as_sbatch_calls_it(words, name):
    assert request(*words).name == name


def test_an_empty_array_is_none():
    assert request("--array=", "job.sh").indices is None
    with pytest.raises(ValueError, match="--array=3-1"):
        request("--array=3-1", "job.sh")


def test_terms_of_a_pool_stand_before_the_users_flags_which_win():
    granted = Granted(keys=LaunchKeys(partition="night", qos="low", nice=10))
    argv = given_to_sbatch("--qos=mine", "job.sh", granted=granted)
    assert argv == ["--partition=night", "--nice=10", "--qos=mine", *OURS, "job.sh"]


@pytest.mark.parametrize(
    ("flags", "nice"),
    [(["--nice=7"], 7), (["--nice=-5"], -5), (["--nice"], 100), ([], None), (["--nice=low"], None)],
)
def test_a_nice_value_is_read_as_sbatch_reads_it_and_a_wrong_one_is_left_to_sbatch(flags, nice):
    assert request(*flags, "job.sh").keys().nice == nice


def test_what_the_user_of_a_script_asked_for_is_on_record_and_nothing_else():
    asked = request("--partition=p", "-c4", "--array=0-9%3", "job.sh")
    options = Granted(keys=asked.keys()).options
    assert options == {
        "partition": "p",
        "additional_parameters": {"cpus-per-task": "4"},
        "array_parallelism": 3,
    }
    assert Granted(keys=request("job.sh").keys()).options == {}


def test_a_throttled_array_comes_held_and_one_element_at_a_time():
    granted = Granted(keys=LaunchKeys.parse({"array_parallelism": 4, "throttles": {"scratch_io": 1}}))
    argv = given_to_sbatch("--array=1-9:2", "job.sh", granted=granted)
    assert argv[0] == "--array=1-9:2"
    assert {"--hold", "--array=1,3,5,7,9%1"} <= set(argv[1:])
    (comment,) = (word for word in argv if word.startswith("--comment="))
    assert "scratch_io" in comment
    assert comment.endswith("hpcorch:T")


def test_a_limit_of_the_profile_that_is_lower_than_the_users_is_told_to_sbatch():
    argv = given_to_sbatch("--array=0-9%8", "job.sh", granted=Granted(keys=LaunchKeys(array_parallelism=2)))
    assert argv[-2:] == ["--array=0-9%2", "job.sh"]


def test_licences_of_the_profile_are_added_to_the_users():
    granted = Granted(keys=LaunchKeys.parse({"licenses": {"scratch": 1, "matlab": 2}}))
    assert "--licenses=scratch:1,matlab:2" in given_to_sbatch("-L", "matlab:2", "job.sh", granted=granted)


@pytest.mark.parametrize("listed", ["HOME,PATH", "A=1", ""])
def test_a_list_of_variables_is_extended_by_ours(listed):
    argv = given_to_sbatch(f"--export={listed}", "job.sh")
    assert argv[-2] == f"--export={listed},HPCORCH_SWEEP_DIR,HPCORCH_TOKEN"


@pytest.mark.parametrize(
    ("words", "log"),
    [
        (["job.sh"], "/here/slurm-%j.out"),
        (["-a", "1", "job.sh"], "/here/slurm-%A_%a.out"),
        (["-D", "sub", "-o", "x-%j", "job.sh"], "/here/sub/x-%j"),
        (["-D", "/there", "-o", "/logs/%x", "job.sh"], "/logs/%x"),
    ],
)
def test_the_log_lies_where_sbatch_puts_it(words, log):
    assert log_pattern(request(*words), Path("/here")) == log


def test_the_code_of_a_script_is_where_it_lies():
    here = Path("/here")
    assert code_folder(None, here) == here
    assert code_folder(Path("sub/job.sh"), here) == here
    assert code_folder(Path("/elsewhere/job.sh"), here) == Path("/elsewhere")
    assert code_folder(Path("/dev/fd/63"), here) == here
    assert code_folder(Path("/tmp/project/job.sh"), Path("/tmp")) == Path("/tmp/project"), "a folder of everybody's"


def test_a_script_is_looked_for_as_sbatch_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("sub/both.sh", "bin/both.sh", "bin/onpath.sh", "here.sh", "bin/here.sh", "bin/folder/x", "folder"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    search = f"{tmp_path}/nosuch::{tmp_path}/bin"
    assert find_script("here.sh", ".", search) == Path("here.sh")
    assert find_script("both.sh", "sub", search) == Path("sub/both.sh")
    assert find_script("onpath.sh", ".", search) == tmp_path / "bin/onpath.sh"
    assert find_script("./onpath.sh", ".", search) == Path("onpath.sh")
    assert find_script("nosuch.sh", "sub", search) == Path("nosuch.sh")
    assert find_script("bin", ".", search) == Path("bin")


def test_a_wrapped_command_is_the_script_that_sbatch_makes_of_it():
    text = read_source(parse_line(["--wrap", "echo 'a'\udcff"]), {}).text
    assert text == b"#!/bin/sh\n# This script was created by sbatch --wrap.\n\necho 'a'\xff\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--export=ALL,API_TOKEN=hunter2,X=1", "job.sh"], ["--export=ALL,API_TOKEN=***,X=1", "job.sh"]),
        (["--export=API_TOKEN=hunter2", "job.sh"], ["--export=API_TOKEN=***", "job.sh"]),
        (["--export", "api_key='hunter2,b',X=1", "job.sh"], ["--export", "api_key=***,X=1", "job.sh"]),
        (["--export=DB=postgres://u:hunter2@h/d", "-N1", "job.sh"], ["--export=DB=***", "-N1", "job.sh"]),
        (["--plugin", "x", "--export=TOKEN=hunter2", "job.sh"], ["--plugin", "x", "--export=TOKEN=***", "job.sh"]),
        (["--export=ALL,X=1", "--comment=key=1", "job.sh"], ["--export=ALL,X=1", "--comment=key=1", "job.sh"]),
        (["--export-file=token", "job.sh"], ["--export-file=token", "job.sh"]),
        (["job.sh", "--export=TOKEN=a"], ["job.sh", "--export=TOKEN=a"]),
        (["--export"], ["--export"]),
    ],
)
def test_secrets_of_the_command_line_are_not_put_on_record_and_sbatch_gets_them(words, told):
    line = parse_line(words, "  --plugin=<x>  of the site's\n")
    made = ScriptRequest(line=line, text=b"", path=None, values={}, asked=Asked())
    assert made.told_line.words == told
    assert made.config("")["flags"] == list(made.told_line.flags)
    assert command_line(made, Granted(keys=made.keys()), "T")[: len(line.flags)] == list(line.flags)


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("SBATCH_EXPORT", "ALL,API_TOKEN=x", True),
        ("SLURM_EXPORT_ENV", "A=1,DB=postgres://u:p@h/d", True),
        ("SBATCH_EXPORT", "ALL,A=1", False),
        ("OTHER", "ALL,API_TOKEN=x", False),
    ],
)
def test_a_variable_that_exports_a_secret_is_one(name, value, is_secret):
    assert secret_variable(name, value) is is_secret
