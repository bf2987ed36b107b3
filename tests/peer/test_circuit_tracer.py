"""circuit-tracer itself, run beside this project on random models and transcoders that are in no reference file.

It runs in `.venv-4.57`, in float32 and in float64. Its masks and scores are taken from the float64 run, as golden/'s
were: in float32 it sums the scores of all edges one after the other, and its own rounding decides which of the edges
next to the threshold are kept. Edges are compared in both precisions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gemma_scope_files import write_gemma_scope_1, write_gemma_scope_2, write_gemma_scope_2_clt
from random_checkpoints import BOS, D_VOCAB, EOS, PAD, Checkpoint, write_checkpoint
from reference_graphs import assert_circuit_equal, assert_edges_equal, assert_graph_equal, load_reference
from safetensors.torch import load_file

from benchmarks.environment import Tools, peer_is_installed
from benchmarks.worker import Worker
from circuits import Graph, attribute, prune
from replacement_model import ReplacementModel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not peer_is_installed(), reason="runs once `make test-4.57` has made .venv-4.57"),
]

RESID_MID, NORMALIZED, MLP_IN = "hook_resid_mid", "ln2.hook_normalized", "mlp.hook_in"
MLP_OUT = "mlp.hook_out"  # before the post-norm, where there is one
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


@dataclass(frozen=True)
class Case:
    """A checkpoint and a prompt of `n_pos` tokens, random after `first`; at most `max_feature_nodes` features.

    `rewrite` puts the transcoder into another layout, from which both read it.
    """

    checkpoint: Checkpoint
    n_pos: int = 9
    first: tuple[int, ...] = (BOS,)
    max_feature_nodes: int | None = None
    n_ignored_pos: int = 1
    rewrite: Callable[[Path, Path], None] | None = None

    @property
    def token_ids(self) -> list[int]:
        rest = np.random.default_rng(self.checkpoint.seed).integers(4, D_VOCAB, self.n_pos - len(self.first))
        return [*self.first, *rest.tolist()]

    def write(self, folder: Path) -> None:
        write_checkpoint(self.checkpoint, self.token_ids, folder)
        if self.rewrite is not None:
            (folder / "transcoder").rename(folder / "source")
            self.rewrite(folder / "source", folder / "transcoder")

    def graph(self, folder: Path, dtype: torch.dtype) -> Graph:
        model = load(folder, dtype)
        prompt = model.read_prompt(self.token_ids, n_ignored_pos=self.n_ignored_pos)
        return attribute(model, prompt, max_feature_nodes=self.max_feature_nodes)


GEMMA_2 = {
    "gemma2 clt relu, one key-value head": Case(
        Checkpoint("gemma2", True, "relu", RESID_MID, config={"num_key_value_heads": 1}, seed=1), n_pos=12
    ),
    "gemma2 plt jumprelu skip before the post-norm": Case(
        Checkpoint("gemma2", False, "jumprelu", MLP_IN, MLP_OUT, skip=True, seed=2)
    ),
    "gemma2 plt topk, no softcaps": Case(
        Checkpoint(
            "gemma2",
            False,
            "topk",
            NORMALIZED,
            config={"attn_logit_softcapping": None, "final_logit_softcapping": None, "num_hidden_layers": 5},
            seed=3,
        )
    ),
}
GEMMA_SCOPE = {
    "Gemma Scope 1": Case(Checkpoint("gemma2", False, "jumprelu", NORMALIZED, seed=21), rewrite=write_gemma_scope_1),
    "Gemma Scope 2, per layer": Case(
        Checkpoint("gemma3_text", False, "jumprelu", MLP_IN, skip=True, seed=22), rewrite=write_gemma_scope_2
    ),
    "Gemma Scope 2, cross-layer": Case(
        Checkpoint("gemma3_text", True, "jumprelu", MLP_IN, skip=True, config={"num_hidden_layers": 4}, seed=23),
        rewrite=write_gemma_scope_2_clt,
    ),
}
GEMMA_3 = {
    "gemma3 clt relu skip, four positions ignored": Case(
        Checkpoint("gemma3_text", True, "relu", RESID_MID, skip=True, seed=20), n_pos=12, n_ignored_pos=4
    ),
    "gemma3 clt jumprelu skip": Case(Checkpoint("gemma3_text", True, "jumprelu", MLP_IN, skip=True, seed=4), n_pos=14),
    "gemma3 plt relu before the post-norm, scaled RoPE": Case(
        Checkpoint(
            "gemma3_text",
            False,
            "relu",
            RESID_MID,
            MLP_OUT,
            config={"rope_scaling": {"rope_type": "linear", "factor": 8.0}, "num_hidden_layers": 4},
            seed=5,
        ),
        n_pos=12,
    ),
    "gemma3 plt jumprelu skip, wide heads": Case(
        Checkpoint(
            "gemma3_text",
            False,
            "jumprelu",
            NORMALIZED,
            skip=True,
            config={"hidden_size": 40, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32},
            seed=6,
        )
    ),
}
LLAMA = {
    "llama clt relu, six layers, scaled RoPE, tied": Case(
        Checkpoint(
            "llama",
            True,
            "relu",
            NORMALIZED,
            config={"num_hidden_layers": 6, "rope_scaling": LLAMA3_ROPE, "tie_word_embeddings": True},
            d_transcoder=96,
            seed=7,
        ),
        n_pos=24,
        max_feature_nodes=700,
    ),
    "llama plt jumprelu skip, no special token first": Case(
        Checkpoint("llama", False, "jumprelu", MLP_IN, MLP_OUT, skip=True, seed=8), first=()
    ),
    "llama plt topk, a head for each query": Case(
        Checkpoint("llama", False, "topk", RESID_MID, config={"num_key_value_heads": 4}, seed=9), first=(PAD,)
    ),
    "llama clt jumprelu, one layer": Case(
        Checkpoint("llama", True, "jumprelu", RESID_MID, config={"num_hidden_layers": 1}, d_transcoder=400, seed=10)
    ),
}
QWEN_3 = {
    "qwen3 clt jumprelu, tied": Case(
        Checkpoint("qwen3", True, "jumprelu", RESID_MID, config={"tie_word_embeddings": True}, seed=11), first=(EOS,)
    ),
    "qwen3 plt relu skip": Case(Checkpoint("qwen3", False, "relu", NORMALIZED, skip=True, seed=12)),
    "qwen3 clt relu skip, few features": Case(
        Checkpoint("qwen3", True, "relu", MLP_IN, MLP_OUT, skip=True, seed=13), n_pos=11, max_feature_nodes=150
    ),
}
GPT_2 = {
    "gpt2 plt jumprelu": Case(Checkpoint("gpt2", False, "jumprelu", NORMALIZED, config={"n_inner": 30}, seed=14)),
    "gpt2 plt topk skip": Case(
        Checkpoint("gpt2", False, "topk", MLP_IN, MLP_OUT, skip=True, config={"n_layer": 4, "n_head": 6}, seed=15)
    ),
    "gpt2 clt relu skip, few features": Case(
        Checkpoint("gpt2", True, "relu", MLP_IN, skip=True, seed=16), n_pos=16, max_feature_nodes=300
    ),
}
CASES = {**GEMMA_2, **GEMMA_3, **GEMMA_SCOPE, **LLAMA, **QWEN_3, **GPT_2}
# For its other back-end only: experts, and attention whose pattern sums to less than one.
GPT_OSS = {
    "gpt-oss clt relu": Case(Checkpoint("gpt_oss", True, "relu", RESID_MID, seed=17), n_pos=12),
    "gpt-oss plt jumprelu skip": Case(Checkpoint("gpt_oss", False, "jumprelu", MLP_IN, MLP_OUT, skip=True, seed=18)),
}
# The architectures and hooks that its other back-end, the Hugging Face model itself under nnsight, knows.
NNSIGHT_CASES = (
    "gemma2 clt relu, one key-value head",
    "gemma2 plt topk, no softcaps",
    "gemma3 clt jumprelu skip",
    "gemma3 plt jumprelu skip, wide heads",
    "llama plt jumprelu skip, no special token first",
    "llama plt topk, a head for each query",
    "qwen3 clt relu skip, few features",
    *GPT_OSS,
)


@pytest.fixture(scope="module")
def peer() -> Iterator[Worker]:
    with Tools(n_threads=1).peer() as worker:
        yield worker


def load(folder: Path, dtype: torch.dtype) -> ReplacementModel:
    """The model as files give it; a cross-layer transcoder's skips, which have no file of their own, put in."""
    model = ReplacementModel.from_pretrained(folder / "model", folder / "transcoder", dtype=dtype)
    skips = folder / "transcoder" / "skips" / "skips.safetensors"
    if not skips.is_file():
        return model
    stored = load_file(skips)["W_skip"].to(model.transcoder.layers[0].W_enc.dtype)
    layers = [replace(layer, W_skip=skip.T) for layer, skip in zip(model.transcoder.layers, stored, strict=True)]
    return ReplacementModel(model.host.model, model.tokenizer, replace(model.transcoder, layers=tuple(layers)))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_graphs_and_circuits_are_circuit_tracers(peer: Worker, case: Case, tmp_path: Path) -> None:
    case.write(tmp_path)
    found = {}
    for dtype in ("float32", "float64"):
        peer.call("load_model", model=str(tmp_path / "model"), transcoder=str(tmp_path / "transcoder"), dtype=dtype)
        path = tmp_path / f"{dtype}.npz"
        settings = {name: getattr(case, name) for name in ("token_ids", "max_feature_nodes", "n_ignored_pos")}
        peer.call("reference", save_to=str(path), **settings)
        found[dtype] = load_reference(path)

    for dtype, reference in found.items():
        graph = case.graph(tmp_path, getattr(torch, dtype))
        assert_graph_equal(graph, reference)
        assert_circuit_equal(prune(graph, node_threshold=0.8, edge_threshold=0.98), found["float64"])
    features = found["float64"]["active_features"][found["float64"]["selected_features"]]
    assert_edges_equal(graph, features, found["float32"]["edges"])


@pytest.mark.parametrize("name", NNSIGHT_CASES)
def test_edges_are_those_of_its_other_back_end(peer: Worker, name: str, tmp_path: Path) -> None:
    case = {**CASES, **GPT_OSS}[name]
    case.write(tmp_path)
    peer.call("load_model_in_nnsight", model=str(tmp_path / "model"), transcoder=str(tmp_path / "transcoder"))
    path = tmp_path / "found.npz"
    peer.call("reference", save_to=str(path), token_ids=case.token_ids, max_feature_nodes=case.max_feature_nodes)
    reference = load_reference(path)
    if case.checkpoint.architecture == "gemma3_text":
        # It takes Gemma 3's token vectors before the embedding's scale (golden/README.md, "Where it is wrong").
        reference["edges"][:, -case.n_pos :] *= case.checkpoint.config.get("hidden_size", 48) ** 0.5
    assert_graph_equal(case.graph(tmp_path, torch.float32), reference)
