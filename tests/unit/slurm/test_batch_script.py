"""Options and the batch scripts made of them."""

from __future__ import annotations

import shlex
import subprocess
import warnings

import pytest
import submitit
from hypothesis import given
from hypothesis import strategies as st

from hpcorch.errors import UsageError
from hpcorch.model.keys.launch_keys import LaunchKeys
from hpcorch.slurm.sbatch.executor import sbatch_text
from hpcorch.slurm.sbatch.quoting import directives, for_bash, for_directive, literal_path

# Every key of hydra-submitit-launcher 1.2 and of its 1.4 development version that a submission can show, a value
# that a user would write, and the directives that it must lead to.
INCUMBENT_KEYS = {
    "timeout_min": (90, {"time": "90"}),
    "cpus_per_task": (4, {"cpus-per-task": "4"}),
    "gpus_per_node": (2, {"gpus-per-node": "2"}),
    "gpus_per_task": (1, {"gpus-per-task": "1", "nodes": "1", "ntasks-per-node": "1"}),
    "tasks_per_node": (2, {"ntasks-per-node": "2"}),
    "mem_gb": (1.5, {"mem": "1536MB"}),
    "mem_per_gpu": ("8G", {"mem-per-gpu": "8G"}),
    "mem_per_cpu": ("2G", {"mem-per-cpu": "2G"}),
    "cpus_per_gpu": (3, {"cpus-per-gpu": "3"}),
    "nodes": (2, {"nodes": "2"}),
    "name": ("my job", {"job-name": "my job"}),
    "partition": ("urgent", {"partition": "urgent"}),
    "qos": ("high", {"qos": "high"}),
    "account": ("lab", {"account": "lab"}),
    "constraint": ("a100|h100", {"constraint": "a100|h100"}),
    "exclude": ("n[1-2]", {"exclude": "n[1-2]"}),
    "gres": ("gpu:a100:2,shard:1", {"gres": "gpu:a100:2,shard:1"}),
}
OUR_KEYS = {
    "licenses": ({"scratch": 1, "matlab": 2}, {"licenses": "scratch:1,matlab:2"}),
    "reservation": ("maintenance", {"reservation": "maintenance"}),
    "nice": (100, {"nice": "100"}),
    "dependency": ("singleton", {"dependency": "singleton"}),
    "nodelist": ("n[1-2]", {"nodelist": "n[1-2]"}),
}


def script(array="0-11", **options):
    hold = options.pop("hold", True)
    exports = options.pop("exports", None)
    return sbatch_text(
        LaunchKeys.parse(options),
        array=array,
        command=("-u", "-m", "hpcorch.runtime", "/sweep"),
        log_pattern="/logs/%A_%a.log",
        token="abc",
        exports=exports,
        hold=hold,
    )


def flags(**options):
    return directives(script(**options))


def submitit_flags(**options):
    """What the incumbent's launcher makes of the same options."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 2))  # there need not be a Slurm
        executor = submitit.SlurmExecutor("/logs", python="python")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        always = {"nodes": 1, "tasks_per_node": 1}  # its launcher passes all of its defaults on
        executor.update_parameters(**executor._convert_parameters(always | options))
        return directives(executor._make_submission_file_text("command", "uid"))


def test_nothing_is_said_that_nobody_asked_for():
    assert flags() == {
        "array": "0-11",
        "comment": "hpcorch:abc",
        "hold": "",
        "job-name": "hpcorch",
        "open-mode": "append",
        "output": "/logs/%A_%a.log",
        "requeue": "",
        "signal": "B:USR1@120",
        "time": "60",
    }


@pytest.mark.parametrize("key", INCUMBENT_KEYS)
def test_each_key_of_the_incumbent_gives_its_flag(key):
    value, wanted = INCUMBENT_KEYS[key]
    ours = flags(**{key: value})
    assert {name: ours.get(name) for name in wanted} == wanted
    theirs = submitit_flags(**{key: value})
    assert {name: theirs.get(name) for name in wanted} == wanted


@pytest.mark.parametrize("key", OUR_KEYS)
def test_each_key_of_ours_gives_its_flag(key):
    value, wanted = OUR_KEYS[key]
    ours = flags(**{key: value})
    assert {name: ours[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("key", "value"), [("gpus_per_node", "a100:2"), ("licenses", "scratch@db:2"), ("mem_gb", 0), ("mem_gb", 4)]
)
def test_values_of_slurms_own_language_pass_through(key, value):
    flag = {"gpus_per_node": "gpus-per-node", "mem_gb": "mem"}.get(key, key)
    assert flags(**{key: value})[flag] == (f"{value}GB" if key == "mem_gb" else value)


def test_the_users_comment_stands_before_the_token():
    assert (
        flags(comment="it's mine \\o/ # not a comment")["comment"] == "it's mine \\o/ # not a comment hpcorch:abc"
    )
    assert flags(additional_parameters={"comment": "other"})["comment"] == "other hpcorch:abc"


@pytest.mark.parametrize(("parallelism", "array"), [(256, "0-11"), (12, "0-11"), (11, "0-11%11"), (1, "0-11%1")])
def test_array_parallelism_is_written_only_where_it_limits(parallelism, array):
    assert flags(array_parallelism=parallelism)["array"] == array


def test_the_array_may_be_a_range_or_a_list_of_indices():
    assert flags(array=range(3))["array"] == "0-2"
    assert flags(array="0,5-7")["array"] == "0,5-7"
    assert "array" not in flags(array=None)
    with pytest.raises(UsageError, match="at least one run"):
        script(array=range(0))


def test_additional_parameters_win_in_either_spelling():
    more = {"cpus-per-task": 8, "open_mode": "truncate", "time": "1-0", "mail_type": "END", "exclusive": True}
    text = script(cpus_per_task=2, partition="a", additional_parameters=more)
    assert text.count("cpus-per-task") == 1
    found = directives(text)
    assert (found["cpus-per-task"], found["open-mode"], found["time"]) == ("8", "truncate", "1-0")
    assert (found["mail-type"], found["exclusive"], found["partition"]) == ("END", "", "a")


def test_additional_parameters_take_flags_away():
    found = flags(partition="a", licenses="x:1", additional_parameters={"partition": None, "requeue": False})
    assert not {"partition", "requeue"} & set(found)
    assert "requeue" not in flags(additional_parameters={"no-requeue": True})


@pytest.mark.parametrize("flag", ["array", "output", "hold"])
def test_additional_parameters_cannot_break_the_submission(flag):
    with pytest.raises(UsageError, match=flag):
        script(additional_parameters={flag: "x"})


def test_one_task_is_executed_without_srun():
    text = script(setup=["module load cuda", 'export A="b c"'], exports={"PYTHONHASHSEED": "0"})
    body = text.split("# setup\n")[1].splitlines()
    assert body[:4] == ["# hpcorch:abc", "module load cuda", 'export A="b c"', "export PYTHONHASHSEED=0"]
    assert body[-1].startswith("exec ")
    assert body[-1].endswith(" -u -m hpcorch.runtime /sweep")
    assert "srun" not in text


@pytest.mark.parametrize(
    "options",
    [
        {"nodes": 2},
        {"tasks_per_node": 2},
        {"srun_args": ["--mpi=pmix"]},
        {"additional_parameters": {"ntasks": 4}},
        {"additional_parameters": {"nodes": "2-4"}},
    ],
)
def test_several_tasks_or_srun_args_start_under_srun(options):
    text = script(python="apptainer exec image.sif python", cpus_per_task=4, **options)
    command = text.strip().splitlines()[-1]
    assert command.startswith("exec srun --unbuffered --kill-on-bad-exit=1 --cpus-per-task=4 ")
    assert command.endswith(" apptainer exec image.sif python -u -m hpcorch.runtime /sweep")
    assert directives(text)["signal"] == "USR1@120"
    assert all(argument in command for argument in options.get("srun_args", []))


@pytest.mark.parametrize("nothing", [None, False])
def test_a_warning_that_was_taken_away_is_not_replaced_by_another(nothing):
    assert "signal" not in directives(script(additional_parameters={"signal": nothing}))


def test_a_second_file_takes_errors_only_where_asked():
    def found(**options):
        asked = LaunchKeys.parse(options)
        return directives(
            sbatch_text(asked, array="0", command=(), log_pattern="/l.out", error_pattern="/l.err", token="t")
        )

    assert found(stderr_to_stdout=False)["error"] == "/l.err"
    assert "error" not in found()


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_text_reaches_the_program_through_bash(text):
    word = for_bash(text)
    assert "\n" not in word
    assert "\r" not in word
    printed = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert printed.stdout == text.encode()


def test_directives_double_backslashes_for_slurms_reader():
    assert shlex.split(for_directive("a\\b").replace("\\", "\\\\")) == ["a\\\\b"]
    with pytest.raises(UsageError, match="line break"):
        for_directive("a\nb")


def test_a_percent_sign_in_a_folder_means_itself():
    assert literal_path("/a%j/b") == "/a%%j/b"
    with pytest.raises(UsageError, match="backslash"):
        literal_path("/a\\b")
