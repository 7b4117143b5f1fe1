"""NF4 with double quantization for a whole model: its Linear modules and its fused routed experts.

transformers with bitsandbytes quantizes only Linear modules. A MoE model's experts are 3-D parameters and would stay in
bf16: 147 instead of 40 GiB for Qwen3-Next-80B. `Nf4Quantizer` makes transformers' loader, which knows how each
architecture names its experts on disk, quantize them too, one expert at a time. The peak memory of loading is what has
been loaded plus the tensors of the parameter being packed, which is less than one layer's experts.

A packed parameter uses bitsandbytes' parametrization: reading `experts.gate_up_proj` dequantizes it, so transformers'
implementations (eager, grouped_mm, batched_mm) work unchanged. The gradient needs the dequantized weights, so such a
model must train with checkpointing; otherwise, the weights of all layers are kept until the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes import functional as bnb
from bitsandbytes.nn.parametrize import replace_parameter_4bit_prequantized
from transformers import BitsAndBytesConfig
from transformers.core_model_loading import ConversionOps, WeightConverter
from transformers.integrations.bitsandbytes import Bnb4bitQuantize
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.quantizer_bnb_4bit import Bnb4BitHfQuantizer
from transformers.quantizers.quantizers_utils import get_module_from_name

NAME = "tunebase_nf4"
FUSED = ("gate_up_proj", "down_proj")
"""The parameters of an experts module, [experts, out, in]."""
BLOCK, NESTED_BLOCK = 64, 256
"""Values per scale, and scales per nested scale, as in bitsandbytes."""
MAX_VALUES = 2**31 - 1
"""bitsandbytes' kernels index a tensor's values with 32 bits; beyond that, they would read wrong values."""
KEPT_IN_BF16 = ("in_proj_ba", "shared_expert_gate")
"""Small Linear modules of Qwen3-Next that compute gates, where 4 bits would save only a few MB."""
STATE = ("", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", ".quant_state.bitsandbytes__nf4")
"""Suffixes of a packed parameter's tensors in a state dict."""


@register_quantization_config(NAME)
class Nf4Config(BitsAndBytesConfig):  # type: ignore[misc]  # transformers is untyped
    """Computes in bf16, because fp16 overflows in newer models' gates."""

    def __init__(self, **_: Any) -> None:
        super().__init__(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        self.quant_method = NAME

    def to_dict(self) -> dict[str, Any]:
        # With load_in_4bit, transformers would choose bitsandbytes' own quantizer for a saved model.
        return {"quant_method": NAME}

    to_diff_dict = to_dict


def is_fused_expert(module: torch.nn.Module, name: str) -> bool:
    """Whether `name` is a fused experts' parameter of `module`, judging by its name and shape, for any model class."""
    parameter = module._parameters.get(name)
    return name in FUSED and parameter is not None and (parameter.dim() == 3 or hasattr(parameter, "quant_state"))


def pack(experts: list[torch.Tensor]) -> torch.nn.Parameter:
    """Packs the experts' matrices [out, in] into one NF4 parameter whose `quant_state` describes the 3-D tensor.

    Empties `experts`, to free each matrix as soon as it is packed.
    """
    count, (rows, columns), dtype, device = len(experts), experts[0].shape, experts[0].dtype, experts[0].device
    size = rows * columns
    if size % BLOCK:
        raise ValueError(f"an expert of {rows} × {columns} values cannot be divided into blocks of {BLOCK}")
    if count * size > MAX_VALUES:
        raise ValueError(
            f"{count} experts of {rows} × {columns} values exceed bitsandbytes' limit of {MAX_VALUES} values"
        )
    data = torch.empty((count * size // 2, 1), dtype=torch.uint8, device=device)
    scales = torch.empty(count * size // BLOCK, dtype=torch.float32, device=device)
    code = None
    for i in range(count):
        expert, experts[i] = experts[i], None  # type: ignore[call-overload]  # freed as soon as it is packed
        packed, state = bnb.quantize_4bit(expert.contiguous(), blocksize=BLOCK, quant_type="nf4")
        data[i * size // 2 : (i + 1) * size // 2] = packed.view(-1, 1)
        scales[i * size // BLOCK : (i + 1) * size // BLOCK] = state.absmax
        code = state.code
    offset = scales.mean()
    nested, state2 = bnb.quantize_blockwise(scales - offset, blocksize=NESTED_BLOCK)
    parameter = torch.nn.Parameter(data, requires_grad=False)
    parameter.quant_state = bnb.QuantState(  # type: ignore[attr-defined]
        absmax=nested,
        shape=torch.Size((count, rows, columns)),
        dtype=dtype,
        blocksize=BLOCK,
        code=code,
        quant_type="nf4",
        offset=offset,
        state2=state2,
    )
    return parameter


class PackExperts(ConversionOps):  # type: ignore[misc]
    """Packs the matrices of each source (gate and up, or down) into one parameter."""

    def convert(
        self,
        input_dict: dict[str, list[Any]],
        source_patterns: list[str] | None = None,
        target_patterns: list[str] | None = None,
        **_: Any,
    ) -> dict[str, torch.nn.Parameter]:
        assert source_patterns is not None and target_patterns is not None
        sources = [input_dict.pop(pattern) for pattern in source_patterns]
        if len(sources) == 1:
            return {target_patterns[0]: pack(sources[0])}
        experts: list[Any] = []
        for i in range(len(sources[0])):
            experts.append(torch.cat([source[i] for source in sources]))
            for source in sources:
                source[i] = None
        return {target_patterns[0]: pack(experts)}


class QuantizeOrPack(Bnb4bitQuantize):  # type: ignore[misc]
    """bitsandbytes' conversion for a Linear's weight. Packs experts that are fused on disk, and keeps packed ones."""

    def convert(self, input_dict: dict[str, Any], **more: Any) -> dict[str, Any]:
        ((name, value),) = input_dict.items()
        value = value[0] if isinstance(value, list) else value
        module, leaf = get_module_from_name(more["model"], name)
        if not is_fused_expert(module, leaf):
            converted: dict[str, Any] = super().convert({name: value}, **more)
            return converted
        return {name: value if hasattr(value, "quant_state") else pack(list(value.unbind(0)))}


class Unpack(ConversionOps):  # type: ignore[misc]
    """Restores a packed parameter from its tensors in a state dict."""

    def __init__(self, hf_quantizer: Nf4Quantizer) -> None:
        self.hf_quantizer = hf_quantizer  # keeps the loader from casting the scales to bf16

    def convert(self, input_dict: dict[str, Any], full_layer_name: str = "", **_: Any) -> dict[str, torch.nn.Parameter]:
        found = {name: value[0] if isinstance(value, list) else value for name, value in input_dict.items()}
        name = min(found, key=len)
        data = found.pop(name)
        parameter = torch.nn.Parameter(data, requires_grad=False)
        parameter.quant_state = bnb.QuantState.from_dict(  # type: ignore[attr-defined]
            {key.removeprefix(f"{name}."): value for key, value in found.items()}, device=data.device
        )
        return {full_layer_name: parameter}


@register_quantizer(NAME)
class Nf4Quantizer(Bnb4BitHfQuantizer):  # type: ignore[misc]
    """bitsandbytes' NF4, extended to fused experts."""

    def param_needs_quantization(self, model: Any, param_name: str, **more: Any) -> bool:
        return is_fused_expert(*get_module_from_name(model, param_name)) or bool(
            super().param_needs_quantization(model, param_name, **more)
        )

    def get_modules_to_not_convert(
        self, model: Any, skip_modules: list[str] | None = None, keep_in_fp32_modules: list[str] | None = None
    ) -> list[str]:
        """Keeps gates in bf16, and the output projection, like transformers."""
        kept: list[str] = super().get_modules_to_not_convert(
            model, [*(skip_modules or []), *KEPT_IN_BF16], keep_in_fp32_modules, add_default_skips=True
        )
        return kept

    def get_quantize_ops(self) -> QuantizeOrPack:
        return QuantizeOrPack(self)

    def update_weight_conversions(self, weight_conversions: list[Any], model: Any) -> list[Any]:
        """Packs the experts instead of stacking them, and restores packed ones."""
        changed = [
            converter.copy(converter._original_source_patterns, converter._original_target_patterns, operations=[op])
            if (op := self._packs(converter)) is not None
            else converter
            for converter in super().update_weight_conversions(weight_conversions, model)
        ]
        if self.pre_quantized:
            changed += [
                WeightConverter(
                    [f"experts.{leaf}{part}" for part in STATE], f"experts.{leaf}", operations=[Unpack(self)]
                )
                for leaf in FUSED
            ]
        return changed

    def _packs(self, converter: Any) -> PackExperts | None:
        targets = getattr(converter, "target_patterns", [])
        if not isinstance(converter, WeightConverter) or self.pre_quantized or len(targets) != 1:
            return None
        return PackExperts() if targets[0].endswith(tuple(f"experts.{leaf}" for leaf in FUSED)) else None

    def _process_model_after_weight_loading(self, model: Any, **more: Any) -> Any:
        for module in list(model.modules()):
            for leaf in FUSED:
                state = getattr(module._parameters.get(leaf), "quant_state", None)
                if state is not None and module._parameters[leaf].dim() == 2 and not hasattr(module, "in_features"):
                    parts = state.as_dict(packed=True)
                    replace_parameter_4bit_prequantized(module, leaf, parts, module._parameters[leaf].device)
        return super()._process_model_after_weight_loading(model, **more)
