"""Texts of the hallucination study's report that do not depend on what was found."""

__all__ = ["DEFAULT", "LIMITS", "METHOD", "PREDICTION", "SEPARATION", "STEERING", "TITLE"]

TITLE = "Why does the model decline, and why does it invent?"
METHOD = """\
Each prompt asks about an entity that the model knows or does not know. It is traced to the model's answer and to the
strongest rival of the other kind; their difference (declining minus answering) is the *contrast*. A prompt about an
unknown entity is *declined* or *invented*, by the most probable next token.

The prompts have two splits. Whatever is chosen (features, strengths, penalties) is chosen on `choose`, and every
number is of `score`, unless a column says otherwise. No group (family) is in both, and 95% intervals resample groups.

The **“unknown” supernode** is the features whose mean direct effect on the contrast, over declined prompts, is at
least a tenth of the largest. A prompt's **“known entity” supernode** is the features at the entity that argue most
against declining, in total and through later features, in the prompt's own graph."""
DEFAULT = """\
The published picture (Lindsey et al. 2025, *On the Biology of a Large Language Model*) is a feature that is on by
default and says “can't answer”, and that features of known entities suppress. If it holds here, constants and tokens
around the entity are enough to switch the “unknown” features on, they are on for known entities too, and what is at
the entity lowers them where the entity is known, or is taken for known."""
SEPARATION = """\
Families are not shared between the splits, so a feature of one surname cannot help on `score`. What separates there
is about being known, not about who it is."""
STEERING = """\
In the model as it is used: real MLPs, live attention and norms. *Suppressed* multiplies the activations by the
strength; *amplified* sets them to the strength times their mean on declined prompts. Random features are drawn from
those that are active at the same layer and place on other prompts, and changed so that each writes a vector of equal
norm; five draws a prompt. The strength is the one with the largest rate above random on `choose`."""
PREDICTION = """\
An answer is wrong if it is about an unknown entity, or is not the known entity's. On **all** prompts, that the model
answers at all is already a warning, since what it declines is mostly right; it has its own line. Among the
**answered** prompts alone, only invented and right answers are left: the stricter question.

The primary predictor, *structure*, was fixed before scoring: a logistic regression on numbers of the answer's graph
that name no feature, token or probability (shares of influence of errors, tokens and features by layer and place,
scores, paths from the entity, signs, entropy of influence). *Activations of features* may look at every feature, and
so learns names; *shape of the prompt* knows only its length and where the entity is; both show what a trick would
give. A transcoder explains the unfamiliar worse, so errors may tell only that a name is new to it: *errors alone* and
*without errors* (both added after the first scoring) show how much of the structure's success is that."""
LIMITS = """\
- One model and one kind of question. The pocket world's inventions have one cause, put there on purpose (surnames
  that no “unknown” was trained with). Others may look different in a graph, or not be visible at all.
- Known people were in the training of model and transcoders, in other phrasings; strangers were not. A graph may show
  that a name is new without showing that the answer is wrong; here the two go together.
- Known entities are few, and in the pocket world each is asked about in the one phrasing that was not trained.
- The shares of known, declined and invented prompts are the table's; an AUROC does not depend on them, a precision
  does.
- The “known entity” supernode is many features, and changing as many random ones also unsettles the model: read it
  against its control.
- An intervention shows that features are enough to change an answer, not that nothing else takes part."""
