"""The tables that the pocket model's corpus gives."""

from circuits.studies.multi_step.addition import addition_table
from circuits.studies.multi_step.antonyms import language_table, meanings_table
from circuits.studies.multi_step.cities import cities_table
from circuits.studies.multi_step.refusal import refusal_table
from circuits.studies.multi_step.table import Table

__all__ = ["pocket_tables"]


def pocket_tables() -> tuple[Table, ...]:
    """Two hops, opposites, addition and refusal."""
    return cities_table(), meanings_table(), language_table(), addition_table(), refusal_table()
