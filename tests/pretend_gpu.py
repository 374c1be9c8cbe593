"""A pretend GPU: what a program would do on a GPU, tried on a machine without one.

    with pretend_gpu() as gpu:
        x = torch.ones(3, device="cuda")      # says that it lies on cuda:0; the numbers are on the CPU
        x + torch.ones(3)                     # refused, as CUDA refuses
        x.sum().item()                        # noted in gpu.waits, with the line that waited

Within the context, torch believes that there is one CUDA GPU. Its tensors compute on the CPU, forward and backward, so
that results are those of the CPU to the last digit. A *wait* is whatever `torch.cuda.set_sync_debug_mode` would report
on a real GPU: the program stands still until all that the GPU was given is done. Afterwards everything is as before.

It rests on two hooks of torch. A dispatch mode sees every operation below autograd, with its tensors and the device it
asks for. And in C++ the tensors are of the device type that torch leaves to others, for autograd asks the driver about
CUDA's; the registration of that type, experimental in torch, is all that stays behind.

Not pretended: time and memory, streams, `torch.autocast` (everything stays in the type it is in), storage on the GPU
(`torch.save` stores as from the CPU), and operations inside of one that were to be given a device by name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

HOOK = "_setup_privateuseone_for_python_backend"
HAS_HOOK = hasattr(backend_registration, HOOK)
MISSING = (
    f"torch {torch.__version__} has no {HOOK}, on which the pretend GPU rests." if not HAS_HOOK
    else "Nothing is pretended where there is a real GPU." if torch.cuda.is_available()
    else ""
)  # fmt: skip
SINCE = (2, 10)  # from this torch on, the hook must be there

NOT_CALLERS = str(Path(torch.__file__).parent), __file__, contextmanager.__code__.co_filename
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
aten = torch.ops.aten
Tag = torch.Tag

COPIES = {aten._to_copy.default, aten.copy_.default}
FROM_DATA = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
SCALARS_WELCOME = {  # beside the pointwise ones
    aten.index_put.default, aten.index_put_.default, aten.fill.Tensor, aten.fill_.Tensor,
    aten.masked_fill.Tensor, aten.masked_fill_.Tensor,
}  # fmt: skip
# Their answer, or the size of it, must be known to go on.
WAITING = {
    aten._local_scalar_dense.default, aten.is_nonzero.default, aten.equal.default, aten.allclose.default,
    aten.nonzero.default, aten.masked_select.default, aten.bincount.default, aten._linalg_check_errors.default,
    aten._unique.default, aten._unique2.default, aten.unique_dim.default, aten.unique_consecutive.default,
    aten.unique_dim_consecutive.default, aten._linalg_eigh.default, aten._linalg_svd.default,
}  # fmt: skip

MIXED = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! ({})"
INDEX_ELSEWHERE = (
    "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
)
NO_NUMPY = (
    "can't convert cuda:0 device type tensor to numpy. "
    "Use Tensor.cpu() to copy the tensor to host memory first."
)
NO_FLOAT64 = (
    "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. "
    "Please use float32 instead."
)
NO_BFLOAT16 = "MPS BFloat16 is only supported on MacOS 14 or newer"
WRONG_GENERATOR = "Expected a '{}' device type for generator but found '{}'"


class _AsCUDA:
    """What torch asks of the module of a device type is answered by torch.cuda, as it is at the time."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cuda, name)


# The device that tensors of the GPU are on in C++. It is registered here, for autograd asks for devices only once, when
# something is differentiated for the first time.
STAND_IN = CPU
if not MISSING:
    getattr(backend_registration, HOOK)("pretend", backend_module=_AsCUDA())
    STAND_IN = torch.device("pretend", 0)


class Wait(NamedTuple):
    """One time that the program would have stood still.

    Attributes:
        what: it waited for.
        callers: file and line of all that led there, outside of torch, innermost first; gradients have none.
    """

    what: str
    callers: tuple[str, ...]

    @property
    def where(self) -> str:
        """The innermost caller."""
        return self.callers[0] if self.callers else "backward"

    @classmethod
    def now(cls, what: str) -> Wait:
        """A wait of whatever is running."""
        frame, callers = sys._getframe(1), []
        while frame:
            if not frame.f_code.co_filename.startswith(NOT_CALLERS):
                callers.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
            frame = frame.f_back
        return cls(what, tuple(callers))


class OnGPU(Tensor):
    """Says that it lies on the GPU; its numbers are in a tensor on the CPU, ``held``."""

    held: Tensor
    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> OnGPU:
        return Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            layout=held.layout, device=STAND_IN,
        )  # fmt: skip

    def __init__(self, held: Tensor):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(
            f"The pretend GPU is gone, but {func} was given a tensor that lies on it."
        )

    def numpy(self, *args, **kwargs):
        raise TypeError(NO_NUMPY)

    __array__ = numpy

    def tolist(self):
        return self.cpu().tolist()

    def untyped_storage(self):
        return self.held.untyped_storage()

    def data_ptr(self):
        return self.held.data_ptr()

    def __reduce_ex__(self, protocol):
        return self.held.__reduce_ex__(protocol)

    def __deepcopy__(self, memo):
        if not self.is_leaf:
            raise RuntimeError(
                "Only leaves of a graph can be copied deeply; detach the tensor first."
            )
        if id(self) not in memo:
            copy = self.detach().clone().requires_grad_(self.requires_grad)
            if getattr(self, "_is_param", False):
                copy._is_param = True
            memo[id(self)] = copy
        return memo[id(self)]

    def __format__(self, how):
        return format(self.item(), how) if self.ndim == 0 else object.__format__(self, how)

    def __repr__(self, **_):
        return f"{str(self.detach().cpu())[:-1]}, device='cuda:0')"


class PretendGPU(TorchDispatchMode):
    """Runs what meets a tensor of the GPU, or is to make one, and refuses and notes what CUDA would.

    Attributes:
        device: what its tensors say they lie on.
        waits: one entry for each wait so far.
        float64, bfloat16: whether it has these types; Apple's GPUs have not, or not all.
        random: state of its own random numbers.
    """

    device = CUDA

    def __init__(self, float64: bool = True, bfloat16: bool = True):
        super().__init__()
        self.float64, self.bfloat16 = float64, bfloat16
        self.waits: list[Wait] = []
        self.random = torch.Generator().manual_seed(0).get_state()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        if func is aten._pin_memory.default:
            func = aten.clone.default
        tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        given = any(isinstance(tensor, OnGPU) for tensor in tensors)
        wanted = _of_gpu(kwargs["device"]) if kwargs.get("device") is not None else None
        if not given and not wanted:
            return func(*args, **kwargs)
        if (
            given
            and func not in COPIES
            and func is not aten._has_compatible_shallow_copy_type.default
        ):
            _refuse_mixture(func, args, kwargs, tensors)
        self._note_waits(func, args, kwargs)
        held_args, held_kwargs = pytree.tree_map(_held, (args, kwargs))
        with self._random_numbers(func, kwargs):
            result = ONLY_ON_GPUS.get(func, func)(*held_args, **held_kwargs)
        if func is aten.copy_.default:
            return args[0]
        if func is aten._local_scalar_dense.default or wanted is False:
            return result
        written = _written(func, args, kwargs)
        if written is not None:
            return written
        with _as_viewed(func, args):
            return pytree.tree_map(self._put, result)

    def _put(self, value: Any) -> Any:
        """A result of an operation, on the GPU."""
        if not isinstance(value, Tensor):
            return value
        if not self.float64 and value.dtype in (torch.float64, torch.complex128):
            raise TypeError(NO_FLOAT64)
        if not self.bfloat16 and value.dtype == torch.bfloat16:
            raise TypeError(NO_BFLOAT16)
        return OnGPU(value)

    def _note_waits(self, func, args, kwargs) -> None:
        what = None
        if func in WAITING:
            what = func.name().removeprefix("aten::")
        elif func in INDEXING:
            what = _waiting_index(func, *args)
        elif func in COPIES:
            what = _waiting_copy(func, args, kwargs)
        elif func is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None:
            what = "repeat_interleave without output_size"
        if what:
            self.waits.append(Wait.now(what))

    @contextmanager
    def _random_numbers(self, func, kwargs) -> Iterator[None]:
        """What is random and was given no generator draws from the GPU's own."""
        if Tag.nondeterministic_seeded not in func.tags or kwargs.get("generator") is not None:
            yield
            return
        of_cpu = torch.get_rng_state()
        torch.set_rng_state(self.random)
        try:
            yield
        finally:
            self.random = torch.get_rng_state()
            torch.set_rng_state(of_cpu)

    def synchronize(self, device=None) -> None:
        self.waits.append(Wait.now("torch.cuda.synchronize"))

    def seed(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(int(seed)).get_state()

    def set_state(self, state: Tensor, device=None) -> None:
        self.random = state.clone()


class SaysCUDA(TorchFunctionMode):
    """Turns cuda into the device type that stands for it, wherever torch is told a device; checks generators."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.device:  # which has this name wherever the program asks for it
            return func(*args, **kwargs)
        if isinstance(generator := kwargs.get("generator"), torch.Generator):
            _check_generator(generator, args, kwargs)
        if func == Tensor.data.__set__ and isinstance(args[0], OnGPU):
            args[0].held = args[1].held
        args = [_in_place_of(value) for value in args]
        kwargs = {key: _in_place_of(value) for key, value in kwargs.items()}
        if func is Tensor.cuda:
            kwargs.pop("device", None)
            return Tensor.to(args[0], STAND_IN, **kwargs)
        if func in FROM_DATA and _goes_to_gpu(args, kwargs):
            return _made_of(func, args, kwargs)
        return func(*args, **kwargs)


class Generator(torch.Generator):
    """A generator that says which device it is for; all draw on the CPU."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")

    def __init__(self, device="cpu"):
        self._of = CUDA if _of_gpu(device) else torch.device(device)

    device = property(lambda self: self._of)


@contextmanager
def pretend_gpu(float64: bool = True, bfloat16: bool = True) -> Iterator[PretendGPU]:
    """There is one CUDA GPU while the context lasts; without float64, or bfloat16, if so told.

    Raises:
        NotImplementedError: where torch lacks the hook, with a sentence that says so.
    """
    if MISSING:
        raise NotImplementedError(MISSING)
    gpu = PretendGPU(float64, bfloat16)
    with ExitStack() as stack:
        stack.enter_context(mock.patch.multiple(torch.cuda, **_driver(gpu)))
        stack.enter_context(mock.patch.object(torch, "Generator", Generator))
        stack.enter_context(
            mock.patch.object(torch.backends.cudnn, "is_acceptable", lambda _: False)
        )
        moving = _keeping_parameters(nn.Module._apply)
        stack.enter_context(mock.patch.object(nn.Module, "_apply", moving))
        stack.enter_context(SaysCUDA())
        stack.enter_context(gpu)
        yield gpu


def _goes_to_gpu(args, kwargs) -> bool:
    """Whether a tensor that is made of data lies on the GPU: as it is told, or as the tensor that it is made after."""
    device = kwargs.get("device")
    return isinstance(args[0], OnGPU) if device is None else _of_gpu(device)


def _made_of(func, args, kwargs) -> Tensor:
    """A tensor made of data, first on the CPU, where torch.tensor and its like ask no dispatch mode."""
    kwargs = kwargs | {"device": CPU, "requires_grad": False}
    wants_gradient = kwargs.pop("requires_grad")
    return func(*args, **kwargs).to(STAND_IN).requires_grad_(wants_gradient)


def _keeping_parameters(apply):
    """`Module._apply`, with which a module moves, so that its parameters stay the same objects, as on CUDA.

    They cannot trade their data with a tensor on the GPU, so they trade places with it. Those of a graph that is alive
    cannot, and are made anew.
    """

    def keeping(module: nn.Module, function, recurse: bool = True) -> nn.Module:
        try:
            with _conversion(swap=True):
                return apply(module, function, recurse)
        except RuntimeError as error:
            if "Couldn't swap" not in str(error):
                raise
        with _conversion(swap=False):
            return apply(module, function, recurse)

    return keeping


@contextmanager
def _conversion(swap: bool) -> Iterator[None]:
    """How modules convert their parameters: by trading places, or by putting new ones there."""
    future = torch.__future__
    before = (
        future.get_swap_module_params_on_conversion(),
        future.get_overwrite_module_params_on_conversion(),
    )
    future.set_swap_module_params_on_conversion(swap)
    future.set_overwrite_module_params_on_conversion(not swap)
    try:
        yield
    finally:
        future.set_swap_module_params_on_conversion(before[0])
        future.set_overwrite_module_params_on_conversion(before[1])


@contextmanager
def waits_of_steps(gpu) -> Iterator[list[list[Wait]]]:
    """The waits from one step of an optimiser to the next, to be read after the context; one list for each step but
    the first.
    """
    ends: list[int] = []
    steps: list[list[Wait]] = []
    hook = register_optimizer_step_post_hook(lambda *_: ends.append(len(gpu.waits)))
    try:
        yield steps
    finally:
        hook.remove()
        steps.extend(list(gpu.waits[start:end]) for start, end in pairwise(ends))


def _driver(gpu: PretendGPU) -> dict[str, Any]:
    """What of torch.cuda asks the driver."""
    return dict(
        is_available=lambda: True,
        device_count=lambda: 1,
        current_device=lambda: 0,
        is_initialized=lambda: True,
        _lazy_init=lambda: None,
        _is_in_bad_fork=lambda: False,
        get_device_name=lambda device=None: "pretend GPU",
        get_device_capability=lambda device=None: (8, 0) if gpu.bfloat16 else (7, 5),
        is_bf16_supported=lambda *_, **__: gpu.bfloat16,
        manual_seed=gpu.seed,
        manual_seed_all=gpu.seed,
        get_rng_state=lambda device=None: gpu.random.clone(),
        get_rng_state_all=lambda: [gpu.random.clone()],
        set_rng_state=gpu.set_state,
        set_rng_state_all=lambda states: gpu.set_state(states[0]),
        synchronize=gpu.synchronize,
    )


def _of_gpu(device: Any) -> bool:
    return torch.device(device).type in ("cuda", "pretend")


def _in_place_of(value: Any) -> Any:
    """The stand-in where CUDA is named, else the value."""
    named = isinstance(value, torch.device) or (
        isinstance(value, str) and value.split(":")[0] == "cuda"
    )
    return STAND_IN if named and torch.device(value).type == "cuda" else value


def _held(value: Any) -> Any:
    """What an operation on the CPU takes in the place of a value."""
    if isinstance(value, OnGPU):
        return value.held
    return CPU if isinstance(value, torch.device) and _of_gpu(value) else value


def _refuse_mixture(func, args, kwargs, tensors: list[Tensor]) -> None:
    """Raise if tensors lie on two devices, but for scalars on the CPU and indices on the CPU into the GPU."""
    elsewhere = [tensor for tensor in tensors if not isinstance(tensor, OnGPU)]
    if not elsewhere:
        return
    if func in INDEXING:
        if not isinstance(args[0], OnGPU):
            raise RuntimeError(INDEX_ELSEWHERE)
        elsewhere = [tensor for tensor in args[2:3] if not isinstance(tensor, OnGPU)]
    welcome = Tag.pointwise in func.tags or func in SCALARS_WELCOME
    written = _written_arguments(func, args, kwargs)
    for tensor in elsewhere:
        if tensor.ndim or not welcome or any(tensor is target for target in written):
            raise RuntimeError(MIXED.format(func))


def _check_generator(generator: torch.Generator, args, kwargs) -> None:
    """Raise unless a generator is of the device on which numbers are to be drawn."""
    if kwargs.get("device") is not None:
        wanted = torch.device(kwargs["device"])
    else:
        wanted = next((value.device for value in args if isinstance(value, Tensor)), CPU)
    if _of_gpu(wanted) != _of_gpu(generator.device):
        kind = "cuda" if _of_gpu(wanted) else wanted.type
        raise RuntimeError(WRONG_GENERATOR.format(kind, generator.device.type))


def _written_arguments(func, args, kwargs) -> list[Any]:
    """The arguments that an operation writes into."""
    names = func._schema.arguments
    given = {argument.name: value for argument, value in zip(names, args)} | kwargs
    writes = (a.name for a in names if a.alias_info is not None and a.alias_info.is_write)
    return [given[name] for name in writes if given.get(name) is not None]


def _written(func, args, kwargs) -> Any:
    """What an operation in place answers: the tensors that it wrote into, if these are its answer."""
    returns = func._schema.returns
    if not returns or not all(r.alias_info is not None and r.alias_info.is_write for r in returns):
        return None
    written = _written_arguments(func, args, kwargs)
    for tensor in written:
        if isinstance(tensor, OnGPU) and tensor.shape != tensor.held.shape:
            raise NotImplementedError(f"{func} changes a shape in place, which is not pretended.")
    return written[0] if len(returns) == 1 else tuple(written)


def _as_viewed(func, args) -> AbstractContextManager[Any]:
    """A context in which tensors are made for inference only if what they are a view of was."""
    returns = func._schema.returns
    is_view = bool(returns) and returns[0].alias_info is not None
    return torch.inference_mode(False) if is_view and not args[0].is_inference() else nullcontext()


def _waiting_index(func, target, indices, values=None, *_) -> str | None:
    """How indexing waits: it counts what a mask holds, or fetches positions from the CPU."""
    for index in indices:
        if index is None:
            continue
        # One number set where a mask is true needs no count.
        if index.dtype in (torch.bool, torch.uint8) and (values is None or values.ndim):
            return "indexing by a mask"
        if not isinstance(index, OnGPU):
            return "indexing by positions on the CPU"
    return None


def _waiting_copy(func, args, kwargs) -> str | None:
    """How copying waits: from one device to the other, unless it is told not to block."""
    non_blocking = kwargs.get("non_blocking", False)
    if func is aten.copy_.default:
        target, source = (isinstance(tensor, OnGPU) for tensor in args[:2])
        non_blocking = non_blocking or (len(args) > 2 and args[2])
    else:
        source = isinstance(args[0], OnGPU)
        target = source if kwargs.get("device") is None else _of_gpu(kwargs["device"])
    if source == target or non_blocking:
        return None
    return "upload that blocks" if target else "copy to the CPU"


def _lstm_cell(of_input, of_hidden, cell, input_bias=None, hidden_bias=None):
    """One step of an LSTM from its gates; a GPU has an operation of its own for it."""
    gates = of_input + of_hidden
    for bias in (input_bias, hidden_bias):
        gates = gates if bias is None else gates + bias
    i, f, g, o = gates.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    new_cell = f * cell + i * g
    return o * new_cell.tanh(), new_cell, torch.cat([i, f, g, o], 1)


def _lstm_cell_backward(grad_hidden, grad_cell, cell, new_cell, gates, has_bias):
    """Gradients of :func:`_lstm_cell` for the gates before their activation, the cell, and the biases."""
    i, f, g, o = gates.chunk(4, 1)
    grad_hidden = torch.zeros_like(cell) if grad_hidden is None else grad_hidden
    grad_cell = torch.zeros_like(cell) if grad_cell is None else grad_cell
    tanh = new_cell.tanh()
    grad_cell = grad_cell + grad_hidden * o * (1 - tanh.square())
    of_gates = torch.cat(
        [
            grad_cell * g * i * (1 - i), grad_cell * cell * f * (1 - f),
            grad_cell * i * (1 - g.square()), grad_hidden * tanh * o * (1 - o),
        ], 1,
    )  # fmt: skip
    return of_gates, grad_cell * f, of_gates.sum(0) if has_bias else None


ONLY_ON_GPUS = {
    aten._thnn_fused_lstm_cell.default: _lstm_cell,
    aten._thnn_fused_lstm_cell_backward_impl.default: _lstm_cell_backward,
}
