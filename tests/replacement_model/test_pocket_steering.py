import torch

from replacement_model.activation import Activation
from replacement_model.pocket.geography import TWO_HOP_TEMPLATES, two_hop_prompt
from replacement_model.pocket.steering import StateFeatures, SteeringChoice, _swap, _targets
from replacement_model.pocket.world import load_world
from replacement_model.transcoder import DecoderSite, EncoderTap, Transcoder, TranscoderLayer


def features():
    at_last = torch.zeros(3, 4)
    at_last[0, 0], at_last[1, 1], at_last[2, 2] = 4.0, 6.0, 8.0
    at_last[:, 3] = 5.0  # active for every state, so specific to none
    return StateFeatures(at_city=at_last.flip(0), at_last=at_last)


def test_a_supernode_is_what_is_specific_to_a_state():
    assert torch.equal(features().supernode("last", 1), torch.eye(3, 4))
    wide = features().supernode("last", 4)
    assert wide[:, 3].sum() == 0
    assert torch.equal(wide, torch.eye(3, 4))
    assert torch.equal(features().supernode("city", 1), torch.eye(3, 4).flip(0))


def test_targets_are_other_states_and_vary():
    source = torch.arange(30) % 5
    rounds = list(_targets(source, 50))
    assert len(rounds) == 2
    for target in rounds:
        assert (target != source).all()
        assert ((target >= 0) & (target < 50)).all()
    assert not torch.equal(*rounds)


def transcoder():
    def layer(n_out):
        relu = Activation("relu")
        return TranscoderLayer(torch.zeros(2, 3), torch.zeros(2), torch.zeros(2, n_out, 3).unbind(1), relu)

    return Transcoder((layer(2), layer(1)), torch.zeros(2, 3), True, EncoderTap.MLP_IN, DecoderSite.POST_NORM)


def test_a_swap_edits_two_supernodes_at_the_last_position_alone():
    state = load_world().states[0]
    prompts = [two_hop_prompt(state, state.cities[0], "capital", TWO_HOP_TEMPLATES[0], "s", "test")]
    choice = SteeringChoice(n_features=1, source_factor=-1.0, target_factor=2.0, place="last")
    edit = _swap(features(), prompts, torch.tensor([0]), torch.tensor([2]), choice, transcoder())
    acts = torch.full((1, 9, 2), 3.0)
    first, second = edit(0, acts), edit(1, acts)
    assert torch.equal(first[0, :8], acts[0, :8])
    assert first[0, 8].tolist() == [-3.0, 3.0]  # feature 0 is the source's, feature 1 nobody's here
    assert second[0, 8].tolist() == [16.0, 3.0]  # feature 2 is the target's: twice its mean; feature 3 is shared
    assert acts.eq(3).all()
