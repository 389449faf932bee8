"""The built-in methods: one file each, listed here without importing torch.

``info`` repeats what a method's class declares, so that ``bench list`` and the plan need not import
it; a test holds the two equal.
"""

from medssl_bench.registry import Entry


def _requires(
    views: int = 1,
    mask_input: bool = False,
    token_level: bool = False,
    min_modalities: int = 1,
    min_batch: int = 1,
    trains: bool = True,
    file: bool = False,
    own_training: bool = False,
) -> dict[str, int | bool]:
    """Return the fields of :class:`medssl_bench.method.Requires` as plain data."""
    return {
        "views": views,
        "mask_input": mask_input,
        "token_level": token_level,
        "min_modalities": min_modalities,
        "min_batch": min_batch,
        "trains": trains,
        "file": file,
        "own_training": own_training,
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
    "inpainting": Entry(
        "medssl_bench.methods.inpainting:Inpainting",
        "rebuild a crop in which cuboids were dropped for noise",
        {
            "family": "reconstruction",
            "reference": "Tang et al., SwinUNETR, CVPR 2022 (arXiv:2111.14791)",
            "version": 1,
            "views": 1,
            "requires": _requires(),
        },
    ),
    "reconstruction": Entry(
        "medssl_bench.methods.reconstruction:Reconstruction",
        "rebuild a crop from its own coarsest features",
        {
            "family": "reconstruction",
            "reference": "paper 004, section 3.2: an autoencoder",
            "version": 1,
            "views": 1,
            "requires": _requires(),
        },
    ),
    "contrastive": Entry(
        "medssl_bench.methods.contrastive:Contrastive",
        "tell two crops of a scan from crops of other scans",
        {
            "family": "contrastive",
            "reference": "Chen et al., SimCLR, ICML 2020 (arXiv:2002.05709), as in SwinUNETR",
            "version": 1,
            "views": 2,
            "requires": _requires(views=2, min_batch=2),
        },
    ),
    "rotation": Entry(
        "medssl_bench.methods.rotation:Rotation",
        "tell by how many quarter turns a crop was rotated",
        {
            "family": "rotation",
            "reference": "Gidaris et al., RotNet, ICLR 2018 (arXiv:1803.07728), as in SwinUNETR",
            "version": 1,
            "views": 1,
            "requires": _requires(),
        },
    ),
    "dino": Entry(
        "medssl_bench.methods.dino:DINO",
        "predict from one crop what an EMA teacher makes of another",
        {
            "family": "distillation",
            "reference": "Caron et al., DINO, ICCV 2021 (arXiv:2104.14294)",
            "version": 1,
            "views": 2,
            "requires": _requires(views=2),
        },
    ),
    "ibot": Entry(
        "medssl_bench.methods.ibot:IBOT",
        "distil masked patch tokens and their mean from an EMA teacher",
        {
            "family": "distillation",
            "reference": "Zhou et al., iBOT, ICLR 2022 (arXiv:2111.07832)",
            "version": 1,
            "views": 2,
            "requires": _requires(views=2, mask_input=True, token_level=True),
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
    "swinunetr": Entry(
        "medssl_bench.methods.swinunetr:SwinUNETR",
        "rotation, inpainting and contrast of two crops together",
        {
            "family": "multi",
            "reference": "Tang et al., SwinUNETR, CVPR 2022 (arXiv:2111.14791)",
            "version": 1,
            "views": 2,
            "requires": _requires(views=2, min_batch=2),
        },
    ),
    "brainmvp": Entry(
        "medssl_bench.methods.brainmvp:BrainMVP",
        "rebuild one modality from another and from learned templates, and pair the two",
        {
            "family": "multi",
            "reference": "Rui et al., BrainMVP, CVPR 2025 (arXiv:2410.10604)",
            "version": 2,
            "views": 1,
            "requires": _requires(min_modalities=2, min_batch=2),
        },
    ),
    "swinunetr_public": Entry(
        "medssl_bench.methods.swinunetr_public:SwinUNETRPublic",
        "SwinUNETR's public weights, pretrained on 5,050 CTs (its own backbone; needs their file)",
        {
            "family": "published",
            "reference": "Tang et al., SwinUNETR, CVPR 2022 (arXiv:2111.14791)",
            "version": 1,
            "views": 1,
            "requires": _requires(trains=False, file=True),
        },
    ),
    "checkpoint": Entry(
        "medssl_bench.methods.checkpoint:Checkpoint",
        "checkpoint:FILE: an encoder of yours or of others, from MONAI, VoCo, SMIT, nnssl, ...",
        {
            "family": "published",
            "reference": "that of the file",
            "version": 1,
            "views": 1,
            "requires": _requires(trains=False, file=True),
        },
        argument="FILE",
    ),
    "nnunet": Entry(
        "medssl_bench.methods.nnunet:NNUNet",
        "nnU-Net as its users run it: its own plan, network, training and inference",
        {
            "family": "supervised",
            "reference": "Isensee et al., nnU-Net, Nature Methods 18, 2021 (arXiv:1904.08128)",
            "version": 1,
            "views": 1,
            "requires": _requires(trains=False, own_training=True),
        },
        named_only=True,
    ),
}
