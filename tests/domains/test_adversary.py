"""The discriminator descends and the embeddings ascend, by the derivative times −λ and nothing else."""

import math

import pytest
import torch
import torch.nn.functional as F

from fslib.domains import Adversary, DomainDiscriminator, reverse_gradient

each_strength = pytest.mark.parametrize("strength", [0.0, 0.3, 2.0, torch.tensor(0.3)], ids=str)


def drawn(seed, n=9, d=4):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def slope_of(f, x, step=1e-6):
    """By central differences."""
    slope = torch.zeros_like(x)
    for i in range(x.numel()):
        move = torch.zeros(x.numel(), dtype=x.dtype).index_fill(0, torch.tensor(i), step).view_as(x)
        slope.view(-1)[i] = (f(x + move) - f(x - move)) / (2 * step)
    return slope


# Reversal -------------------------------------------------------------------------------------------------------


@each_strength
def test_forward_it_is_the_identity_bit_by_bit_and_back_minus_lambda_times_the_derivative(strength):
    x = drawn(0, 3).requires_grad_()
    assert torch.equal(reverse_gradient(x, strength), x)

    def f(x):
        return (x.sin() * x.exp()).sum()

    f(reverse_gradient(x, strength)).backward()
    torch.testing.assert_close(x.grad, -float(strength) * slope_of(f, x.detach()), rtol=0, atol=1e-7)


def test_it_is_the_gradient_of_no_function():
    x = drawn(0, 3).requires_grad_()
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(reverse_gradient, x)
    assert torch.autograd.gradcheck(lambda x: reverse_gradient(reverse_gradient(x)), x)  # twice turned


# The discriminator ----------------------------------------------------------------------------------------------


def adversary(d=4, **options):
    torch.manual_seed(0)
    return Adversary(d, hidden=6, **options).double()


def test_the_loss_is_the_mean_cross_entropy_of_two_domains_that_count_alike():
    loss, (source, target) = adversary(), (drawn(0, 9), drawn(1, 4))
    logits = [loss.discriminator(x) for x in (source, target)]
    expected = sum(F.binary_cross_entropy_with_logits(x, torch.full_like(x, i)) for i, x in enumerate(logits)) / 2
    torch.testing.assert_close(loss(source, target), expected)
    with torch.no_grad():
        for weight in loss.parameters():
            weight.zero_()
    assert loss(source, target).item() == pytest.approx(math.log(2))  # who guesses


@each_strength
def test_the_discriminator_gets_the_derivative_itself_and_the_embeddings_minus_lambda_times(strength):
    loss, (source, target) = adversary(strength=float(strength)), (drawn(0).requires_grad_(), drawn(1).requires_grad_())
    plain = adversary()
    loss(source, target).backward()

    def cross_entropy(source, target):
        of_source, of_target = plain.discriminator(source), plain.discriminator(target)
        return (F.softplus(of_source).mean() + F.softplus(-of_target).mean()) / 2

    cross_entropy(source.detach(), target.detach()).backward()
    for ours, theirs in zip(loss.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    with torch.no_grad():
        of_source = slope_of(lambda s: cross_entropy(s, target), source)
        of_target = slope_of(lambda t: cross_entropy(source, t), target)
    for x, slope in ((source, of_source), (target, of_target)):
        torch.testing.assert_close(x.grad, -float(strength) * slope, rtol=0, atol=1e-7)


def a_step(loss, *moved, rate=0.05):
    """The loss before and after a step of gradient descent of some tensors alone."""
    source, target = moved if len(moved) == 2 else (drawn(0), drawn(1) + 1)
    weights = moved if len(moved) == 2 else list(loss.parameters())
    before = loss(source, target)
    slopes = torch.autograd.grad(before, weights)
    with torch.no_grad():
        for weight, slope in zip(weights, slopes):
            weight -= rate * slope
        return before.item(), loss(source, target).item()


def test_the_discriminator_lowers_the_loss_and_embeddings_raise_it():
    before, after = a_step(adversary())  # on embeddings that stay
    assert after < before
    before, after = a_step(adversary(), drawn(0).requires_grad_(), (drawn(1) + 1).requires_grad_())  # and it stays
    assert after > before


class MinusTheta(Adversary):
    """The mistake: to subtract the loss of the domains, which turns the discriminator round too."""

    def forward(self, source, target):
        of_source, of_target = self.discriminator(source), self.discriminator(target)
        return -(F.softplus(of_source).mean() + F.softplus(-of_target).mean()) / 2


class NotReversed(Adversary):
    """The mistake: to help the discriminator."""

    def forward(self, source, target):
        of_source, of_target = self.discriminator(source), self.discriminator(target)
        return (F.softplus(of_source).mean() + F.softplus(-of_target).mean()) / 2


def test_a_reversal_in_the_wrong_place_would_be_found():
    torch.manual_seed(0)
    before, after = a_step(MinusTheta(4, 6).double())
    assert -after > -before  # the loss of the domains rises, though the discriminator is what moved
    before, after = a_step(NotReversed(4, 6).double(), drawn(0).requires_grad_(), (drawn(1) + 1).requires_grad_())
    assert after < before


def test_against_each_other_they_take_from_the_embeddings_what_tells_the_domains():
    """Two clouds one beside the other, moved by what the reversal says: afterwards nothing linear tells them."""
    torch.manual_seed(0)
    source, target = drawn(0, 60, 2), drawn(1, 60, 2) + torch.tensor([3.0, 0.0], dtype=torch.float64)
    shift, loss = torch.zeros(2, dtype=torch.float64, requires_grad=True), Adversary(2, 16).double()
    descent = torch.optim.Adam([shift, *loss.parameters()], 0.02)
    for _ in range(400):
        descent.zero_grad()
        loss(source, target + shift).backward()
        descent.step()
    assert (target + shift - source).mean(0).norm() < 0.5


# The ramp -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p, expected", [(0, 0.0), (0.1, 0.46212), (0.5, 0.98661), (1, 0.99991)])
def test_lambda_grows_as_in_the_paper(p, expected):
    loss = Adversary(4, strength=2.0, ramp=1000)
    loss.steps += 1000 * p
    assert float(loss.now) == pytest.approx(2 * (2 / (1 + math.exp(-10 * p)) - 1), abs=1e-6)
    assert float(loss.now) == pytest.approx(2 * expected, abs=2e-5)


def test_steps_are_counted_in_training_alone_and_go_into_a_checkpoint():
    loss, (source, target) = adversary(ramp=10), (drawn(0), drawn(1))
    loss(source, target)
    loss.eval()(source, target)
    assert loss.steps == 1
    other = adversary(ramp=10)
    other.load_state_dict(loss.state_dict())
    assert other.steps == 1 and other.now == loss.now > 0


def test_at_the_start_of_a_ramp_embeddings_are_left_alone():
    source, target = drawn(0).requires_grad_(), drawn(1).requires_grad_()
    loss = adversary(ramp=10)
    loss(source, target).backward()
    assert not source.grad.any() and not target.grad.any()
    assert all(weight.grad.any() for weight in loss.parameters())


# What makes no sense --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: Adversary(strength=-1), "The strength of a reversal is a number, 0 or more, but is -1"),
        (lambda: Adversary(strength=math.nan), "0 or more, but is nan"),
        (lambda: Adversary(ramp=0), "ramp must be a whole number"),
        (lambda: Adversary(0), "dim must be a whole number"),
        (lambda: DomainDiscriminator(4, hidden=0), "hidden must be a whole number"),
        (lambda: Adversary(4)(torch.ones(3, 5), torch.ones(3, 5)), "embeddings of 4 numbers, but these have 5"),
        (lambda: Adversary(4)(torch.ones(3, 4), torch.ones(3, 5)), "in 4 dimensions and the target in 5"),
        (lambda: Adversary(4)(torch.ones(3, 4), torch.ones(0, 4)), "the source has 3 and the target 0"),
    ],
)
def test_what_makes_no_sense_is_said(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_half_precision_is_computed_in_full():
    torch.manual_seed(0)
    loss, (source, target) = Adversary(4, 6), (drawn(0).bfloat16(), drawn(1).bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(source, target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(source.float(), target.float()))
