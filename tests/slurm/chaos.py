"""Kills at random, by seed: python tests/slurm/chaos.py [--cells 60] [--kills 200] [--seed 0]

Submits cells to the test cluster (`make chaos` starts it), kills, requeues, cancels, freezes,
damages checkpoints, fills the disk and restarts daemons, submits again what was lost, and compares
every record with an undisturbed local run. Exit code 1: one differs, is doubled, or work was left.
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
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from trial import PAUSED, Trial, evidence, restart

SITE = "cpus: 1\ngpus: 0\nminutes: 30\nsignal_seconds: 30\nkills: 1000\nrestarts: 1000\n"
PAUSE_SECONDS = 2.0
STEPS = 30
"""Of each cell."""
KILL_SECONDS = 3.0
"""A disturbance takes about so long; cells are paused so that they are not done before the last."""
LOOK_SECONDS = 20.0
"""Between looks at what is recorded, each of which starts a process: kills should not wait."""
MEGABYTES = 1500
"""Of the results' disk: a cell that waits to be gone on with keeps 40 MB of checkpoints."""


class Chaos:
    """One run: what is done next is drawn from a seeded generator."""

    def __init__(self, folder: Path, cells: int, seed: int) -> None:
        draws = cells // 2
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.helped: Counter[str] = Counter()
        more = ["--draws", str(draws), "--set", f"finetune.steps={STEPS}"]
        self.calm = Trial(folder / "undisturbed", folder / "cache", methods="scratch,simmim")
        self.wild = Trial(folder / "wild", folder / "cache", SITE, methods="scratch,simmim")
        self.calm.more = self.wild.more = more
        self.deeds: dict[str, Callable[[], bool]] = {
            "kill -9 of the process": self.kill,
            "scontrol requeue": lambda: self.job("scontrol", "requeue"),
            "SIGUSR1": lambda: self.job("scancel", "--signal=USR1"),
            "scancel": lambda: self.job("scancel"),
            "frozen for a while": self.freeze,
            "damaged newest checkpoint, then killed": self.damage,
            "slurmd killed": lambda: self.daemon("slurmd"),
            "slurmctld killed": lambda: self.daemon("slurmctld"),
            "full disk": self.fill,
        }
        self.weights = [40, 20, 40, 10, 10, 10, 3, 3, 4]

    def owners(self) -> list[tuple[int, Path]]:
        """Processes that hold a claim, and their claims."""
        found = []
        for path in self.wild.results.glob("work/*/generation-*.claim"):
            try:
                pid = int(json.loads(path.read_text())["pid"])
                os.kill(pid, 0)
            except (OSError, ValueError, KeyError):
                continue
            if not path.with_suffix(".released").exists():
                found.append((pid, path))
        return sorted(found, key=lambda item: item[1].name)

    def kill(self) -> bool:
        for pid, _ in self.chosen_owner():
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    def chosen_owner(self) -> list[tuple[int, Path]]:
        owners = self.owners()
        return [self.random.choice(owners)] if owners else []

    def freeze(self) -> bool:
        for pid, _ in self.chosen_owner():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(3)
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                return False
            return True
        return False

    def damage(self) -> bool:
        for pid, claim in self.chosen_owner():
            found = sorted(claim.with_suffix("").glob("checkpoint-*.pt"))
            if len(found) < 2:
                return False
            try:
                os.kill(pid, signal.SIGSTOP)  # so that it is the newest one when it is needed
                content = bytearray(found[-1].read_bytes())
                content[len(content) // 2] ^= 1
                found[-1].write_bytes(content)
                os.kill(pid, signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                return False
            return True
        return False

    def job(self, *words: str) -> bool:
        shown = subprocess.run(
            ["squeue", "--noheader", "--array", "--states=RUNNING", "--format=%i"],
            capture_output=True, text=True,
        )  # fmt: skip
        jobs = sorted(shown.stdout.split())
        if not jobs:
            return False
        # Of a job that ended meanwhile scancel asks again for minutes.
        try:
            done = subprocess.run(
                [*words, self.random.choice(jobs)], capture_output=True, timeout=5
            )
        except subprocess.TimeoutExpired:
            return False
        return not done.returncode

    def daemon(self, name: str) -> bool:
        restart(name)
        return True

    def fill(self) -> bool:
        if not os.path.ismount(self.wild.results):
            return False
        filler = self.wild.results / "filler"
        try:
            with filler.open("wb") as stream:
                while True:
                    stream.write(bytes(2**20))
                    stream.flush()
        except OSError:
            pass
        time.sleep(3)
        filler.unlink()
        return True

    def operate(self) -> None:
        """Do what an operator would: SLURM drains a node, or holds a job, of which it lost sight.

        slurmctld, killed while it launches a job, launches it again, and slurmd refuses the
        duplicate; neither is ever used again then, unless somebody says so.
        """
        for line in _lines("sinfo", "--Node", "--noheader", "--format=%N %T"):
            node, _, state = line.partition(" ")
            if state.startswith("drain"):
                _lines("scontrol", "update", f"nodename={node}", "state=resume")
                self.helped["drained nodes resumed"] += 1
        for line in _lines("squeue", "--noheader", "--array", "--states=PENDING", "--format=%i %r"):
            job, _, reason = line.partition(" ")
            if "held" in reason:
                _lines("scontrol", "release", job)
                self.helped["held jobs released"] += 1

    def run(self, kills: int) -> None:
        """Submit, disturb, submit again, until all is recorded."""
        self.wild.submit()
        looked = time.monotonic()
        while True:
            if sum(self.counts.values()) < kills:
                (name,) = self.random.choices([*self.deeds], self.weights)
                if self.deeds[name]():
                    self.counts[name] += 1
                    print(f"{sum(self.counts.values())}: {name}", flush=True)
                time.sleep(self.random.uniform(0, PAUSE_SECONDS))
                if time.monotonic() - looked < LOOK_SECONDS:
                    continue
            looked = time.monotonic()
            self.operate()
            found = self.wild.status()
            states = Counter(unit["state"] for unit in found["units"])
            if not found["goes_on"]:
                if set(states) == {"done"}:
                    return
                print(f"submitting again: {dict(states)}", flush=True)
                self.wild.run("--site", "site.yaml", "--plugin", str(PAUSED), code=None)
            if sum(self.counts.values()) >= kills:
                time.sleep(2)

    def faults(self) -> list[str]:
        """What is not as it should be."""
        calm, wild = evidence(self.calm.results), evidence(self.wild.results)
        found = [f"{key} is missing" for key in calm if key not in wild]
        found += [f"{key} differs" for key in wild if wild[key] != calm.get(key)]
        folders = [path.name for path in self.wild.results.glob("records/*/*")]
        if len(folders) != len(set(name.rpartition("_")[2] for name in folders)):
            found.append("a cell is recorded twice")
        found += [f"{path} was left" for path in self.wild.results.glob("work/*")]
        hidden = (path for path in self.wild.results.rglob(".*") if "slurm" not in path.parts)
        found += [f"{path} was left" for path in hidden]
        return found


def _lines(*words: str) -> list[str]:
    """Run a command of SLURM; none where its controller does not answer."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=5)
    except subprocess.TimeoutExpired:
        return []
    return sorted({*done.stdout.splitlines()})


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=60)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    jobs_at_once = 4
    pause = KILL_SECONDS * asked.kills * jobs_at_once / (asked.cells * STEPS)
    os.environ.setdefault("BENCH_TEST_PAUSE", f"{max(pause, 0.4):.2f}")
    with tempfile.TemporaryDirectory(prefix="bench-chaos-") as name:
        chaos = Chaos(Path(name), asked.cells, asked.seed)
        began = time.monotonic()
        chaos.calm.run("--workers", "2")
        calm = time.monotonic() - began
        chaos.wild.results.mkdir()
        mounted = not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "none", str(chaos.wild.results)],
            capture_output=True,
        ).returncode  # fmt: skip
        try:
            chaos.run(asked.kills)
            wild = time.monotonic() - began - calm
            faults = chaos.faults()
            records = len(list(chaos.wild.results.glob("records/*/*/record.json")))
        finally:
            chaos.wild.bench("cancel", "--all", "--results", "results", code=None)
            if mounted:
                subprocess.run(["umount", "--lazy", str(chaos.wild.results)], check=False)
    for deed, count in chaos.counts.items():
        print(f"{count:>5} x {deed}")
    for help_, count in chaos.helped.items():
        print(f"{count:>5} x {help_} by the operator")
    did = sum(chaos.counts.values())
    print(f"{records} records of {asked.cells} cells after {did} disturbances")
    print(f"{wild:.0f} s; undisturbed, by two local workers: {calm:.0f} s")
    if did < asked.kills:
        faults.append(f"all was recorded after {did} of {asked.kills} disturbances")
    print("\n".join(faults) if faults else "all equal to the undisturbed run, nothing left behind")
    return bool(faults or records != asked.cells)


if __name__ == "__main__":
    sys.exit(main())
