"""What models owe to the device: exact products under mixed precision, and no waiting for a GPU."""

from __future__ import annotations

import torch


def no_autocast(device: torch.device) -> torch.autocast:
    """Products in the type that their factors have, also where RecBole's ``enable_amp`` is on."""
    return torch.autocast(device.type, enabled=False)


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def on_gpu(ids: torch.Tensor) -> bool:
    """Whether ids lie on a GPU, where a result whose size depends on the data forces a wait."""
    return ids.is_cuda


def to_device(ids: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Ids drawn on the CPU, where they are used; a GPU takes them without being waited for."""
    return ids.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else ids.to(device)
