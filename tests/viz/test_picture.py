import re
import shutil
import stat
import subprocess

import graphviz
import pytest

from replacement_model.errors import InputError, MissingDependencyError
from viz.picture import Picture

PICTURE = Picture(
    'digraph circuit {\n\tgraph [layout=neato bb="0,0,90,90"]\n\ta [label="é" pos="45,45"]\n\tb [pos="135,45"]\n}\n'
)
needs_graphviz = pytest.mark.skipif(shutil.which("neato") is None, reason="runs where Graphviz is installed")


@pytest.fixture
def no_graphviz(monkeypatch, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))


@needs_graphviz
@pytest.mark.parametrize(
    ("name", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("dot", b"digraph")]
)
def test_render_writes_the_picture(tmp_path, name, start):
    path = PICTURE.render(tmp_path / "new" / "dallas", format=name)
    assert path == str(tmp_path / "new" / f"dallas.{name}")
    assert (tmp_path / "new" / f"dallas.{name}").read_bytes().startswith(start)


@needs_graphviz
def test_render_keeps_the_source_unless_told_otherwise(tmp_path):
    PICTURE.render(tmp_path / "dallas", format="svg")
    assert (tmp_path / "dallas.dot").read_text(encoding="utf-8") == PICTURE.source
    PICTURE.render(tmp_path / "austin", format="svg", cleanup=True)
    assert {path.name for path in tmp_path.iterdir()} == {"dallas.dot", "dallas.svg", "austin.svg"}


@needs_graphviz
def test_the_ending_of_the_name_is_a_format(tmp_path):
    assert PICTURE.render(tmp_path / "v1.2.png", cleanup=True).endswith("v1.2.png")
    assert PICTURE.render(tmp_path / "v1.2", cleanup=True).endswith("v1.2.svg")


@needs_graphviz
def test_coordinates_are_kept(tmp_path):
    left, right = re.findall(r'cx="(\d+)"', PICTURE.pipe("svg").decode())
    assert int(right) - int(left) == 90
    assert PICTURE._repr_svg_() == PICTURE.pipe("svg").decode()


def test_without_graphviz_the_source_is_written_and_the_error_says_what_to_install(tmp_path, no_graphviz):
    out = tmp_path / "out"
    with pytest.raises(MissingDependencyError, match="apt install graphviz"):
        PICTURE.render(out / "dallas", format="svg")
    assert {path.name for path in out.iterdir()} == {"dallas.dot"}
    assert PICTURE.render(out / "dallas", format="dot") == str(out / "dallas.dot")


def test_a_graphviz_that_fails_leaves_no_picture(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise graphviz.CalledProcessError(1, ["neato"], stderr=b'Format: "pdf" not recognized.\nmore')

    monkeypatch.setattr(graphviz, "pipe", fail)
    with pytest.raises(MissingDependencyError, match="not recognized") as caught:
        PICTURE.render(tmp_path / "dallas", format="pdf")
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"dallas.dot"}


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="svg, pdf, png, dot"):
        PICTURE.render(tmp_path / "dallas", format="bmp")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        PICTURE.save(tmp_path / "file" / "dallas.dot")


@needs_graphviz
def test_the_source_can_be_drawn_by_hand(tmp_path):
    PICTURE.save(tmp_path / "dallas.dot")
    drawn = subprocess.run(["neato", "-n2", "-Tsvg", tmp_path / "dallas.dot"], capture_output=True, check=True)
    assert drawn.stdout == PICTURE.pipe("svg")
    assert stat.S_IMODE((tmp_path / "dallas.dot").stat().st_mode) & 0o444 == 0o444


@needs_graphviz
def test_a_pdf_does_not_depend_on_the_time():
    dates = re.findall(rb"/CreationDate \(D:(\d+)", PICTURE.pipe("pdf"))
    assert dates in ([], [b"19700101000000"])
