"""Write small intersphinx inventories: the names of other projects that our pages link to.

The real inventories would need the network at each build. Add a name here when a strict build misses it,
and run `python book/_inv/write.py`.
"""

import zlib
from pathlib import Path

TENSOR, GENERATED = "tensors.html#$", "generated/$.html#$"
ATTRIBUTES = "tensor_attributes.html#$"
NAMES = {
    "python": {
        "collections.abc.Callable": ("py:class", "library/collections.abc.html#$"),
        "collections.abc.Iterable": ("py:class", "library/collections.abc.html#$"),
        "collections.abc.Iterator": ("py:class", "library/collections.abc.html#$"),
        "collections.abc.Mapping": ("py:class", "library/collections.abc.html#$"),
        "collections.abc.Sequence": ("py:class", "library/collections.abc.html#$"),
        "contextlib.AbstractContextManager": ("py:class", "library/contextlib.html#$"),
        "os.PathLike": ("py:class", "library/os.html#$"),
        "pathlib.Path": ("py:class", "library/pathlib.html#$"),
        "Path": ("py:class", "library/pathlib.html#pathlib.Path"),
        "FileNotFoundError": ("py:exception", "library/exceptions.html#$"),
        "KeyError": ("py:exception", "library/exceptions.html#$"),
        "TypeError": ("py:exception", "library/exceptions.html#$"),
        "ValueError": ("py:exception", "library/exceptions.html#$"),
    },
    "numpy": {
        "numpy.ndarray": ("py:class", "reference/generated/$.html#$"),
        "numpy.random.Generator": ("py:class", "reference/random/generator.html#$"),
    },
    "pillow": {
        "PIL.Image.Image": ("py:class", "reference/Image.html#$"),
    },
    "torch": {
        "torch.Tensor": ("py:class", TENSOR),
        "torch.device": ("py:class", ATTRIBUTES),
        "torch.dtype": ("py:class", ATTRIBUTES),
        "torch.Generator": ("py:class", GENERATED),
        "torch._C.Generator": ("py:class", "generated/torch.Generator.html"),
        "torch.amp.autocast_mode.autocast": ("py:class", "amp.html#torch.autocast"),
        "torch.nn.Module": ("py:class", GENERATED),
        "nn.Module": ("py:class", "generated/torch.nn.Module.html"),
        "torch.nn.modules.module.Module": ("py:class", "generated/torch.nn.Module.html"),
        "torch.nn.Sequential": ("py:class", GENERATED),
        "torch.nn.modules.container.Sequential": ("py:class", "generated/torch.nn.Sequential.html"),
        "torch.nn.parameter.Parameter": ("py:class", "generated/torch.nn.parameter.Parameter.html#$"),
        "torch.optim.Optimizer": ("py:class", "optim.html#$"),
        "torch.optim.lr_scheduler.LRScheduler": (
            "py:class",
            "generated/torch.optim.lr_scheduler.LRScheduler.html#$",
        ),
        "torch.optim.optimizer.Optimizer": ("py:class", "optim.html#torch.optim.Optimizer"),
        "torch.utils.data.Dataset": ("py:class", "data.html#$"),
    },
    "matplotlib": {
        "matplotlib.axes.Axes": ("py:class", "api/_as_gen/$.html#$"),
        "matplotlib.axes._axes.Axes": ("py:class", "api/_as_gen/matplotlib.axes.Axes.html"),
        "matplotlib.figure.Figure": ("py:class", "api/figure_api.html#$"),
    },
}
HEAD = """\
# Sphinx inventory version 2
# Project: {}
# Version: 
# The remainder of this file is compressed using zlib.
"""

for project, names in NAMES.items():
    lines = (f"{name} {kind} 1 {page} -\n" for name, (kind, page) in sorted(names.items()))
    data = HEAD.format(project).encode() + zlib.compress("".join(lines).encode(), 9)
    Path(__file__).with_name(f"{project}.inv").write_bytes(data)
