"""What a notebook claims: its asserts, but for the verdicts of its exercises. Each must fail if a number is wrong.

`PLANT` runs in the kernel before the first cell. From then on each assert that held is tried again with one of its
values after the other put wrong, until one of them makes it fail. If none does, the claim could not fail, and its cell
does. That two things differ cannot be put wrong in this way, and is let pass.
"""

from __future__ import annotations

import ast


def claims(cells: list[str]) -> list[str]:
    """The tests of all asserts in some cells of code, in order."""
    nodes = [node for cell in cells for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Assert)]
    tests = [ast.unparse(node.test) for node in nodes]
    return [test for test in tests if not test.startswith("checks.")]


PLANT = '''
def _plant():
    import ast
    import numbers

    import torch
    from IPython import get_ipython

    FAR = 1e6

    def wrong(value, sign):
        """Something else of the same kind, or the value itself where nobody knows what that would be."""
        if isinstance(value, bool):
            return not value
        if isinstance(value, numbers.Number):
            return value + sign * FAR
        if isinstance(value, torch.Tensor):
            return ~value if value.dtype == torch.bool else value + sign * (FAR if value.is_floating_point() else 1)
        if isinstance(value, str):
            return value + "?"
        if isinstance(value, list | tuple):
            return type(value)([*value[:-1], wrong(value[-1], sign)]) if value else [0]
        if isinstance(value, dict):
            return {key: wrong(one, sign) for key, one in value.items()}
        return value

    class Planted(ast.NodeTransformer):
        """One value of an expression put wrong."""

        def __init__(self, which, sign):
            self.which, self.sign, self.met = which, sign, -1

        def visit(self, node):
            node = self.generic_visit(node)
            if not isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call | ast.Constant):
                return node
            if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
                return node
            self.met += 1
            if self.met != self.which:
                return node
            return ast.Call(ast.Name("_wrong", ast.Load()), [node, ast.Constant(self.sign)], [])

    class Claims(ast.NodeTransformer):
        """After each assert, the same with a value put wrong."""

        def visit_Assert(self, node):
            text = ast.unparse(node.test)
            if text.startswith("checks."):
                return node
            joined = isinstance(node.test, ast.BoolOp) and isinstance(node.test.op, ast.And)
            parts = map(ast.unparse, node.test.values if joined else [node.test])
            return [node, *(self.tried(part) for part in parts if "!=" not in part)]

        def tried(self, text):
            counter = Planted(-1, 1)
            counter.visit(ast.parse(text, mode="eval").body)
            trials = ", ".join(
                "lambda: " + ast.unparse(Planted(which, sign).visit(ast.parse(text, mode="eval").body))
                for which in range(counter.met + 1)
                for sign in (1, -1)
            )
            return ast.parse(f"_must_fail([{trials}], {text!r})").body[0]

    def must_fail(trials, text):
        for trial in trials:
            try:
                if not trial():
                    return
            except Exception:
                return
        raise RuntimeError(f"No wrong number makes this claim fail: {text}")

    shell = get_ipython()
    shell.user_ns |= {"_wrong": wrong, "_must_fail": must_fail}
    shell.ast_transformers.append(Claims())


_plant()
del _plant
'''
