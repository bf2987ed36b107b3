"""The pocket language model: a tiny `Gemma3ForCausalLM`, trained from scratch on the answers of the corpus.

Input embeddings are random, frozen and not tied to the unembedding. Were they learned, the first hop of a two-hop
question would be stored in the embedding table (cities next to their states) and no MLP would compute it: features
would match concepts perfectly and do nothing. `circuit_tests` measures that this is not so here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from replacement_model.pocket.corpus import BOS, EOS, PAD, Corpus, encode
from replacement_model.pocket.prompts import Prompt

__all__ = ["LanguageModelConfig", "build_language_model", "train_language_model"]

TASK_SHARES = {
    "two-hop": 0.13,
    "city to state": 0.07,
    "state to relation": 0.04,
    "relation to state": 0.02,
    "antonym": 0.12,
    "cross-lingual antonym": 0.10,
    "translation": 0.08,
    "addition": 0.28,
    "known person": 0.06,
    "unknown person": 0.07,
    "refusal": 0.03,
}
IGNORED = -100
CONTINUATION_LENGTH = 2
"""Tokens after the answer: "." and <eos>."""


@dataclass(frozen=True, slots=True)
class LanguageModelConfig:
    """Size of the model and settings of its training.

    Attributes:
        continuation_weight: loss weight of "." and <eos> after the answer, whose own weight is 1; the prompt's is 0.
        continuation_every: steps between those that train the continuation too; the others are a sixth shorter.
        flat_share: share of the steps before the learning rate falls linearly to `final_lr_share`.
        post_norm_init: initial weight of the norms after attention and MLP, which scale by 1 + weight.
    """

    n_layers: int = 3
    d_model: int = 64
    n_heads: int = 4
    d_mlp: int = 256
    steps: int = 4000
    batch_size: int = 160
    lr: float = 3e-3
    weight_decay: float = 0.7
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = 200
    flat_share: float = 0.35
    final_lr_share: float = 0.02
    max_grad_norm: float = 1.0
    continuation_weight: float = 0.1
    continuation_every: int = 4
    post_norm_init: float = -0.7
    task_shares: dict[str, float] = field(default_factory=lambda: dict(TASK_SHARES))


def build_language_model(vocabulary: Sequence[str], config: LanguageModelConfig, seed: int) -> Gemma3ForCausalLM:
    """An untrained model; its input embeddings are already the final ones."""
    d_head = config.d_model // config.n_heads
    token_ids = {word: index for index, word in enumerate(vocabulary)}
    settings = Gemma3TextConfig(
        vocab_size=len(vocabulary),
        hidden_size=config.d_model,
        intermediate_size=config.d_mlp,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_heads,
        head_dim=d_head,
        query_pre_attn_scalar=d_head,
        max_position_embeddings=64,
        layer_types=["full_attention"] * config.n_layers,
        tie_word_embeddings=False,
        pad_token_id=token_ids[PAD],
        bos_token_id=token_ids[BOS],
        eos_token_id=token_ids[EOS],
        architectures=["Gemma3ForCausalLM"],
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Gemma3ForCausalLM(settings)
        model.model.embed_tokens.weight.data.normal_(std=config.d_model**-0.5)
    for layer in model.model.layers:
        layer.post_attention_layernorm.weight.data.fill_(config.post_norm_init)
        layer.post_feedforward_layernorm.weight.data.fill_(config.post_norm_init)
    model.model.embed_tokens.weight.requires_grad_(False)
    return model


def train_language_model(
    model: Gemma3ForCausalLM,
    corpus: Corpus,
    config: LanguageModelConfig,
    generator: torch.Generator,
    progress: Callable[[str, int, int], None] | None = None,
) -> float:
    """Train `model` in place on the training split.

    Args:
        model: from `build_language_model`.
        corpus: the prompts; only those of split `train` are used.
        config: training settings.
        generator: draws the batches.
        progress: called with (stage, step, steps).

    Returns:
        Mean loss over the last hundred steps, nats per answer.
    """
    sampler = _BatchSampler(corpus, config.task_shares, generator)
    optimizer = _optimizer(model, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _lr_share(step, config))
    recent: list[float] = []
    model.train()
    for step in range(config.steps):
        token_ids, targets, weights = sampler.draw(config.batch_size, config.continuation_weight)
        width = None if step % config.continuation_every == 0 else -CONTINUATION_LENGTH
        loss = _loss(model, token_ids[:, :width], targets[:, :width], weights[:, :width])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()
        schedule.step()
        recent = [*recent[-99:], loss.item()]
        if progress is not None:
            progress("language model", step + 1, config.steps)
    model.eval()
    return sum(recent) / len(recent)


class _BatchSampler:
    """Draws prompts with their answers: first the task, by its share, then a prompt of that task, evenly."""

    def __init__(self, corpus: Corpus, shares: dict[str, float], generator: torch.Generator) -> None:
        prompts = corpus.select("train")
        self.token_ids, self.answer_pos = _with_answers(prompts, corpus.vocabulary)
        self.pad = corpus.vocabulary.index(PAD)
        counts: dict[str, int] = {}
        for prompt in prompts:
            counts[prompt.task] = counts.get(prompt.task, 0) + 1
        self.weights = torch.tensor(
            [shares[prompt.task] / counts[prompt.task] for prompt in prompts], dtype=torch.double
        )
        self.generator = generator

    def draw(
        self, batch_size: int, continuation_weight: float
    ) -> tuple[Int[Tensor, "prompt pos"], Int[Tensor, "prompt pos"], Float[Tensor, "prompt pos"]]:
        """Inputs, targets (`IGNORED` where there is no loss) and loss weights."""
        chosen = torch.multinomial(self.weights, batch_size, replacement=True, generator=self.generator)
        token_ids, answer_pos = self.token_ids[chosen], self.answer_pos[chosen, None]
        pos = torch.arange(1, token_ids.shape[1])
        targets = torch.where((pos >= answer_pos) & (token_ids[:, 1:] != self.pad), token_ids[:, 1:], IGNORED)
        weights = torch.where(pos == answer_pos, 1.0, continuation_weight)
        return token_ids[:, :-1], targets, weights


def _with_answers(
    prompts: Sequence[Prompt], vocabulary: Sequence[str]
) -> tuple[Int[Tensor, "prompt pos"], Int[Tensor, "prompt"]]:
    token_ids = {word: index for index, word in enumerate(vocabulary)}
    lengths = torch.tensor([1 + len(prompt.words) for prompt in prompts])
    rows = functional.pad(encode(prompts, vocabulary), (0, 3), value=token_ids[PAD])
    answers = torch.tensor([[token_ids[prompt.answer], token_ids["."], token_ids[EOS]] for prompt in prompts])
    rows.scatter_(1, lengths[:, None] + torch.arange(3), answers)
    return rows, lengths


def _loss(
    model: Gemma3ForCausalLM,
    token_ids: Int[Tensor, "prompt pos"],
    targets: Int[Tensor, "prompt pos"],
    weights: Float[Tensor, "prompt pos"],
) -> Float[Tensor, ""]:
    # Padding is on the right, hidden by the causal mask; the unembedding is needed only where there is a loss.
    hidden = model.model(input_ids=token_ids, use_cache=False).last_hidden_state  # [prompt, pos, d_model]
    scored = targets != IGNORED
    losses = functional.cross_entropy(model.lm_head(hidden[scored]), targets[scored], reduction="none")
    return (losses * weights[scored]).sum() / len(token_ids)


def _optimizer(model: Gemma3ForCausalLM, config: LanguageModelConfig) -> torch.optim.AdamW:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [one for one in trained if one.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [one for one in trained if one.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def _lr_share(step: int, config: LanguageModelConfig) -> float:
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    flat_until = config.flat_share * config.steps
    fall = max(0.0, step - flat_until) / (config.steps - flat_until)
    return 1 - (1 - config.final_lr_share) * fall
