"""Kept memory is reused: repeated large tensors fault in fewer new pages."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from medssl_bench.networks.memory import keep_freed_memory
{call}
for turn in range(100):
    if turn == 80:  # small objects settle beside the first tensors, so these move on at first
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_reused() -> None:
    faults = {}
    for call in ("assert keep_freed_memory()", ""):
        code = FAULTS.format(call=call)
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        faults[call] = int(answer.stdout)
    kept, plain = faults.values()
    assert kept < plain / 4
