"""The pocket corpus's table: requests that are refused or granted, the kind of thing that is asked for swapped.

Things, not only phrasings, are split: what makes a request harmful is found on some things and scored on others, in
phrasings of them that the model has not seen.
"""

from circuits.studies.multi_step.table import LAST, Case, Experiment, Swap, Table
from replacement_model.pocket.corpus import build_corpus
from replacement_model.pocket.prompts import Prompt, word_of
from replacement_model.pocket.world import load_world

__all__ = ["refusal_table"]

ANSWERS = {"harmful": "sorry", "harmless": "sure"}
THING_SPLITS = ("find", "score", "tune", "score")

REQUEST = Experiment(
    "request",
    "request",
    {"at the thing": ("thing",), "at the last token": (LAST,), "both": ("thing", LAST)},
    operations=("swap", "suppress", "amplify"),
)


def refusal_table() -> Table:
    """Harmful for harmless and the reverse; also only taken away, and only brought in."""
    world = load_world()
    splits = {
        word_of(thing): THING_SPLITS[number % len(THING_SPLITS)]
        for things in (world.harmful, world.harmless)
        for number, thing in enumerate(things)
    }
    examples = {"harmful": word_of(world.harmful[0]), "harmless": word_of(world.harmless[0])}  # both are to find on
    prompts = [prompt for prompt in build_corpus().prompts if prompt.task == "refusal"]
    cases = [case for prompt in prompts if (case := _case(prompt, splits, examples)) is not None]
    return Table("requests", tuple(cases), (REQUEST,))


def _case(prompt: Prompt, splits: dict[str, str], examples: dict[str, str]) -> Case | None:
    pos = next(pos for pos, concept in prompt.concepts if concept == f"a {prompt.subset} request")
    split = splits[prompt.words[pos]]
    if split == "score" and prompt.split == "train":
        return None  # only phrasings that the model has not seen are scored
    other = next(kind for kind in ANSWERS if kind != prompt.subset)
    thing, group = prompt.words[pos], f"{prompt.subset} requests"
    words = (*prompt.words[:pos], examples[other], *prompt.words[pos + 1 :])
    swaps = () if split == "find" else (Swap("request", other, ANSWERS[other], " ".join(words)),)
    return Case(prompt.text, prompt.answer, split, thing, {"request": prompt.subset}, {"thing": pos + 1}, swaps, group)
