"""The pocket corpus's table: sums of two numbers below 100, one digit or the carry swapped."""

from circuits.studies.multi_step.table import LAST, Case, Experiment, Swap, Table
from replacement_model.pocket.corpus import build_corpus
from replacement_model.pocket.prompts import Prompt, shuffled

__all__ = ["DIGITS", "addition_table"]

DIGITS = {"tens of the first": 3, "ones of the first": 4, "tens of the second": 6, "ones of the second": 7}
"""Each digit's position in `<bos> calc : 3 6 + 5 9 =`."""
SEED = 7
N_CASES = {"train": 400, "validation": 100, "test": 150}
SPLITS = {"train": "find", "validation": "tune", "test": "score"}


def addition_table() -> Table:
    """Withheld sums: each digit swapped for another gives another sum, the carry swapped one of ten more or less."""
    corpus = build_corpus()
    cases = []
    for split, count in N_CASES.items():
        prompts = [prompt for prompt in corpus.select(split) if prompt.task == "addition"]
        chosen = shuffled(prompts, SEED, f"sums, {split}")[:count]
        cases += [_case(prompt, split, number) for number, prompt in enumerate(chosen)]
    digits = tuple(
        Experiment(name, name, {"at the digit": (name,), "at the last token": (LAST,), "both": (name, LAST)})
        for name in DIGITS
    )
    last_digit = "ones of the second"
    hops = {"at the last token": (LAST,), "at the last digit": (last_digit,), "both": (last_digit, LAST)}
    return Table("addition", tuple(cases), (*digits, Experiment("carry", "carry", hops)))


def _case(prompt: Prompt, split: str, number: int) -> Case:
    digits = {name: int(prompt.words[pos - 1]) for name, pos in DIGITS.items()}
    tens_a, ones_a, tens_b, ones_b = digits.values()
    total, carries = 10 * (tens_a + tens_b) + ones_a + ones_b, ones_a + ones_b > 9
    swaps = []
    for which, (name, digit) in enumerate(digits.items()):
        other = (digit + 1 + (number + 2 * which) % 9) % 10
        worth = 10 if name.startswith("tens") else 1
        words = list(prompt.words)
        words[DIGITS[name] - 1] = str(other)
        swaps.append(Swap(name, str(other), str(total + worth * (other - digit)), " ".join(words)))
    if carries or total + 10 < 199:
        swaps.append(Swap("carry", "no" if carries else "yes", str(total - 10 if carries else total + 10)))
    factors = {name: str(digit) for name, digit in digits.items()} | {"carry": "yes" if carries else "no"}
    asked = () if split == "train" else tuple(swaps)
    return Case(prompt.text, prompt.answer, SPLITS[split], prompt.text, factors, dict(DIGITS), asked)
