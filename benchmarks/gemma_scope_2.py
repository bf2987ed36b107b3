"""Traces random Gemma 3 models with cross-layer transcoders of Gemma Scope 2's shapes and layout, from disk.

    python -m benchmarks.gemma_scope_2 --case 270m     # 18 layers, 262,080 features: 12 GiB
    python -m benchmarks.gemma_scope_2 --case 1b       # 26 layers, 262,080 features: 30 GiB
    python -m benchmarks.gemma_scope_2 --case 8gib     # 8 GiB of transcoder, 2,000 active features, all attributed

Weights are random, so the graph means nothing; time and memory depend on the shapes and on how many features are
active, which the thresholds set. Loading, tracing and pruning run in a fresh process, with the files' pages dropped
from memory before, as is the plain read of the same bytes that they are compared with.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from benchmarks.anonymous import AnonymousPeak, anonymous_bytes

__all__ = ["CASES", "GemmaCase", "measure_case", "write_case"]

RESULTS = Path(__file__).with_name("results")
BOS, SEED = 2, 0
READ_BYTES = 2**24


@dataclass(frozen=True, slots=True)
class GemmaCase:
    """A Gemma 3 text model and a transcoder for it; `l0` features are active at each layer and position."""

    n_layers: int
    d_model: int
    d_mlp: int
    d_transcoder: int
    l0: float
    max_feature_nodes: int | None
    n_pos: int = 16
    n_heads: int = 4
    d_head: int = 256
    d_vocab: int = 262_144
    dtype: str = "float32"  # of the transcoder; the model is in bfloat16

    @property
    def transcoder_dtype(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype


CASES = {
    "270m": GemmaCase(18, 640, 2048, d_transcoder=14_560, l0=50, max_feature_nodes=4096),
    "1b": GemmaCase(26, 1152, 6912, d_transcoder=10_080, l0=50, max_feature_nodes=4096),
    # 8 GiB = 18 layers * 9,811 features * 640 * (1 encoder + 18 decoder rows) * 4 bytes; 18 * 15 * 7.4 active
    "8gib": GemmaCase(18, 640, 2048, d_transcoder=9_811, l0=7.4, max_feature_nodes=None),
    "tiny": GemmaCase(3, 32, 64, d_transcoder=128, l0=6, max_feature_nodes=40, n_pos=6, d_head=8, d_vocab=300),
}


def write_case(case: GemmaCase, folder: Path) -> tuple[int, ...]:
    """Writes `model` and `clt` into `folder`; returns the prompt."""
    rng = torch.Generator().manual_seed(SEED)
    model = _random_gemma(case, rng)
    prompt = (BOS, *torch.randint(10, case.d_vocab, (case.n_pos - 1,), generator=rng).tolist())
    model.save_pretrained(folder / "model")
    clt = folder / "clt"
    clt.mkdir()
    for layer, inputs in enumerate(_mlp_inputs(model, prompt)):
        save_file(_clt_layer(case, layer, inputs, rng), clt / f"params_layer_{layer}.safetensors")
    (clt / "config.json").write_text(json.dumps(_clt_config(case)))
    return prompt


def measure_case(folder: Path, prompt: tuple[int, ...], max_feature_nodes: int | None, memory: str) -> dict[str, Any]:
    """Loads, traces and prunes in a process of its own, after a plain read of the transcoder."""
    _forget(folder)
    read_seconds = _plain_read(folder / "clt")
    _forget(folder)
    request = {"folder": str(folder), "prompt": prompt, "max_feature_nodes": max_feature_nodes, "memory": memory}
    command = [sys.executable, "-m", "benchmarks.gemma_scope_2", "--worker", json.dumps(request)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return {"plain_read_seconds": read_seconds, "transcoder_bytes": _n_bytes(folder / "clt"), **found}


def _random_gemma(case: GemmaCase, rng: torch.Generator) -> Gemma3ForCausalLM:
    config = Gemma3TextConfig(
        num_hidden_layers=case.n_layers,
        hidden_size=case.d_model,
        intermediate_size=case.d_mlp,
        num_attention_heads=case.n_heads,
        num_key_value_heads=1,
        head_dim=case.d_head,
        vocab_size=case.d_vocab,
        query_pre_attn_scalar=case.d_head,
        sliding_window=512,
        max_position_embeddings=4096,
    )
    model = Gemma3ForCausalLM._from_config(config, dtype=torch.bfloat16).eval()
    for weight in model.parameters():
        weight.requires_grad_(False)
        std = 0.1 if weight.ndim == 1 else weight.shape[-1] ** -0.5
        weight.normal_(std=std, generator=rng)
    return model


def _mlp_inputs(model: Gemma3ForCausalLM, prompt: tuple[int, ...]) -> list[Float[Tensor, "pos d_model"]]:
    """What the MLPs read on the prompt, without <bos>."""
    found: list[Tensor] = []

    def keep(module: torch.nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
        found.append(output[0, 1:].float())

    handles = [layer.pre_feedforward_layernorm.register_forward_hook(keep) for layer in model.model.layers]
    with torch.no_grad():
        model(torch.tensor([prompt]))
    for handle in handles:
        handle.remove()
    return found


def _clt_layer(case: GemmaCase, layer: int, inputs: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
    width, d_model, dtype = case.d_transcoder, case.d_model, case.transcoder_dtype
    w_enc = (torch.randn(d_model, width, generator=rng) * d_model**-0.5).to(dtype)
    pre_acts = inputs @ w_enc.float()
    threshold = pre_acts.flatten().kthvalue(pre_acts.numel() - round(case.l0 * len(inputs))).values
    w_dec = torch.empty(width, case.n_layers, d_model, dtype=dtype)
    for rows in w_dec.split(1024):
        rows.copy_(torch.randn(rows.shape, generator=rng) * (0.3 * d_model**-0.5))
        rows[:, :layer] = 0
    return {
        "w_enc": w_enc,
        "b_enc": torch.zeros(width, dtype=dtype),
        "threshold": threshold.expand(width).contiguous().to(dtype),
        "w_dec": w_dec,
        "b_dec": torch.randn(d_model, generator=rng).to(dtype) * 0.1,
        "affine_skip_connection": (torch.randn(d_model, d_model, generator=rng) * (0.1 * d_model**-0.5)).to(dtype),
    }


def _clt_config(case: GemmaCase) -> dict[str, Any]:
    return {
        "hf_hook_point_in": "model.layers.{all}.pre_feedforward_layernorm.output",
        "hf_hook_point_out": "model.layers.{all}.post_feedforward_layernorm.output",
        "width": case.d_transcoder * case.n_layers,
        "model_name": "google/gemma-3-random",
        "architecture": "jump_relu",
        "l0": case.l0,
        "affine_connection": True,
        "type": "clt",
    }


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _n_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in _files(folder))


def _forget(folder: Path) -> None:
    """Drop the files' pages from memory, so that whoever reads next reads from the disk."""
    for path in _files(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _plain_read(folder: Path) -> float:
    start, buffer = time.perf_counter(), bytearray(READ_BYTES)
    for path in _files(folder):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - start


def _work(folder: str, prompt: list[int], max_feature_nodes: int | None, memory: str) -> dict[str, Any]:
    """What the worker measures; memory in bytes above that of the loaded model."""
    from circuits import attribute, prune
    from replacement_model import ReplacementModel

    start = time.perf_counter()
    model = ReplacementModel.from_pretrained(f"{folder}/model", f"{folder}/clt")
    loaded, model_bytes = time.perf_counter(), anonymous_bytes()
    with AnonymousPeak() as peak:
        graph = attribute(model, prompt, max_feature_nodes=max_feature_nodes, memory_budget=memory)
    traced = time.perf_counter()
    circuit = prune(graph)
    return {
        "load_seconds": loaded - start,
        "trace_seconds": traced - loaded,
        "prune_seconds": time.perf_counter() - traced,
        "loaded_anonymous_bytes": model_bytes,
        "trace_anonymous_bytes": peak.extra_bytes,
        "n_active": graph.metadata.settings["n_active_features"],
        "n_attributed": len(graph.features),
        "n_edges": int(graph.adjacency.nnz),
        "n_pruned_nodes": int(circuit.node_mask.sum()),
        "books_residual": graph.books.residual,
    }


def _machine() -> dict[str, Any]:
    return {"n_threads": torch.get_num_threads(), "python": platform.python_version(), "torch": torch.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gemma_scope_2", description=__doc__)
    parser.add_argument("--case", choices=CASES, default="270m")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="of the transcoder's file (float32)")
    parser.add_argument("--memory", default="4GiB", help="the trace's memory budget")
    parser.add_argument("--work", type=Path, help="where the weights are written (a temporary folder)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(_work(**json.loads(arguments.worker))))
        return
    case = CASES[arguments.case]
    case = replace(case, dtype=arguments.dtype) if arguments.dtype else case
    with tempfile.TemporaryDirectory(prefix="orrery-bench-", dir=arguments.work) as work:
        prompt = write_case(case, Path(work))
        found = measure_case(Path(work), prompt, case.max_feature_nodes, arguments.memory)
    result = {"case": arguments.case, **asdict(case), "memory_budget": arguments.memory, **_machine(), **found}
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"gemma_scope_2_{arguments.case}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1), f"\nwrote {path}")


if __name__ == "__main__":
    main()
