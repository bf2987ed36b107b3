"""Estimates against what a trace really takes, and against the benchmark's own count of operations."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from benchmarks.flops import Sites, cone_flops
from benchmarks.shapes import ModelShape
from circuits.estimate import DEFAULT_L0, TraceShape, estimate, gemm_rate, sweep_flops
from circuits.sweep import SourceRows
from circuits.targets import TargetRows
from replacement_model import InputError, Transcoder, TranscoderLayer, save_transcoder
from replacement_model.activation import Activation
from replacement_model.formats import load_transcoder
from replacement_model.host import Host, adapt
from replacement_model.loading import load_empty_model
from replacement_model.transcoder import DecoderSite, EncoderTap

MID = {
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "vocab_size": 2000,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "intermediate_size": 512,
}
D_TRANSCODER, THRESHOLD = 4096, 2.25  # about 50 of so many normal numbers are larger

TRACE = """
import json, sys, threading, time
def anonymous():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
peak = 0
def watch():
    global peak
    while True:
        peak = max(peak, anonymous())
        time.sleep(0.003)
threading.Thread(target=watch, daemon=True).start()
from circuits import attribute
from replacement_model import ReplacementModel
folder, n_pos, rows, budget = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
model = ReplacementModel.from_pretrained(folder + "/model", folder + "/transcoder")
ids = [5 + 7 * i % 1900 for i in range(n_pos)]
graph = attribute(model, ids, max_feature_nodes=rows, memory_budget=budget)
print(json.dumps({"peak": max(peak, anonymous()), "active": graph.metadata.settings["n_active_features"]}))
"""


@pytest.fixture(scope="module")
def mid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Gemma 3 of some size with a cross-layer transcoder, on disk."""
    folder = tmp_path_factory.mktemp("mid")
    torch.manual_seed(0)
    Gemma3ForCausalLM(Gemma3TextConfig(**MID)).save_pretrained(folder / "model")
    n_layers, d_model = MID["num_hidden_layers"], MID["hidden_size"]
    layers = [
        TranscoderLayer(
            W_enc=torch.randn(D_TRANSCODER, d_model) / d_model**0.5,
            b_enc=torch.zeros(D_TRANSCODER),
            W_dec=tuple(torch.randn(D_TRANSCODER, d_model) * 0.02 for _ in range(n_layers - layer)),
            activation=Activation("jumprelu", threshold=torch.full((D_TRANSCODER,), THRESHOLD)),
        )
        for layer in range(n_layers)
    ]
    tap, site = EncoderTap.MLP_IN, DecoderSite.POST_NORM
    save_transcoder(Transcoder(tuple(layers), torch.zeros(n_layers, d_model), True, tap, site), folder / "transcoder")
    return folder


@pytest.fixture(scope="module")
def sized(mid: Path) -> tuple[Host, Transcoder]:
    return adapt(load_empty_model(mid / "model")), load_transcoder(mid / "transcoder")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="runs on Linux, which tells a process its memory")
@pytest.mark.parametrize(
    ("n_pos", "rows", "budget"), [(192, 1200, "256MiB"), pytest.param(192, 1200, "4GiB", marks=pytest.mark.slow)]
)
def test_memory_is_what_a_trace_takes(mid: Path, sized: tuple, n_pos: int, rows: int, budget: str) -> None:
    command = [sys.executable, "-c", TRACE, str(mid), str(n_pos), str(rows), budget]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    l0 = measured["active"] / (n_pos - 1) / MID["num_hidden_layers"]
    found = estimate(*sized, TraceShape(n_pos, rows, budget, l0))
    assert found.n_active_features == pytest.approx(measured["active"], rel=0.02)
    assert measured["peak"] / 1.5 < found.host_bytes < measured["peak"] * 1.5
    assert (found.device_bytes, found.seconds) == (0, None)


@pytest.mark.parametrize("cross_layer", [True, False])
def test_operations_are_those_that_the_benchmark_counts(sized: tuple, cross_layer: bool) -> None:
    host, transcoder = sized
    if not cross_layer:
        layers = [TranscoderLayer(x.W_enc, x.b_enc, x.W_dec[:1], x.activation) for x in transcoder.layers]
        transcoder = Transcoder(tuple(layers), transcoder.b_dec, False, transcoder.encoder_tap, transcoder.decoder_site)
    rng = torch.Generator().manual_seed(0)
    layer, pos = torch.randint(0, 6, (300,), generator=rng), torch.randint(1, 40, (300,), generator=rng)
    features = torch.stack([layer, pos, torch.zeros(300, dtype=torch.int64)], dim=1)
    rows = SourceRows(torch.full((2,), 12), torch.full((2,), 39), torch.zeros(2, 256))
    targets = TargetRows((), rows, torch.zeros(2), torch.zeros(2))
    ours = sweep_flops(host, transcoder, features, targets, 300)
    sizes = {"d_mlp": 512, "d_vocab": 2000, "d_transcoder": D_TRANSCODER, "n_active": 300, "max_feature_nodes": 300}
    shape = ModelShape(n_layers=6, n_pos=40, d_model=256, n_heads=4, n_kv_heads=1, **sizes)
    sites = Sites(np.append(layer, [6, 6]), np.append(pos, [39, 39]))
    assert ours == pytest.approx(cone_flops(shape, sites, Sites(layer.numpy(), pos.numpy()), cross_layer), rel=0.1)


def test_more_of_anything_takes_more(sized: tuple) -> None:
    usual = estimate(*sized, TraceShape(64, 500), flops_per_second=1e9)
    for changed in (TraceShape(128, 500), TraceShape(64, 1000), TraceShape(64, 500, l0=2 * DEFAULT_L0)):
        larger = estimate(*sized, changed, flops_per_second=1e9)
        assert larger.host_bytes > usual.host_bytes
        assert larger.flops > usual.flops
        assert larger.seconds > usual.seconds
    assert usual.n_rows == 510
    assert usual.n_active_features == 6 * 63 * DEFAULT_L0
    assert estimate(*sized, TraceShape(64)).n_rows == usual.n_active_features + 10


def test_on_an_accelerator_the_weights_are_there_and_the_rows_here(sized: tuple) -> None:
    host, transcoder = sized
    here, there = (estimate(host, transcoder, TraceShape(64, 500), on_device=on_device) for on_device in (False, True))
    weights = sum(p.numel() * 4 for p in host.model.parameters()) + transcoder.n_bytes
    assert there.device_bytes > weights
    assert there.host_bytes < here.host_bytes
    assert here.mapped_bytes < weights


def test_what_cannot_be(sized: tuple) -> None:
    with pytest.raises(InputError, match="raise the budget"):
        estimate(*sized, TraceShape(512, memory_budget="64MiB"))
    with pytest.raises(InputError, match="expected more than 4 tokens, got 4"):
        TraceShape(4, n_ignored_pos=4)
    with pytest.raises(InputError, match="L0 must be positive"):
        TraceShape(4, l0=0)


def test_the_probe_measures_something() -> None:
    assert 1e8 < gemm_rate(size=64, seconds=0.01) < 1e15
