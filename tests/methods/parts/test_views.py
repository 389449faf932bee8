from __future__ import annotations

import torch

from medssl_bench.methods.parts.views import LocalCrops


def test_cubes_are_parts_of_their_own_scans_crops(tiny_encoder, make_batch):
    local = LocalCrops.fit("x", tiny_encoder(), (64, 64, 64), count=5, side=32)
    batch = make_batch(views=2, samples=3, side=64)
    # Voxels that say which view, scan and place they are of.
    places = torch.arange(64**3, dtype=torch.float64).view(1, 64, 64, 64)
    images = torch.stack([places + 1e6 * crop for crop in range(6)])
    cubes = local.cut(batch, images)
    assert cubes.shape == (15, 1, 32, 32, 32)
    views = []
    for index, cube in enumerate(cubes):
        crop = int(cube.min() // 1e6)
        assert crop % 3 == index % 3  # crops are views of scans, cubes are rounds of scans
        x, y, z = (int(at) for at in (images[crop] == cube.min()).nonzero()[0, 1:])
        assert torch.equal(cube, images[crop][:, x : x + 32, y : y + 32, z : z + 32])
        views.append(crop // 3)
    assert set(views) == {0, 1}


def test_cubes_of_a_scan_do_not_depend_on_the_others_of_its_batch(tiny_encoder, make_batch):
    local = LocalCrops.fit("x", tiny_encoder(), (64, 64, 64), count=2, side=32)
    images = torch.rand(6, 1, 64, 64, 64)
    whole = local.cut(make_batch(views=2, samples=3, side=64, seed=4), images)
    alone = local.cut(make_batch(views=2, samples=1, side=64, seed=5), images[[1, 4]])
    assert torch.equal(whole[[1, 4]], alone)
