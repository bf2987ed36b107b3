"""The convention that a transcoder was made for is found again, whatever its files declare."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest
import torch
from tiny_models import D_MODEL, D_VOCAB, N_LAYERS, tiny_host, tiny_tokenizer, tiny_transcoder

from replacement_model import InputError, ReplacementModel, Transcoder, TranscoderLayer
from replacement_model.activation import Activation
from replacement_model.conventions import (
    MARGIN,
    Convention,
    Measurement,
    best_convention,
    measure_conventions,
    plausible_conventions,
)
from replacement_model.sample_text import ENGLISH, sample_texts, split_text
from replacement_model.transcoder import DecoderSite, EncoderTap

EVERY_USE = list(product(EncoderTap, DecoderSite))


def texts(n: int = 5, length: int = 20, seed: int = 0) -> list[list[int]]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(3, D_VOCAB, (n, length), generator=rng).tolist()


def model_with(transcoder: Transcoder, architecture: str = "gemma3") -> ReplacementModel:
    return ReplacementModel(tiny_host(architecture), tiny_tokenizer(), transcoder)


def fitted(
    tap: EncoderTap, site: DecoderSite, architecture: str = "gemma3", width: int = 24, prefix: Sequence[int] = (0,)
) -> Transcoder:
    """A per-layer transcoder with skips whose decoders are the least-squares fit for one convention."""
    rng = torch.Generator().manual_seed(5)
    model = model_with(tiny_transcoder(cross_layer=False), architecture)
    captures = [model.capture(model.read_prompt([*prefix, *text], prepend=False)) for text in texts()]
    layers, biases = [], []
    for layer in range(N_LAYERS):
        parts = [(c.frozen.blocks[layer].tap(c.resid_mid[layer], tap), c.at_site(site)[layer]) for c in captures]
        x, out = (torch.cat([part[which][len(prefix) :] for part in parts]) for which in (0, 1))
        W_enc = torch.randn(width, D_MODEL, generator=rng, dtype=torch.float64) / x.square().sum(-1).mean().sqrt()
        inputs = torch.cat([(x @ W_enc.T).relu(), x, torch.ones(len(x), 1, dtype=torch.float64)], dim=1)
        solution = torch.linalg.lstsq(inputs, out, driver="gelsd").solution
        W_dec, skip, bias = solution.split([width, D_MODEL, 1])
        layers.append(
            TranscoderLayer(
                W_enc, torch.zeros(width, dtype=torch.float64), (W_dec,), Activation("relu"), skip.T.clone()
            )
        )
        biases.append(bias[0])
    return Transcoder(tuple(layers), torch.stack(biases), False, tap, site, name="fitted")


def find(model: ReplacementModel) -> Measurement:
    return best_convention(measure_conventions(model, texts()))


@pytest.mark.parametrize(("tap", "site"), EVERY_USE)
def test_whatever_is_declared_the_fitted_use_is_the_best(tap: EncoderTap, site: DecoderSite) -> None:
    transcoder = fitted(tap, site)
    another = EVERY_USE[EVERY_USE.index((tap, site)) - 1]
    for declared in ((tap, site), another):
        model = model_with(replace(transcoder, encoder_tap=declared[0], decoder_site=declared[1]))
        best = find(model)
        assert (best.convention.tap, best.convention.site, best.convention.skip_transposed) == (tap, site, False)
        assert best.declared == (declared == (tap, site))


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2", "llama"])
def test_a_transposed_skip_is_caught(architecture: str) -> None:
    right = fitted(EncoderTap.MLP_IN, DecoderSite.MLP_OUT, architecture)
    assert find(model_with(right, architecture)).declared
    turned = right.map_layers(lambda layer: replace(layer, W_skip=layer.W_skip.T.clone()))
    best = find(model_with(replace(right, layers=turned), architecture))
    assert best.convention.skip_transposed
    assert not best.declared


def test_a_missing_prefix_is_caught() -> None:
    prefix = (0, 5, 9)
    # Wide enough to know the prompts with the prefix by heart.
    transcoder = fitted(EncoderTap.MLP_IN, DecoderSite.POST_NORM, width=300, prefix=prefix)
    for declared in (prefix, ()):
        model = model_with(replace(transcoder, prefix=declared))
        use = (transcoder.encoder_tap, transcoder.decoder_site, False)
        both = [Convention(*use, declared), Convention(*use, () if declared else prefix)]
        measured = measure_conventions(model, texts(), both)
        assert best_convention(measured).convention.prefix == prefix
        assert best_convention(measured).declared == bool(declared)
        assert min(m.explained for m in measured) < 0.9 < 0.99 < max(m.explained for m in measured)


def test_the_chat_templates_beginning_is_tried_too() -> None:
    model = model_with(tiny_transcoder())
    model.tokenizer.chat_template = "<bos> w7 w8 {{ messages[0].content }} w9"
    assert {convention.prefix for convention in plausible_conventions(model)} == {(), (0, 7, 8)}


@pytest.mark.parametrize("architecture", ["gemma3", "gpt2"])
@pytest.mark.parametrize("cross_layer", [True, False])
def test_every_number_is_that_of_a_decomposition_under_the_convention(architecture: str, cross_layer: bool) -> None:
    transcoder = tiny_transcoder(cross_layer, "jumprelu", skip=True, missing=(1,))
    model = model_with(transcoder, architecture)
    (text,) = texts(1)
    for measured in measure_conventions(model, [text]):
        use = measured.convention
        turned = transcoder.map_layers(lambda la, t=use.skip_transposed: replace(la, W_skip=la.W_skip.T) if t else la)
        other = replace(transcoder, layers=turned, encoder_tap=use.tap, decoder_site=use.site)
        own = model_with(other, architecture)
        parts = own.decompose(own.capture(own.read_prompt(text)), 1)
        assert measured.fvu == pytest.approx(parts.fvu, rel=1e-9, nan_ok=True)
        counts = torch.bincount(parts.features[:, 0], minlength=N_LAYERS) / len(text)
        expected = [float("nan") if layer == 1 else count for layer, count in enumerate(counts.tolist())]
        assert measured.l0 == pytest.approx(expected, nan_ok=True)
        written = [max(0.0, 1 - value) for value in parts.fvu if value == value]
        assert measured.explained == pytest.approx(sum(written) / len(written))
        assert measured.n_tokens == len(text)


def test_only_what_makes_a_difference_is_measured() -> None:
    no_skip = tiny_transcoder(skip=False)
    assert len(plausible_conventions(model_with(no_skip, "gpt2"))) == 3  # one site, no skip
    assert len(plausible_conventions(model_with(no_skip, "gemma2"))) == 6
    assert len(plausible_conventions(model_with(tiny_transcoder(skip=True), "gemma2"))) == 12
    first = plausible_conventions(model_with(no_skip))[0]
    assert first == Convention(no_skip.encoder_tap, no_skip.decoder_site)


def test_several_texts_count_as_one_sample() -> None:
    model = model_with(tiny_transcoder())
    declared = plausible_conventions(model)[:1]
    once = measure_conventions(model, texts(2), declared)[0]
    twice = measure_conventions(model, texts(2) * 2, declared)[0]
    assert twice.fvu == pytest.approx(once.fvu, rel=1e-9)
    assert twice.n_tokens == 2 * once.n_tokens == 80


def test_far_too_many_active_features_end_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replacement_model.conventions.MAX_L0", 0)
    for measured in measure_conventions(model_with(tiny_transcoder()), texts(2)):
        assert measured.explained == 0
        assert all(value != value for value in measured.fvu)
        assert measured.l0[0] == float("inf")


def test_ties_go_to_the_declared_one() -> None:
    def measured(declared: bool, explained: float) -> Measurement:
        use = Convention(EncoderTap.MLP_IN, DecoderSite.MLP_OUT, skip_transposed=not declared)
        return Measurement(use, declared, (), (), explained, 1)

    assert best_convention([measured(True, 0.5), measured(False, 0.5 + MARGIN / 2)]).declared
    assert not best_convention([measured(True, 0.5), measured(False, 0.5 + MARGIN * 2)]).declared


def test_the_pocket_model_on_its_own_prompts() -> None:
    model = ReplacementModel.from_pretrained("pocket")
    own = sample_texts(model)[::8]
    assert best_convention(measure_conventions(model, own)).declared
    for tap in (EncoderTap.NORMALIZED, EncoderTap.RESID_MID):
        wrong = ReplacementModel(model.host.model, model.tokenizer, replace(model.transcoder, encoder_tap=tap))
        best = best_convention(measure_conventions(wrong, own))
        assert (best.declared, best.convention.tap) == (False, EncoderTap.MLP_IN)


def test_texts_are_cut_into_pieces(make_tokenizer) -> None:
    words = tuple(dict.fromkeys(ENGLISH.split()))
    model = model_with(tiny_transcoder())
    model.tokenizer = make_tokenizer(words=words)
    with pytest.raises(InputError, match="outside the model's vocabulary"):
        sample_texts(model)
    pieces = split_text(model, " ".join(words[:30] * 6))
    assert [len(piece) for piece in pieces] == [64, 64, 52]
    assert [token_id for piece in pieces for token_id in piece[:3]][:3] == [4, 5, 6]


def test_no_text_to_measure_on() -> None:
    model = model_with(tiny_transcoder())
    with pytest.raises(InputError, match="give at least a few words"):
        measure_conventions(model, [[5]])
    model.tokenizer = None
    with pytest.raises(InputError, match="needs a tokenizer and this model has none"):
        sample_texts(model)
