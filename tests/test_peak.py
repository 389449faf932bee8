"""Peak memory belongs to the unit of work that took it."""

import mmap
import sys

import pytest

from medssl_bench.peak import peak_bytes, start_peak

BLOCK = 256 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc here: the peak is not measured")
def test_what_an_earlier_unit_took_is_forgotten() -> None:
    def work() -> None:
        with mmap.mmap(-1, BLOCK) as block:
            for page in range(0, BLOCK, 4096):
                block[page] = 1

    def peak() -> int:
        found = peak_bytes("cpu")
        assert found is not None
        return found

    start_peak("cpu")
    before = peak()
    work()
    assert peak() >= before + 0.9 * BLOCK
    start_peak("cpu")
    assert peak() < before + 0.5 * BLOCK
