"""Addition of two numbers below 100, written as digit tokens; the sum is one token."""

from collections.abc import Iterator

from replacement_model.pocket.prompts import Prompt, Slot, compose, split_names

__all__ = ["addition_prompt", "addition_prompts"]

TEMPLATE = "calc : {tens_a} {ones_a} + {tens_b} {ones_b} ="
HELD_OUT = 0.2


def addition_prompts(seed: int) -> Iterator[Prompt]:
    """All sums of two numbers from 0 to 99."""
    pairs = [(a, b) for a in range(100) for b in range(100)]
    for (a, b), split in sorted(split_names(pairs, HELD_OUT, seed, "addition").items()):
        yield addition_prompt(a, b, split)


def addition_prompt(a: int, b: int, split: str) -> Prompt:
    """`calc : 3 6 + 5 9 =` -> `95`."""
    carry = a % 10 + b % 10 > 9
    low, high = sorted((a % 10, b % 10))
    low_tens, high_tens = sorted((a // 10, b // 10))
    known = (
        f"ones digits: {low} and {high}",
        f"tens digits: {low_tens} and {high_tens}",
        f"tens digits sum: {low_tens + high_tens}",
        f"sum ends in {(a + b) % 10}",
        "sum carries" if carry else "sum does not carry",
        f"sum in {(a + b) // 10 * 10}-{(a + b) // 10 * 10 + 9}",
    )
    slots = {
        "tens_a": Slot(str(a // 10), (f"first number, tens: {a // 10}",)),
        "ones_a": Slot(str(a % 10), (f"first number, ones: {a % 10}",)),
        "tens_b": Slot(str(b // 10), (f"second number, tens: {b // 10}",)),
        "ones_b": Slot(str(b % 10), (f"second number, ones: {b % 10}", *known)),
    }
    return compose(TEMPLATE, slots, Slot(str(a + b)), "addition", "all", split)
