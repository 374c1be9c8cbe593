"""Save a classifier with its configuration in one file, and load it back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from fslib import augmentation, backbones, config, files, methods, metrics, nuisances

FORMAT = 2  # raise it when a file of the new kind cannot be read by older versions

CLASSIFIERS: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        methods.PrototypicalNetwork,
        methods.MatchingNetwork,
        methods.ContextMatchingNetwork,
        methods.RelationNetwork,
        methods.LogisticRegression,
        methods.CosineClassifier,
        methods.SubspaceNetwork,
        methods.MahalanobisClassifier,
        methods.PreClassifierAlignment,
        methods.FEAT,
        methods.FiLMNetwork,
        methods.FineTunedNetwork,
        methods.SoftKMeans,
        methods.SoftKMeansWithCluster,
        methods.MaskedSoftKMeans,
        methods.BalancedSoftKMeans,
        methods.PseudoLabels,
        methods.LabelSpreading,
    )
}
#: What a classifier may be built of. Nothing else comes out of a file.
PARTS: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        backbones.Conv4,
        backbones.FrozenConv4,
        backbones.ResNet12,
        backbones.Ensemble,
        backbones.Coordinates,
        backbones.Pretrained,
        augmentation.TestTimeAugmentation,
        methods.ConvRelation,
        methods.VectorRelation,
        metrics.Mahalanobis,
        nuisances.AffineMap,
    )
}
METRICS: dict[str, Callable[..., Tensor]] = {
    metric.__name__: metric
    for metric in (
        metrics.squared_euclidean,
        metrics.euclidean,
        metrics.cosine_similarity,
        metrics.cosine_distance,
        metrics.local_similarity,
        metrics.local_distance,
    )
}
_DTYPES = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64"}
_BESIDE = "beside."  # stands before the names of tensors that are no weights
_LARGEST = 100_000  # of a number in a file but a seed; wider networks than this nobody has saved


def save(
    model: methods.FewShotClassifier,
    path: str | Path,
    dtype: torch.dtype | None = None,
    beside: Mapping[str, Any] | None = None,
) -> None:
    """Save a classifier: its weights as safetensors, and how to build it as JSON in the file's header.

    Args:
        model: a method of :mod:`fslib.methods` over a network of :mod:`fslib.backbones`.
        path: by custom ending in ``.safetensors``. An interrupted write leaves the old file as it was.
        dtype: of the stored weights; ``torch.float16`` halves the file. Default, as they are.
        beside: what else the file is to hold, tensors and what JSON knows, each by a name; ``fslib.storage.read`` gives
            it back.

    Raises:
        ValueError: if the model is not built of our parts alone, was changed after it was built so that it would not
            come back the same, or has a weight that is not finite or too large for ``dtype``.
    """
    if type(model).__name__ not in CLASSIFIERS:
        raise ValueError(
            "Only a method of fslib.methods over networks of fslib.backbones can be saved, "
            f"but this is a {type(model).__name__}; save its state_dict instead."
        )
    if dtype is not None and dtype not in _DTYPES:
        raise ValueError(
            f"Weights are stored in a floating type, such as torch.float16, but dtype is {dtype!r}."
        )
    plan, beside = _plan(model, []), beside or {}
    _check_unchanged(model, plan)
    tensors = {name: _stored(name, tensor, dtype) for name, tensor in model.state_dict().items()}
    tensors |= {_BESIDE + name: _stored(name, part, None) for name, part in beside.items() if isinstance(part, Tensor)}
    facts = {name: part for name, part in beside.items() if not isinstance(part, Tensor)}
    content = json.dumps({"format": FORMAT, "model": plan, "beside": facts}, default=_number)
    metadata = {"fslib": content, "sha256": _digest(content, tensors)}
    with files.atomic_write(path) as temporary:
        temporary.write_bytes(serialize(tensors, metadata=metadata))


def load(path: str | Path) -> methods.FewShotClassifier:
    """Load a classifier that :func:`save` stored, in float32 and evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no classifier of ours, is damaged, or comes from a newer version.
    """
    return read(path)[0]


def read(path: str | Path, what: str = "classifier") -> tuple[methods.FewShotClassifier, dict[str, Any]]:
    """Load a classifier, and what :func:`save` was given beside it; see :func:`load`. Errors call it ``what``."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no saved {what} {path}.")
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata() or {}
            content = json.loads(metadata["fslib"])
            version = content.get("format", 0)
            if type(version) is not int or version < 0:
                raise ValueError(f"there is no format {version}")
            if version <= FORMAT:
                model = _read_model(stored, content["model"] if version else content, version)
                beside = _read_beside(stored, metadata, content.get("beside"))
    except Exception as error:  # whatever a damaged or tampered file leads to
        raise ValueError(f"{path} is not a {what} that fslib has saved, or it is damaged.") from error
    check_version(path, version, FORMAT)
    return model.to("cpu", torch.float32).eval(), beside


def check_version(path: str | Path, version: int, known: int) -> None:
    """Raise if a file has a later format than the latest known."""
    if version > known:
        raise ValueError(
            f"{path} was written by a newer fslib (format {version}, this one reads up to {known}); update fslib."
        )


def _read_model(stored: Any, plan: Any, version: int) -> methods.FewShotClassifier:
    """The classifier of an open file, with its weights, which are checked before any memory is taken."""
    names = {name: name for name in stored.keys() if not name.startswith(_BESIDE)}
    if version < 2:
        plan, names = _with_names_of_2(plan), {_name_of_2(name): name for name in names}
    _check_weights(plan, {new: stored.get_slice(name) for new, name in names.items()})
    model = _classifier(plan)
    model.load_state_dict({new: stored.get_tensor(name) for new, name in names.items()})
    if not all(weight.isfinite().all() for weight in model.state_dict().values()):
        raise ValueError("a weight is not finite")
    return model


def _read_beside(stored: Any, metadata: Mapping[str, str], facts: Any) -> dict[str, Any]:
    """What stands beside the classifier of an open file, which must be as it was written."""
    tensors = {name: stored.get_tensor(name) for name in stored.keys()}
    parts = {name.removeprefix(_BESIDE): part for name, part in tensors.items() if name.startswith(_BESIDE)}
    if "sha256" in metadata or facts or parts:  # files of before have neither
        if metadata.get("sha256") != _digest(metadata["fslib"], tensors):
            raise ValueError("its content is not what was written")
    return {**(facts or {}), **parts}


def _digest(content: str, tensors: Mapping[str, Tensor]) -> str:
    """Of all that a file holds, so that damage is noticed. Whoever means harm can write another one."""
    digest = hashlib.sha256(content.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _stored(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A weight as it goes into the file: on the CPU, in memory of its own."""
    kept = tensor.detach().cpu()
    if dtype and kept.is_floating_point():
        kept = kept.to(dtype)
    if kept.is_floating_point() and not kept.float().isfinite().all():  # it comes back in float32
        if tensor.isfinite().all():
            wide = dtype or torch.float32
            raise ValueError(f"A number in {name} is too large for {wide}; choose another dtype.")
        raise ValueError(f"A number in {name} is NaN or infinite; train with a lower learning rate.")
    return kept.clone(memory_format=torch.contiguous_format)


def _check_unchanged(model: nn.Module, plan: Any) -> None:
    """Raise if a model does not come back from its plan: somebody changed more than the weights of what was built."""
    try:
        again = _classifier(plan)
    except Exception as error:
        raise ValueError(
            f"This model could not be built again ({error}), perhaps because it was changed after it was built; "
            "save its state_dict instead."
        ) from error
    built, now = _settings(again), _settings(model)
    modules = dict(model.named_modules(remove_duplicate=False))
    parts = {*modules, *model.state_dict(), *(f"{name}.forward".lstrip(".") for name in modules)}
    now = {path: text for path, text in now.items() if path in built or path in parts}  # no notes
    changed = config.differences(built, now)
    fixed = dict(again.named_buffers(remove_duplicate=False))
    for name, buffer in model.named_buffers(remove_duplicate=False):
        if name in fixed.keys() - again.state_dict().keys():  # exact but for a stay in half precision
            now_there, then_there = (b.detach().cpu().float() for b in (buffer, fixed[name]))
            if now_there.shape != then_there.shape or not torch.allclose(now_there, then_there, 0.01, 0.01):
                changed.append(f"the numbers of {name} are others")
    if changed:
        raise ValueError(
            f"This model was changed after it was built, and would not come back the same: {changed[0]}; "
            "save its state_dict instead."
        )


def _settings(model: nn.Module) -> config.Settings:
    """What decides the answers of a model beside the numbers in its weights, by the path to each."""
    found = {name: str(tuple(weight.shape)) for name, weight in model.state_dict().items()}
    for name, module in model.named_modules(remove_duplicate=False):
        found[name] = type(module).__qualname__
        for key, value in vars(module).items():
            if not key.startswith("_") and key not in ("training", "config"):
                found |= config.described(f"{name}.{key}".lstrip("."), value)
    return found


def _number(value: Any) -> Any:
    """A setting that JSON does not know, as the plain number that it is."""
    if isinstance(value, np.generic | np.ndarray | Tensor) and value.ndim == 0:
        return value.item()
    raise ValueError(f"A setting can be a number or a text, but one is a {type(value).__name__}.")


def _plan(value: Any, planned: list[nn.Module]) -> Any:
    """What JSON can hold of an argument: a module of ours by its class and arguments, a metric by its name.

    Modules one after the other, in an ``nn.Sequential``, are a list of these.

    A module that comes again is named by its number among those ``planned``, in the order in which they are built.
    """
    if isinstance(value, list | tuple | nn.ModuleList):
        return [_plan(each, planned) for each in value]
    if isinstance(value, nn.Module):
        for number, module in enumerate(planned):
            if module is value:
                return {"again": number}
        name = type(value).__name__
        if type(value) is nn.Sequential:
            sequence = {"sequence": [_plan(module, planned) for module in value]}
            planned.append(value)
            return sequence
        if type(value) is not (CLASSIFIERS | PARTS).get(name):
            raise ValueError(
                "Only a method of fslib.methods over networks of fslib.backbones can be saved, "
                f"but this has a {name}; save its state_dict instead."
            )
        arguments: dict[str, Any] = value.config  # type: ignore[assignment]
        plan = {"module": name, "arguments": {k: _plan(v, planned) for k, v in arguments.items()}}
        planned.append(value)
        return plan
    if callable(value):
        name = getattr(value, "__name__", "")
        if METRICS.get(name) is not value:
            raise ValueError(
                f"Only metrics of fslib.metrics can be saved, but this model has {value!r}."
            )
        return {"metric": name}
    return value


def _classifier(plan: Any) -> methods.FewShotClassifier:
    """The classifier of a plan, with new weights."""
    if plan["module"] not in CLASSIFIERS:
        raise ValueError(f"{plan['module']} is no classifier")
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, to be overwritten
        return _build(plan, [])


def _build(plan: Any, built: list[nn.Module]) -> Any:
    """What :func:`_plan` was made of, with new weights."""
    if isinstance(plan, list):
        return [_build(each, built) for each in plan]
    if not isinstance(plan, dict):
        return plan
    if "metric" in plan:
        return METRICS[plan["metric"]]
    if "again" in plan:
        return built[plan["again"]]
    if "sequence" in plan:
        built.append(nn.Sequential(*_build(plan["sequence"], built)))
        return built[-1]
    for name, argument in plan["arguments"].items():
        if isinstance(argument, int | float) and name != "seed" and not abs(argument) <= _LARGEST:
            raise ValueError(f"{name} is {argument}")
    arguments = {name: _build(argument, built) for name, argument in plan["arguments"].items()}
    if plan["module"] == "Pretrained":
        arguments["weights"] = None  # a file brings its own, and fetches none
    module = (CLASSIFIERS | PARTS)[plan["module"]](**arguments)
    built.append(module)
    return module


# What has another name since format 2: modules, arguments with their values, and the parts of blocks.
_MODULES_OF_2 = {"Views": "TestTimeAugmentation"}
_ARGUMENTS_OF_2: dict[str, Callable[[Any], dict[str, Any]]] = {
    "unit": lambda value: {"normalize": value},
    "maps": lambda value: {"pooling": "none" if value else "flatten"},  # of a Conv-4
    "mean": lambda value: {"pooling": "mean" if value else "flatten"},  # of a ResNet-12
}
_PARTS_OF_2 = {
    "weigh": "channel_mlp", "look": "spatial", "ask": "qkv", "answer": "proj", "path": "residual", "around": "shortcut",
}  # fmt: skip


def _with_names_of_2(plan: Any) -> Any:
    """A plan of format 1 in today's names."""
    if isinstance(plan, list):
        return [_with_names_of_2(each) for each in plan]
    if not isinstance(plan, dict) or "module" not in plan:
        return plan
    arguments: dict[str, Any] = {}
    for name, value in plan["arguments"].items():
        of_network = plan["module"] in ("Conv4", "FrozenConv4", "ResNet12")
        renamed = _ARGUMENTS_OF_2.get(name) if of_network else None
        arguments |= renamed(value) if renamed else {name: _with_names_of_2(value)}
    return {"module": _MODULES_OF_2.get(plan["module"], plan["module"]), "arguments": arguments}


def _name_of_2(weight: str) -> str:
    return ".".join(_PARTS_OF_2.get(part, part) for part in weight.split("."))


def _check_weights(plan: Any, stored: dict[str, Any]) -> None:
    """Raise unless the weights of a plan have these types and shapes; found out without making any."""
    with torch.device("meta"):
        wanted = _classifier(plan).state_dict()
    if wanted.keys() != stored.keys():
        raise ValueError("the weights are of another network")
    for name, weight in wanted.items():
        types = _DTYPES.values() if weight.is_floating_point() else {"I64"}
        if stored[name].get_shape() != list(weight.shape) or stored[name].get_dtype() not in types:
            raise ValueError(f"{name} is of another network")
