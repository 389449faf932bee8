import numpy as np
import pytest

from medssl_bench.data.labels import UNDEFINED, class_ids, ids_present
from medssl_bench.errors import DataError


def test_floats_close_to_whole_numbers_and_remap():
    array = np.array([0, 0.9999, 14.0001, 15, 2], np.float32).reshape(5, 1, 1)
    result = class_ids(array, {14: 0, 15: 0, 2: 3}, [1, 3])
    assert result.ravel().tolist() == [0, 1, 0, 0, 3] and result.dtype == np.uint8


def test_an_id_that_the_dataset_lacks_is_refused_though_its_class_exists():
    array = np.array([0, 1, 2, 4], np.int32).reshape(4, 1, 1)
    assert class_ids(array, {4: 3, 3: UNDEFINED}, [1, 2, 3]).ravel().tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError, match=r"label ids 3 are unknown here \(known: 0, 1, 2, 4\)"):
        class_ids(np.minimum(array, 3), {4: 3, 3: UNDEFINED}, [1, 2, 3])


def test_ids_may_exchange_places():
    array = np.array([0, 1, 2], np.int32).reshape(3, 1, 1)
    assert class_ids(array, {1: 2, 2: 1}, [1, 2]).ravel().tolist() == [0, 2, 1]


@pytest.mark.parametrize("value", [-1, 256])
def test_ids_beyond_a_byte_can_be_remapped_or_are_refused(value):
    array = np.array([0, value], np.int32).reshape(2, 1, 1)
    assert class_ids(array, {value: 4}).ravel().tolist() == [0, 4]
    with pytest.raises(DataError, match=str(value)):
        class_ids(array)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("seed", range(5))
def test_ids_present_are_those_of_numpy_in_any_view(seed, order):
    rng = np.random.default_rng(seed)
    label = np.zeros((9, 20, 11), np.uint8, order)
    label[rng.random(label.shape) < 0.02] = rng.integers(1, 256)
    label[tuple(rng.integers(0, label.shape))] = 255  # a single voxel, wherever it lies
    label[0, 0, 0], label[-1, -1, -1] = 7, 9
    for view in (label, label[::-1, :, ::-1], label.transpose(2, 0, 1), label[:, 3:4], label[:1]):
        assert ids_present(view) == np.unique(view).tolist()
