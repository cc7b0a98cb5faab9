"""Safety constraints that users write: an expression over a step that must hold, and how likely a model says it breaks.

    violation("(next_obs[0] - obs[0]) / 0.05 > 3.2")      a function of (obs, action, reward, next_obs) -> bool
    violation(lambda obs, action, reward, next_obs: ...)  the same, as it is

An expression knows the names obs, action, reward and next_obs (numbers in [ ] pick a dimension), numbers, arithmetic,
comparisons, `and`, `or`, `not`, and the functions below. It is parsed and never run as Python, so an expression in a
file can do nothing else.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from dawm.errors import ConfigError
from dawm.types import Dynamics
from dawm.worldmodel.rollout import by_blocks, outcomes

Violation = Callable[..., Array]  # (obs, action, reward, next_obs) of one step -> whether the limit is broken

NAMES = ("obs", "action", "reward", "next_obs")
FUNCTIONS = {
    "abs": jnp.abs, "sqrt": jnp.sqrt, "exp": jnp.exp, "log": jnp.log, "sin": jnp.sin, "cos": jnp.cos,
    "min": jnp.min, "max": jnp.max, "sum": jnp.sum, "mean": jnp.mean, "norm": jnp.linalg.norm,
}  # fmt: skip
BINARY: dict[type, Callable] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}  # fmt: skip
COMPARE: dict[type, Callable] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip


def violation(constraint: str | Violation) -> Violation:
    """The function that a constraint means. Raises ConfigError naming the part of the text that is not understood."""
    if not isinstance(constraint, str):
        return constraint
    try:
        tree = ast.parse(constraint.strip(), mode="eval").body
    except SyntaxError as error:
        raise ConfigError(f"the constraint `{constraint}` is no expression: {error.msg}.") from None
    if not isinstance(tree, (ast.Compare, ast.BoolOp)) and not (
        isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not)
    ):
        raise ConfigError(
            f"the constraint `{constraint}` compares nothing: say what must not happen, for example next_obs[0] > 3."
        )
    _check(tree, constraint)

    def broken(obs: Array, action: Array, reward: Array, next_obs: Array) -> Array:
        return jnp.asarray(_value(tree, dict(zip(NAMES, (obs, action, reward, next_obs), strict=True))), bool)

    return broken


def probability(
    model: Dynamics,
    broken: Violation,
    columns: dict[str, np.ndarray],
    samples: int,
    key: jax.Array,
) -> Float[np.ndarray, " n"]:
    """Share of the model's futures of each (s, a), over all its members, in which the limit is broken."""
    share = lambda obs, action, source, key: _share(model, broken, obs, action, source, key, samples)
    return by_blocks(share, columns, key)


def recorded(broken: Violation, columns: dict[str, np.ndarray]) -> Bool[np.ndarray, " n"]:
    """On which of some complete steps the limit was broken."""
    return np.asarray(jax.jit(jax.vmap(broken))(*(jnp.asarray(columns[name]) for name in NAMES)))


@eqx.filter_jit
def _share(model, broken: Violation, obs, action, source, key, samples: int) -> Float[Array, " n"]:
    out = outcomes(model, obs, action, source, samples, key)
    of_rows = lambda reward, next_obs: jax.vmap(broken)(obs, action, reward, next_obs)
    return jax.vmap(jax.vmap(of_rows))(out.reward, out.next_obs).mean((0, 1))  # over members and samples


def _check(node: ast.AST, text: str) -> None:
    """Raise ConfigError unless the tree has only what is known."""
    allowed = (ast.Compare, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Call, ast.Subscript, ast.Name, ast.Constant)
    part = ast.unparse(node)
    if not isinstance(node, allowed):
        raise ConfigError(f"the constraint `{text}` has `{part}`, which is not understood.")
    if isinstance(node, ast.Name) and node.id not in NAMES:
        raise ConfigError(f"the constraint `{text}` names `{part}`; known: {', '.join(NAMES)}.")
    if isinstance(node, ast.Constant) and (isinstance(node.value, bool) or not isinstance(node.value, (int, float))):
        raise ConfigError(f"the constraint `{text}` has `{part}`, which is no number.")
    if isinstance(node, ast.Call):
        known = isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS
        if not known or node.keywords or len(node.args) != 1:
            raise ConfigError(f"the constraint `{text}` has `{part}`; functions of one value: {', '.join(FUNCTIONS)}.")
        return _check(node.args[0], text)
    if isinstance(node, ast.Subscript):
        index = node.slice.operand if isinstance(node.slice, ast.UnaryOp) else node.slice
        if not isinstance(index, ast.Constant) or not isinstance(index.value, int):
            raise ConfigError(f"the constraint `{text}` has `{part}`: an index is a whole number.")
        return _check(node.value, text)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.operator, ast.cmpop, ast.unaryop, ast.boolop)):
            if not isinstance(child, (*BINARY, *COMPARE, ast.USub, ast.UAdd, ast.Not, ast.And, ast.Or)):
                raise ConfigError(f"the constraint `{text}` has `{part}`, whose operator is not understood.")
        elif not isinstance(child, ast.expr_context):
            _check(child, text)
    return None


def _value(node: Any, names: dict[str, Array]) -> Any:
    """The value of a checked tree."""
    of = lambda child: _value(child, names)
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.Subscript):
        sign = -1 if isinstance(node.slice, ast.UnaryOp) else 1
        index = node.slice.operand.value if isinstance(node.slice, ast.UnaryOp) else node.slice.value  # type: ignore
        vector, index = of(node.value), sign * index
        if jnp.ndim(vector) != 1 or not -len(vector) <= index < len(vector):
            size = len(vector) if jnp.ndim(vector) == 1 else "no"
            raise ConfigError(f"the constraint has `{ast.unparse(node)}`, of which there are {size} dimensions.")
        return vector[index]
    if isinstance(node, ast.Call):
        return FUNCTIONS[node.func.id](of(node.args[0]))  # type: ignore[attr-defined]
    if isinstance(node, ast.BinOp):
        return BINARY[type(node.op)](of(node.left), of(node.right))
    if isinstance(node, ast.UnaryOp):
        value = of(node.operand)
        return (
            jnp.logical_not(value)
            if isinstance(node.op, ast.Not)
            else -value
            if isinstance(node.op, ast.USub)
            else value
        )
    if isinstance(node, ast.BoolOp):
        join = jnp.logical_and if isinstance(node.op, ast.And) else jnp.logical_or
        total = of(node.values[0])
        for value in node.values[1:]:
            total = join(total, of(value))
        return total
    values = [of(node.left), *map(of, node.comparators)]
    total = jnp.asarray(True)
    for left, compare, right in zip(values, node.ops, values[1:], strict=False):
        total = jnp.logical_and(total, COMPARE[type(compare)](left, right))
    return total
