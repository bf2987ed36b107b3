"""Words of the multi-step report: what was asked, how, and what it does not show."""

__all__ = ["CLAIMS", "HEADINGS", "LIMITS", "METHOD", "QUESTIONS"]

METHOD = """\
**Finding.** Prompts of the split `find` are traced to their answers. A feature at the word that states something, or at
the last token, counts by its influence on the answer in the graph; the features that count more for one value (Texas)
than for the others are that value's supernode there.

**Choosing.** How many features, and how strongly they are changed, is chosen by success on other prompts, `tune`.

**Scoring.** On prompts that share no city, word or thing with either, the supernode of what the prompt states is
multiplied (by 0 or -1), that of another value is set to a multiple of its mean activation, and the model runs on with
its own attention, norms and MLPs. A swap succeeds if the most probable token is then the right answer for the other
value.

**Controls.** As many random features change, at the same positions and layers, by as much: what they write has the same
norm, by the activations on the prompt as it is. Three draws for each swap.

**Intervals** are 95%, by resampling cities (words, sums, things), since prompts of one are not independent; where all
of them have one rate, Wilson's with each city as one trial."""

HEADINGS = {
    "cities": "Two hops: city, state, capital",
    "meanings": "Opposites: is the operand shared across languages?",
    "languages": "Opposites: operation and language of the answer",
    "addition": "Addition",
    "requests": "Refusal",
}

QUESTIONS = {
    "cities": """\
Does the model find the state of a city first, and then the state's capital? If so, swapping the features of the state
at the *city's* position (first hop) changes what the later layers work on, and they give the other state's capital; and
the same features answer other questions about the state, for which they were never chosen (`other relations`). Features
at the *last* position (second hop) say the answer: swapping those that were found on capitals should work for capitals
and fail for other relations. `relation` swaps what is asked for: a capital for a nickname.""",
    "meanings": """\
The supernode of a meaning was found on prompts of the *three other languages*. If it works in this one, languages share
it: French "petit" is swapped by features that English, Spanish and German words of that meaning use.""",
    "languages": """\
`the french word for the opposite of small is`. `operation` swaps opposite for translation; `language` swaps the
language of the answer. Both were found on other pairs of words.""",
    "addition": """\
`calc : 3 6 + 5 9 =`. A digit is swapped for another, which gives another sum; the carry for its absence (ten less).""",
    "requests": """\
Swap, suppress or amplify what makes a request harmful. `suppress` takes the features of the stated kind away and brings
nothing (a harmful request should be granted), `amplify` brings those of the other kind and takes nothing away (a
harmless one should be refused). Things that are asked for are other ones than features were found on.""",
}

CLAIMS = {
    "state": "swapping the state gives the other state's answer",
    "relation": "swapping what is asked for gives the other answer",
    "operation": "swapping opposite for translation gives the translation",
    "language": "swapping the language gives the answer in the other language",
    "carry": "swapping the carry gives ten more or ten less",
    "request": "swapping the kind of request turns refusal and consent around",
    **{
        f"operand in {name}": "features of other languages give the other opposite"
        for name in ("english", "french", "spanish", "german")
    },
    **{
        f"{place} of the {number}": "swapping the digit gives the other sum"
        for place in ("tens", "ones")
        for number in ("first", "second")
    },
}

LIMITS = """\
- A success says that these features are enough to change the answer, not that the model uses nothing else. Strengths
  are multiples of features' own activations (the table above says which were chosen).
- Random features that write as much change answers too (`random: changes`); they tell what strength alone does.
- Sizes and strengths come from a small grid; a chosen one at its edge might be better beyond it.
- A supernode is a list of features for one value, not a feature that means it."""
