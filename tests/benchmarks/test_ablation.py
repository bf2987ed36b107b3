import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ablation import CONDITIONS, DOCS, RESULTS, _both, _family, tables, write_tables
from circuits.pocket_scores import evenly_spaced
from replacement_model import ReplacementModel
from replacement_model.pocket.corpus import build_corpus


@pytest.mark.slow
def test_a_family_is_measured_in_every_way() -> None:
    prompts = [one for one in build_corpus().select("test") if one.task == "antonym"]
    row = _family(ReplacementModel.from_pretrained("pocket"), evenly_spaced(prompts, 2))
    assert (row["n_prompts"], row["n_skipped"]) == (2, 0)
    assert list(row["otherwise"]) == ["free", *CONDITIONS]
    assert row["otherwise"]["direct"]["direct edge"] == pytest.approx(1.0, abs=1e-2)
    assert row["otherwise"]["free"]["influence"] == pytest.approx(row["mean"]["influence"]["value"], abs=1e-4)
    gain = row["mean"]["influence"]["value"] - row["mean"]["activation"]["value"]
    assert row["gain"]["activation"]["value"] == pytest.approx(gain, abs=2e-4)
    assert np.isnan(_both([])["influence"])


def test_the_document_shows_the_stored_results(tmp_path: Path) -> None:
    found = json.loads(RESULTS.read_text(encoding="utf-8"))["measured"]
    text = DOCS.read_text(encoding="utf-8")
    assert tables(found) in text
    copy = tmp_path / "copy.md"
    copy.write_text(text.replace(tables(found), "old\n"), encoding="utf-8")
    write_tables(found, copy)
    assert copy.read_text(encoding="utf-8") == text


def test_enough_prompts_were_measured() -> None:
    families = json.loads(RESULTS.read_text(encoding="utf-8"))["measured"]["families"]
    assert len(families) == 16
    for one in families:
        assert one["n_prompts"] + one["n_skipped"] == min(one["test_prompts"], 200)
