import subprocess
import sys

import pytest
import torch
from torch import nn

import replacement_model.offload as offload_module
from replacement_model.errors import InputError
from replacement_model.offload import offloaded

MEASURE = """
from pathlib import Path
import torch
from torch import nn
from replacement_model.offload import offloaded

def anonymous():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024

layer = nn.Linear(4096, 4096)
before = anonymous()
with offloaded([layer], "disk"):
    inside = anonymous()
print(before - inside, anonymous() - before)
"""


def network() -> nn.Sequential:
    torch.manual_seed(0)
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight  # shared, as tied embeddings are
    second.register_buffer("table", torch.arange(6.0).view(2, 3).T)  # not contiguous
    return nn.Sequential(first, second, nn.LayerNorm(4, dtype=torch.bfloat16).requires_grad_(False))


@pytest.mark.parametrize("to", ["cpu", "disk"])
@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_as_before_also_after_an_error(to: str, fails: bool) -> None:
    model = network()
    objects = [*model.parameters(), *model.buffers()]
    before = [(tensor.clone(), tensor.dtype, tensor.device, tensor.requires_grad) for tensor in objects]
    try:
        with offloaded(model, to):
            assert model[1].weight is model[0].weight
            assert torch.equal(model[0].bias, before[1][0])
            if fails:
                raise KeyError("inside")
    except KeyError:
        assert fails
    after = [*model.parameters(), *model.buffers()]
    assert all(new is old for new, old in zip(after, objects, strict=True))
    for tensor, (values, dtype, device, requires_grad) in zip(after, before, strict=True):
        assert torch.equal(tensor, values)
        assert (tensor.dtype, tensor.device, tensor.requires_grad) == (dtype, device, requires_grad)
    model[0].weight.data.add_(1)  # it is memory of its own again, not a view of a file that is gone


def test_weights_on_disk_can_still_be_used() -> None:
    model, x = network()[:2], torch.ones(3, 4)
    expected = model(x)
    with offloaded(model, "disk"):
        assert torch.equal(model(x), expected)


def test_a_failure_half_way_leaves_all_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    values = [tensor.clone() for tensor in model.parameters()]
    calls = []

    def fail_second(tensors: dict, path: object) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        original(tensors, path)

    original = offload_module.save_file
    monkeypatch.setattr(offload_module, "save_file", fail_second)
    with pytest.raises(InputError, match=r"No space left.*TMPDIR"), offloaded(model, "disk"):
        pytest.fail("not reached")
    assert all(torch.equal(new, old) for new, old in zip(model.parameters(), values, strict=True))


def test_the_memory_is_free_meanwhile() -> None:
    run = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    freed, left = map(float, run.stdout.split())
    assert freed > 50  # MiB, of the 64 that the layer has
    assert left < 40


@pytest.mark.usefixtures("without_shape_checks")
def test_another_place_is_refused() -> None:
    with pytest.raises(InputError, match="one of cpu, disk, got 'gpu'"), offloaded([], "gpu"):
        pass
