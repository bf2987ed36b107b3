"""What is measured: the sizes of the models and graphs, and how often each is run."""

from dataclasses import dataclass

__all__ = ["QUICK", "REFERENCE", "ModelShape", "Plan", "PruneShape"]


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A random Llama with grouped queries, and the transcoder that is traced on it.

    `n_active` is how many features are active on the prompt, <bos> excluded; the thresholds are set so.
    """

    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_mlp: int
    d_vocab: int
    n_pos: int
    d_transcoder: int
    n_active: int
    max_feature_nodes: int

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_heads


@dataclass(frozen=True, slots=True)
class PruneShape:
    """A random layered graph: `density` is the share of nonzeros in the rectangle of targets by sources."""

    n_nodes: int
    n_layers: int
    n_pos: int
    n_targets: int
    density: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of the benchmark.

    Attributes:
        kinds: `clt` and `plt`: cross-layer and per-layer transcoders.
        batch_sizes: the peer's; the fastest is compared with.
        mallocs: `default` and `tuned`: how the peer's allocator is set.
        probe_features: features attributed while the peer's fastest batch size is looked for.
        golden_cases: folders of golden/ on which the peer is checked first.
        repeats: timed calls per tool, after one warm-up.
    """

    name: str
    model: ModelShape
    prune: PruneShape
    kinds: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    mallocs: tuple[str, ...]
    probe_features: int
    golden_cases: tuple[str, ...]
    repeats: int


REFERENCE = Plan(
    name="reference",
    model=ModelShape(
        n_layers=12,
        d_model=768,
        n_heads=12,
        n_kv_heads=4,
        d_mlp=2048,
        d_vocab=8192,
        n_pos=32,
        d_transcoder=2048,
        n_active=5000,
        max_feature_nodes=2000,
    ),
    prune=PruneShape(n_nodes=10_000, n_layers=12, n_pos=32, n_targets=10, density=0.2),
    kinds=("clt", "plt"),
    batch_sizes=(8, 16, 32, 64),
    mallocs=("default", "tuned"),
    probe_features=250,
    golden_cases=(
        "gemma2_plt_relu",
        "gemma3_clt_relu",
        "gemma3_plt_jumprelu_skip",
        "gpt2_clt_relu",
        "llama_clt_jumprelu",
        "qwen3_plt_jumprelu",
    ),
    repeats=2,
)

QUICK = Plan(
    name="quick",
    model=ModelShape(
        n_layers=3,
        d_model=64,
        n_heads=4,
        n_kv_heads=2,
        d_mlp=128,
        d_vocab=256,
        n_pos=8,
        d_transcoder=128,
        n_active=200,
        max_feature_nodes=100,
    ),
    prune=PruneShape(n_nodes=600, n_layers=3, n_pos=8, n_targets=4, density=0.2),
    kinds=("clt",),
    batch_sizes=(8,),
    mallocs=("default",),
    probe_features=50,
    golden_cases=("llama_clt_jumprelu",),
    repeats=2,
)
