import jaxtyping
import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from replacement_model.errors import InputError
from replacement_model.training import (
    ActivationDataset,
    HookPoint,
    TranscoderTrainingConfig,
    collect_activations,
    train_transcoder,
)
from replacement_model.training.parameters import Scales, TranscoderParameters, standardize
from replacement_model.training.trainer import _largest, _reconstruct, _Run
from replacement_model.transcoder import DecoderSite, EncoderTap

N_LAYERS, D_MODEL, N_CONTEXTS = 2, 8, 600


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def sparse_data():
    """Targets made by known sparse features, so that a transcoder can fit them."""
    rng = generator()
    directions = torch.nn.functional.normalize(torch.randn(12, D_MODEL, generator=rng), dim=-1)
    acts = (torch.rand(N_CONTEXTS, 12, generator=rng) < 0.12) * torch.rand(N_CONTEXTS, 12, generator=rng) * 4
    acts[:, 0] += acts.sum(-1) == 0
    written = torch.randn(2, 12, D_MODEL, generator=rng)
    inputs = torch.stack([acts @ directions, acts.flip(0) @ directions])
    targets = torch.stack([acts @ written[0], acts @ written[1]]) + 3
    return ActivationDataset(inputs, targets, torch.ones(N_CONTEXTS))


def fit(data, *, seed=0, **settings):
    config = TranscoderTrainingConfig(
        **{"d_transcoder": 48, "k": 3, "steps": 250, "batch_size": 128, "lr": 1e-2} | settings
    )
    return train_transcoder(
        data, config, generator(seed), encoder_tap=EncoderTap.MLP_IN, decoder_site=DecoderSite.POST_NORM, name="tiny"
    )


def fvu(transcoder, data, layer):
    acts = {source: transcoder.active_features(source, x) for source, x in enumerate(data.inputs)}
    error = data.targets[layer] - transcoder.reconstruct(acts, layer, data.inputs[layer])
    return (error.square().sum() / (data.targets[layer] - data.targets[layer].mean(0)).square().sum()).item()


@pytest.mark.parametrize("cross_layer", [True, False])
def test_training_explains_most_of_the_variance_with_about_k_features(sparse_data, cross_layer):
    transcoder = fit(sparse_data, cross_layer=cross_layer)
    # Layer 1's targets follow layer 0's inputs, which only a cross-layer transcoder may use.
    assert fvu(transcoder, sparse_data, 0) < 0.15
    assert (fvu(transcoder, sparse_data, 1) < 0.2) == cross_layer
    l0 = [
        (transcoder.encode(layer, x) > 0).sum(-1).double().mean().item() for layer, x in enumerate(sparse_data.inputs)
    ]
    assert l0[0] == pytest.approx(3, rel=0.35)


def test_equal_seeds_give_equal_weights_and_others_do_not(sparse_data):
    first, again, other = (fit(sparse_data, steps=5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.layers[0].W_enc, again.layers[0].W_enc)
    assert torch.equal(first.b_dec, again.b_dec)
    assert not torch.equal(first.layers[0].W_enc, other.layers[0].W_enc)


def test_training_leaves_the_global_random_state_and_its_data_alone(sparse_data):
    before, inputs = torch.random.get_rng_state(), sparse_data.inputs.clone()
    fit(sparse_data, steps=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(sparse_data.inputs, inputs)


def test_export_undoes_the_scales(sparse_data):
    scales = Scales(sparse_data)
    trained_units = standardize(sparse_data, scales)
    parameters = TranscoderParameters(trained_units, 16, True, generator())
    run = _Run(parameters, TranscoderTrainingConfig(d_transcoder=16, k=2))
    active = run._select(0, trained_units.inputs)
    inside = _reconstruct(parameters, trained_units.inputs, active)
    transcoder = parameters.export(scales, run.thresholds, EncoderTap.MLP_IN, DecoderSite.POST_NORM, "x")
    acts = {layer: transcoder.active_features(layer, x) for layer, x in enumerate(sparse_data.inputs)}
    for layer in range(N_LAYERS):
        expected = inside[layer] / scales.target_scale[layer] + scales.target_mean[layer]
        outside = transcoder.reconstruct(acts, layer, sparse_data.inputs[layer])
        torch.testing.assert_close(outside, expected, rtol=1e-4, atol=1e-4)


def test_standardised_targets_have_unit_variance_a_dimension(sparse_data):
    data = standardize(sparse_data, Scales(sparse_data))
    assert data.inputs.square().mean((1, 2)).tolist() == pytest.approx([1, 1], rel=1e-4)
    assert data.targets.square().mean((1, 2)).tolist() == pytest.approx([1, 1], rel=1e-4)
    assert data.targets.mean(1).abs().max().item() < 1e-5


def test_the_sparse_reconstruction_equals_the_dense_one_and_has_its_gradient(sparse_data):
    parameters = TranscoderParameters(sparse_data, 16, True, generator())
    x = sparse_data.inputs[:, :20]
    run = _Run(parameters, TranscoderTrainingConfig(d_transcoder=16, k=3))
    active = run._select(0, x)
    sparse = _reconstruct(parameters, x, active)
    dense = [parameters.b_dec[layer].expand(20, D_MODEL) for layer in range(N_LAYERS)]
    for layer in range(N_LAYERS):
        mask = torch.zeros(20, 16)
        mask[active[layer]] = 1
        acts = (x[layer] @ parameters.W_enc[layer].T + parameters.b_enc[layer]) * mask
        for j, write_layer in enumerate(parameters.write_layers(layer)):
            dense[write_layer] = dense[write_layer] + acts @ parameters.W_dec[layer][:, j]
    torch.testing.assert_close(sparse, torch.stack(dense), rtol=1e-5, atol=1e-5)
    grads = [
        torch.autograd.grad(out.square().sum(), list(parameters.parameters())) for out in (sparse, torch.stack(dense))
    ]
    for ours, oracle in zip(*grads, strict=True):
        torch.testing.assert_close(ours, oracle, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("running", [0.0, 0.5, 5.0])
def test_the_largest_scores_are_found_whatever_the_running_threshold(running):
    scores = torch.tensor([[0.1, 3.0, -2.0], [2.0, 0.5, 1.0]])
    cut, context, feature_idx = _largest(scores, 2, running)
    assert (cut, context.tolist(), feature_idx.tolist()) == (1.0, [0, 1], [1, 0])


def test_negative_scores_are_never_selected():
    cut, context, _ = _largest(torch.tensor([[-1.0, 2.0]]), 2, 0.0)
    assert (cut, context.tolist()) == (0.0, [0])


def test_dead_features_are_revived_by_the_auxiliary_loss(sparse_data):
    parameters = TranscoderParameters(sparse_data, 16, False, generator())
    run = _Run(parameters, TranscoderTrainingConfig(d_transcoder=16, k=2, cross_layer=False))
    run.idle[0, 3] = 10_000
    error = torch.ones(N_LAYERS, 20, D_MODEL)
    run._aux_loss(sparse_data.inputs[:, :20].abs() + 1, error).backward()
    moved = parameters.W_dec[0].grad.flatten(1).abs().sum(-1) > 0
    assert moved.nonzero().flatten().tolist() in ([3], [])
    assert parameters.W_dec[1].grad is None


def test_activations_are_those_of_the_hooked_modules():
    config = Gemma3TextConfig(
        vocab_size=11, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=4, layer_types=["full_attention"] * 2, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Gemma3ForCausalLM(config).eval()
    token_ids = torch.tensor([[1, 2, 3], [4, 5, 0], [6, 7, 8]])
    keep = torch.tensor([[False, True, True], [False, True, False], [True, False, True]])
    norm, mlp = "model.layers.1.pre_feedforward_layernorm", "model.layers.1.mlp"
    points = [HookPoint(norm), HookPoint(mlp, reads_input=True), HookPoint(mlp)]
    found = collect_activations(model, token_ids, keep, points, batch_size=2)
    assert found.shape == (3, 5, 8)
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(model.model.layers[1].mlp(found[1]), found[2])
    alone = collect_activations(model, token_ids[1:2, :2], keep[1:2, :2], points)
    torch.testing.assert_close(found[:, 2:3], alone)
    assert not model.model.layers[1].mlp._forward_hooks


def test_an_unknown_module_is_refused():
    with pytest.raises(InputError, match=r"nowhere.*named_modules"):
        collect_activations(
            torch.nn.Linear(2, 2), torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1) > 0, [HookPoint("nowhere")]
        )


@pytest.mark.parametrize("settings", [{"k": 0}, {"k": 49}, {"steps": 0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(InputError, match="expected"):
        TranscoderTrainingConfig(**{"d_transcoder": 48} | settings)


def test_activations_of_different_shapes_are_refused_outside_the_tests_too(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' own shape checks would come first
    with pytest.raises(InputError, match="one shape"):
        ActivationDataset(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), torch.zeros(5))
