"""The pretend GPU does as CUDA does: it computes, refuses, waits, and leaves nothing behind."""

import copy
import io
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.pretend_gpu import CUDA, HAS_HOOK, MISSING, SINCE, OnGPU, pretend_gpu, waits_of_steps

needs_hook = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture
def gpu():
    if MISSING:
        pytest.skip(MISSING)
    with pretend_gpu() as gpu:
        yield gpu


def on_gpu(*shape, dtype=torch.float32):
    return torch.ones(shape, dtype=dtype, device="cuda")


def test_a_new_torch_has_what_it_rests_on():
    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    assert HAS_HOOK or version < SINCE


# It computes ------------------------------------------------------------------------------------------------------


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(36, 5),
    )


def trained(device, steps=3):
    """Weights after some steps, and the losses."""
    model = network().to(device)
    optimizer, losses = torch.optim.Adam(model.parameters()), []
    images, labels = torch.rand(6, 1, 8, 8).to(device), torch.arange(6).remainder(5).to(device)
    torch.manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(F.dropout(model(images), 0.2), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach().cpu())
    return [weight.detach().cpu() for weight in model.state_dict().values()], losses


def test_it_trains_as_the_cpu_does(gpu):
    torch.testing.assert_close(trained("cuda"), trained("cpu"), rtol=0, atol=0)


@pytest.mark.parametrize(
    "layer", [nn.LSTM(3, 4, bidirectional=True), nn.LSTMCell(3, 4, bias=False)], ids=type
)
def test_recurrent_layers_have_an_operation_of_their_own(gpu, layer):
    results = []
    for device in ("cpu", "cuda"):
        here = copy.deepcopy(layer).to(device)
        x = torch.linspace(-1, 1, 30).reshape(2, 5, 3)
        x = (x if isinstance(here, nn.LSTM) else x[0]).to(device).requires_grad_()
        out = here(x)[0]
        out.square().sum().backward()
        results.append([out.detach(), x.grad, *(weight.grad for weight in here.parameters())])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(theirs.cpu(), ours)


def test_it_says_that_it_is_cuda(gpu):
    assert torch.cuda.is_available() and torch.cuda.device_count() == 1
    for x in (
        on_gpu(2),
        torch.ones(2).cuda(),
        torch.ones(2).to(0),
        torch.tensor([1.0, 1.0], device="cuda:0"),
    ):
        assert x.device == CUDA and x.is_cuda and isinstance(x, OnGPU)
    x = on_gpu(2)
    assert x.to("cuda") is x and x.cuda() is x and x.new_ones(3).device == CUDA
    assert (
        x.new_tensor([1]).device == CUDA
        and torch.as_tensor(np.ones(2), device="cuda").device == CUDA
    )
    assert f"{x.sum():.1f} {x}" == "2.0 tensor([1., 1.], device='cuda:0')"
    assert x.tolist() == [1, 1] and x.cpu().device.type == "cpu"
    assert torch.device("cuda").type == "cuda" and torch.device("cuda", 0) == torch.device("cuda:0") == CUDA


def test_a_module_that_moves_keeps_its_parameters(gpu):
    model = network()
    before = list(model.parameters())
    assert all(a is b for a, b in zip(before, model.to("cuda").parameters()))
    assert all(isinstance(weight, nn.Parameter) and weight.device == CUDA for weight in before)
    assert all(a is b for a, b in zip(before, model.cpu().parameters()))
    assert all(type(weight) is nn.Parameter for weight in before)


def test_a_module_moves_while_a_graph_of_it_is_alive(gpu):
    model = network()
    alive = model(torch.rand(2, 1, 8, 8)).sum()
    assert all(weight.device == CUDA for weight in model.to("cuda").parameters())
    alive.backward()


def test_copies_and_files(gpu):
    model = network().to("cuda")
    twin = copy.deepcopy(model)
    assert all(isinstance(w, nn.Parameter) and w.device == CUDA for w in twin.parameters())
    twin[0].weight.data.zero_()
    twin[0].bias.data = torch.full((4,), 3.0, device="cuda")
    assert model[0].weight.abs().sum() > 0 == twin[0].weight.abs().sum() and twin[0].bias[0] == 3
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    stored = torch.load(file, weights_only=True, map_location="cpu")
    twin.load_state_dict(stored)
    torch.testing.assert_close(twin(on_gpu(2, 1, 8, 8)).cpu(), model(on_gpu(2, 1, 8, 8)).cpu())


def test_views_of_weights_can_be_taken_in_inference(gpu):
    layer = nn.Linear(4, 2).to("cuda")
    with torch.inference_mode():
        left, _ = layer.weight.split(2, 1)
        assert not left.is_inference() and layer(on_gpu(1, 4)).is_inference()
    layer(on_gpu(1, 4)).sum().backward()


def test_its_random_numbers_are_its_own(gpu):
    torch.manual_seed(3)
    of_cpu = torch.get_rng_state()
    first = torch.rand(2, device="cuda")
    assert torch.equal(torch.get_rng_state(), of_cpu)
    with torch.random.fork_rng(devices=[torch.device("cuda")]):
        second = torch.rand(2, device="cuda")
    assert torch.equal(torch.rand(2, device="cuda"), second) and not torch.equal(first, second)
    state = torch.cuda.get_rng_state()
    third = torch.rand(2, device="cuda")
    torch.cuda.set_rng_state(state)
    assert torch.equal(torch.rand(2, device="cuda"), third)
    generator = torch.Generator("cuda").manual_seed(5)
    assert generator.device == CUDA
    with_one = torch.rand(2, device="cuda", generator=generator)
    assert torch.equal(with_one.cpu(), torch.rand(2, generator=torch.Generator().manual_seed(5)))


# It refuses -------------------------------------------------------------------------------------------------------

REFUSED = {
    "add": lambda: on_gpu(3) + torch.ones(3),
    "a scalar of the GPU to a vector of the CPU": lambda: torch.ones(3) + on_gpu(),
    "in place": lambda: torch.zeros(()).add_(on_gpu()),
    "matmul": lambda: on_gpu(2, 3) @ torch.ones(3, 2),
    "where": lambda: torch.where(torch.ones(3) > 0, on_gpu(3), 0.0),
    "masked_fill": lambda: on_gpu(3).masked_fill(torch.ones(3) > 0, 0.0),
    "gather": lambda: on_gpu(3).gather(0, torch.tensor([1])),
    "index_select": lambda: on_gpu(3).index_select(0, torch.tensor([1])),
    "cat": lambda: torch.cat([on_gpu(3), torch.ones(3)]),
    "stack of scalars": lambda: torch.stack([on_gpu(), torch.tensor(1.0)]),
    "linear": lambda: F.linear(on_gpu(2, 3), torch.ones(4, 3), torch.ones(4)),
    "the bias of a linear layer": lambda: F.linear(on_gpu(2, 3), on_gpu(4, 3), torch.ones(4)),
    "conv2d": lambda: F.conv2d(on_gpu(1, 1, 5, 5), torch.ones(1, 1, 3, 3)),
    "a layer on the CPU": lambda: nn.Linear(3, 2)(on_gpu(1, 3)),
    "batch_norm": lambda: F.batch_norm(on_gpu(4, 2), torch.zeros(2), torch.ones(2)),
    "embedding": lambda: F.embedding(torch.tensor([0, 1]), on_gpu(3, 2)),
    "cross_entropy": lambda: F.cross_entropy(on_gpu(2, 3), torch.tensor([0, 1])),
    "grid_sample": lambda: F.grid_sample(on_gpu(1, 1, 4, 4), torch.zeros(1, 4, 4, 2), align_corners=False),
    "values of an assignment": lambda: on_gpu(3).index_put_((torch.tensor([0, 1]),), torch.ones(2)),
}  # fmt: skip


@pytest.mark.parametrize("mix", REFUSED.values(), ids=REFUSED)
def test_it_refuses_to_mix_devices(gpu, mix):
    with pytest.raises(
        RuntimeError, match=r"all tensors to be on the same device.* cuda:0 and cpu!"
    ):
        mix()


def test_what_cuda_takes_it_takes(gpu):
    x = on_gpu(3)
    for y in (x + torch.tensor(1.0), torch.tensor(1.0) + x, x + 1, 1 + x, x * np.float32(2)):
        assert y.tolist() == [2, 2, 2]
    x[torch.tensor([0, 2])] = 5.0
    x[1] = torch.tensor(4.0)
    assert x[torch.tensor([1])].item() == 4 and x[torch.tensor([False, True, True])].tolist() == [
        4,
        5,
    ]
    x.copy_(torch.zeros(3))
    assert x.tolist() == [0, 0, 0] and torch.ones(3).copy_(x).tolist() == [0, 0, 0]
    assert torch.where(x == 0, torch.tensor(7.0), x).device == CUDA


def test_positions_on_the_gpu_index_nothing_on_the_cpu(gpu):
    with pytest.raises(RuntimeError, match="indices should be either on cpu"):
        torch.ones(3)[on_gpu(1, dtype=torch.int64)]


@pytest.mark.parametrize(
    "convert",
    [lambda x: x.numpy(), np.asarray, lambda x: np.array(x)],
    ids=["numpy", "asarray", "array"],
)
def test_numpy_gets_nothing_from_it(gpu, convert):
    with pytest.raises(
        TypeError, match=r"can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu\(\)"
    ):
        convert(on_gpu(3))


def test_generators_are_of_a_device(gpu):
    with pytest.raises(
        RuntimeError, match="Expected a 'cuda' device type for generator but found 'cpu'"
    ):
        torch.rand(3, device="cuda", generator=torch.Generator())
    with pytest.raises(
        RuntimeError, match="Expected a 'cpu' device type for generator but found 'cuda'"
    ):
        torch.rand(3, generator=torch.Generator("cuda"))
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type"):
        on_gpu(3).normal_(generator=torch.Generator())


@needs_hook
def test_types_that_a_gpu_may_lack():
    with pretend_gpu(float64=False, bfloat16=False):
        assert on_gpu(3).half().dtype == torch.float16
        for make in (
            lambda: on_gpu(3).double(),
            lambda: torch.ones(3).double().cuda(),
            lambda: on_gpu(1, dtype=torch.float64),
        ):
            with pytest.raises(
                TypeError, match=r"doesn't support float64. Please use float32 instead"
            ):
                make()
        with pytest.raises(TypeError, match="BFloat16"):
            on_gpu(3).bfloat16()
        assert torch.ones(3).double().sum() == 3


# It waits ---------------------------------------------------------------------------------------------------------

WAITS = {
    "item": (lambda x: x.sum().item(), "_local_scalar_dense"),
    "bool": (lambda x: bool(x.sum() > 0), "_local_scalar_dense"),
    "float": (lambda x: float(x.sum()), "_local_scalar_dense"),
    "format": (lambda x: f"{x.sum():.2f}", "_local_scalar_dense"),
    "one_hot without classes": (lambda x: F.one_hot(x.long()), "_local_scalar_dense"),
    "tolist": (lambda x: x.tolist(), "copy to the CPU"),
    "cpu": (lambda x: x.cpu(), "copy to the CPU"),
    "copy_ to the CPU": (lambda x: torch.ones(3).copy_(x), "copy to the CPU"),
    "an upload that blocks": (lambda x: torch.ones(3).to("cuda"), "upload that blocks"),
    "a list": (lambda x: torch.tensor([1.0, 2.0], device="cuda"), "upload that blocks"),
    "positions on the CPU": (lambda x: x[torch.tensor([1])], "indexing by positions on the CPU"),
    "mask": (lambda x: x[x > 0], "indexing by a mask"),
    "assignment by a mask": (lambda x: x.index_put_((x > 0,), x + 1), "indexing by a mask"),
    "masked_select": (lambda x: x.masked_select(x > 0), "masked_select"),
    "nonzero": (lambda x: x.nonzero(), "nonzero"),
    "where with one argument": (lambda x: torch.where(x > 0), "nonzero"),
    "unique": (lambda x: x.unique(), "_unique2"),
    "equal": (lambda x: torch.equal(x, x + 1), "equal"),
    "allclose": (lambda x: torch.allclose(x, x + 1), "allclose"),
    "inverse": (lambda x: x.diag().inverse(), "_linalg_check_errors"),
    "eigenvalues": (lambda x: torch.linalg.eigvalsh(x.diag()), "_linalg_eigh"),
    "repeat_interleave": (lambda x: x.repeat_interleave(x.long()), "repeat_interleave without output_size"),
    "synchronize": (lambda x: torch.cuda.synchronize(), "torch.cuda.synchronize"),
}  # fmt: skip


@pytest.mark.parametrize("call, what", WAITS.values(), ids=WAITS)
def test_it_notes_waits_and_where(gpu, call, what):
    x = on_gpu(3)
    assert not gpu.waits
    call(x)
    assert what in [wait.what for wait in gpu.waits]
    assert all(wait.where.startswith("test_pretend_gpu.py:") for wait in gpu.waits)


FREE = {
    "arithmetic": lambda x: (x * 2 + 1).softmax(0).argmax(),
    "an upload that does not block": lambda x: torch.ones(3).to("cuda", non_blocking=True),
    "a pinned upload": lambda x: torch.ones(3).pin_memory().to("cuda", non_blocking=True),
    "a scalar of the CPU": lambda x: x + torch.tensor(1.0),
    "one_hot": lambda x: F.one_hot(x.long(), 2),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "one number where a mask is true": lambda x: x.masked_fill_(x > 0, 1).__setitem__(x > 0, 2.0),
    "positions on the GPU": lambda x: x[x.long()],
    "backward": lambda x: x.clone().requires_grad_().square().sum().backward(),
    "a new tensor": lambda x: torch.full((3,), 2.0, device="cuda"),
    "another type": lambda x: x.double(),
    "what is on the CPU": lambda x: torch.ones(3).sum().item(),
}


@pytest.mark.parametrize("call", FREE.values(), ids=FREE)
def test_it_does_not_wait_without_need(gpu, call):
    call(on_gpu(3))
    assert not gpu.waits


def test_waits_of_each_step(gpu):
    weight = on_gpu(3).requires_grad_()
    optimizer = torch.optim.Adam([weight])
    with waits_of_steps(gpu) as steps:
        for step in range(4):
            weight.sum().backward()
            optimizer.step()
            if step == 1:
                weight.sum().item()
    assert [[wait.what for wait in waits] for waits in steps] == [[], ["_local_scalar_dense"], []]


# It leaves nothing behind -----------------------------------------------------------------------------------------


def circumstances():
    """What the pretend GPU touches of torch."""
    names = [name for name in dir(torch.cuda) if callable(getattr(torch.cuda, name))]
    return [getattr(torch.cuda, name) for name in names] + [
        torch.Generator,
        nn.Module._apply,
        torch.backends.cudnn.is_acceptable,
        torch._C._len_torch_dispatch_stack(),
        torch._C._len_torch_function_stack(),
        torch.__future__.get_swap_module_params_on_conversion(),
        torch.__future__.get_overwrite_module_params_on_conversion(),
    ]


@needs_hook
@pytest.mark.parametrize("raises", [False, True])
def test_everything_is_as_before(raises):
    model = network()
    before, state = circumstances(), torch.get_rng_state()
    try:
        with pretend_gpu() as gpu:
            left = on_gpu(2, 1, 8, 8)
            torch.rand(3, device="cuda")
            moved = model.to(gpu.device)
            if raises:
                left + torch.ones(8)
    except RuntimeError:
        assert raises
    assert circumstances() == before
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng():
        torch.manual_seed(0)
    with pytest.raises(RuntimeError, match="The pretend GPU is gone"):
        moved(left)
    nn.Linear(3, 2)(torch.ones(3)).sum().backward()


def test_an_old_torch_is_told_what_it_lacks(monkeypatch):
    monkeypatch.setattr("tests.pretend_gpu.MISSING", "torch 2.4.0 has no hook.")
    with pytest.raises(NotImplementedError, match=r"torch 2.4.0 has no hook"), pretend_gpu():
        pass
