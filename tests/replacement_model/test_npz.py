from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from replacement_model.errors import WeightsError
from replacement_model.formats.npz import read_npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_numpy_archives(tmp_path: Path, save: Callable[..., None]) -> None:
    arrays = {
        "W": np.arange(6, dtype=np.float32).reshape(2, 3),
        "across": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "n": np.array(3),
    }
    save(tmp_path / "x.npz", **arrays)
    found = read_npz(tmp_path / "x.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].numpy().dtype == array.dtype
        assert np.array_equal(found[name].numpy(), array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_of_objects_is_refused(tmp_path: Path, save: Callable[..., None]) -> None:
    save(tmp_path / "x.npz", W=np.array([{"a": 1}], dtype=object))
    with pytest.raises(WeightsError, match=r"x\.npz cannot be read .*[oO]bject"):
        read_npz(tmp_path / "x.npz")


@pytest.mark.parametrize("keep", [0, 30, 200, -5])
def test_truncated_archives(tmp_path: Path, keep: int) -> None:
    np.savez(tmp_path / "x.npz", W=np.ones(50))
    (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"x\.npz cannot be read .* damaged or incomplete"):
        read_npz(tmp_path / "x.npz")
    with pytest.raises(WeightsError, match="does not exist"):
        read_npz(tmp_path / "absent.npz")
