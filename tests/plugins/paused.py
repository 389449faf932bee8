"""Training that takes its time: a pause in every step, which changes no number."""

import os
import time

from medssl_bench.stages import finetune, pretrain

PAUSE = float(os.environ.get("BENCH_TEST_PAUSE", "0.15"))


def pausing(function):
    """Wait before calling."""

    def paused(*args, **words):
        time.sleep(PAUSE)
        return function(*args, **words)

    return paused


finetune.seed_step = pausing(finetune.seed_step)
pretrain.seed_step = pausing(pretrain.seed_step)
