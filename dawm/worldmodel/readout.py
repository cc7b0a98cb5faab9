"""The last layer of a one-step network in closed form, and for each output the simplest form that forecasts as well.

Stochastic training leaves every output a little wrong, also those that are exactly linear: a delay line, an integrator,
a velocity that adds to a position. And it lets an output that nobody can predict, such as a target that jumps now and
then, lean on all inputs a little, which a planner then climbs. So after training each output of (change of state,
reward) gets one of three forms,

    still      y = the median of y
    linear     y = w·x + b
    network    y = v·phi(x) + w·x + b,      phi(x) the last hidden layer as it was trained

with v, w, b by least squares (v under a ridge towards 0, so that what is linear is left to w). The forms are fitted on
some rows and compared on others; of the forms that are not worse than the best by more than one standard error the
simplest is taken (Breiman et al. 1984, section 3.4.3), and fitted again. They are compared by the absolute error for
changes of the state, which is the CRPS of a point forecast, and by the squared error for the reward, whose expectation
is what counts.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from dawm.worldmodel.onestep import StepNetwork
from dawm.worldmodel.squares import Sums, blocks, thin

RIDGE = 1e-3  # on v, per row: features are of order 1; on three logs 1e-4 to 1e-7 did about as well, 1e-2 worse on one
ROUNDING = 1e-9  # on w, per row: settles what collinear inputs leave open
PARTS = 20  # the judging rows as consecutive parts: neighbours are too alike to count one by one
AS_GOOD = 1e-4  # standardised errors that differ by less are equal


def settled(
    network: StepNetwork,
    x: Float[np.ndarray, "n in"],
    y: Float[np.ndarray, "n out"],
    fitted: Bool[np.ndarray, " n"],
    judged: Bool[np.ndarray, " n"],
    again: bool,
) -> StepNetwork:
    """`network` with its last layer, and linear skip where it has one, in closed form.

    The forms are fitted on the rows `fitted` and compared on the rows `judged`; with `again` the chosen ones are fitted
    on both in the end. The network as it is where there are no rows to fit or to judge by.
    """
    fitted, judged = thin(fitted), thin(judged)
    if not len(fitted) or len(judged) < PARTS:
        return network
    linear = 0 if network.skip is None else x.shape[1]
    hidden = network.body.layers[-1].weight.shape[0]
    features = lambda rows: _features(network, x, rows)
    ridges = {
        "linear": np.r_[np.full(hidden, np.inf), np.full(linear, ROUNDING), 0.0],
        "network": np.r_[np.full(hidden, RIDGE), np.full(linear, ROUNDING), ROUNDING],
    }
    still = np.zeros((hidden + linear + 1, y.shape[1]))
    still[-1] = np.median(y[fitted], 0)
    sums = _sums(features, y, fitted)
    forms = [still, *(sums.solve(ridge) for ridge in ridges.values())]
    chosen = simplest(_errors(features, y, judged, forms))
    if again:
        sums = sums + _sums(features, y, judged)
        forms = [still, *(sums.solve(ridge) for ridge in ridges.values())]
    weights = np.choose(chosen, forms)
    last = weights[:hidden], weights[-1]
    where = lambda n: (n.body.layers[-1].weight, n.body.layers[-1].bias)
    network = eqx.tree_at(where, network, tuple(jnp.asarray(leaf, jnp.float32) for leaf in last))
    if not linear:
        return network
    return eqx.tree_at(lambda n: n.skip.weight, network, jnp.asarray(weights[hidden:-1], jnp.float32))


def simplest(errors: Float[np.ndarray, "forms parts out"]) -> np.ndarray:
    """For each output the first form that is not worse than the best by more than one standard error over the parts."""
    best = errors.mean(1).argmin(0)
    excess = errors - np.take_along_axis(errors, best[None, None], 0)
    margin = np.maximum(excess.std(1) / np.sqrt(errors.shape[1]), AS_GOOD)
    return (excess.mean(1) <= margin).argmax(0)


def _features(network: StepNetwork, x: np.ndarray, rows: np.ndarray):
    """(some of the rows, [phi(x), x, 1] of them in double precision), block by block."""
    for some in blocks(rows):
        block = x[some]
        parts = [np.asarray(_hidden(network, jnp.asarray(block))), np.ones((len(some), 1))]
        if network.skip is not None:
            parts.insert(1, block)
        yield some, np.concatenate(parts, 1, dtype=np.float64)


@eqx.filter_jit
def _hidden(network: StepNetwork, x: Float[Array, "n in"]) -> Float[Array, "n hidden"]:
    return jax.vmap(network.body.hidden)(x)


def _sums(features, y: np.ndarray, rows: np.ndarray) -> Sums:
    return Sums.over((f, y[some].astype(np.float64)) for some, f in features(rows))


def _errors(features, y: np.ndarray, rows: np.ndarray, forms: list[np.ndarray]) -> Float[np.ndarray, "forms parts out"]:
    """Mean error of every form on each of the consecutive parts of the rows."""
    off = [[f @ form - y[some] for form in forms] for some, f in features(rows)]
    size = np.abs(np.concatenate(off, 1))
    size[..., -1] **= 2  # the reward
    return np.stack([part.mean(1) for part in np.array_split(size, PARTS, axis=1)], 1)
