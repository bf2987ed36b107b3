import pytest

from replacement_model.errors import InputError
from replacement_model.repository import HubName, needed_files

PATTERNS = ("*.json", "*.yaml", "*.safetensors", "*.npz")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("owner/name", ("owner/name", "", None)),
        ("owner/name@v1", ("owner/name", "", "v1")),
        ("owner/name//a/b/@refs/pr/1", ("owner/name", "a/b", "refs/pr/1")),
        ("gpt2", ("gpt2", "", None)),
    ],
)
def test_names(text: str, parts: tuple) -> None:
    name = HubName.parse(text)
    assert (name.repository, name.folder, name.revision) == parts
    assert str(name) == text.replace("/@", "@")


def choose(files: list[str], folder: str = "") -> list[str]:
    return needed_files(files, HubName("o/r", folder), PATTERNS)


def test_a_folder_alone_is_taken_as_it_is_without_what_lies_below() -> None:
    files = ["config.yaml", "W_enc_0.safetensors", "features/index.json", "original/consolidated.safetensors", "a.md"]
    assert choose(files) == ["W_enc_0.safetensors", "config.yaml"]
    assert choose(["model.safetensors", "consolidated.safetensors", "optimizer.safetensors"]) == ["model.safetensors"]


def test_a_set_with_a_folder_a_layer() -> None:
    sparsify = [f"layers.{layer}.mlp/{name}" for layer in (0, 1, 10) for name in ("cfg.json", "sae.safetensors")]
    assert choose(["config.json", *sparsify]) == sorted(["config.json", *sparsify])
    assert choose([f"h.{layer}.mlp/sae.safetensors" for layer in range(2)]) != []
    with pytest.raises(InputError, match=r"several sets .*: o/r//layers\.\*\.attn, o/r//layers\.\*\.mlp$"):
        choose([*sparsify, "layers.0.attn/sae.safetensors"])


def test_a_star_names_one_of_several_sets() -> None:
    names = ("config.json", "params.safetensors", "examples.safetensors")
    folders = [f"transcoder_all/layer_{i}_width_16k_l0_{size}" for i in range(12) for size in ("small", "big")]
    files = [f"{folder}/{name}" for folder in folders for name in names]
    chosen = choose(files, "transcoder_all/layer_*_width_16k_l0_small")
    assert len(chosen) == 24
    assert all("_small/" in path and "examples" not in path for path in chosen)
    with pytest.raises(InputError, match=r"name one folder: o/r//transcoder_all/layer_\*_width_16k_l0_big, o/r//trans"):
        choose(files, "transcoder_all")
    with pytest.raises(InputError, match="several sets"):
        choose(files, "transcoder_all/layer_*")
    with pytest.raises(InputError, match="no folder 'layer_"):
        choose(files, "layer_*_width_16k_l0_small")


def test_a_config_that_lists_files_elsewhere_needs_no_weights() -> None:
    assert choose(["config.yaml", "features/layer_0.safetensors"]) == ["config.yaml"]


def test_a_folder_without_weights() -> None:
    with pytest.raises(InputError, match=r"no weights at this place; name one folder: o/r//a/b/c$"):
        choose(["README.md", "a/b/c/x.npz"])
    with pytest.raises(InputError, match=r"holds no weights \(\.safetensors or \.npz\)"):
        choose(["README.md"])
    many = [f"kind_{letter}/deep/x.npz" for letter in "abcdef"]
    with pytest.raises(InputError, match=r"o/r//kind_d/deep or 2 others$"):
        choose(many)
