"""``hpcorch sbatch`` beside ``sbatch`` on real daemons: the same jobs, the same answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import string
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcorch.slurm.sbatch.line import OPTIONS, parse_line
from tests.support.hostile_values import HOSTILE_ARGUMENTS
from tests.support.waiting import wait_until

SCRIPTS = Path(__file__).parent / "sbatch_scripts"
# What users type. Each runs in a shell where `sbatch` is the one or the other, and every job comes held.
TYPED = {
    "an array with a step, a limit and comments between its directives": "mkdir -p logs && sbatch array.sh",
    "a loop over values with arguments of several words": """
        for lr in 0.1 0.01; do
            sbatch --job-name="lr_$lr" --parsable train.sh "$lr" "two words" '$HOME' "" --time=1
        done
    """,
    "quotes, escapes and comments in directives": "sbatch quotes.sh",
    "names and comments that are not ASCII": "sbatch unicode.sh",
    "nodes, tasks, GPUs, licences and srun": "sbatch mpi.sh",
    "a script of Python's": "sbatch -p urgent steps.py --epochs 3",
    "a script on standard input with quotes": """
        sbatch -J fed --time 3 <<'EOF'
#!/bin/bash
#SBATCH --array=1,3-5
echo "it's $SLURM_ARRAY_TASK_ID" # `not run` $(here)
EOF
    """,
    "a here-document that the shell fills in": """
        for seed in 1 2; do
            sbatch <<EOF
#!/bin/bash
#SBATCH --job-name=seed-$seed
#SBATCH --output=seed-$seed-%j.out
python3 - <<'PY'
print("seed", $seed, "it's \\"quoted\\"")
PY
EOF
        done
    """,
    "a wrapped command": """
        sbatch -J wrapped --wrap 'echo "$(hostname)" it'"'"'s; for i in 1 2; do echo $i; done'
    """,
    "a chain of dependent jobs": """
        first=$(sbatch --parsable train.sh 0.1)
        second=$(sbatch --parsable --dependency=afterok:$first --array=0-3 train.sh 0.2)
        sbatch --dependency="afterany:${second}_1:$first,singleton" -J last --wrap 'echo done'
        sbatch -d "afterok:$second?afternotok:$first" --kill-on-invalid-dep=yes --array=0-3 array.sh
    """,
    "a script that a process writes": "sbatch -J made <(sed 's/^echo/echo again/' array.sh) one",
    "a folder of its own, and a script on PATH": """
        export PATH=$PWD/bin:$PATH
        sbatch onpath.sh; sbatch -D sub where.sh; sbatch --chdir="$PWD/sub" ./train.sh 1
    """,
    "options in variables": """
        export SBATCH_JOB_NAME=of-env SBATCH_ARRAY_INX=2-4 SBATCH_TIMELIMIT=9 SBATCH_EXPORT=NONE
        sbatch train.sh 1; sbatch -J mine --time=4 train.sh 1
    """,
    "what is exported": """
        sbatch --export=NONE train.sh 1; sbatch --export=HOME,A='x y' train.sh 1; sbatch --export=ALL,B=1 train.sh 1
    """,
    "short flags in bundles, repeated and cut short": """
        sbatch -HO -n2 -N1-2 -t5 --part=urgent -J a -J b --comment=mine train.sh 1; sbatch -koff -- train.sh 1
    """,
    "directives of other systems": "sbatch old.sh; sbatch --ignore-pbs old.sh",
    "an empty name and an empty array": 'sbatch -J "" --array= train.sh 1',
    "components that differ": "sbatch het.sh; sbatch -n1 : -n2 train.sh 1",
}
# What nobody should type. It fails alike.
MISTYPED = [
    "sbatch nosuch.sh",
    "sbatch sub",
    "sbatch ''",
    "sbatch </dev/null",
    "sbatch <&-",
    "sbatch windows.sh",
    "printf '#!/bin/sh\\n\\0' | sbatch",
    "printf ' \\n' | sbatch",
    "printf 'echo no shebang\\n' | sbatch",
    "printf '#!/bin/sh\\n#SBATCH -J \"x\\n' | sbatch",
    "printf '#!/bin/sh\\n#SBATCH -n1 word\\n' | sbatch",
    "sbatch --nonsense train.sh",
    "sbatch --ex train.sh",
    "sbatch -J",
    "sbatch --time",
    "sbatch --time=soon train.sh",
    "sbatch -n many train.sh",
    "sbatch -n 0 train.sh",
    "sbatch -vQ train.sh",
    "sbatch --wrap true train.sh",
    "sbatch --wrap true -- -H",
    "sbatch -p nosuch train.sh",
    "sbatch --qos=nosuch train.sh",
    "sbatch -A nosuch train.sh",
    "sbatch -L nosuch train.sh",
    "sbatch -C nosuch train.sh",
    "sbatch -w nosuch train.sh",
    "sbatch --gres=nosuch train.sh",
    "sbatch --array=3-1 train.sh",
    "sbatch --array=0-4000000 train.sh",
    "sbatch --array=0-99999999 train.sh",
    "sbatch -d afterok:word train.sh",
    "sbatch --uid=bob train.sh",
    "sbatch -M nosuch train.sh",
    "sbatch -D /nosuch nosuch.sh",
    "sbatch --reservation=nosuch train.sh",
    "sbatch --usage",
    "sbatch --version",
]
# What must differ: ids, moments, what depends on the order of submissions, and the mark in the comment. The
# command line that newer releases show has that mark, too.
DIFFERS = re.compile(r"(\w*Time|JobId|ArrayJobId|HetJobId|LastSchedEval|Priority|Comment|SubmitLine)")
SAID = re.compile(r"(?<=batch job )\d+|^\d+$", re.MULTILINE)
WITH_IDS = {"StdOut", "StdErr", "Dependency", "HetJobIdSet"}
FIELD = re.compile(r"(?:^|\s)([A-Z][\w/:]*)=")


# Runs the command lines in files 0, 1, ... and keeps of each what it printed, its exit code and its jobs.
TYPIST = r"""
jobs() { squeue -h -t all -u alice -o %A | sort -un; }
cd "$1"; shift
sbatch() { command "${way[@]}" "$@"; }
read -ra way <<< "$1"
jobs > before
for line in typed/*.line; do
    kept=${line%.line}
    (. "$line") > $kept.out 2> $kept.err; echo $? > $kept.code
    jobs > after; comm -13 before after > $kept.ids; mv after before
    for id in $(cat $kept.ids); do
        scontrol show job -o $id >> $kept.jobs
        scontrol write batch_script $id - > $kept.$id.script 2> /dev/null
    done
    [ ! -s $kept.ids ] || scancel $(cat $kept.ids) 2> /dev/null || true  # one command for each component fails
done
"""


@dataclass(frozen=True)
class Typed:
    """What came of a line: what was printed, and the jobs with their scripts. Ids are numbered from 0."""

    code: int
    out: str
    err: str
    jobs: list[dict[str, str]]
    scripts: list[bytes]


@pytest.fixture
def typist(as_alice, workspace):
    """Types lines, with ``sbatch`` or with what stands for it."""
    shutil.copytree(SCRIPTS, workspace, dirs_exist_ok=True)
    (workspace / "logs").mkdir()  # where a script's output goes: hpcorch warns if it is not there

    def type_in(way: str, *lines: str) -> list[Typed]:
        shutil.rmtree(workspace / "typed", ignore_errors=True)
        (workspace / "typed").mkdir()
        for number, text in enumerate(lines):
            (workspace / "typed" / f"{number:03}.line").write_text(text)
        for path in [workspace, *workspace.rglob("*")]:
            shutil.chown(path, "alice", "alice")
        as_alice.output(["bash", "-c", TYPIST, "typist", str(workspace), way])
        return [typed(workspace, workspace / "typed" / f"{number:03}") for number in range(len(lines))]

    return type_in


def typed(workspace: Path, kept: Path) -> Typed:
    ids = kept.with_suffix(".ids").read_text().split()
    names = {job: f"<{number}>" for number, job in enumerate(ids)}
    shown = kept.with_suffix(".jobs").read_text().splitlines() if ids else []
    return Typed(
        code=int(kept.with_suffix(".code").read_text()),
        out=SAID.sub(lambda job: names.get(job[0], job[0]), kept.with_suffix(".out").read_text()),
        err=kept.with_suffix(".err").read_text(),
        jobs=[fields(line, workspace, names) for line in shown],
        scripts=[kept.with_suffix(f".{job}.script").read_bytes() for job in ids],
    )


def fields(line: str, workspace: Path, names: dict[str, str]) -> dict[str, str]:
    """The fields of a line of scontrol's, with ids as names where there may be some."""
    words = FIELD.split(line.replace(str(workspace), "<here>"))  # values may have blanks, and signs of equality
    found = {
        name: value for name, value in zip(words[1::2], words[2::2], strict=True) if not DIFFERS.fullmatch(name)
    }
    for name in WITH_IDS & found.keys():
        found[name] = re.sub(r"\d+", lambda number: names.get(number[0], number[0]), found[name])
    return found


@pytest.mark.parametrize("text", TYPED.values(), ids=TYPED.keys())
def test_what_users_type_gives_the_same_jobs(typist, text):
    (theirs,), (ours,) = typist("sbatch --hold", text), typist("hpcorch sbatch --hold", text)
    assert theirs.jobs
    assert ours.jobs == theirs.jobs
    assert ours.scripts == theirs.scripts
    told = [line for line in ours.err.splitlines(keepends=True) if not line.startswith("hpcorch: ")]
    assert (ours.code, ours.out, "".join(told)) == (theirs.code, theirs.out, theirs.err)
    assert (ours.err == theirs.err) == ("het.sh" not in text)


def test_what_is_mistyped_fails_alike_and_leaves_nothing(typist, workspace):
    theirs, ours = typist("sbatch", *MISTYPED), typist("hpcorch sbatch", *MISTYPED)
    assert dict(zip(MISTYPED, ours, strict=True)) == dict(zip(MISTYPED, theirs, strict=True))
    assert not [path for path in (workspace / ".hpcorch").glob("*/*") if path.parent.name != "snapshots"]


# getopt says which options there are, and which of them take a value. With --test-only nothing is submitted.
ASK_GETOPT = """
for name in $(echo $0); do
    sbatch --test-only $name < /dev/null 2>&1 | head -n 1 | sed "s/^/$name /"
done
"""


def test_the_table_of_options_is_that_of_the_real_sbatch(as_alice, lab):
    """The help is no witness: it calls values optional that are not, and leaves out some options."""
    asked = [f"--{name}" for name in OPTIONS] + [f"-{letter}" for letter in string.ascii_letters]
    answers = as_alice.output(["bash", "-c", ASK_GETOPT, " ".join(asked)]).splitlines()
    said = {line.partition(" ")[0]: line for line in answers}
    for option in asked:
        answer = said.get(option, "")
        if "unrecognized option" in answer or "invalid option" in answer:
            assert option.startswith("--") or parse_line([option]).unknown
            continue
        line = parse_line([option, "job.sh"])
        assert not line.unknown, option
        assert (line.script is None) == ("requires an argument" in answer), option


def test_no_option_is_missing_in_the_table(as_alice, lab):
    text = as_alice.output(["sbatch", "--help"])
    if lab.version >= (24, 11):
        text += as_alice.output(["sbatch", "--autocomplete=--"])
    named = set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", text))
    assert len(named) > 90
    assert not named - OPTIONS.keys()


SEEN = """#!/bin/bash
#SBATCH --time=2 --output=/dev/null
{
    for name in $(compgen -e); do printf '%s\\0%s\\0' "$name" "${!name}"; done
    printf '%s\\0' umask "$(umask)" ulimit "$(ulimit -a)" pwd "$PWD" arguments "$*"
} > "$1.new"
mv "$1.new" "$1"
"""
OF_ONE_JOB = re.compile(
    r"SLURM_(JOB_?ID|JOB_SLUID|JOB_(START|END)_TIME|TASK_PID|(JOB_)?NODELIST|TOPOLOGY_ADDR|GTIDS)|SLURMD_NODENAME|arguments"
)
EXPORTS = {
    "all": [],
    "none": ["--export=NONE"],
    "some": ["--export=HOME,A=x y"],
    "more": ["--export=ALL,B=1", "-D", "/tmp"],
}


def test_a_job_starts_with_the_same_environment_and_two_variables_more(as_alice, workspace):
    """Where NONE of the environment is to reach the job, none of ours does."""
    (workspace / "seen.sh").write_text(SEEN)
    ways = {"sbatch": ["sbatch"], "hpcorch": ["hpcorch", "sbatch"]}
    for way, words in ways.items():
        for name, flags in EXPORTS.items():
            kept = f"{workspace}/{way}.{name}"
            as_alice.output([*words, *flags, f"{workspace}/seen.sh", kept, "x y"], env={"MINE": "a\nb"})
    for name in EXPORTS:
        paths = [workspace / f"{way}.{name}" for way in ways]
        wait_until(lambda paths=paths: all(path.exists() for path in paths))
        theirs, ours = (seen_in(path) for path in paths)
        added = [key for key in sorted(ours.keys() - theirs.keys()) if ours.pop(key)]
        assert added == ([] if name == "none" else ["HPCORCH_SWEEP_DIR", "HPCORCH_TOKEN"])
        exported = theirs.get("SLURM_EXPORT_ENV")
        assert name != "some" or exported == "HOME,A=x y"
        if name == "some":
            theirs["SLURM_EXPORT_ENV"] = f"{exported},HPCORCH_SWEEP_DIR,HPCORCH_TOKEN"
        assert ours == theirs


def seen_in(path: Path) -> dict[str, str]:
    words = path.read_bytes().decode().split("\0")
    pairs = zip(words[::2], words[1::2], strict=False)
    return {name: value for name, value in pairs if not OF_ONE_JOB.fullmatch(name)}


def test_a_thousand_hostile_arguments_arrive_byte_for_byte(as_alice, workspace):
    """In few jobs of many arguments each. They are on record, too."""
    sent = [argument for argument in HOSTILE_ARGUMENTS if argument != ":"]  # which sbatch drops, wherever it stands
    assert len(sent) >= 999
    told = b"".join(os.fsencode(argument) + b"\0" for argument in sent)
    (workspace / "hostile").write_bytes(told)
    (workspace / "seen.sh").write_text(
        "#!/bin/bash\n#SBATCH -o /dev/null -t 2\n"
        'printf "%s\\0" "$@" > "$SLURM_JOB_ID.new" && mv "$SLURM_JOB_ID.new" "seen-$SLURM_JOB_ID"\n'
    )
    said = as_alice.output(["bash", "-c", "xargs -0 -n 250 hpcorch sbatch --parsable seen.sh < hostile"])
    paths = [workspace / f"seen-{job}" for job in said.split()]
    assert len(paths) == 4
    wait_until(lambda: all(path.exists() for path in paths))
    assert b"".join(path.read_bytes() for path in paths) == told
    assert not (workspace / "gone").exists()
    sweeps = (row["sweep"] for row in json.loads(as_alice.output(["hpcorch", "ls", "--json"])))
    shown = [json.loads(as_alice.output(["hpcorch", "show", f"{sweep}/0", "--json"])) for sweep in sweeps]
    shown.sort(key=lambda run: int(run["job_id"]))
    recorded = [argument for run in shown for argument in run["config"]["arguments"]]
    assert [os.fsencode(argument) for argument in recorded] == [os.fsencode(argument) for argument in sent]
