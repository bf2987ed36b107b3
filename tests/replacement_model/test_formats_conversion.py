"""What a conversion refuses, and what it leaves behind: everything or nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conversions import check_same

from replacement_model.activation import Activation
from replacement_model.errors import InputError
from replacement_model.formats import convert, load_transcoder, orrery, read_draft, save_transcoder
from replacement_model.formats.draft import Draft
from replacement_model.transcoder import Transcoder

Make = Callable[..., Transcoder]


def with_layer(transcoder: Transcoder, layer: int, **changes: object) -> Transcoder:
    layers = list(transcoder.layers)
    layers[layer] = replace(layers[layer], **changes)
    return replace(transcoder, layers=tuple(layers))


def narrower(transcoder: Transcoder, layer: int) -> Transcoder:
    old = transcoder.layers[layer]
    W_dec = tuple(matrix[:20] for matrix in old.W_dec)
    return with_layer(transcoder, layer, W_enc=old.W_enc[:20], b_enc=old.b_enc[:20], W_dec=W_dec)


@pytest.mark.parametrize(
    ("make", "lost"),
    [
        (lambda make: make(absent=(1, 2)), "a set without layers 1, 2"),
        (lambda make: make(kind="batchtopk"), r"the activation batchtopk \(layer 0\)"),
        (lambda make: make(skip=True), r"the skip of a cross-layer transcoder \(layer 0\)"),
        (
            lambda make: with_layer(make(kind="topk"), 2, activation=Activation("topk", k=5)),
            r"values of k that differ from layer to layer \(4 in layer 1, 5 in 2\)",
        ),
        (
            lambda make: with_layer(make(), 1, activation=Activation("jumprelu", threshold=torch.zeros(30))),
            r"activations that differ .* \(relu in layer 0, jumprelu in 1\)",
        ),
        (lambda make: narrower(make(), 3), r"widths that differ .* \(30 in layer 2, 20 in 3\)"),
        (
            lambda make: with_layer(make(cross_layer=False), 3, W_skip=torch.zeros(24, 24)),
            r"skips that differ .* \(False in layer 2, True in 3\)",
        ),
    ],
)
def test_what_the_layout_cannot_hold_is_refused(
    tmp_path: Path, make_transcoder: Make, make: Callable, lost: str
) -> None:
    draft = Draft.of(make(make_transcoder))
    with pytest.raises(InputError, match=f"circuit-tracer's layout cannot hold {lost}, which would be lost"):
        convert(draft, tmp_path / "new", "circuit-tracer")
    assert list(tmp_path.iterdir()) == []
    convert(draft, tmp_path / "ours", "orrery")
    check_same(draft.load(), load_transcoder(tmp_path / "ours"))


@pytest.mark.parametrize("to", ["orrery", "circuit-tracer"])
@pytest.mark.parametrize("existing", [False, True])
def test_the_folder_appears_whole(tmp_path: Path, make_transcoder: Make, to: str, existing: bool) -> None:
    if existing:
        (tmp_path / "new").mkdir()
    paths = convert(Draft.of(make_transcoder()), tmp_path / "new", to)
    assert sorted(paths) == sorted((tmp_path / "new").iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("to", ["orrery", "circuit-tracer"])
def test_a_failing_write_leaves_nothing(
    tmp_path: Path, make_transcoder: Make, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("replacement_model.formats.files._write_parts", full)
    with pytest.raises(InputError, match="No space left on device"):
        convert(Draft.of(make_transcoder()), tmp_path / "new", to)
    assert list(tmp_path.iterdir()) == []


def test_a_destination_in_use_is_left_alone(tmp_path: Path, make_transcoder: Make) -> None:
    (tmp_path / "file").write_text("mine")
    draft = Draft.of(make_transcoder())
    with pytest.raises(InputError, match="exists and is not an empty folder; choose another destination"):
        convert(draft, tmp_path, "orrery")
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        convert(draft, tmp_path / "file", "orrery")
    with pytest.raises(InputError, match="cannot write"):
        convert(draft, tmp_path / "file" / "new", "orrery")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_unknown_layout(tmp_path: Path, make_transcoder: Make) -> None:
    with pytest.raises(InputError, match="unknown layout 'npz'; choose one of orrery, circuit-tracer"):
        convert(Draft.of(make_transcoder()), tmp_path / "new", "npz")


def test_too_little_space_is_noticed_first(tmp_path: Path, make_transcoder: Make) -> None:
    draft = replace(Draft.of(make_transcoder()), size=2**60)
    with pytest.raises(InputError, match=r"takes about 1073741824\.0 GiB, .* free; choose another destination"):
        convert(draft, tmp_path / "new", "orrery")
    assert list(tmp_path.iterdir()) == []


def test_a_large_one_is_written_layer_by_layer(
    tmp_path: Path, make_transcoder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No layer is made before the one in front of it was written."""
    monkeypatch.setattr(orrery, "ONE_FILE_BELOW", 0)
    events: list[str] = []
    write = orrery.write_safetensors

    def written(path: Path, tensors: dict) -> None:
        events.append(path.name)
        write(path, tensors)

    monkeypatch.setattr(orrery, "write_safetensors", written)
    draft = Draft.of(make_transcoder())
    makers = tuple(
        lambda make=make, n=n: (events.append(f"made {n}"), make())[1] for n, make in enumerate(draft.layers)
    )
    convert(replace(draft, layers=makers), tmp_path / "new", "orrery")
    by_layer = [name for layer in range(4) for name in (f"made {layer}", f"transcoder_layer_{layer}.safetensors")]
    assert events == [*by_layer, "transcoder.safetensors"]


def test_conversion_there_and_back_gives_equal_bytes(tmp_path: Path, make_transcoder: Make) -> None:
    save_transcoder(make_transcoder(kind="jumprelu"), tmp_path / "a")
    convert(read_draft(tmp_path / "a"), tmp_path / "b", "circuit-tracer")
    convert(read_draft(tmp_path / "b"), tmp_path / "c", "orrery")
    for name in ("transcoder.json", "transcoder.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()
