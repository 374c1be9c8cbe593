"""Save a classifier with its configuration in one file, and load it back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import nn

from fslib import augmentation, backbones, files, methods, metrics


def save(
    model: methods.FewShotClassifier, path: str | Path, dtype: torch.dtype | None = None
) -> None:
    """Save a classifier: its weights as safetensors, and how to build it as JSON in the file's header.

    Args:
        model: a method of :mod:`fslib.methods` over a network of :mod:`fslib.backbones`.
        path: by custom ending in ``.safetensors``. An interrupted write leaves the old file as it was.
        dtype: of the stored weights; ``torch.float16`` halves the file. Default, as they are.
    """
    plan = _plan(model)
    weights = {
        name: (tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    with files.atomic_write(path) as temporary:
        temporary.write_bytes(serialize(weights, metadata={"fslib": json.dumps(plan)}))


def load(path: str | Path) -> methods.FewShotClassifier:
    """Load a classifier that :func:`save` stored, in float32 and evaluation mode.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no classifier of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no saved classifier {path}.")
    try:
        with safe_open(path, framework="pt") as stored:
            plan = json.loads((stored.metadata() or {})["fslib"])
            weights = {name: stored.get_tensor(name) for name in stored.keys()}
        model = _build(plan)
        model.load_state_dict(weights)
    except (
        SafetensorError,
        KeyError,
        AttributeError,
        TypeError,
        RuntimeError,
        json.JSONDecodeError,
    ) as error:
        raise ValueError(
            f"{path} is not a classifier that fslib.save has written, or it is damaged."
        ) from error
    return model.eval()


def _plan(value: Any) -> Any:
    """What JSON can hold of an argument: a module of ours by its class and arguments, a metric by its name."""
    if isinstance(value, nn.Module):
        name = type(value).__name__
        if _home(name) is None or type(value) is not getattr(_home(name), name):
            raise ValueError(
                "Only a method of fslib.methods over networks of fslib.backbones can be saved, "
                f"but this has a {name}; save its state_dict instead."
            )
        arguments: dict[str, Any] = value.config  # type: ignore[assignment]
        return {"module": name, "arguments": {k: _plan(v) for k, v in arguments.items()}}
    if isinstance(value, (list, tuple)):
        return [_plan(each) for each in value]
    if callable(value):
        name = getattr(value, "__name__", "")
        if getattr(metrics, name, None) is not value:
            raise ValueError(
                f"Only metrics of fslib.metrics can be saved, but this model has {value!r}."
            )
        return {"metric": name}
    return value


def _build(plan: Any) -> Any:
    """What :func:`_plan` was made of, with new weights."""
    if isinstance(plan, list):
        return [_build(each) for each in plan]
    if not isinstance(plan, dict):
        return plan
    if "metric" in plan:
        return getattr(metrics, plan["metric"])
    module = getattr(_home(plan["module"]), plan["module"])
    return module(**{name: _build(argument) for name, argument in plan["arguments"].items()})


def _home(name: str) -> Any:
    """The part of the package that has a network of that name."""
    return next((part for part in (methods, backbones, augmentation) if hasattr(part, name)), None)
