from dataclasses import replace

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from replacement_model.activation import Activation
from replacement_model.pocket.substitution import features_edited, mlps_replaced, mlps_zeroed, next_logits
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder, TranscoderLayer

N_LAYERS, D_MODEL, WIDTH = 2, 8, 20
TOKEN_IDS = torch.tensor([[1, 4, 7, 9], [1, 3, 2, 5], [1, 8, 8, 0]])
LAST = torch.tensor([3, 3, 2])


@pytest.fixture(scope="module")
def model():
    config = Gemma3TextConfig(
        vocab_size=11, hidden_size=D_MODEL, intermediate_size=16, num_hidden_layers=N_LAYERS, num_attention_heads=2,
        num_key_value_heads=2, head_dim=4, layer_types=["full_attention"] * N_LAYERS, pad_token_id=0,
        initializer_range=0.5,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Gemma3ForCausalLM(config).eval()


@pytest.fixture(scope="module")
def transcoder():
    rng = torch.Generator().manual_seed(1)
    layers = [
        TranscoderLayer(
            W_enc=torch.randn(WIDTH, D_MODEL, generator=rng),
            b_enc=torch.zeros(WIDTH),
            W_dec=torch.randn(WIDTH, N_LAYERS - layer, D_MODEL, generator=rng).unbind(1),
            activation=Activation("jumprelu", threshold=torch.full((WIDTH,), 0.5)),
        )
        for layer in range(N_LAYERS)
    ]
    b_dec = torch.randn(N_LAYERS, D_MODEL, generator=rng)
    return Transcoder(tuple(layers), b_dec, True, EncoderTap.MLP_IN, DecoderSite.POST_NORM)


def silenced(transcoder):
    """The same transcoder, writing nothing."""
    layers = transcoder.map_layers(lambda layer: replace(layer, W_dec=tuple(matrix * 0 for matrix in layer.W_dec)))
    return Transcoder(layers, transcoder.b_dec * 0, True, transcoder.encoder_tap, transcoder.decoder_site)


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def test_zeroing_equals_a_weightless_mlp_at_that_position_only(model):
    with mlps_zeroed(model, LAST):
        zeroed = model.model(input_ids=TOKEN_IDS, use_cache=False).last_hidden_state
    intact = model.model(input_ids=TOKEN_IDS, use_cache=False).last_hidden_state
    assert torch.equal(zeroed[:, :2], intact[:, :2])
    assert not torch.allclose(zeroed[0, 3], intact[0, 3])
    # Position 0 attends to itself alone: there the oracle is the model with its MLP weights set to zero.
    with mlps_zeroed(model, torch.zeros(3, dtype=torch.long)):
        at_first = model.model(input_ids=TOKEN_IDS[:, :1], use_cache=False).last_hidden_state
    weights = [layer.mlp.down_proj.weight.data.clone() for layer in model.model.layers]
    for layer in model.model.layers:
        layer.mlp.down_proj.weight.data.zero_()
    oracle = model.model(input_ids=TOKEN_IDS[:, :1], use_cache=False).last_hidden_state
    for layer, weight in zip(model.model.layers, weights, strict=True):
        layer.mlp.down_proj.weight.data.copy_(weight)
    torch.testing.assert_close(at_first, oracle)


def test_an_edit_that_changes_nothing_changes_no_logit(model, transcoder):
    with features_edited(model, transcoder, lambda layer, acts: acts):
        edited = next_logits(model, TOKEN_IDS, LAST)
    torch.testing.assert_close(edited, next_logits(model, TOKEN_IDS, LAST), rtol=1e-5, atol=1e-5)


def test_removing_a_feature_removes_what_it_writes_at_once_and_later(model, transcoder):
    written = {}

    def record(layer):
        def keep(_module, _args, output):  # a tuple in transformers 4.57
            written.setdefault(layer, []).append(output[0] if isinstance(output, tuple) else output)

        return keep

    def run(edit):
        handles = []
        with features_edited(model, transcoder, edit):
            for layer, block in enumerate(model.model.layers):
                handles.append(block.register_forward_hook(record(layer)))
            next_logits(model, TOKEN_IDS, LAST)
        for handle in handles:
            handle.remove()

    acts = {}

    def drop(layer, values):
        acts[layer] = values
        return values * 0 if layer == 0 else values

    run(lambda layer, values: values)
    run(drop)
    difference = written[0][1] - written[0][0]
    expected = -acts[0].flatten(0, 1) @ transcoder.layers[0].W_dec[0]
    torch.testing.assert_close(difference.flatten(0, 1), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(written[1][0], written[1][1])


def test_a_silent_replacement_is_a_model_without_mlps_after_bos(model, transcoder):
    with mlps_replaced(model, silenced(transcoder)):
        replaced = next_logits(model, TOKEN_IDS[:, :2], torch.tensor([1, 1, 1]))
    with mlps_zeroed(model, torch.tensor([1, 1, 1])):
        oracle = next_logits(model, TOKEN_IDS[:, :2], torch.tensor([1, 1, 1]))
    torch.testing.assert_close(replaced, oracle)


def test_the_replacement_writes_features_of_earlier_layers_too(model, transcoder):
    with mlps_replaced(model, transcoder):
        full = next_logits(model, TOKEN_IDS, LAST)
    first, second = transcoder.layers
    alone = TranscoderLayer(first.W_enc, first.b_enc, (first.W_dec[0], first.W_dec[1] * 0), first.activation)
    cut = Transcoder((alone, second), transcoder.b_dec, True, transcoder.encoder_tap, transcoder.decoder_site)
    with mlps_replaced(model, cut):
        without = next_logits(model, TOKEN_IDS, LAST)
    assert not torch.allclose(full, without)


def test_hooks_are_removed_after_an_error_too(model, transcoder):
    def fail(layer, acts):
        raise KeyError(layer)

    with pytest.raises(KeyError), features_edited(model, transcoder, fail):
        next_logits(model, TOKEN_IDS, LAST)
    assert hooks(model) == 0
