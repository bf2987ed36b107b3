"""Passes of the host with features changed, by hooks on its own modules; all of it is undone after each pass.

In layer order: what the MLP's norm reads gives the encoder's input, and with it the changes of this layer's features;
where the decoder writes, the changes of this and earlier layers are added. A pass is a batch of the same tokens, each
time with edits of its own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from replacement_model.contexts import as_captured
from replacement_model.host import Block
from replacement_model.interventions.conditions import Conditions
from replacement_model.interventions.edits import LayerEdits, current_acts
from replacement_model.interventions.freezing import norms_frozen, patterns_frozen, replaced, stream_of
from replacement_model.interventions.observation import Observation, aligned
from replacement_model.transcoder import ActiveFeatures, DecoderSite

__all__ = ["EditedPass", "Run", "feature_changes", "mlp_site", "run_edited"]


@dataclass(frozen=True, slots=True, eq=False)
class EditedPass:
    """The rows of one pass, for each of its edits: the whole sequence, or one generated token.

    Attributes:
        tapped: what the encoder reads, of each layer that has features.
        resid_final: the stream after the last layer.
        cache: keys and values for the next pass, where they were asked for.
    """

    tapped: dict[int, Float[Tensor, "batch row d_model"]]
    resid_final: Float[Tensor, "batch row d_model"]
    cache: Any = None


Run = Callable[..., EditedPass]
"""Runs the host on (token_ids, n_done, cache, use_cache), all but the first with the defaults of `run_edited`."""


def run_edited(
    observed: Observation,
    edits: Sequence[Mapping[int, LayerEdits]],
    conditions: Conditions,
    token_ids: Int[Tensor, "row"],
    n_done: int = 0,
    cache: Any = None,
    use_cache: bool = False,
    hooks: Callable[[int], AbstractContextManager[None]] | None = None,
) -> EditedPass:
    """Run the host on `token_ids`, once for each of `edits`, all in one batch.

    Args:
        observed: the prompt, unedited.
        edits: each by layer; an empty one for the host as it is.
        conditions: what responds.
        token_ids: the prompt and what was generated so far, or, after a cached pass, only what it has not read.
        n_done: positions that the cache holds.
        cache: of the pass before.
        use_cache: whether to keep keys and values.
        hooks: what else is done to the host during a pass that begins at a position.
    """
    capture, host = observed.capture, observed.model.host
    changing = _Pass(observed, edits, conditions, n_done)
    with ExitStack() as stack:
        stack.enter_context(as_captured(host))
        if n_done == 0 and conditions.frozen_attention:
            stack.enter_context(patterns_frozen(capture.frozen))
        if n_done == 0 and conditions.holds_norms:
            stack.enter_context(norms_frozen(capture.frozen))
        if hooks is not None:
            stack.enter_context(hooks(n_done))
        stack.enter_context(changing.hooks())
        batch = token_ids.expand(len(edits), -1)
        output = host.model(batch, past_key_values=cache, use_cache=use_cache, logits_to_keep=1)
    return EditedPass(changing.tapped, changing.resid_final, output.past_key_values if use_cache else None)


def feature_changes(
    observed: Observation, layer: int, edits: LayerEdits | None, x: Float[Tensor, "row d_model"], n_done: int
) -> ActiveFeatures:
    """By how much `edits` change features of `layer` that read `x`; `pos` counts rows."""
    if edits is None:
        return ActiveFeatures.of(x.new_zeros(0, 1))
    acts = current_acts(observed.model.transcoder, layer, x, edits.feature_idx)
    positions = torch.arange(n_done, n_done + len(x), device=x.device)
    return edits.select(edits.apply(acts, positions) - acts, positions)


class _Pass:
    """One pass: what its layers read and by how much their features change, as far as it has run.

    In the changes `pos` counts the rows of the whole batch, those of its first edits first.
    """

    def __init__(
        self, observed: Observation, edits: Sequence[Mapping[int, LayerEdits]], conditions: Conditions, n_done: int
    ) -> None:
        self._observed, self._edits, self._conditions = observed, edits, conditions
        self._n_done = n_done
        self._n_held = observed.n_pos if n_done == 0 else 0  # leading rows that are the prompt's
        self._changes: dict[int, ActiveFeatures] = {}
        self.tapped: dict[int, Tensor] = {}
        self.resid_final: Tensor = observed.capture.resid_final[None, :0]

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Within the block, passes of the host are edited."""
        host, transcoder = self._observed.model.host, self._observed.model.transcoder
        with ExitStack() as hooks:
            for layer, block in enumerate(host.blocks):
                read = block.mlp_norm.module.register_forward_pre_hook(self._read(layer), with_kwargs=True)
                hooks.callback(read.remove)
                site = mlp_site(block, transcoder.decoder_site)
                hooks.callback(site.register_forward_hook(self._write(layer)).remove)
            end = host.final_norm.module.register_forward_pre_hook(self._end, with_kwargs=True)
            hooks.callback(end.remove)
            yield

    def _read(self, layer: int) -> Callable[[nn.Module, tuple, dict[str, Any]], None]:
        def hook(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            if self._observed.model.transcoder.layers[layer] is not None:
                self.tapped[layer] = self._tap(layer, self._take(stream_of(args, kwargs)))
                each = zip(self._edits, self.tapped[layer], strict=True)
                changes = [self._changes_of(layer, edits.get(layer), tapped) for edits, tapped in each]
                self._changes[layer] = _in_one_batch(changes, self.tapped[layer].shape[1])

        return hook

    def _write(self, layer: int) -> Callable[[nn.Module, tuple, Any], Any]:
        def hook(_module: nn.Module, _args: tuple, output: Any) -> Any:
            out: Tensor = output[0] if isinstance(output, tuple) else output
            n_held = self._n_held if self._conditions.holds_mlp(layer) else 0
            sources = self._observed.model.transcoder.source_layers(layer)
            changed = self._conditions.writes_at(layer) and any(len(self._changes[one].pos) for one in sources)
            if not n_held and not changed:
                return None
            rows = self._take(out)
            if n_held:
                rows = torch.cat([self._held_output(layer, n_held), rows[:, n_held:]], dim=1)
            if changed:
                n_batch, n_row, _ = rows.shape
                written = self._observed.model.transcoder.written(self._changes, layer, n_batch * n_row)
                rows = rows + written.view_as(rows)
            return replaced(output, rows.to(out.device, out.dtype))

        return hook

    def _end(self, _module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        self.resid_final = self._take(stream_of(args, kwargs))

    def _tap(self, layer: int, resid_mid: Float[Tensor, "batch row d_model"]) -> Float[Tensor, "batch row d_model"]:
        held = self._observed.capture.frozen.blocks[layer]
        scale = held.block.mlp_norm.scale(resid_mid)
        if self._conditions.holds_norms:
            prompt = held.mlp_scale[: self._n_held].expand(len(scale), -1, -1)
            scale = torch.cat([prompt, scale[:, self._n_held :]], dim=1)
        return held.tap(resid_mid, self._observed.model.transcoder.encoder_tap, scale=scale)

    def _changes_of(self, layer: int, edits: LayerEdits | None, tapped: Float[Tensor, "row d_model"]) -> ActiveFeatures:
        observed, n_held, mode = self._observed, self._n_held, self._conditions.mode
        x = torch.cat([observed.tapped(layer), tapped[n_held:]]) if mode == "direct" and n_held else tapped
        changes = feature_changes(observed, layer, edits, x, self._n_done)
        if mode != "iterative" or not n_held:
            return changes
        now = observed.model.transcoder.active_features(layer, tapped[:n_held]).since(observed.prompt.n_ignored_pos)
        pos, idx, after, before = aligned(now, observed.acts[layer])
        moved = (after != before).nonzero().squeeze(1)
        return ActiveFeatures(
            torch.cat([pos[moved], changes.pos]),
            torch.cat([idx[moved], changes.feature_idx]),
            torch.cat([(after - before)[moved], changes.acts]),
        )

    def _held_output(self, layer: int, n_held: int) -> Float[Tensor, "batch held d_model"]:
        """What the MLP wrote on the prompt, with the skip responding to what it reads now."""
        transcoder = self._observed.model.transcoder
        held = self._observed.capture.at_site(transcoder.decoder_site)[layer, :n_held]
        skip = transcoder.skip(layer)
        if skip is None:
            return held.expand(len(self._edits), -1, -1)
        return held + (self.tapped[layer][:, :n_held] - self._observed.tapped(layer)) @ skip.T

    def _take(self, stream: Float[Tensor, "batch row d_model"]) -> Float[Tensor, "batch row d_model"]:
        embed = self._observed.capture.embed
        return stream.to(embed.device, embed.dtype)


def _in_one_batch(changes: Sequence[ActiveFeatures], n_row: int) -> ActiveFeatures:
    """Changes of each of the batch's sequences, with `pos` counting the rows of all of them."""
    return ActiveFeatures(
        torch.cat([one.pos + index * n_row for index, one in enumerate(changes)]),
        torch.cat([one.feature_idx for one in changes]),
        torch.cat([one.acts for one in changes]),
    )


def mlp_site(block: Block, site: DecoderSite) -> nn.Module:
    """The module whose output is what the decoder writes."""
    if site is DecoderSite.POST_NORM and block.mlp_post_norm is not None:
        return block.mlp_post_norm.module
    return block.mlp
