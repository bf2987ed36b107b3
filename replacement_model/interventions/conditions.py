"""What responds to an intervention, and what is held at what it was on the prompt.

| mode        | MLPs                                                                 | norms (default)         |
|-------------|----------------------------------------------------------------------|-------------------------|
| `direct`    | outputs held, in all layers or in `layers`; skips respond            | held; live with `layers` |
| `iterative` | features recomputed, errors held; skips respond                      | held                    |
| `free`      | the host's own, plus what the changed features write more or less    | live                    |

Attention patterns are held in every mode unless `frozen_attention` is False. Generated tokens have nothing to be held
to: there MLPs, norms and attention are the host's own in every mode, plus what features with open ranges write.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from replacement_model.errors import InputError

__all__ = ["Conditions", "Mode"]

Mode = Literal["direct", "iterative", "free"]


@dataclass(frozen=True, slots=True)
class Conditions:
    """How an edited pass runs; see the module's table.

    Attributes:
        mode: `direct`, `iterative` or `free`.
        layers: only for `direct`: those whose MLP outputs are held, and at which alone changes are written. None is all
            layers, which gives the direct effect that a graph predicts.
        frozen_attention: hold attention patterns.
        frozen_norms: hold norm denominators; None is the mode's default.

    Raises:
        InputError: the mode is unknown, or `layers` is empty or goes with another mode.
    """

    mode: Mode = "free"
    layers: tuple[int, ...] | None = None
    frozen_attention: bool = True
    frozen_norms: bool | None = None

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise InputError(f"mode must be one of {', '.join(get_args(Mode))}, got {self.mode!r}")
        if self.layers is not None and (self.mode != "direct" or not self.layers):
            raise InputError(
                f"layers are those that mode direct holds, at least one; got {self.layers} with {self.mode}"
            )

    @property
    def holds_norms(self) -> bool:
        """Whether norm denominators are held."""
        if self.frozen_norms is not None:
            return self.frozen_norms
        return self.mode != "free" and self.layers is None

    @property
    def affine(self) -> bool:
        """Whether everything but attention and skips is held, so that effects are exact and add up."""
        return self.mode == "direct" and self.layers is None and self.frozen_attention and self.holds_norms

    def holds_mlp(self, layer: int) -> bool:
        """Whether the MLP's output of `layer` is held (but for features and skip)."""
        return self.mode == "iterative" or (self.mode == "direct" and (self.layers is None or layer in self.layers))

    def writes_at(self, layer: int) -> bool:
        """Whether changed features write at `layer`."""
        return self.layers is None or layer in self.layers

    def check_layers(self, n_layers: int) -> None:
        """Raise unless every layer exists.

        Raises:
            InputError: one does not.
        """
        wrong = [layer for layer in self.layers or () if not 0 <= layer < n_layers]
        if wrong:
            raise InputError(f"layer {wrong[0]} does not exist; choose layers of 0 to {n_layers - 1} to hold")

    @property
    def text(self) -> str:
        """A line for tables."""
        layers = "" if self.layers is None else f" in layers {', '.join(map(str, self.layers))}"
        held = [
            name for name, is_held in (("attention", self.frozen_attention), ("norms", self.holds_norms)) if is_held
        ]
        return f"mode {self.mode}{layers}; held: {' and '.join(held) or 'nothing else'}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "mode": self.mode,
            "layers": None if self.layers is None else list(self.layers),
            "frozen_attention": self.frozen_attention,
            "frozen_norms": self.holds_norms,
        }
