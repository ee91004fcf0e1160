"""Keeping shared resources within capacity by the throttles of a user's arrays, over all sweeps.

An array that uses throttled resources is submitted held, with ``%1``, and admitted here. Whoever comes by
rebalances; :mod:`hpcorch.services.throttling.turn` has what is done then, and why no capacity is ever exceeded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from hpcorch import tunables
from hpcorch.errors import UnavailableError
from hpcorch.journal.access import make_folder, touch
from hpcorch.journal.files import Confirm, remove_temporaries
from hpcorch.journal.lock import Hold, exclusive
from hpcorch.model.ids import parse_ranges
from hpcorch.resources.throttle_files import ThrottleFiles
from hpcorch.services.throttling.queue_view import QueueView, queue_views
from hpcorch.services.throttling.state import Entry, State, on_disk, read_state, write_state
from hpcorch.services.throttling.turn import RebalanceResult, Turn
from hpcorch.services.throttling.usage import ResourceUse, uses
from hpcorch.slurm.protocol import SlurmClient


class Throttles:
    """A user's throttled arrays on one cluster.

    :param directory: :func:`hpcorch.services.throttling.state.state_directory`, seen by all hosts that take part
    :param cluster: Slurm's name of it
    """

    def __init__(self, directory: Path, cluster: str, client: SlurmClient) -> None:
        self._folder = directory / cluster
        self._client = client
        self._files = ThrottleFiles(self._folder)

    def admit(self, entry: Entry) -> None:
        """Take an array in, durably; admitting it again is harmless.

        The array is held, as it was submitted, and its script says ``%1``, or the entry says otherwise. From now on
        nobody else releases it. What was known of its limits stays. A held array that was only found in the queue
        is taken to be held by us.

        :param entry: what the array uses and whose it is; everything else by default
        :raises UnavailableError: it could not be written down; the array stays held
        """
        with self._locked() as hold:
            state = read_state(self._files.state, set_aside=hold.confirm)
            known = state.entries.get(entry.job_id)
            if known is None or (known.token and entry.token and known.token != entry.token):
                of_sweep = [one.place for one in state.entries.values() if one.sweep == entry.sweep]
                admitted = replace(entry, place=min([*of_sweep, entry.place or time.time()]))
            else:
                admitted = _admitted_again(known, entry)
            touch(self._files.short)
            if admitted != known:
                write_state(self._files.state, state.with_entries(admitted), hold.confirm)

    def rebalance(self, capacities: Mapping[str, int], *, force: bool = False) -> RebalanceResult:
        """Bring every array's limit to what it should be, as far as that is safe now.

        It takes one look at the queue (two if something is lowered that others may have at once), and one or two
        requests for each array that changes. Called too soon after another look, it waits for its time, or until
        somebody else has looked. An element that calls this at its own end still counts as running.

        :param capacities: resource -> units, of the site profile; of resources that it lacks the last known count
        :param force: look now, however soon after the last look
        :raises SlurmUnavailableError: Slurm does not answer; no limit is higher than written down
        :raises UnavailableError: the state cannot be read or written; nothing was raised
        :raises RecordError: a later version of hpcorch wrote the state
        """
        self._make_folder()
        with on_disk(self._folder):
            touch(self._files.dirty)
            return self._while_marked(capacities, force=force)

    def pause(self, job_ids: Sequence[str]) -> None:
        """Hold waiting elements (``369``, ``369_3``, ``369_[0,2-4]``) for the user, until :meth:`resume`.

        Arrays that are not throttled are held, too.

        :raises NotFoundError: the controller does not know one of them; the others are held
        :raises SlurmUnavailableError: Slurm does not answer; asking again is harmless
        """
        with self._locked() as hold:
            state = read_state(self._files.state, set_aside=hold.confirm)
            held = [one for one in job_ids if _is_held(state, one)]
            if held:
                alive = queue_views(state.entries, self._client.queue(sorted({_array(one) for one in held})))
                state = _kept(state, held, lambda kept, indices: kept | indices, alive)
                write_state(self._files.state, state, hold.confirm)
            self._client.hold(job_ids)

    def resume(self, job_ids: Sequence[str]) -> None:
        """Lift the user's hold. What shares throttled resources starts when :meth:`rebalance` finds room for it.

        :raises NotFoundError: the controller does not know one of them; the others are released
        :raises SlurmUnavailableError: Slurm does not answer; asking again is harmless
        """
        with self._locked() as hold:
            state = read_state(self._files.state, set_aside=hold.confirm)
            held = [one for one in job_ids if _is_held(state, one)]
            if held:
                state = _kept(state, held, lambda kept, indices: kept - indices, {})
                write_state(self._files.state, state, hold.confirm)
            self._client.release([one for one in job_ids if one not in held])

    def entry(self, array: str) -> Entry | None:
        """What is on record of an array; None if it shares nothing.

        :raises UnavailableError: the state cannot be read
        """
        return read_state(self._files.state).entries.get(array)

    def view(self, capacities: Mapping[str, int]) -> list[ResourceUse]:
        """Resource by resource: how much there is, who uses how much, who waits. Nothing is changed.

        :raises SlurmUnavailableError: Slurm does not answer
        :raises UnavailableError: the state cannot be read
        """
        state = read_state(self._files.state)
        views = queue_views(state.entries, self._client.queue(state.entries))
        return uses(state, views, {**state.limits, **capacities})

    def _while_marked(self, capacities: Mapping[str, int], *, force: bool) -> RebalanceResult:
        done = RebalanceResult()
        for _ in range(tunables.THROTTLE_LOOKS):
            if not force and not self._wait_for_turn():
                return done
            force = False
            with ExitStack() as stack:
                try:
                    hold = stack.enter_context(self._lock(tunables.THROTTLE_LOCK_WAIT_S))
                except UnavailableError:
                    return done  # its holder sees the mark
                done = self._take_turn(capacities, done, hold)
            if not self._files.dirty.exists():
                return done
        return done

    @contextmanager
    def _locked(self) -> Iterator[Hold]:
        self._make_folder()
        with self._lock() as hold:
            yield hold

    def _lock(self, wait_s: float | None = None) -> AbstractContextManager[Hold]:
        def renew(_confirm: Confirm) -> None:
            remove_temporaries(self._files.state)

        return exclusive(self._files.lock, wait_s=wait_s, guards=[self._files.state], renew=renew)

    def _make_folder(self) -> None:
        with on_disk(self._folder):
            make_folder(self._folder)

    def _wait_for_turn(self) -> bool:
        """Wait until a look is due; False if somebody else has looked by then."""
        try:
            age = time.time() - self._files.looked.stat().st_mtime
        except FileNotFoundError:
            return True
        if 0 <= age < tunables.THROTTLE_INTERVAL_S:  # a file server's clock may be ahead of ours
            time.sleep(tunables.THROTTLE_INTERVAL_S - age)
        return self._files.dirty.exists()

    def _take_turn(self, capacities: Mapping[str, int], earlier: RebalanceResult, hold: Hold) -> RebalanceResult:
        self._files.dirty.unlink(missing_ok=True)
        touch(self._files.looked)
        try:
            done = Turn(path=self._files.state, confirm=hold.confirm, client=self._client).take(capacities)
            self._note_shortage(done)
        except BaseException:
            touch(self._files.dirty)  # the next caller has to rebalance, however soon
            raise
        return replace(
            done,
            changes=(*earlier.changes, *done.changes),
            over=(*earlier.over, *done.over),
            troubles=(*earlier.troubles, *done.troubles),
        )

    def _note_shortage(self, done: RebalanceResult) -> None:
        """Tell the tasks whether anybody waits for what they have, so that they look again while they work."""
        if any((done.waiting or {}).values()):
            touch(self._files.short)
        else:
            self._files.short.unlink(missing_ok=True)


def _kept(
    state: State,
    elements: Iterable[str],
    change: Callable[[set[int], set[int]], set[int]],
    views: Mapping[str, QueueView],
) -> State:
    """The state with what the user holds of arrays that we hold as a whole."""
    for element in elements:
        entry = state.entries[_array(element)]
        every = views[entry.job_id].alive if entry.job_id in views else entry.kept
        kept = change(set(entry.kept), _indices(element, every))
        state = state.with_entries(replace(entry, kept=tuple(sorted(kept))))
    return state


def _admitted_again(known: Entry, entry: Entry) -> Entry:
    again = replace(
        known,
        sweep=entry.sweep,
        directory=entry.directory,
        submission=entry.submission,
        units=entry.units,
        token=entry.token,
        bound=entry.bound,
        begins_at=entry.begins_at,
    )
    return replace(again, found=False, kept=()) if known.found and entry.held else again


def _array(element: str) -> str:
    return element.partition("_")[0]


def _indices(element: str, every: Iterable[int]) -> set[int]:
    _, _, text = element.partition("_")
    return set(parse_ranges(text.strip("[]"))) if text else set(every)


def _is_held(state: State, element: str) -> bool:
    entry = state.entries.get(_array(element))
    return entry is not None and entry.held
