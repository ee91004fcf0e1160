"""Two hosts on one network file system: both store, launch, read and retry, and one after the other is cut off.

``--mount sshfs`` mounts a folder of this machine twice, for two hosts that are name spaces of it. Anything else are
options of NFS between the machines of scripts/nfs-lab, such as ``vers=4.2`` or ``vers=3,nolock``. A host is cut off
by a power cut, or it stands still for longer than a lock's lease and goes on. In the end everything that a host was
told is stored has to be there, ``hpcorch ledger check --deep`` has to find nothing, and the other one must have
gone on within 90 seconds each time: done each step, or been refused in a sentence.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

STANDSTILL_S = (45.0, 75.0)
HERE = Path(__file__).resolve().parent
NFS_LAB = HERE.parent / "nfs-lab"

PROGRAM = """\
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
@hydra.main(version_base=None, config_path=None)
def main(cfg):
    tried = Path(HydraConfig.get().runtime.output_dir, "tried")
    if cfg.x == 2 and not tried.exists():
        tried.touch()
        raise SystemExit(1)
    return float(cfg.x)
if __name__ == "__main__":
    main()
"""


class Host(ABC):
    """A host that can be cut off."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.said: list[tuple[float, str, str]] = []
        self._work: subprocess.Popen[str] | None = None

    @abstractmethod
    def command(self, *words: str) -> list[str]:
        """What executes this file there with these words."""

    @abstractmethod
    def cut(self) -> None:
        """A power cut."""

    @abstractmethod
    def boot(self) -> None:
        """Start it again."""

    @abstractmethod
    def stop(self) -> None:
        """Let it stand still."""

    @abstractmethod
    def resume(self) -> None:
        """Let it go on."""

    def begin(self) -> None:
        """Start to work."""
        self._work = subprocess.Popen(
            self.command("work", self.name), stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        threading.Thread(target=self._listen, args=(self._work,), daemon=True).start()

    def _listen(self, program: subprocess.Popen[str]) -> None:
        assert program.stdout is not None
        for line in program.stdout:
            kind, _, text = line.rstrip("\n").partition(" ")
            self.said.append((time.monotonic(), kind, text))

    @property
    def has_ended(self) -> bool:
        """Whether its work ended by itself."""
        return self._work is not None and self._work.poll() is not None

    def end(self) -> None:
        """Stop working."""
        if self._work is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._work.pid, signal.SIGKILL)
            self._work.wait()

    def longest_silence(self, since: float) -> tuple[float, str]:
        """Seconds between two things that it said after a moment, at most, and what it said then.

        Nothing is done without a lock.
        """
        words = [(since, ""), *((at, kind) for at, kind, _ in self.said if at > since)]
        return max((later - earlier, kind) for (earlier, _), (later, kind) in pairwise(words))

    def told(self, kind: str) -> list[str]:
        """What it said of a kind."""
        return [text for _, said, text in self.said if said == kind]


class SshfsHost(Host):
    """A mount of its own, and name spaces of host names and processes."""

    def __init__(self, name: str, top: Path) -> None:
        super().__init__(name)
        self._top, self._folder = top, top / name
        self._server = top / "sftp"
        self._server.write_text("#!/bin/sh\nexec /usr/lib/openssh/sftp-server\n")
        self._server.chmod(0o755)
        self._folder.mkdir()
        self._mount: subprocess.Popen[bytes] | None = None

    def command(self, *words: str) -> list[str]:
        inner = f'hostname {self.name} && exec "$@"'
        space = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", inner, "sh"]
        return [*space, sys.executable, str(HERE / "host_work.py"), *words, str(self._folder)]

    def boot(self) -> None:
        options = f"ssh_command={self._server},attr_timeout=3,entry_timeout=3"
        self._mount = subprocess.Popen(
            ["sshfs", "-f", "-o", options, f"x:{self._top / 'disk'}", str(self._folder)], start_new_session=True
        )
        while not os.path.ismount(self._folder):
            time.sleep(0.05)

    def cut(self) -> None:
        self._signal(signal.SIGSTOP)  # no last words
        self._signal(signal.SIGKILL)
        self.end()
        assert self._mount is not None
        self._mount.wait()
        subprocess.run(["fusermount3", "-u", "-z", str(self._folder)], check=True)

    def stop(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._mount is not None
        assert self._work is not None
        import psutil

        for top in (self._work.pid, self._mount.pid):
            with suppress(psutil.NoSuchProcess):
                family = psutil.Process(top).children(recursive=True)
                for process in [*family, psutil.Process(top)]:
                    with suppress(psutil.NoSuchProcess):
                        process.send_signal(number)


class NfsHost(Host):
    """A machine of the lab.

    :param options: of the mount
    """

    def __init__(self, name: str, options: str) -> None:
        super().__init__(name)
        self._options = options

    def command(self, *words: str) -> list[str]:
        program = f"/opt/hpcorch/bin/python /opt/source/scripts/bench/host_work.py {' '.join(words)}"
        return [str(NFS_LAB), "run", self.name, f"{program} /srv/project/trial"]

    def boot(self) -> None:
        self._lab("boot", self.name)
        self._lab("mount", self.name, self._options)

    def cut(self) -> None:
        self._lab("kill", self.name)
        super().end()

    def end(self) -> None:
        subprocess.run([NFS_LAB, "root", self.name, "pkill -KILL -f host_work.py"], check=False)
        super().end()

    def stop(self) -> None:
        self._lab("freeze", self.name)

    def resume(self) -> None:
        self._lab("thaw", self.name)

    def _lab(self, *words: str) -> None:
        subprocess.run([NFS_LAB, *words], check=True)


@contextmanager
def sshfs_hosts() -> Iterator[list[Host]]:
    """Two of them over one folder of this machine."""
    with tempfile.TemporaryDirectory(prefix="hpcorch-hosts-") as top, ExitStack() as stack:
        disk = Path(top) / "disk"
        disk.mkdir()
        _prepare(disk)
        hosts: list[Host] = [SshfsHost(name, Path(top)) for name in ("a", "b")]
        for host in hosts:
            host.boot()
            stack.callback(host.cut)
        yield hosts


@contextmanager
def nfs_hosts(options: str) -> Iterator[list[Host]]:
    """The two clients of the lab, which has to be started."""
    hosts: list[Host] = [NfsHost(name, options) for name in ("a", "b")]
    for host in hosts:
        subprocess.run([NFS_LAB, "mount", host.name, options], check=True)
    subprocess.run([NFS_LAB, "run", "a", "rm -rf trial && mkdir -p trial/shared/.hpcorch"], check=True)
    subprocess.run([NFS_LAB, "run", "a", "cat > trial/program.py"], check=True, input=PROGRAM, text=True)
    try:
        yield hosts
    finally:
        for host in hosts:
            host.end()


def _prepare(folder: Path) -> None:
    (folder / "shared" / ".hpcorch").mkdir(parents=True)
    (folder / "program.py").write_text(PROGRAM)


def trial(hosts: list[Host], options: argparse.Namespace) -> int:
    """Both parts and the verdict; the exit code."""
    chance = random.Random(options.seed)
    for host in hosts:
        host.begin()
    until = time.monotonic() + 60 * options.minutes
    longest = 0.0
    for cut in range(options.cuts):
        _wait_for_more(hosts)
        time.sleep(chance.uniform(0, 3))
        victim, other = chance.sample(hosts, 2)
        stands_still = options.cut == "standstill" or (options.cut is None and chance.random() < 0.5)
        begun = time.monotonic()
        victim.stop() if stands_still else victim.cut()
        _wait_for_more([other], since=time.monotonic())
        _wait_for_more([other])  # the first may have had all locks when the other one was cut off
        silent_s, then = other.longest_silence(begun)
        longest = max(longest, silent_s)
        if stands_still:
            time.sleep(max(0.0, begun + chance.uniform(*STANDSTILL_S) - time.monotonic()))
            victim.resume()
        else:
            victim.boot()
            victim.begin()
        what = "stood still" if stands_still else "lost power"
        print(
            f"cut {cut + 1}: {victim.name} {what}; {other.name} was silent for {silent_s:.0f} s, then {then}",
            flush=True,
        )
        if options.verbose:
            for at, kind, text in other.said:
                if at > begun - 5:
                    print(f"  {at - begun:+6.1f} {kind} {text[:150]}", flush=True)
    while time.monotonic() < until:
        time.sleep(1)
    _wait_for_more(hosts)
    for host in hosts:
        host.end()
    return _verdict(hosts, longest, options.within)


def _wait_for_more(hosts: list[Host], *, since: float | None = None, limit_s: float = 600) -> None:
    """Wait until each has stored something after a moment."""
    since = time.monotonic() if since is None else since
    until = time.monotonic() + limit_s
    for host in hosts:
        while not any(at > since and kind == "stored" for at, kind, _ in host.said[-50:]):
            if time.monotonic() > until or host.has_ended:
                sys.exit(f"{host.name} stored nothing for {limit_s:g} s; it said last: {host.said[-3:]}")
            time.sleep(0.05)


def _verdict(hosts: list[Host], longest: float, within_s: float) -> int:
    ran = subprocess.run(hosts[0].command("judge"), capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        print(ran.stdout + ran.stderr)
        return 1
    found = json.loads(ran.stdout)
    stored = {text for host in hosts for text in host.told("stored")}
    launched = {text for host in hosts for text in host.told("launched")}
    noted = {text for host in hosts for text in host.told("noted")}
    wrong = {
        "stored and gone": sorted((stored | launched) - found["sweeps"].keys()),
        "noted and gone": sorted(noted - set(found["noted"])),
        "read and missed": [text for host in hosts for text in host.told("missed")],
        "not completed": [name for name in launched if found["sweeps"].get(name) != {"COMPLETED": 2}],
        "findings": found["findings"],
        "too late": [longest] if longest > within_s else [],
    }
    failed = [text for host in hosts for text in host.told("failed")]
    shares = " and ".join(str(len(host.told("stored"))) for host in hosts)
    print(f"{shares} sweeps stored, {len(noted)} facts noted, {len(launched)} sweeps launched and retried;")
    print(f"  {len(failed)} times refused in a sentence; silent for {longest:.0f} s at most")
    for sentence in sorted(set(failed))[:20]:
        print(f"  refused: {sentence[:200]}")
    for what, items in wrong.items():
        print(f"  {what}: {len(items)}{' ' + str(items[:5]) if items else ''}")
    return int(any(wrong.values()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mount", default="sshfs", help="sshfs, or options of NFS (%(default)s)")
    parser.add_argument("--minutes", type=float, default=10.0, help="at least (%(default)s)")
    parser.add_argument("--cuts", type=int, default=20, help="how often a host is cut off (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims (%(default)s)")
    parser.add_argument("--cut", choices=("power", "standstill"), help="in one way alone; both if not given")
    parser.add_argument("--within", type=float, default=90.0, help="seconds to go on in (%(default)s)")
    parser.add_argument("--verbose", action="store_true", help="what the other one did meanwhile")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # no mount is left
    with sshfs_hosts() if options.mount == "sshfs" else nfs_hosts(options.mount) as hosts:
        return trial(hosts, options)


if __name__ == "__main__":
    sys.exit(main())
