"""Text to measure a transcoder on: a few hundred tokens of plain English, the pocket model's own prompts, or yours."""

from collections.abc import Sequence

from replacement_model.errors import InputError
from replacement_model.model import ReplacementModel
from replacement_model.pocket import MODEL_DIR
from replacement_model.prompt import read_prompt

__all__ = ["sample_texts", "split_text"]

CHUNK = 64  # tokens that are run together; features need some context, and patterns grow with its square
MAX_TOKENS = 2048
MAX_POCKET_PROMPTS = 40

# Written for this purpose: prose, dialogue, figures, code and names, since features specialise.
ENGLISH = """\
The ferry left the harbour a little after seven, while the lamps along the quay were still burning. Most of the
passengers stayed below, where it was warm and smelled of coffee, but two children stood at the rail and counted the
gulls. "Forty-one," said the older one. "No, forty-two, there is one on the mast." Their grandmother had promised them
that they would see the lighthouse before breakfast, and she was a woman who kept her promises.

In the autumn of 1887 the town council of Bridgewater met eleven times to decide whether the new railway station should
be built north or south of the river. The engineers preferred the north, because the ground there was firm; the
merchants preferred the south, because their warehouses stood there. In the end the station was built on the northern
bank, at a cost of 18,450 pounds, and within ten years most of the warehouses had moved across the bridge.

Water boils at a lower temperature on a mountain than at the coast, because the air above it weighs less. This is why
rice takes longer to cook in Denver or La Paz, and why a recipe for bread may fail there. A pressure cooker solves the
problem: it keeps the steam inside, the pressure rises, and the water gets hotter than 100 degrees before it boils.

def mean(values):
    total = 0.0
    for value in values:
        total += value
    return total / len(values)

Dear Ms. Okafor, thank you for your letter of March 3rd. We are sorry that the parcel arrived late and that the blue cup
was broken. A replacement will be sent to you next week, free of charge. Please do not return the pieces. If there is
anything else that we can do, call us on weekdays between nine and five. Yours sincerely, Daniel Marsh.

The cell copies its DNA before it divides, so that each of the two new cells receives the whole set of instructions.
Mistakes are rare, roughly one in a billion letters, since several proteins read the copy again and repair it. When the
repair itself is damaged, mutations gather, and sooner or later one of them may let the cell divide when it should not.
"""


def sample_texts(model: ReplacementModel) -> list[list[int]]:
    """Token ids of the built-in text in pieces; for the pocket model, which knows no other words, of its prompts.

    Raises:
        InputError: the model has no tokenizer.
    """
    source = model.model_source
    if source is not None and source.folder == MODEL_DIR:
        from replacement_model.pocket.corpus import build_corpus

        held_out = build_corpus().select("validation")
        return [_ids(model, prompt.text) for prompt in held_out[:: max(1, len(held_out) // MAX_POCKET_PROMPTS)]]
    return split_text(model, ENGLISH)


def split_text(model: ReplacementModel, text: str) -> list[list[int]]:
    """Token ids of the first 2,048 tokens of `text`, in pieces that are run one by one.

    Raises:
        InputError: the model has no tokenizer, or the text is empty or has words that it does not know.
    """
    return [list(piece) for piece in _pieces(_ids(model, text)[:MAX_TOKENS])]


def _pieces(ids: Sequence[int]) -> list[Sequence[int]]:
    pieces = [ids[first : first + CHUNK] for first in range(0, len(ids), CHUNK)]
    return pieces if len(pieces) == 1 else [piece for piece in pieces if len(piece) > 1]


def _ids(model: ReplacementModel, text: str) -> list[int]:
    if model.tokenizer is None:
        raise InputError("measuring on text needs a tokenizer and this model has none")
    return [int(i) for i in read_prompt(text, model.tokenizer, model.host.d_vocab, prepend=False).token_ids]
