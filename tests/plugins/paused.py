"""Training that takes its time, and claims that expire soon; neither changes a number."""

import os
import time

from medssl_bench import worker
from medssl_bench.stages import finetune, pretrain

PAUSE = float(os.environ.get("BENCH_TEST_PAUSE", "0.4"))
worker.STALE_SECONDS = float(os.environ.get("BENCH_TEST_STALE", worker.STALE_SECONDS))


def pausing(function):
    """Wait before calling."""

    def paused(*args, **words):
        time.sleep(PAUSE)
        return function(*args, **words)

    return paused


finetune.seed_step = pausing(finetune.seed_step)
pretrain.seed_step = pausing(pretrain.seed_step)
