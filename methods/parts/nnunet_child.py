"""The process in which nnunetv2 plans, trains and predicts: ``python -m ... FOLDER``.

It reads ``order.json`` and ``raw/`` there, says on its output how far it is (``stage WORDS``,
``epoch DONE LOSS``, ``predicted CASES``), and leaves ``predictions/`` and ``outcome.json``. What
nnU-Net itself says goes to ``nnunet.log``. Its folders are environment variables, hence a process
of its own.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from medssl_bench.methods.nnunet import CONFIGURATION, DATASET, ChildOrder

PLANS = "nnUNetPlans"


def main(folder: Path) -> None:
    """Carry out ``order.json`` and write ``outcome.json``."""
    _end_with_parent()
    say = _divert_output(folder / "nnunet.log")
    order = ChildOrder(**json.loads((folder / "order.json").read_text()))
    began = time.monotonic()
    _seed(order)
    say("stage planning")
    _plan(order)
    say("stage training")
    resumed = _resumptions(order)
    trainer = _train(order, say)
    say("stage predicting")
    _predict(trainer, order, folder, say)
    say("stage done")
    spent = _training_seconds(trainer)
    outcome = {
        **_facts(trainer, order),
        "resumed": resumed,
        "train_seconds": spent,
        # Of this session; training of earlier ones is in its checkpoint.
        "other_seconds": max(0.0, time.monotonic() - began - trainer.seconds_here),
    }
    (folder / "outcome.json").write_text(json.dumps(outcome))


def _seed(order: ChildOrder) -> None:
    import numpy as np
    import torch

    random.seed(order.seed)
    np.random.seed(order.seed % 2**32)
    torch.manual_seed(order.seed)
    torch.set_num_threads(order.threads if order.device == "cpu" else 1)


def _plan(order: ChildOrder) -> None:
    """Do what ``nnUNetv2_plan_and_preprocess -d 1 -c 3d_fullres`` does."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    count = max(1, order.threads)
    api.extract_fingerprints([1], num_processes=count, show_progress_bar=False)
    identifier = api.plan_experiments([1])
    api.preprocess([1], identifier, (CONFIGURATION,), [count], show_progress_bar=False)


def _train(order: ChildOrder, say: Any) -> Any:
    """Train, or go on from the checkpoint; returns nnU-Net's trainer with its last weights."""
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    class Trainer(nnUNetTrainer):  # type: ignore[misc]
        """nnU-Net's default, of another length where asked, that keeps its checkpoints safe."""

        seconds_here = 0.0

        def on_epoch_end(self) -> None:
            done = self.current_epoch
            super().on_epoch_end()
            begin = self.logger.get_value("epoch_start_timestamps", done)
            self.seconds_here += self.logger.get_value("epoch_end_timestamps", done) - begin
            say(f"epoch {done + 1} {self.logger.get_value('train_losses', done):.4f}")

        def save_checkpoint(self, filename: str) -> None:
            super().save_checkpoint(filename)
            if Path(filename).name in ("checkpoint_latest.pth", "checkpoint_final.pth"):
                _publish(Path(filename), Path(order.checkpoint))

    if order.device == "cpu":  # the network is the slow part, and one process is repeatable
        os.environ["nnUNet_n_proc_DA"] = "0"
    base = Path(os.environ["nnUNet_preprocessed"]) / DATASET
    plans = json.loads((base / f"{PLANS}.json").read_text())
    if CONFIGURATION not in plans["configurations"]:
        raise RuntimeError(f"nnunetv2 plans no {CONFIGURATION} for these volumes; are they flat?")
    plans["continue_training"] = Path(order.checkpoint).exists()
    trainer = Trainer(
        plans=plans,
        configuration=CONFIGURATION,
        fold="all",
        dataset_json=json.loads((base / "dataset.json").read_text()),
        device=torch.device(order.device),
    )
    trainer.num_epochs = order.epochs
    trainer.num_iterations_per_epoch = order.iterations
    trainer.num_val_iterations_per_epoch = max(1, order.iterations // 5)  # 50 of 250
    trainer.save_every = max(1, order.epochs // 20)  # 50 of 1000
    trainer.initialize()
    if Path(order.checkpoint).exists():
        trainer.load_checkpoint(order.checkpoint)
    if trainer.current_epoch < order.epochs:
        trainer.run_training()
    return trainer


def _publish(saved: Path, to: Path) -> None:
    """Copy a whole checkpoint to where it outlives this folder, never half."""
    unfinished = to.with_name(f".{to.name}.{os.getpid()}")
    shutil.copyfile(saved, unfinished)
    unfinished.replace(to)


def _resumptions(order: ChildOrder) -> int:
    """Count the sessions that went on from a checkpoint, this one included."""
    if not Path(order.checkpoint).exists():
        return 0
    counter = Path(order.checkpoint).with_suffix(".resumed")
    count = int(counter.read_text()) + 1 if counter.exists() else 1
    unfinished = counter.with_name(f".{counter.name}.{os.getpid()}")
    unfinished.write_text(str(count))
    unfinished.replace(counter)  # a claim inherits files by links, so none is written in place
    return count


def _predict(trainer: Any, order: ChildOrder, folder: Path, say: Any) -> None:
    """Predict the test cases as ``nnUNetv2_predict`` does: half overlap, Gaussian, mirroring."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor = nnUNetPredictor(device=trainer.device, allow_tqdm=False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [_network(trainer).state_dict()],
        trainer.dataset_json,
        "nnUNetTrainer",
        trainer.inference_allowed_mirroring_axes,
    )
    out = folder / "predictions"
    out.mkdir(exist_ok=True)
    images = str(folder / "raw" / DATASET / "imagesTs")
    for old in out.glob("*.nii.gz"):
        old.unlink()  # of a session that was cut off
    with _counted(out, say):
        if order.device == "cpu":
            predictor.predict_from_files_sequential(images, str(out))
            return
        half = max(1, order.threads // 2)
        predictor.predict_from_files(
            images, str(out),
            num_processes_preprocessing=half, num_processes_segmentation_export=half,
        )  # fmt: skip


@contextmanager
def _counted(out: Path, say: Any) -> Iterator[None]:
    """Say meanwhile how many predictions there are; nnU-Net does so in its log alone."""
    ended = threading.Event()

    def follow() -> None:
        told = 0
        while not ended.wait(1.0):
            found = len(list(out.glob("*.nii.gz")))
            if found != told:
                told = found
                say(f"predicted {found}")

    watcher = threading.Thread(target=follow, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
    say(f"predicted {len(list(out.glob('*.nii.gz')))}")


def _network(trainer: Any) -> Any:
    """Return the network itself, where it is compiled too."""
    return getattr(trainer.network, "_orig_mod", trainer.network)


def _training_seconds(trainer: Any) -> float:
    """Sum the epochs' times, which travel in nnU-Net's checkpoints."""
    logged = trainer.logger.get_checkpoint()
    starts, ends = logged["epoch_start_timestamps"], logged["epoch_end_timestamps"]
    return float(sum(end - start for start, end in zip(starts, ends, strict=False)))


def _facts(trainer: Any, order: ChildOrder) -> dict[str, Any]:
    import torch

    from medssl_bench.digest import digest, weights_digest

    network = _network(trainer)
    logged = trainer.logger.get_checkpoint()
    chosen = trainer.configuration_manager
    plans = {key: value for key, value in trainer.plans_manager.plans.items()}
    history = [
        {
            "step": (epoch + 1) * order.iterations,
            "loss": float(loss),
            "pseudo_dice": float(dice),
        }
        for epoch, (loss, dice) in enumerate(
            zip(logged["train_losses"], logged["mean_fg_dice"], strict=True)
        )
    ]
    return {
        "history": history,
        "weights": weights_digest(network.state_dict()),
        "batch": int(chosen.batch_size),
        "peak_bytes": _peak_bytes(torch.cuda.max_memory_allocated() if _cuda(order) else None),
        "plan": {
            "plans_digest": digest(plans),
            "patch_size": [int(side) for side in chosen.patch_size],
            "batch_size": int(chosen.batch_size),
            "spacing": [float(side) for side in chosen.spacing],
            "normalization": list(chosen.normalization_schemes),
            "architecture": str(chosen.network_arch_class_name).rpartition(".")[2],
            "parameters": sum(value.numel() for value in network.parameters()),
            "mirroring": list(trainer.inference_allowed_mirroring_axes or ()),
        },
    }


def _cuda(order: ChildOrder) -> bool:
    return order.device == "cuda"


def _peak_bytes(of_gpu: int | None) -> int:
    """Return the most held: of the GPU, else by this process."""
    if of_gpu is not None:
        return of_gpu
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _divert_output(log: Path) -> Any:
    """Send what is printed to a log and return a function that writes to the parent."""
    parent: TextIO = os.fdopen(os.dup(1), "w", buffering=1)
    stream = log.open("a", encoding="utf-8")
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)

    def say(line: str) -> None:
        print(line, file=parent, flush=True)

    return say


def _end_with_parent() -> None:
    """A killed parent takes this process along."""
    parent = os.getppid()

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except BaseException as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
