#!/usr/bin/env -S python3 -SE
"""A pretended Slurm: what hpcorch uses of seven commands, in one program named by its links.

Put this folder first on PATH and name a directory in FAKE_SLURM_DIR, where all state lives. Array elements run as
background processes, at most FAKE_SLURM_CPUS (4) per array. FAKE_SLURM_SBATCH makes sbatch misbehave:
timeout | nonsense | killed (all three take the job first), reject:TEXT, down. FAKE_SLURM_ACCOUNTING=none: no sacct.
FAKE_SLURM_COMMENTS=TEXT: a site that writes its own comments. FAKE_SLURM_SCRIPTS=none: nobody is shown scripts.
`scancel --preempt` ends jobs as a preemption with PreemptMode=CANCEL does, which is the test's to say, and
`scancel --grace` begins the grace time of one as 22.05 does: what ends in it has ended by itself.
"""

import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(os.environ.get("FAKE_SLURM_DIR", "/nonexistent"))
ARRAY_TASKS = int(os.environ.get("FAKE_SLURM_ARRAY_TASKS", "1001"))  # max_array_tasks
KILL_WAIT_S = 2.0
DOWN = "Unable to contact slurm controller (connect failure)"
FAILED = "sbatch: error: Batch job submission failed: "
SHORT = {"-H": "hold", "-a": "array", "-d": "dependency", "-o": "output", "-J": "job-name", "-p": "partition"}
SHORT |= {"-Q": "quiet", "-W": "wait"}
BARE = ("-H", "-Q", "-W")
REFUSED = {  # a value with "nosuch" in it is one that this cluster does not have
    "gres": "Invalid generic resource (gres) specification",
    "licenses": "Invalid license specification",
    "partition": "Invalid partition name specified",
    "qos": "Invalid qos specification",
    "account": "Invalid account or account/partition combination specified",
    "nodelist": "Invalid node name specified",
    "constraint": "Invalid feature specification",
    "reservation": "Requested reservation is invalid",
}
ACTIVE = ("PENDING", "RUNNING")


@contextmanager
def all_jobs():
    """Every job by id, under the one lock; what was changed is written when the block ends."""
    ROOT.mkdir(parents=True, exist_ok=True)
    with (ROOT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = ROOT / "jobs.json"
        jobs = json.loads(path.read_text()) if path.exists() else {}
        before = json.dumps(jobs)
        yield jobs
        after = json.dumps(jobs)
        if after != before:
            path.with_suffix(".new").write_text(after)
            path.with_suffix(".new").replace(path)


def fail(text, code=1):
    sys.stderr.write(text + "\n")
    raise SystemExit(code)


def indices(text):
    found = []
    for part in text.split("%")[0].split(","):
        low, _, high = part.partition("-")
        found += range(int(low), int(high or low) + 1)
    return found


def read_flags(words):
    flags, rest = {}, []
    words = list(words)
    while words and not rest:
        word = words.pop(0)
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            flags[name] = value
        elif word in SHORT:
            flags[SHORT[word]] = "" if word in BARE else words.pop(0)
        else:
            rest = [word, *words]
    return flags, rest


def sbatch(argv):
    mode = os.environ.get("FAKE_SLURM_SBATCH", "")
    if mode == "down":
        fail(FAILED + DOWN)
    if mode.startswith("reject:"):
        fail(FAILED + mode.partition(":")[2])
    given, words = read_flags(argv)
    script, *arguments = words or [""]
    if "help" in given:
        print("Usage: sbatch [OPTIONS(0)...] script(0) [args(0)...]")
        return
    text = script_text(given, script)
    lines = [line[8:] for line in text.splitlines() if line.startswith("#SBATCH ")]
    written, _ = read_flags(word.replace("\\\\", "\\") for line in lines for word in shlex.split(line))
    flags = written | given
    prefix = "allocation failure: " if "test-only" in flags else FAILED
    if reason := refusal(flags):
        fail(prefix + reason)
    if "test-only" in flags:
        print("sbatch: Job 1 to start at 2026-01-02T03:04:05 using 1 processors on nodes n1", file=sys.stderr)
        return
    with all_jobs() as jobs:
        refuse_above_limit(jobs, flags)
        command = str(Path(script).resolve()) if script else "(null)"
        job = new_job(str(len(jobs) + 1), flags, text, ["sbatch", *argv], command) | {"arguments": arguments}
        jobs[job["id"]] = job
        start_runner(job)
    answer(mode, job["id"], flags)


def answer(mode, job_id, flags):
    if mode == "timeout":
        time.sleep(600)
    if mode == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "nonsense":
        print("sbatch: what?")
    elif "quiet" not in flags:
        print(job_id if "parsable" in flags else f"Submitted batch job {job_id}", flush=True)
    if "wait" in flags:
        raise SystemExit(code_at_end(job_id))


def code_at_end(job_id):
    while True:
        with all_jobs() as jobs:
            tasks = jobs[job_id]["tasks"].values()
            if not any(task["state"] in ACTIVE for task in tasks):
                return max((task["exit"] for task in tasks), default=1)
        time.sleep(0.05)


def script_text(flags, script):
    if "wrap" in flags:
        return f"#!/bin/sh\n{flags['wrap']}\n"
    if not script:
        return sys.stdin.read() or fail("sbatch: error: Batch script is empty!")
    try:
        return Path(script).read_text()
    except OSError:
        fail(f"sbatch: error: Unable to open file {script}")


def refusal(flags):
    if "array" in flags and max(indices(flags["array"])) > 1000:
        return "Invalid job array specification"
    if "array" in flags and len(indices(flags["array"])) > ARRAY_TASKS:
        return "Invalid job array specification"
    return next((answer for name, answer in REFUSED.items() if "nosuch" in flags.get(name, "")), None)


def refuse_above_limit(jobs, flags):
    alive = sum(task["state"] in ("PENDING", "RUNNING") for job in jobs.values() for task in job["tasks"].values())
    asked = len(indices(flags["array"])) if "array" in flags else 1
    if alive + asked > int(os.environ.get("FAKE_SLURM_MAX_SUBMIT", "1000000")):
        print("sbatch: error: QOSMaxSubmitJobPerUserLimit", file=sys.stderr)
        fail(FAILED + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)")


def new_job(job_id, flags, text, line, command):
    array = flags.get("array")
    if "FAKE_SLURM_COMMENTS" in os.environ:
        flags = flags | {"comment": os.environ["FAKE_SLURM_COMMENTS"]}
    (ROOT / f"script-{job_id}").write_text(text)
    element = {"state": "PENDING", "restarts": 0, "start": None, "end": None, "exit": 0, "signal": 0, "past": []}
    element["held"] = "hold" in flags
    return {
        "id": job_id, "flags": flags, "line": " ".join(line), "cwd": str(Path.cwd()), "command": command,
        "env": dict(os.environ), "held": "hold" in flags, "runner": False, "submit": time.time(),
        "throttle": int(array.partition("%")[2] or 0) if array else 0,
        "tasks": {str(i): dict(element) for i in (indices(array) if array else [""])},
    }  # fmt: skip


def start_runner(job):
    if not job["runner"] and any(is_ready(task) for task in job["tasks"].values()):
        job["runner"] = True
        subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), "run", job["id"]], start_new_session=True, cwd="/",
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


def is_ready(task):
    return task["state"] == "PENDING" and not task["held"]


def run_array(job_id):
    """Run one array's elements until none is left, or all that are left are held."""
    children = {}
    while True:
        with all_jobs() as jobs:
            job = jobs[job_id]
            for index, child in list(children.items()):
                tend(job, index, child, children)
            ready = [i for i, t in job["tasks"].items() if is_ready(t)]
            if not children and not ready:
                job["runner"] = False
                return
            limit = min(job["throttle"] or 10**6, int(os.environ.get("FAKE_SLURM_CPUS", "4")))
            if not waits(job, jobs):
                for index in ready[: max(0, limit - len(children))]:
                    if (child := start(job, index)) is not None:
                        children[index] = child
        time.sleep(0.03)


def waits(job, jobs):
    if time.time() < job["submit"] + int(job["flags"].get("begin", "now+0").partition("+")[2]):
        return True
    needed = re.findall(r"\d+", job["flags"].get("dependency", "").partition(":")[2])
    return any(t["state"] in ACTIVE for i in needed if i in jobs for t in jobs[i]["tasks"].values())


def raw_id(job, index):
    return job["id"] if index in ("", list(job["tasks"])[-1]) else str(100000 + int(job["id"]) * 1001 + int(index))


def start(job, index):
    task = job["tasks"][index]
    task.update(state="RUNNING", start=time.time(), end=None, stop=None, exit=0, signal=0, preempted=None)
    flags, raw = job["flags"], raw_id(job, index)
    nodes, per_node = int(flags.get("nodes", 1)), int(flags.get("ntasks-per-node", flags.get("ntasks", 1)))
    env = job["env"] | {
        "SLURM_JOB_ID": raw, "SLURM_JOBID": raw, "SLURM_JOB_NAME": flags.get("job-name", "script"),
        "SLURM_CLUSTER_NAME": "fake", "SLURMD_NODENAME": "f1", "SLURM_JOB_NODELIST": "f1",
        "SLURM_JOB_NUM_NODES": str(nodes), "SLURM_NTASKS": str(nodes * per_node), "SLURM_NODEID": "0",
        "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_CPUS_ON_NODE": flags.get("cpus-per-task", "1"),
    }  # fmt: skip
    if index:
        env |= {"SLURM_ARRAY_JOB_ID": job["id"], "SLURM_ARRAY_TASK_ID": index}
    if task["restarts"]:
        env["SLURM_RESTART_COUNT"] = str(task["restarts"])
    names = {"%A": job["id"], "%a": index, "%j": raw, "%x": env["SLURM_JOB_NAME"], "%%": "%"}
    output = re.sub("%[Aajx%]", lambda m: names[m[0]], flags.get("output", "slurm-%A_%a.out"))
    mode = "ab" if flags.get("open-mode") == "append" else "wb"
    try:
        log = Path(job["cwd"], output).open(mode)  # noqa: SIM115 - entered below
    except OSError:
        task.update(state="FAILED", end=time.time(), signal=53)
        return None
    with log:
        child = subprocess.Popen(
            ["bash", str(ROOT / f"script-{job['id']}"), *job["arguments"]], cwd=job["cwd"], env=env,
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    task["pid"] = child.pid
    return child


def tend(job, index, child, children):
    task = job["tasks"][index]
    code = child.poll()
    if code is None:
        if task["stop"] and time.time() - task["stopped"] > KILL_WAIT_S:
            os.killpg(child.pid, signal.SIGKILL)
        return
    del children[index]
    task.update(end=time.time(), exit=max(code, 0), signal=max(-code, 0))
    stop = task.pop("stop")
    task["state"] = stop or ("FAILED" if code else "COMPLETED")
    if stop == "REQUEUED":
        requeue(task)


def requeue(task):
    task["past"].append({k: v for k, v in task.items() if k != "past"} | {"state": task["state"]})
    task.update(state="PENDING", restarts=task["restarts"] + 1, start=None, end=None)


def stop(task, state):
    if task["state"] == "RUNNING" and not task.get("stop"):
        task.update(stop=state, stopped=time.time())
        os.killpg(task["pid"], signal.SIGTERM)
    elif task["state"] == "PENDING" and state != "REQUEUED":
        task.update(state=state, end=time.time())
    elif state == "REQUEUED" and task["state"] not in ACTIVE:
        requeue(task)


def begin_grace(task):
    if task["state"] == "RUNNING":
        task["preempted"] = time.time()
        os.killpg(task["pid"], signal.SIGTERM)


def chosen(jobs, ids):
    """(job, index) of every element that is named as 3, 3_1 or 3_[0,2-4]; None where a job is unknown."""
    for one in ids:
        job_id, _, element = one.partition("_")
        if job_id not in jobs:
            yield None, None
            continue
        for index in list(jobs[job_id]["tasks"]):
            if not element or int(index) in indices(element.strip("[]")):
                yield jobs[job_id], index


def split_ids(words):
    return re.findall(r"\d+(?:_(?:\[[^]]*\]|\d+))?", " ".join(words))


def scancel(argv):
    word = "PREEMPTED" if "--preempt" in argv else f"CANCELLED by {os.getuid()}"
    flags, ids = read_flags(argv)
    with all_jobs() as jobs:
        for one in split_ids(ids):
            for job, index in chosen(jobs, [one]):
                if "signal" in flags and "batch" in flags:
                    send(job and job["tasks"][index], flags["signal"], one)
                elif index is not None and "grace" in flags:
                    begin_grace(job["tasks"][index])
                elif index is not None and "_" in one and job["tasks"][index]["state"] == "PENDING":
                    del job["tasks"][index]  # as the real one, which leaves no trace of these
                elif index is not None:
                    stop(job["tasks"][index], word)


def send(task, name, element):
    """A signal to what the batch script has become, and to nothing that it started."""
    if task is None or task["state"] not in ACTIVE:
        sys.stderr.write(f"scancel: error: Kill job error on job id {element}: Invalid job id specified\n")
    elif task["state"] == "RUNNING":
        os.kill(task["pid"], signal.Signals[f"SIG{name}"])


def scontrol(argv):
    if "show" in argv:
        kind = "none" if os.environ.get("FAKE_SLURM_ACCOUNTING") == "none" else "slurmdbd"
        config = f"AccountingStorageType   = accounting_storage/{kind}\nClusterName             = fake\n"
        config += "MaxArraySize            = 1001\nMinJobAge               = 300 sec\nSLURM_VERSION = 24.11.5\n"
        config += f"SchedulerParameters     = max_array_tasks={ARRAY_TASKS}\n"
        config += "PreemptType             = preempt/partition_prio"
        if "partition" in argv:
            for partition, default, mode in (("normal", "YES", "REQUEUE"), ("cheap", "NO", "CANCEL")):
                print(f"PartitionName={partition} Default={default} PreemptMode={mode}")
            return
        print("LicenseName=scratch Total=4 Used=0 Free=4 Reserved=0 Remote=no" if "licenses" in argv else config)
        return
    verb, *words = argv
    if verb == "write":
        path = ROOT / f"script-{words[1]}"
        is_shown = path.exists() and os.environ.get("FAKE_SLURM_SCRIPTS") != "none"
        print(path.read_text() if is_shown else "job script retrieval failed: Invalid job id specified", end="")
        return
    with all_jobs() as jobs:
        for job, index in chosen(jobs, split_ids(words[:1])):
            if job is None:
                fail(f"Invalid job id specified for job {words[0]}")
            if verb == "update":
                job["throttle"] = int(words[1].partition("=")[2])
            elif verb == "requeue":
                stop(job["tasks"][index], "REQUEUED")
                start_runner(job)
            else:
                job["tasks"][index]["held"] = verb == "hold"
                job["held"] = all(task["held"] for task in job["tasks"].values())
                start_runner(job)


def when(moment):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(moment)) if moment else "Unknown"


def squeue(argv):
    with all_jobs() as jobs:
        pass
    wanted = argv[argv.index("-j") + 1].split(",") if "-j" in argv else list(jobs)
    if len(wanted) == 1 and wanted[0] not in jobs:
        fail("slurm_load_jobs error: Invalid job id specified")
    for job in (jobs[i] for i in wanted if i in jobs):
        for index, task in job["tasks"].items():
            if task["state"] in ACTIVE or "all" in argv:
                reason = "JobHeldUser" if task["held"] else "Priority"
                values = {
                    "i": shown(job, index), "A": raw_id(job, index), "F": job["id"], "K": index or "N/A",
                    "T": task["state"].split()[0], "V": when(job["submit"]), "N": "f1" if task["start"] else "",
                    "r": reason if task["state"] == "PENDING" else "None",
                    "k": job["flags"].get("comment", "(null)"), "o": job["command"],
                }  # fmt: skip
                times = {"JobArrayID": shown(job, index), "StartTime": when(task["start"])}
                times["PreemptTime"] = when(task.get("preempted"))
                if "-O" in argv:
                    print("".join(times[name] + end for name, end in re.findall(r"(\w+):([^,]*)", argv[-1])))
                else:
                    print(re.sub("%([a-zA-Z])", lambda m, v=values: v[m[1]], argv[argv.index("-o") + 1]))


def shown(job, index):
    return f"{job['id']}_{index}" if index else job["id"]


def sacct(argv):
    if "--helpformat" in argv:
        print("JobIDRaw JobID State ExitCode DerivedExitCode Submit Start End NodeList Reason SubmitLine Comment")
        return
    with all_jobs() as jobs:
        pass
    wanted = argv[argv.index("-j") + 1].split(",") if "-j" in argv else list(jobs)
    for job in (jobs[i] for i in wanted if i in jobs):
        for name, raw, row in accounted(job):
            values = {
                "JobIDRaw": raw, "JobID": name, "State": row["state"], "DerivedExitCode": "0:0",
                "ExitCode": f"{row['exit'] % 128}:{row['signal']}",
                "Submit": when(job["submit"]), "Start": when(row["start"]), "End": when(row["end"]),
                "NodeList": "f1" if row["start"] else "None assigned", "Reason": "None", "SubmitLine": job["line"],
                "Comment": job["flags"].get("comment", ""),
            }  # fmt: skip
            print("|".join(values[field] for field in argv[argv.index("-o") + 1].split(",")))


def accounted(job):
    """(job id, raw id, row) of each attempt; elements that never started share one row, as in the real one."""
    fresh = {}
    for index, task in job["tasks"].items():
        for row in (*task["past"], task):
            if row["start"] or row["restarts"] or not index:
                yield shown(job, index), raw_id(job, index), row
            else:
                fresh.setdefault(row["state"], ([], row))[0].append(index)
    for state, (waiting, row) in fresh.items():
        yield f"{job['id']}_[{','.join(waiting)}]" if state == "PENDING" else job["id"], job["id"], row


def srun(argv):
    _, command = read_flags(argv)
    ranks = range(int(os.environ.get("SLURM_NTASKS", "1")))
    children = [
        subprocess.Popen(command, env=dict(os.environ, SLURM_PROCID=str(r), SLURM_LOCALID=str(r))) for r in ranks
    ]
    raise SystemExit(max(abs(child.wait()) for child in children))


if __name__ == "__main__":
    name, words = Path(sys.argv[0]).name, sys.argv[1:]
    if name == "fake_slurm.py":
        run_array(words[1])
    else:
        {f.__name__: f for f in (sbatch, squeue, sacct, scontrol, scancel, srun)}[name](words)
