"""The leases of a command: held from before it starts until it has ended."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcorch.errors import LeaseLostError, UsageError
from hpcorch.model.events import LeaseReported
from hpcorch.runtime.context.output import say

if TYPE_CHECKING:
    from hpcorch.resources.leases.lease import Lease, LeaseNews
    from hpcorch.resources.profile.profile import Profile

Look = Callable[[], None]


def lease_terms(asked: Mapping[str, int], cwd: Path) -> dict[str, dict[str, Any]]:
    """What is needed to hold these leases, from the site profile that serves the folder, as manifests have it.

    :raises UsageError: the profile has no such resource that leases enforce, or not so much of it
    """
    if not asked:
        return {}
    from hpcorch.services.site.project_profile import lease_places, load_profile, project_at

    profile = load_profile(project_at(cwd))
    places = lease_places(profile, None)
    for name, count in asked.items():
        if name not in places:
            raise UsageError(f"--lease {name}: {_no_lease(profile, name, places)}")
        if not 1 <= count <= places[name]["capacity"]:
            raise UsageError(f"--lease {name}={count}: ask for 1 to {places[name]['capacity']}, its capacity")
    return {name: {**places[name], "count": count} for name, count in asked.items()}


def _no_lease(profile: Profile, name: str, known: Collection[str]) -> str:
    from hpcorch.resources.profile.profile import Enforcement

    others = f"leases enforce {', '.join(known)}" if known else "none of its resources is enforced by leases"
    resource = profile.resources.get(name)
    if resource is None:
        return f"{profile.called} has no such resource; {others}"
    if resource.enforced is Enforcement.SYSTEM:
        return f"{name} cannot be leased, because the system itself allocates it; {others}"
    by = {Enforcement.LICENSE: "licences of Slurm enforce", Enforcement.THROTTLE: "throttles of arrays enforce"}
    return (
        f"{by[resource.enforced]} {name}, so request it with the job:"
        f" `hpcorch sbatch --hpcorch-resource {name}=1`, or hydra.launcher.resources={{{name}: 1}}; {others}"
    )


class CommandLeases:
    """Takes the leases one after the other, in the order of their names: so no two commands wait for each other.

    :param terms: as :func:`lease_terms` gives them
    :param run: what the run is called, for those who look
    :param note: puts what becomes of them on record
    """

    def __init__(
        self, terms: Mapping[str, Mapping[str, Any]], run: str, note: Callable[[LeaseReported], None]
    ) -> None:
        self._terms = terms
        self._run = run
        self._note = note
        self._held: list[Lease] = []
        self._lost: set[int] = set()
        self._stack = ExitStack()

    @property
    def look(self) -> Look | None:
        """Checks that they are still held, and reports one that was lost. None if there are none."""
        return self._look if self._held else None

    def take(self) -> None:
        """Wait for all of them.

        :raises UsageError: their directory cannot be used
        :raises UnavailableError: the file system does not answer
        """
        if not self._terms:
            return
        from hpcorch.resources.leases.lease import Leases  # most commands hold none

        for name, terms in sorted(self._terms.items()):
            leases = Leases(
                resource=name,
                directory=Path(terms["directory"]),
                capacity=terms["capacity"],
                expiry_s=terms["expiry_s"],
                run=self._run,
                observer=self._tell,
            )
            self._held.append(self._stack.enter_context(leases.hold(terms["count"])))

    def give_back(self) -> None:
        """Give back what is held. That one was lost has been told."""
        try:
            self._stack.close()
        except LeaseLostError as error:
            if len(self._lost) < len(self._held):
                say(str(error))

    def _look(self) -> None:
        for number, lease in enumerate(self._held):
            if number in self._lost:
                continue
            try:
                lease.check()
            except LeaseLostError as error:
                self._lost.add(number)
                say(f"{error}. The command goes on")

    def _tell(self, news: LeaseNews) -> None:
        self._note(news.as_fact())
