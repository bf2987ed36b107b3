import math

import pytest
import torch

from replacement_model.activation import Activation
from replacement_model.errors import InputError, WeightsError
from replacement_model.pocket.accuracy import accuracy_by_task
from replacement_model.pocket.circuit_tests import CircuitTests, _nearest_embedding, city_position
from replacement_model.pocket.evaluation import Evaluation, Hallucination, evaluate
from replacement_model.pocket.prompts import Prompt, word_of
from replacement_model.pocket.reconstruction import measure_reconstruction
from replacement_model.pocket.selection import Candidate, best_candidate, load_candidates, save_candidates
from replacement_model.pocket.world import load_world
from replacement_model.training import ActivationDataset
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder, TranscoderLayer

VOCABULARY = ("<pad>", "<eos>", "<bos>", "a", "b")


def prompt(answer, task="t", subset="s", split="test"):
    return Prompt(task, subset, split, ("a",), answer, ())


def test_accuracy_by_hand():
    prompts = [prompt("a"), prompt("b"), prompt("b", subset="other"), prompt("a", split="train")]
    logits = torch.full((4, 5), -50.0)
    logits[:, 3] = math.log(3)
    logits[:, 4] = 0.0
    found = {(one.task, one.subset, one.split): one for one in accuracy_by_task(logits, prompts, VOCABULARY)}
    assert list(found) == [("t", "s", "test"), ("t", "other", "test"), ("t", "s", "train")]
    both = found["t", "s", "test"]
    assert (both.n_prompts, both.accuracy) == (2, 0.5)
    assert both.mean_probability == pytest.approx(0.5)
    assert found["t", "other", "test"].mean_probability == pytest.approx(0.25)


def test_an_evaluation_weighs_subsets_by_their_prompts():
    logits = torch.zeros(4, 5)
    logits[:, 3] = 1.0
    prompts = [prompt("a"), prompt("a"), prompt("a"), prompt("b", subset="other")]
    tasks = accuracy_by_task(logits, prompts, VOCABULARY)
    evaluation = Evaluation("test", 1, tasks, Hallucination(1, 0.0, 0.0, 0.0), CircuitTests(1, 1, 0, 0, 0, 0), ())
    assert evaluation.accuracy("t") == pytest.approx(0.75)
    assert evaluation.accuracy("t", "other") == 0
    with pytest.raises(InputError, match="no train prompts of task 't'"):
        evaluation.accuracy("t", split="train")


def identity_transcoder(gain):
    """Features that copy the positive and the negative part of each input dimension."""
    eye = torch.eye(2)
    layer = TranscoderLayer(
        W_enc=torch.cat([eye, -eye]),
        b_enc=torch.zeros(4),
        W_dec=(gain * torch.cat([eye, -eye]),),
        activation=Activation("relu"),
    )
    return Transcoder((layer,), torch.zeros(1, 2), False, EncoderTap.MLP_IN, DecoderSite.POST_NORM)


@pytest.mark.parametrize(("gain", "fvu"), [(1.0, 0.0), (0.0, 1.0), (0.5, 0.25)])
def test_reconstruction_by_hand(gain, fvu):
    x = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [3.0, 0.0], [-3.0, 0.0]]])
    found = measure_reconstruction(identity_transcoder(gain), ActivationDataset(x, x, torch.ones(4)))
    assert found.fvu == pytest.approx((fvu,))
    assert (found.l0, found.n_dead, found.n_contexts) == ((1.0,), (2,), 4)


def test_nearest_embeddings_are_found_where_they_are_planted():
    world = load_world()
    cities = [(word_of(city), index) for index, state in enumerate(world.states) for city in state.cities]
    vocabulary = [city for city, _ in cities]
    rng = torch.Generator().manual_seed(0)
    of_states = torch.randn(50, 32, generator=rng)
    planted = of_states[[state for _, state in cities]] + 0.01 * torch.randn(400, 32, generator=rng)
    assert _nearest_embedding(planted, world, vocabulary) == (1.0, pytest.approx(7 / 399))
    at_random, chance = _nearest_embedding(torch.randn(400, 32, generator=rng), world, vocabulary)
    assert at_random < 3 * chance


def test_the_citys_position_counts_bos():
    found = Prompt("t", "s", "test", ("the", "state", "Dallas"), "Austin", ((1, "x"), (2, "a city")))
    assert city_position(found) == 3


def candidate(seed, accuracy, agreement):
    return Candidate(seed, {"two-hop": accuracy, "addition": 1.0}, 0.9, 0.2, 0.2, 0.05, 9.0, agreement)


def test_the_best_candidate_and_its_record(tmp_path):
    found = {1: candidate(1, 0.9, 0.98), 2: candidate(2, 1.0, 0.98), 0: candidate(0, 1.0, 0.98)}
    assert best_candidate(found) == 0
    save_candidates(found, tmp_path)
    assert load_candidates(tmp_path) == found
    assert load_candidates(tmp_path / "elsewhere") == {}
    (tmp_path / "candidates.json").write_text("{}")
    with pytest.raises(WeightsError, match="rank the seeds again"):
        load_candidates(tmp_path)


def test_an_unknown_split_is_refused():
    with pytest.raises(InputError, match="validation or test"):
        evaluate(split="train")


def test_missing_weights_are_refused(tmp_path):
    with pytest.raises(WeightsError):
        evaluate(tmp_path)
