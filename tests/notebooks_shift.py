"""Other seeds for a notebook: what it claims must not hang on the luck of those that it names.

Every seed that a cell names or leaves at its default is shifted: of `torch.manual_seed`, of generators, of the samplers
and trainings, and of the episodes that are evaluated. What the package does on its own, the checks of the exercises and
weights that are loaded stay as they are.
"""

SHIFT = """
def _shift(by):
    import functools, inspect, sys

    import torch

    from fslib import episodes, evaluation, training, your_run

    def asked_by_a_cell(depth=2):
        return sys._getframe(depth).f_globals.get("__name__") == "__main__"

    def shifted(function):
        signature = inspect.signature(function)

        @functools.wraps(function)
        def with_another_seed(*args, **kwargs):
            if asked_by_a_cell():
                bound = signature.bind(*args, **kwargs)
                bound.apply_defaults()
                given = bound.arguments["task"] if "task" in bound.arguments else bound.arguments
                if isinstance(given.get("episodes", 0), int):  # and not a stack that was drawn before
                    given["seed"] = (given.get("seed") or 0) + by
                args, kwargs = bound.args, bound.kwargs
            return function(*args, **kwargs)

        return with_another_seed

    class OfPlain(type):
        def __instancecheck__(cls, one):
            return isinstance(one, plain)

    class Generator(metaclass=OfPlain):
        def __new__(cls, *args, **kwargs):
            real = plain(*args, **kwargs)
            if not asked_by_a_cell():
                return real
            made = super().__new__(cls)
            made.manual_seed = lambda seed: real.manual_seed(seed + by)
            return made

    plain, torch.Generator = torch.Generator, Generator
    manual_seed = torch.manual_seed
    torch.manual_seed = lambda seed: manual_seed(seed + by * asked_by_a_cell())
    episodes.EpisodeSampler.__init__ = shifted(episodes.EpisodeSampler.__init__)
    training.fit = shifted(training.fit)
    evaluation.evaluate, evaluation.compare_models = map(shifted, (evaluation.evaluate, evaluation.compare_models))
    your_run.SAME = 0.007  # on other episodes: four standard deviations of a difference of two draws


_shift({by})
del _shift
"""
