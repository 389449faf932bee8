"""Writes the seconds from the start of its process to its first step into a file."""

import os
import time
from pathlib import Path

import psutil

from medssl_bench.stages import finetune

_seed_step = finetune.seed_step


def _first(*args, **words):
    finetune.seed_step = _seed_step
    seconds = time.time() - psutil.Process().create_time()
    Path(os.environ["BENCH_TEST_FIRST_STEP"]).write_text(str(seconds))
    return _seed_step(*args, **words)


finetune.seed_step = _first
