"""Save a classifier with its configuration in one file, and load it back."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from fslib import backbones, files, methods, metrics


def save(
    model: methods.FewShotClassifier, path: str | Path, dtype: torch.dtype | None = None
) -> None:
    """Save a classifier: its weights as safetensors, and how to build it as JSON in the file's header.

    Args:
        model: a method of :mod:`fslib.methods` over a network of :mod:`fslib.backbones`.
        path: by custom ending in ``.safetensors``. An interrupted write leaves the old file as it was.
        dtype: of the stored weights; ``torch.float16`` halves the file. Default, as they are.
    """
    backbone = model.feature_extractor
    if not hasattr(methods, type(model).__name__) or not hasattr(
        backbones, type(backbone).__name__
    ):
        raise ValueError(
            "Only a method of fslib.methods over a network of fslib.backbones can be saved, "
            f"but this is a {type(model).__name__} over a {type(backbone).__name__}; save its state_dict instead."
        )
    metric = getattr(model.metric, "__name__", "")
    if getattr(metrics, metric, None) is not model.metric:
        raise ValueError(
            f"Only a model with a metric of fslib.metrics can be saved, but this one has {model.metric!r}."
        )
    config = {
        "method": type(model).__name__,
        "metric": metric,
        "temperature": model.temperature,
        "backbone": type(backbone).__name__,
        "backbone_config": backbone.config,
    }
    weights = {
        name: (tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
    }
    with files.atomic_write(path) as temporary:
        temporary.write_bytes(serialize(weights, metadata={"fslib": json.dumps(config)}))


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
            config = json.loads((stored.metadata() or {})["fslib"])
            weights = {name: stored.get_tensor(name) for name in stored.keys()}
        backbone = getattr(backbones, config["backbone"])(**config["backbone_config"])
        metric = getattr(metrics, config["metric"])
        method = getattr(methods, config["method"])
        model = method(backbone, metric=metric, temperature=config.get("temperature", 1.0))
    except (SafetensorError, KeyError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is not a classifier that fslib.save has written, or it is damaged."
        ) from error
    model.load_state_dict(weights)
    return model.eval()
