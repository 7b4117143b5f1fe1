"""vLLM's hook for unknown model names: returns the location of the adapter's files.

By then, the middleware has downloaded and verified them. It keeps them until the request ends.
"""

from __future__ import annotations

from vllm.lora.request import LoRARequest
from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry

from .middleware import adapter_cache, current_claims


class TunebaseResolver(LoRAResolver):  # type: ignore[misc]  # vLLM is not installed where mypy runs
    async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None:
        claims = current_claims.get()
        # Without a token for exactly this name, the model does not exist.
        if claims is None or claims.adapter is None or claims.model != lora_name:
            return None
        # vLLM replaces the id.
        return LoRARequest(lora_name=lora_name, lora_int_id=1, lora_path=str(adapter_cache().path(lora_name)))


def register() -> None:
    """The entry point of the plugin group `vllm.general_plugins`. Every process of vLLM calls it."""
    LoRAResolverRegistry.register_resolver("tunebase", TunebaseResolver())
