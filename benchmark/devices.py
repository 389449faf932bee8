"""One pretraining on several devices: a process for each, under Fabric's DDP."""

from __future__ import annotations

import os
import pickle
import re
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from medssl_bench.claims import ClaimLost
from medssl_bench.errors import BenchError, CaseError
from medssl_bench.interrupt import Interrupted, PeerLost
from medssl_bench.progress import Emit, Relay
from medssl_bench.registry import load_plugins
from medssl_bench.training import Compute

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import ClusterEnvironment

PATIENCE = timedelta(days=7)
"""How long processes wait for the first one, which prepares data and may wait for a claim."""
GRACE_SECONDS = 20.0
"""What the first process is left to write down a fault that all of them met."""
_PEER_GONE = re.compile(
    r"gloo/transport|connection (closed|reset|refused)|NCCL.*(remote|system|timeout)", re.IGNORECASE
)
"""What gloo and NCCL say where another process has ended."""
_TOLD = (BenchError, CaseError, ClaimLost, Interrupted)
"""Faults whose message says all; any other travels as a traceback."""


def run_on_devices(
    compute: Compute,
    plugins: Sequence[Path],
    emit: Emit,
    target: Callable[..., None],
    *words: Any,
) -> None:
    """Call ``target(fabric, emit, *words)`` in ``compute.devices`` processes and wait for them.

    ``target`` and ``words`` are pickled, and unpickled after ``plugins`` are loaded in each
    process. Only the first process's events are shown. Raises what a process raised.
    """
    if _ensemble is not None:
        _ensemble.call(emit, target, words)
        return
    from lightning_fabric.plugins.environments.lightning import find_free_network_port
    from torch.multiprocessing.spawn import ProcessException, spawn

    context = get_context("spawn")
    events, faults = context.Queue(), context.Queue()
    task = pickle.dumps((compute, target, words))
    port = find_free_network_port()
    with Relay(events, emit):
        try:
            spawn(
                _process,
                args=(compute.devices, port, tuple(plugins), task, events, faults),
                nprocs=compute.devices,
            )
        except ProcessException:
            if faults.empty():
                raise
            raise faults.get() from None


def _process(
    rank: int,
    count: int,
    port: int,
    plugins: Sequence[Path],
    task: bytes,
    events: Any,
    faults: Any,
) -> None:
    """Entry of each process."""
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "NODE_RANK": "0",
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
    }
    load_plugins(plugins)
    compute, target, words = pickle.loads(task)
    torch.set_num_threads(compute.threads)
    emit = _silent if rank else events.put
    try:
        target(_fabric(compute), emit, *words)
    except _TOLD as error:
        faults.put(error)
        faults.close()
        faults.join_thread()
        raise


def _fabric(
    compute: Compute, environment: ClusterEnvironment | None = None, nodes: int = 1
) -> Fabric:
    """Join this process to the others."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment
    from lightning_fabric.strategies import DDPStrategy

    compute.settle()
    # A 1^3 kernel's gradient has other strides, but the same order in memory.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    fabric = Fabric(
        accelerator=compute.device,
        devices=compute.devices // nodes,
        num_nodes=nodes,
        precision=compute.precision,
        # A method may leave parts of an encoder without gradient: norms of levels it does not use.
        strategy=DDPStrategy(find_unused_parameters=True, timeout=PATIENCE),
        plugins=[environment or LightningEnvironment()],
    )
    fabric.launch()
    return fabric


class Ensemble:
    """The processes of one SLURM job, on one node or several, that train together.

    The first one runs the plan and calls the others where a training takes them all.
    """

    def __init__(self, compute: Compute, nodes: int) -> None:
        """Join the others; use as a context manager."""
        from lightning_fabric.plugins.environments import SLURMEnvironment

        self._fabric = _fabric(compute, SLURMEnvironment(auto_requeue=False), nodes)
        self.leads = self._fabric.global_rank == 0

    @classmethod
    @contextmanager
    def of_job(cls, compute: Compute) -> Iterator[Ensemble | None]:
        """Join the other processes of this job step; None where it has one process.

        Raises:
            BenchError: It has another number of processes than the plan has devices.
        """
        global _ensemble
        count = int(os.environ.get("SLURM_NTASKS", "1"))
        if count == 1:
            yield None
            return
        if count != compute.devices:
            raise BenchError(f"{count} processes were started, {compute.devices} were planned")
        _ensemble = cls(compute, int(os.environ.get("SLURM_NNODES", "1")))
        try:
            yield _ensemble
            # Not after a fault: the others may be in the middle of something, and end with us.
            if _ensemble.leads:
                _ensemble._fabric.broadcast(None)
        finally:
            _ensemble = None

    def call(self, emit: Emit, target: Callable[..., None], words: tuple[Any, ...]) -> None:
        """Call ``target(fabric, emit, *words)`` in every process; from the first one."""
        with _peers():
            self._fabric.broadcast(pickle.dumps((target, words)))
            target(self._fabric, emit, *words)

    def follow(self) -> None:
        """Do what the first process calls for, until it has no more."""
        while (task := self._next_task()) is not None:
            target, words = pickle.loads(task)
            try:
                with _peers():
                    target(self._fabric, _silent, *words)
            except PeerLost:
                raise
            except (ClaimLost, Interrupted):  # all of them know
                continue
            except Exception:
                # Either all met it, and the first one needs a moment to write it down, or the
                # others wait for this one in vain: SLURM ends them all when it ends.
                traceback.print_exc()
                time.sleep(GRACE_SECONDS)
                raise

    def _next_task(self) -> bytes | None:
        with _peers():
            task: bytes | None = self._fabric.broadcast(None)
            return task


@contextmanager
def _peers() -> Iterator[None]:
    """Turn what the backend says of a process that has ended into :class:`PeerLost`."""
    try:
        yield
    except RuntimeError as error:
        if _PEER_GONE.search(str(error)) is None:
            raise
        line = str(error).splitlines()[0]
        raise PeerLost(f"another process of this job has ended: {line}") from error


_ensemble: Ensemble | None = None
"""What this process belongs to, while it does."""


def _silent(_: object) -> None:
    """Show nothing: what the other processes would say, the first one says."""


def joint_mean(fabric: Fabric) -> Callable[[Tensor], Tensor] | None:
    """Return what turns a process's mean into that of all processes; None where there is one."""
    if fabric.world_size == 1:
        return None

    def mean(value: Tensor) -> Tensor:
        joint = fabric.all_reduce(value, reduce_op="mean")
        assert isinstance(joint, Tensor)
        return joint

    return mean
