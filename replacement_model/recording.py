"""What each layer of the host takes in and gives out during a forward pass, handed on layer by layer.

A layer is finished when the stream after it is known: the input of the next layer, or of the final norm. Nothing of a
layer is held here after that, so a reader that drops the patterns never has more than one of them.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from replacement_model.contexts import as_captured, asking_for_pattern
from replacement_model.errors import CaptureError
from replacement_model.host import Block, Host

__all__ = ["AttentionCall", "LayerRecord", "recording"]


@dataclass(frozen=True, slots=True, eq=False)
class AttentionCall:
    """A call of an attention module, which can be repeated for its pattern."""

    host: Host
    layer: int
    args: tuple
    kwargs: dict[str, Any]

    def pattern(self, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "n_heads pos pos"]:
        """The pattern, computed again by the host's own module."""
        module = self.host.blocks[self.layer].attn
        with as_captured(self.host):
            output = module(*self.args, **self.kwargs)
        return _with_pattern(self.layer, module, output)[1].to(device, dtype)


@dataclass(frozen=True, slots=True, eq=False)
class LayerRecord:
    """What one layer of the host took in and gave out, batch axis dropped.

    Attributes:
        resid_pre, resid_mid: the streams that the layer and its MLP's norm read.
        attn_out, pattern: what the attention module gives.
        call: how it was called.
        mlp_in, mlp_out: what the MLP module reads and gives.
    """

    resid_pre: Float[Tensor, "pos d_model"]
    attn_out: Float[Tensor, "pos d_model"]
    pattern: Float[Tensor, "n_patterns pos pos"]
    call: AttentionCall
    resid_mid: Float[Tensor, "pos d_model"]
    mlp_in: Float[Tensor, "pos d_model"]
    mlp_out: Float[Tensor, "pos d_model"]


Finish = Callable[[int, LayerRecord, Tensor], None]


@contextmanager
def recording(host: Host, device: torch.device, dtype: torch.dtype, finish: Finish) -> Iterator[None]:
    """Call `finish(layer, record, resid_post)` for each layer of a forward pass, as soon as it is over.

    Args:
        host: the model's pieces.
        device, dtype: where to put every value, and as what.
        finish: what to do with it.

    Raises:
        CaptureError: on leaving: layers or their modules were not called as the pieces say.
    """
    recorder = _Recorder(host, device, dtype, finish)
    with ExitStack() as stack:
        for layer, block in enumerate(host.blocks):
            for handle in recorder.watch(layer, block):
                stack.callback(handle.remove)
        final = host.final_norm.module.register_forward_pre_hook(recorder.end, with_kwargs=True)
        stack.callback(final.remove)
        yield
    recorder.check_ended()


class _Recorder:
    """The layer that is running, and what is known of it."""

    def __init__(self, host: Host, device: torch.device, dtype: torch.dtype, finish: Finish) -> None:
        self._host, self._device, self._dtype, self._finish = host, device, dtype, finish
        self._n_begun, self._ended = 0, False
        self._found: dict[str, Any] = {}

    def watch(self, layer: int, block: Block) -> list[Any]:
        """Hooks on one layer; the caller removes them."""

        def begin(module: nn.Module, args: tuple, kwargs: dict) -> None:
            self._close(layer, _stream(args, kwargs))
            self._n_begun, self._found = layer + 1, {"resid_pre": self._take(_stream(args, kwargs))}

        def save_attn(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
            attn_out, pattern = _with_pattern(layer, module, output)
            self._found["attn_out"], self._found["pattern"] = self._take(attn_out), self._move(pattern)
            self._found["call"] = AttentionCall(self._host, layer, args, kwargs)

        def save_resid_mid(module: nn.Module, args: tuple, kwargs: dict) -> None:
            self._found["resid_mid"] = self._take(_stream(args, kwargs))

        def save_mlp(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
            self._found["mlp_in"] = self._take(_stream(args, kwargs))
            self._found["mlp_out"] = self._take(output[0] if isinstance(output, tuple) else output)

        return [
            block.module.register_forward_pre_hook(begin, with_kwargs=True),
            block.attn.register_forward_pre_hook(asking_for_pattern, with_kwargs=True),
            block.attn.register_forward_hook(save_attn, with_kwargs=True),
            block.mlp_norm.module.register_forward_pre_hook(save_resid_mid, with_kwargs=True),
            block.mlp.register_forward_hook(save_mlp, with_kwargs=True),
        ]

    def end(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """The final norm reads the stream after the last layer."""
        self._close(self._host.n_layers, _stream(args, kwargs))
        self._ended = True

    def check_ended(self) -> None:
        """Raise unless the final norm was reached."""
        if not self._ended:
            raise CaptureError("the final norm was not called; the adapter does not describe this model")

    def _close(self, layer: int, stream: Tensor) -> None:
        if layer != self._n_begun:
            raise CaptureError(
                f"layer {self._n_begun}: expected it to run next, layer {layer} does; "
                "the adapter does not describe this model"
            )
        if layer == 0:
            return
        found, self._found = self._found, {}
        missing = [name for name in LayerRecord.__dataclass_fields__ if name not in found]
        if missing:
            raise CaptureError(
                f"layer {layer - 1}: its forward pass never calls the module that gives {', '.join(missing)}; "
                "the adapter does not describe this model"
            )
        self._finish(layer - 1, LayerRecord(**found), self._take(stream))

    def _take(self, batched: Tensor) -> Tensor:
        """A copy, because some models add to a stream in place."""
        return batched[0].to(self._device, self._dtype, copy=True)

    def _move(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, self._dtype)


def _stream(args: tuple, kwargs: dict) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]


def _with_pattern(layer: int, module: nn.Module, output: Any) -> tuple[Tensor, Tensor]:
    """An attention module's output, batched, and its pattern."""
    if not isinstance(output, tuple) or len(output) < 2 or output[1] is None:
        raise CaptureError(
            f"layer {layer}: {type(module).__name__} returns no attention pattern; eager attention is needed"
        )
    return output[0], output[1][0]
