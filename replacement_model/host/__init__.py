"""Host adapters: from a Hugging Face model to the pieces that the engine needs, one small function an architecture."""

from collections.abc import Callable

from torch import nn

from replacement_model.errors import NoAdapterError, UnsupportedModelError
from replacement_model.host.gemma import gemma_host, gemma_multimodal_host
from replacement_model.host.gpt2 import gpt2_host
from replacement_model.host.gpt_neox import gpt_neox_host
from replacement_model.host.llama import llama_host
from replacement_model.host.mixture import mixture_host
from replacement_model.host.olmo2 import olmo2_host
from replacement_model.host.phi3 import phi3_host
from replacement_model.host.pieces import Block, Host, NoNorm, Norm
from replacement_model.host.placement import place, quantisation

__all__ = ["ADAPTERS", "Block", "Host", "NoNorm", "Norm", "adapt", "place"]

ADAPTERS: dict[str, Callable[[nn.Module], Host]] = {
    "GPT2LMHeadModel": gpt2_host,
    "GPTNeoXForCausalLM": gpt_neox_host,
    "Gemma2ForCausalLM": gemma_host,
    "Gemma3ForCausalLM": gemma_host,
    "Gemma3ForConditionalGeneration": gemma_multimodal_host,
    "GptOssForCausalLM": mixture_host,
    "LlamaForCausalLM": llama_host,
    "MistralForCausalLM": llama_host,
    "MixtralForCausalLM": mixture_host,
    "Olmo2ForCausalLM": olmo2_host,
    "Phi3ForCausalLM": phi3_host,
    "Qwen2ForCausalLM": llama_host,
    "Qwen3ForCausalLM": llama_host,
    "Qwen3MoeForCausalLM": mixture_host,
}


def adapt(model: nn.Module) -> Host:
    """The pieces of a Hugging Face causal language model.

    Raises:
        NoAdapterError: no adapter for its class, or the model is not laid out as its adapter expects.
        UnsupportedModelError: a config attribute that the adapter does not know, or weights that cannot be read.
    """
    name = type(model).__name__
    if name not in ADAPTERS:
        known = ", ".join(sorted(ADAPTERS))
        raise NoAdapterError(f"no host adapter for {name}; there are adapters for {known} (docs/host-adapters.md)")
    try:
        return place(ADAPTERS[name](model))
    except AttributeError as error:
        method = quantisation(model)
        if method is not None:
            raise UnsupportedModelError(
                f"{name} is quantised ({method}), and not in a way that leaves its weights to be read ({error}); use a "
                "checkpoint whose attention, norms and embeddings are in bfloat16 or better"
            ) from error
        raise NoAdapterError(
            f"{name} is not laid out as its adapter expects ({error}); this transformers release may have changed it"
        ) from error
