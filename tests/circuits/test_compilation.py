import numba
import numpy as np
import pytest

from circuits import compilation


def doubled(x):
    return 2 * x


def summed(values):
    total = 0.0
    for i in range(len(values)):
        total += values[i]
    return total


def test_a_compiled_function_gives_what_it_gave():
    assert compilation.compiled(doubled)(21) == 42


def test_sums_may_be_reassociated_and_are_still_sums():
    values = np.random.default_rng(0).random(1001)
    assert compilation.compiled(summed, reassociate=True)(values) == pytest.approx(values.sum(), rel=1e-14)


def test_without_a_place_for_the_cache_it_still_compiles(monkeypatch, caplog):
    real = numba.njit

    def no_locator(*args, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function 'doubled': no locator available")
        return real(*args, **options)

    monkeypatch.setattr(compilation.numba, "njit", no_locator)
    with caplog.at_level("INFO"):
        assert compilation.compiled(doubled)(21) == 42
    assert "NUMBA_CACHE_DIR" in caplog.text
