"""Changing what flows through one place of a layer, by hooks."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from replacement_model.autoencoder import AutoencoderSite
from replacement_model.errors import UnsupportedModelError
from replacement_model.host import Block
from replacement_model.interventions.edited import mlp_site
from replacement_model.interventions.freezing import replaced, stream_of
from replacement_model.transcoder import DecoderSite

__all__ = ["changed_at"]

Change = Callable[[Float[Tensor, "row d_in"]], Float[Tensor, "row d_in"]]


@contextmanager
def changed_at(block: Block, site: AutoencoderSite, change: Change) -> Iterator[None]:
    """Within the block, what a layer has at `site` is change(what it would have been), rows being positions.

    Raises:
        UnsupportedModelError: the module that reads the heads' output cannot be found.
    """
    at_pre = site is AutoencoderSite.RESID_PRE or (site is AutoencoderSite.RESID_MID and block.parallel)
    with ExitStack() as hooks:
        if at_pre:
            hook = block.module.register_forward_pre_hook(_on_input(change), with_kwargs=True)
        elif site is AutoencoderSite.HEADS:
            hook = _output_projection(block).register_forward_pre_hook(_on_input(change), with_kwargs=True)
        elif site is AutoencoderSite.RESID_MID:
            hooks.enter_context(_changed_mid(block, change))
            yield
            return
        else:
            hook = _writer(block, site).register_forward_hook(_on_output(change))
        hooks.callback(hook.remove)
        yield


@contextmanager
def _changed_mid(block: Block, change: Change) -> Iterator[None]:
    """The stream between attention and MLP is changed by what attention adds to it."""
    seen: dict[str, Tensor] = {}

    def read(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        seen["resid_pre"] = stream_of(args, kwargs)[0]

    def write(attn_write: Tensor) -> Tensor:
        resid_mid = seen["resid_pre"] + attn_write
        return attn_write + (change(resid_mid) - resid_mid)

    with ExitStack() as hooks:
        hooks.callback(block.module.register_forward_pre_hook(read, with_kwargs=True).remove)
        hooks.callback(_writer(block, AutoencoderSite.ATTN_OUT).register_forward_hook(_on_output(write)).remove)
        yield


def _writer(block: Block, site: AutoencoderSite) -> nn.Module:
    if site is AutoencoderSite.RESID_POST:
        return block.module
    if site is AutoencoderSite.MLP_OUT:
        return mlp_site(block, DecoderSite.POST_NORM)
    return block.attn if block.attn_post_norm is None else block.attn_post_norm.module


def _output_projection(block: Block) -> nn.Module:
    """The module of W_O, recognised by its weights."""
    memory = block.W_O.untyped_storage().data_ptr()
    for module in block.attn.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor) and weight.untyped_storage().data_ptr() == memory:
            return module
    raise UnsupportedModelError(
        f"{type(block.attn).__name__}: the module that reads the heads' output was not found; use an autoencoder of "
        "another place"
    )


def _on_input(change: Change) -> Any:
    def hook(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        changed = change(stream_of(args, kwargs)[0])[None]
        return ((changed, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": changed})

    return hook


def _on_output(change: Change) -> Any:
    def hook(_module: nn.Module, _args: tuple, output: Any) -> Any:
        out: Tensor = output[0] if isinstance(output, tuple) else output
        return replaced(output, change(out[0])[None])

    return hook
