"""Times and sizes that hpcorch chooses: how long it waits, how often it looks, how much it reads at once.

A number belongs here if another one would work, too, only slower, later or with more memory. What stays where it is
used: facts of a file format, of Slurm or of the kernel, what several processes have to agree on, defaults of
options, what a check finds too little, and how many lines a report shows.

Modules write ``tunables.LOCK_LEASE_S`` where they need the value and do not import the name, so that a test can set
it for this process (the fixture ``tune``). Nothing else sets it.
"""

from __future__ import annotations

from typing import Final

# --- Locks and shared files
# Long enough that a stalled NFS server does not look like a dead holder, short enough to wait for.
LOCK_LEASE_S: Final = 30.0
LOCK_WAIT_S: Final = 120.0
# How long who seems dead is watched: longer than a holder's time between two signs of life, a sixth of the lease.
LOCK_WATCH_S: Final = 10.0
# Between two looks of a waiting process, at first and later; how long it waits until it asks others to let it go
# first; and between two questions for the server's time.
LOCK_FIRST_POLL_S: Final = 0.005
LOCK_POLL_S: Final = 0.1
LOCK_WANTED_S: Final = 0.5
LOCK_AGE_POLL_S: Final = 2.0
# Who takes over makes its file so soon after it last saw the dead one's, or not at all. A holder that was late
# waits twice as long between its sign of life and its look whether it still holds the lock.
LOCK_DECIDED_S: Final = 2.0
# For the thread that gives signs of life, to end.
LOCK_THREAD_END_S: Final = 1.0
# Between two looks at a file that another process is about to write.
SHARED_FILE_POLL_S: Final = 0.2
# The coarsest clock of a file system in use: FAT has 2 s, ext3 and some network file systems 1 s.
FILE_CLOCK_NS: Final = 2_000_000_000
# Bytes of one request to a file server: large enough that the number of requests does not matter.
READ_BYTES: Final = 1 << 20
# The most that is held in memory of a file that another user may have written, and of one line of it.
FOREIGN_FILE_BYTES: Final = 1 << 30
LINE_BYTES: Final = 256 << 20
# A larger one is read if it takes at least this part of its size on disk: a hole of terabytes is made at once, and
# takes hours to read. File systems that compress rarely save more.
FOREIGN_FILE_PACKED: Final = 16

# --- Slurm's commands
# Slurm's own MessageTimeout is 10 s by default, and a command may try several controllers one after the other.
SLURM_QUERY_TIMEOUT_S: Final = 60.0
SLURM_SUBMIT_TIMEOUT_S: Final = 60.0
# sbatch --help asks no server.
SBATCH_HELP_TIMEOUT_S: Final = 10.0
# A job's queries about itself before it starts to work: it waits no longer.
OWN_JOB_TIMEOUT_S: Final = 20.0
# What is only put on record with an attempt.
JOB_RECORD_TIMEOUT_S: Final = 5.0
# Whether the job is being preempted.
LINGERING_TIMEOUT_S: Final = 30.0
# To try pyslurm out and import it takes as long as about ten questions to squeue (143-171 ms against 15-21 ms for
# 1,000 elements, measured on 22.05 and 24.11). A command that asks less often would only lose by it.
PYSLURM_FROM_QUERIES: Final = 10
# pyslurm loads the jobs of everybody, those that were over lately included. From about 1,000 records on that takes
# longer than squeue on 24.11, and earlier where few of them are asked for: squeue lets the controller choose.
PYSLURM_MAX_RECORDS: Final = 500
# Loading Slurm's library and asking one controller.
PYSLURM_TRIAL_TIMEOUT_S: Final = 30.0

# --- What Slurm's answers are taken to mean
# How long sacct may be late with an end (the database may have been down) before it counts as unknown.
SACCT_LATE_S: Final = 300.0
# How long after the end of its work a task's process may take to leave before that is told.
JOB_STAYS_S: Final = 10.0
# How long a network file system may delay showing the end of a run.
JOURNAL_LATE_S: Final = 60.0
# The clocks of login node and controller differ; a look-up starts this much before the intent.
CLOCK_SKEW_S: Final = 600.0
# How long after its intent a job that sbatch submitted may be invisible to squeue and sacct: the script
# is checked and then submitted, each within a time limit (an sbatch may outlive the launcher that was killed), and
# a short job was visible nowhere for seconds after that (measured).
SUBMISSION_SETTLES_S: Final = 60 + 2 * SLURM_SUBMIT_TIMEOUT_S
# How long squeue may take to show the token of a job whose id sbatch has printed, where a site caches its answers.
TOKEN_APPEARS_S: Final = 2.0
# A launch is on record for some seconds before its submission is.
LAUNCH_SUBMITS_S: Final = 60.0

# --- Submitting
# Limits are asked for (three inquiries of the database) where a sweep is larger than what any site allows.
CERTAINLY_FITS_RUNS: Final = 100
# Slurm kills what ignores SIGTERM after KillWait, 30 s by default, and an epilog may take its time.
EARLIER_END_WAIT_S: Final = 120.0
EARLIER_END_POLL_S: Final = 2.0
# The first look, since most ends are there at once.
EARLIER_END_FIRST_S: Final = 1.0

# --- Waiting for a sweep and tending it: pauses grow from the first number to the second
# Journals are files that we read anyway; the controller serves a whole site.
JOURNAL_PAUSES_S: Final = (0.2, 5.0)
SLURM_PAUSES_S: Final = (5.0, 60.0)
# Output is read from files that we have open anyway, but each look also lists the journals.
LOG_PAUSES_S: Final = (0.2, 2.0)
# A look takes long where the file system is busy or the sweep is large: at most a fifth of the time goes into it.
PAUSE_PER_LOOK: Final = 4.0
# A line for each change would fill a log file; state is still shown soon after it changed.
PROGRESS_LINE_S: Final = 10.0
# Looking at a sweep lists a directory, perhaps on a busy network file system; older sweeps show their age.
REFRESHED_SWEEPS: Final = 50
# A keeper stays for less than its job's time limit. In that time sacct, late by minutes, gives up being asked.
KEEPER_STAY_S: Final = 25 * 60.0
KEEPER_PAUSES_S: Final = (2.0, 30.0)
# The time limit: far more than it takes, unless Slurm's database is late or the controller is busy.
KEEPER_LIMIT_MIN: Final = 30
# Python with Hydra and a ledger of a hundred thousand runs; asked for only where the array asks for memory.
KEEPER_MEMORY_GB: Final = 0.5

# --- Retries
# A temporary cause (a full disk, a busy server) gets a longer wait each time it persists.
RETRY_FIRST_WAIT_S: Final = 10.0
RETRY_LONGEST_WAIT_S: Final = 3600.0
# Random part of a wait, so that runs which failed together do not all start again together.
RETRY_JITTER: Final = 0.5
# Runs of a sweep that fail one after the other share an array: submissions are at least so far apart.
RETRY_GROUPING_S: Final = 10.0
# A submission that Slurm has refused so often in a row is left to a person.
MAX_REFUSALS: Final = 5
# A task that has recorded its failure unwinds, and Slurm cleans up after it.
FAILED_ELEMENT_ENDS_S: Final = 10.0

# --- Throttles
# An array that left part of its share unused for so long cannot use it for now: the cluster is full, say.
UNUSED_SHARE_S: Final = 60.0
# Slurm cleans up after an element within about a second; what it had is given to others then.
ELEMENT_CLEANING_S: Final = 1.0
# Between two rebalances, however many ask: one serves all earlier requests.
THROTTLE_INTERVAL_S: Final = 2.0
# Who finds the lock taken leaves the work to its holder, who sees the mark.
THROTTLE_LOCK_WAIT_S: Final = 1.0
# How often one caller rebalances for others before it leaves that to later ones.
THROTTLE_LOOKS: Final = 3
# A task rebalances from time to time: after this part of its running time, within these seconds.
REBALANCE_PART: Final = 0.1
REBALANCE_PAUSES_S: Final = (2.0, 60.0)
# Tasks that begin together do not rebalance together.
REBALANCE_JITTER_S: Final = 0.5
REBALANCE_TIMEOUT_S: Final = 30.0

# --- Leases
# Between two draws of a ticket, doubled so often, and how many there are: over ten minutes with their pauses.
LEASE_RETRY_S: Final = 0.05
LEASE_MAX_DOUBLINGS: Final = 6
LEASE_MAX_DRAWS: Final = 500
# Between two looks at a lease that is taken: the pause at first, and its growth.
LEASE_FIRST_PAUSE_S: Final = 0.1
LEASE_PAUSE_GROWTH: Final = 1.5
# Capacities of live tickets that one look judges.
LEASE_CROWD: Final = 2

# --- Attempts
# Time for a task on this host to unwind and record its end after SIGTERM; Slurm's KillWait is 30 s by default.
LOCAL_GRACE_S: Final = 10.0
# Between two looks at whether a local task has ended.
LOCAL_POLL_S: Final = 0.05
# A local pool takes journals over, and shows progress, as often as it can in a tenth of the time.
LOCAL_TICK_PAUSES: Final = 9
# How old what a packed task knows of the control journal may be: a cancelled run goes on for so long.
PACKED_LOOK_S: Final = 2.0
# The start of a process is derived from the clock of the host, which is set while the process runs.
PROCESS_START_DRIFT_S: Final = 30.0
# A network file system may show rank 0's journal late, and importing the user's modules takes minutes there.
LEADER_WAIT_S: Final = 1800.0
# All ranks get the signal at once, and rank 0 may be in a long step or save.
LEADER_STOPS_S: Final = 120.0
# Ranks save the same step, and end, at about the same time; so long rank 0 waits for the others before it ends.
RANKS_WAIT_S: Final = 60.0
# A task that Slurm is about to stop waits for that, and asks whether it still will.
LINGERING_POLL_S: Final = 5.0
# Where a node cannot ask: longer than the grace times that sites give.
LINGERING_UNASKED_S: Final = 300.0
LINGERING_LONGEST_S: Final = 3600.0
# A journal line stays small enough to be read with one request; larger results get a file of their own.
INLINE_RESULT_BYTES: Final = 32 * 1024
TRACEBACK_CHARS: Final = 16 * 1024
ERROR_MESSAGE_CHARS: Final = 2000
RESULT_REPR_CHARS: Final = 1000
# More changes than that are one event: an upgrade of everything. The environment that was found tells all.
RECORDED_CHANGES: Final = 50

# --- hpcorch exec
# A job may start before the answer of its sbatch is on record.
ACCEPTANCE_WAIT_S: Final = 10.0
# Between two looks at whether a lease of the command is still held.
COMMAND_LEASE_POLL_S: Final = 5.0
# Before the time limit: when a command is sent SIGTERM, by default.
COMMAND_STOP_AHEAD_S: Final = 120.0
# Before the time limit: for the end to be recorded, and Slurm to be asked.
COMMAND_LAST_MOMENT_S: Final = 10.0
# A requeued job is given so long to be taken off its node.
REQUEUED_ENDS_S: Final = 60.0
# In a job Slurm kills, after a time that the site sets, and a preempted command may have minutes to save its state.
COMMAND_GRACE_S: Final = 25.0

# --- Checkpoints and metrics
# Below this, handing bytes to the second thread costs more than hashing them here.
CHECKPOINT_PARALLEL_BYTES: Final = 1 << 20
CHECKPOINT_CHUNK_BYTES: Final = 8 << 20
# An attempt that should be dead may remove a checkpoint after it was listed, having saved a newer one.
CHECKPOINT_LOOKS: Final = 5
# What was logged is on disk so many seconds later, if the task logs on or saves.
METRICS_FLUSH_S: Final = 2.0
# The ledger stores each summary, so there is one with each checkpoint, at the end, and now and then.
METRICS_SUMMARY_S: Final = 60.0
# A journal line stays small enough to be read with one request, and a torn one loses little.
METRICS_PER_LINE: Final = 200

# --- Code, environment and inputs
GIT_TIMEOUT_S: Final = 30.0
# What is longer is data rather than an edit.
DIFF_BYTES: Final = 5_000_000
# Sources shrink to a third or a quarter; a higher level takes several times as long for a tenth of that.
SNAPSHOT_DEFLATE_LEVEL: Final = 1
# A file that is written to all the time is archived as it was read last; the digest is of what was archived.
SNAPSHOT_READS: Final = 3
# Where more than one file in so many has to be read, all are read at once: an archive will have to be written.
SNAPSHOT_FEW_CHANGED: Final = 10
# Unpacking takes seconds; a file server that hangs takes minutes.
UNPACKING_WAIT_S: Final = 300.0
UNPACKING_POLL_S: Final = 0.02
# What no task of this user has used on this node for so long is removed from its disk.
UNPACKED_KEEP_DAYS: Final = 14.0
# A launch writes its snapshot first and its record afterwards; a day is longer than any launch takes.
UNRECORDED_SNAPSHOT_S: Final = 86_400.0
# pip writes RECORD last; what is newer was changed after the installation.
INSTALLATION_S: Final = 2.0
# A broken driver lets nvidia-smi hang; a run must not wait for it.
GPU_TIMEOUT_S: Final = 5.0
# Key files are small; a large file is searched by its beginning alone.
SECRET_SEARCH_BYTES: Final = 65536

# --- Logs
LOG_BLOCK_BYTES: Final = 1 << 16
LOG_TAIL_BYTES: Final = 8 * 1024

# --- Ledger
# A writer waits for readers, which are short; a reader waits no longer than a person would.
LEDGER_WRITER_WAIT_S: Final = 30.0
LEDGER_READER_WAIT_S: Final = 60.0
# For a query of the user's during which others wait; one that takes longer is asked of a copy.
LEDGER_QUERY_S: Final = 2.0
# A million runs' index pages are touched at random while attempts arrive; 64 MiB keep the inner ones.
LEDGER_CACHE_KIB: Final = 65536
# Events a transaction. A reader waits for one commit at most, so this bounds its wait (and the memory used);
# larger ones gain nothing measurable.
LEDGER_CHUNK_EVENTS: Final = 20_000
# Runs folded at a time: enough to make SQLite's calls cheap, few enough that their events fit in memory.
LEDGER_SLICE_RUNS: Final = 10_000
# Runs, and recent sweeps, that are looked at to say why `needed=true` has taken over no result.
REUSE_LOOKED_AT: Final = 100
REUSE_SWEEPS: Final = 50
# Folders that are entered in search of sweep directories: minutes on a network file system.
ADOPTION_FOLDERS: Final = 100_000
# Runs whose indices are read at once.
LEDGER_PAGE_RUNS: Final = 10_000
# Events a part: about a second's work, so that processes finish together and starting one is worth it.
LEDGER_PART_EVENTS: Final = 250_000
# A ledger that could not be used is left alone for so long by who waits for a sweep and goes on without it.
LEDGER_RETRY_S: Final = 30.0
# To open a ledger in another process and take its lock.
LEDGER_TRIAL_TIMEOUT_S: Final = 60.0
# A login node is shared.
CHECKING_PROCESSES: Final = 4

# --- hpcorch doctor
# Two processes take and give a lock in turn: for so long it is held and left alone (at most, so that nobody is shut
# out), and for so long one waits for the other at the start of each round.
LOCK_TRIAL_HELD_S: Final = 0.003
LOCK_TRIAL_PAUSE_S: Final = 0.005
LOCK_TRIAL_MEETING_S: Final = 20.0
# A trial job's time limit; in it one waits for the other, less than what is left when a slow file system has
# started Python, and they fight for locks.
TRIAL_JOB_LIMIT_MIN: Final = 2
TRIAL_WAIT_S: Final = 60.0
TRIAL_POLL_S: Final = 0.05
TRIAL_LOCKS_S: Final = 1.0
TRIAL_FILE_PAUSES_S: Final = (0.2, 2.0)
TRIAL_SLURM_PAUSES_S: Final = (2.0, 15.0)
# A network file system shows some time later what a job wrote that is over by now.
TRIAL_LATE_S: Final = 5.0

# --- hpcorch init
# The search covers a project, not a home directory.
INIT_MAX_FILES: Final = 500
INIT_MAX_BYTES: Final = 1 << 20
