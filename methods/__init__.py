"""The built-in methods: one file each, listed here without importing torch.

``info`` repeats what a method's class declares, so that ``bench list`` and the plan need not import
it; a test holds the two equal.
"""

from medssl_bench.registry import Entry


def _requires(
    views: int = 1,
    mask_input: bool = False,
    token_level: bool = False,
    min_batch: int = 1,
    trains: bool = True,
) -> dict[str, int | bool]:
    """Return the fields of :class:`medssl_bench.method.Requires` as plain data."""
    return {
        "views": views,
        "mask_input": mask_input,
        "token_level": token_level,
        "min_batch": min_batch,
        "trains": trains,
    }


METHODS: dict[str, Entry] = {
    "scratch": Entry(
        "medssl_bench.methods.scratch:Scratch",
        "random initialisation: the baseline every method must beat",
        {
            "family": "none",
            "reference": "no pretraining",
            "version": 1,
            "views": 1,
            "requires": _requires(trains=False),
        },
    ),
    "simmim": Entry(
        "medssl_bench.methods.simmim:SimMIM",
        "predict the voxels of masked blocks with a one-layer head",
        {
            "family": "mim",
            "reference": "Xie et al., SimMIM, CVPR 2022 (arXiv:2111.09886)",
            "version": 2,
            "views": 1,
            "requires": _requires(mask_input=True),
        },
    ),
    "smit": Entry(
        "medssl_bench.methods.smit:SMIT",
        "masked voxels plus patch and global token distillation from an EMA teacher",
        {
            "family": "mim",
            "reference": "Jiang et al., SMIT, MICCAI 2022 (arXiv:2205.10342)",
            "version": 2,
            "views": 2,
            "requires": _requires(views=2, mask_input=True, token_level=True),
        },
    ),
}
