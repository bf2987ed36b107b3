"""Lengths of a picture's parts in points: one set for screens, one for figures that are scaled to a page's column."""

from dataclasses import dataclass

__all__ = ["PAPER", "SCREEN", "Measures"]


@dataclass(frozen=True, slots=True)
class Measures:
    """Sizes of text, boxes and the space between them.

    Attributes:
        font_size, line_height: of the text in a box.
        caption_size, caption_height: of the small type below it; a caption size of 0 leaves it out.
        target_small: size and height of that below a target's label.
        label_width: of the longest line, and `max_lines` how many there may be.
        pad_x, pad_y: between text and border.
        error_size: of an error's box, `error_font` of its text.
        aspect: width over height that the plot comes near to.
        gutter: between boxes side by side.
        column_margin: between a column's edge and its first box.
        line_gap: between lines of one band.
        band_pad: above and below the lines of a band; `token_pad` above the tokens, where edges travel far sideways.
        empty_band: height of a run of layers with nothing in them.
        left_gutter: for the names of layers; `right_margin` at the other side.
        has_short_names: layers are `L3` instead of `layer 3`, errors `err`, runs of tokens that are left out `…`.
        title_size, legend_size, name_size: of other text; `empty_name_size` where layers have nothing in them.
        thinnest: width of the weakest edge.
        min_width: of a picture, for its title and legend.
    """

    font_size: float = 10.5
    line_height: float = 12.0
    caption_size: float = 7.0
    caption_height: float = 8.0
    target_small: tuple[float, float] = (8.5, 8.0)
    label_width: float = 80.0
    max_lines: int = 3
    pad_x: float = 5.0
    pad_y: float = 3.0
    error_size: tuple[float, float] = (30.0, 13.0)
    error_font: float = 7.0
    aspect: float = 1.5
    gutter: float = 12.0
    column_margin: float = 7.0
    line_gap: float = 20.0
    band_pad: float = 16.0
    token_pad: float = 22.0
    empty_band: float = 13.0
    left_gutter: float = 50.0
    right_margin: float = 8.0
    has_short_names: bool = False
    title_size: float = 13.0
    legend_size: float = 8.5
    name_size: float = 9.0
    empty_name_size: float = 7.0
    thinnest: float = 0.5
    min_width: float = 330.0

    @property
    def smallest(self) -> float:
        """The smallest type, which decides whether a scaled picture can be read."""
        sizes = (
            self.font_size,
            self.caption_size,
            self.error_font,
            self.title_size,
            self.legend_size,
            self.empty_name_size,
        )
        return min(size for size in sizes if size > 0)


SCREEN = Measures()
PAPER = Measures(
    font_size=10.0,
    line_height=10.8,
    caption_size=0.0,
    caption_height=0.0,
    target_small=(10.0, 11.0),
    label_width=64.0,
    max_lines=4,
    pad_x=4.0,
    pad_y=2.0,
    error_size=(22.0, 14.0),
    error_font=10.0,
    gutter=8.0,
    column_margin=3.0,
    line_gap=14.0,
    band_pad=11.0,
    token_pad=17.0,
    empty_band=12.0,
    left_gutter=20.0,
    right_margin=3.0,
    has_short_names=True,
    title_size=11.0,
    legend_size=10.0,
    name_size=10.0,
    empty_name_size=10.0,
    thinnest=0.8,
    min_width=240.0,
)
