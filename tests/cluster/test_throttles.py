"""A capacity over three arrays that start at different times, on real daemons. Their tasks are the witness."""

from __future__ import annotations

import json

import pytest

CAPACITY = 5

TASK = """#!/bin/bash
#SBATCH --array=0-{last}%1 --hold --output=/dev/null
#SBATCH --comment="hpcorch:{token} {tag}"
echo "1 $(date +%s.%N)" >> {log}
sleep $((5 + RANDOM % 4))
echo "-1 $(date +%s.%N)" >> {log}
"""

# Submits an array every few seconds and rebalances every three, each time in a Throttles of its own, as processes
# that come by would do; prints (second, what squeue says that runs) at 5 Hz, and the changes.
DRIVER = """
import json, pathlib, subprocess, sys, threading, time
from hpcorch.services.throttling.state import Entry, tag
from hpcorch.services.throttling.throttles import Throttles
from hpcorch.slurm.client import CliClient

task, capacity, size, gap_s = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
here, jobs, samples, changes = pathlib.Path.cwd(), [], [], []

def throttles():
    client = CliClient()
    return Throttles(here / "state", client.config().cluster, client)

def submit(number):
    token, units = f"{number:032x}", {"disk": 1}
    text = task.format(last=size - 1, token=token, tag=tag(units, None), log=here / "log")
    (here / f"{number}.sh").write_text(text)
    job = subprocess.run(["sbatch", "--parsable", f"{number}.sh"], capture_output=True, text=True, check=True)
    jobs.append(job.stdout.strip())
    entry = Entry(job_id=jobs[-1], sweep=str(number), directory=str(here), submission=0, units=units, token=token)
    throttles().admit(entry)

def sample():
    while not over.wait(0.2):
        if jobs:
            command = ["squeue", "-h", "-r", "-t", "R", "-o", "%i", "-j", ",".join(jobs)]
            rows = subprocess.run(command, capture_output=True, text=True).stdout.split()
            samples.append((round(time.time() - begin, 1), len(rows)))

begin, over = time.time(), threading.Event()
witness = threading.Thread(target=sample)
witness.start()
number, running = 0, {}
while number < 3 or running:
    if number < 3 and time.time() - begin >= number * gap_s:
        submit(number)
        number += 1
    done = throttles().rebalance({"disk": capacity})
    assert not done.troubles, done.troubles
    changes += [(round(time.time() - begin, 1), c.sweep, c.before, c.after) for c in done.changes]
    running = {**done.running}
    time.sleep(3 if running else 0.2)
over.set()
witness.join()
print(json.dumps({"samples": samples, "changes": changes}))
"""


# Follows two arrays through changes of the capacity, and a hold of the user's of one element.
HOLDS = """
import json, pathlib, subprocess, sys, time
from hpcorch.services.throttling.state import Entry, tag
from hpcorch.services.throttling.throttles import Throttles
from hpcorch.slurm.client import CliClient

here, client, jobs = pathlib.Path.cwd(), CliClient(), []
throttles = Throttles(here / "state", client.config().cluster, client)

def submit(number):
    token, units = f"{number:032x}", {"disk": 1}
    comment = f"hpcorch:{token} {tag(units, None)}"
    command = ["sbatch", "--parsable", "-H", "--array=0-2%1", f"--comment={comment}", "--output=/dev/null"]
    job = subprocess.run([*command, "--wrap=sleep 300"], capture_output=True, text=True, check=True).stdout.strip()
    throttles.admit(
        Entry(job_id=job, sweep=str(number), directory=str(here), submission=0, units=units, token=token)
    )
    jobs.append(job)

def states():
    letters = {"RUNNING": "R", "PENDING": "P", "COMPLETING": "C"}
    rows = sorted(client.queue(jobs), key=lambda row: (int(row.array_job_id), row.index))
    held = [row.reason == "JobHeldUser" and row.state.value == "PENDING" for row in rows]
    return "".join("H" if waits else letters[row.state.value] for row, waits in zip(rows, held))

def expect(capacity, wanted):
    throttles.rebalance({"disk": capacity}, force=True)
    deadline = time.monotonic() + 60
    while states() != wanted and time.monotonic() < deadline:
        time.sleep(0.2)
    seen.append([wanted, states()])

seen = []
submit(0)
submit(1)
expect(1, "RPPHHH")
throttles.pause([f"{jobs[1]}_2"])
expect(2, "RPPRPH")
expect(1, "RPPRHH")  # the younger one starts nothing more
client.requeue([f"{jobs[1]}_0"])
expect(1, "RPPHHH")
expect(9, "RRRRRH")  # and the user's hold stays
throttles.resume([f"{jobs[1]}_2"])
expect(9, "RRRRRR")
client.cancel(jobs)
print(json.dumps(seen))
"""


@pytest.fixture
def shared(as_alice, workspace):
    """Runs three arrays of ``size`` elements; what the tasks noted, what squeue showed, what was changed."""

    def run(size, gap_s):
        arguments = [TASK, str(CAPACITY), str(size), str(gap_s)]
        told = json.loads(as_alice.output(["python", "-c", DRIVER, *arguments], timeout_s=280))
        lines = [line.split() for line in (workspace / "log").read_text().splitlines()]
        return sorted((float(moment), int(step)) for step, moment in lines), told

    return run


def test_three_sweeps_that_start_at_different_times_stay_within_a_capacity_and_use_it(shared):
    size = 10
    noted, told = shared(size, gap_s=9)
    inside = most = entered = 0
    area, waiting_s, previous = 0.0, 0.0, noted[0][0]
    for moment, step in noted:
        if entered < 3 * size:  # until the last one enters, work waits
            area += inside * (moment - previous)
            waiting_s += moment - previous
        inside, entered, previous = inside + step, entered + (step > 0), moment
        most = max(most, inside)
    mean = area / waiting_s
    sampled = max(count for _, count in told["samples"])
    print(f"most {most}, sampled {sampled} of {len(told['samples'])}, mean {mean:.2f} over {waiting_s:.0f} s")
    print("changes", told["changes"])
    assert (entered, inside) == (3 * size, 0)
    assert most <= CAPACITY
    assert sampled <= CAPACITY
    assert mean > 3.5  # a fifth of the time Slurm starts and ends tasks; with a slot unused it would be below 3.3


def test_a_zero_share_holds_what_waits_and_the_users_own_hold_stays(as_alice):
    seen = json.loads(as_alice.output(["python", "-c", HOLDS], timeout_s=280))
    assert [there for _, there in seen] == [wanted for wanted, _ in seen]
