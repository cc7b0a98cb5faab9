"""How close synthetic transitions are to the recorded ones, judged on episodes that the model never saw.

- marginals: Kolmogorov-Smirnov distance of every dimension, with histograms;
- two-sample test: area under the ROC curve of a small classifier that tells synthetic from held-out transitions on
  rows it was not fitted on (0.5: it cannot). `floor` is the same for training against held-out rows: episodes differ
  among themselves;
- memorisation: distance from a generated state to the nearest recorded training state, against that of held-out states
  (a ratio far below 1 means copies);
- inverse consistency: the inverse dynamics model's action on generated pairs against the action that the data carry;
- rates of ends, and the reward's mean and spread.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float

from dawm.data.dataset import Dataset
from dawm.worldmodel.trained import TrainedModel

ROWS = 5_000  # at most, on each side of a comparison
BINS = 40
PICTURES = 24  # dimensions of which histograms are kept


def measure_fidelity(
    synthetic: Dataset, train: Dataset, held: Dataset, model: TrainedModel, seed: int = 0
) -> dict[str, Any]:
    """All measurements as plain numbers; see the module docstring."""
    rng = np.random.default_rng(seed)
    made, real, seen = (_sample(d, rng) for d in (synthetic, held, train))
    unit = np.concatenate([train.obs.std(0), [1.0]]) + 1e-6
    auc = two_sample_auc(_features(made, train), _features(real, train), seed)
    floor = two_sample_auc(_features(seen, train), _features(real, train), seed)
    later = ~np.isin(np.arange(len(synthetic)), synthetic.episode_starts)
    result = {
        "rows": {"synthetic": len(made["reward"]), "held_out": len(real["reward"])},
        "marginals": _marginals(made, real),
        "two_sample_auc": auc,
        "two_sample_floor": floor,
        "nearest_neighbour": _nearest(made["next_obs"], real["next_obs"], train.obs, unit[:-1], rng),
        "inverse_consistency": _inverse_consistency(synthetic, later, model, rng),
        "one_step_consistency": model.measured.get("consistency"),
        "terminal_rate": {"real": float(held.terminal.mean()), "synthetic": float(synthetic.terminal.mean())},
        "reward": {
            "real_mean": float(held.reward.mean()),
            "real_std": float(held.reward.std()),
            "synthetic_mean": float(synthetic.reward.mean()),
            "synthetic_std": float(synthetic.reward.std()),
        },
    }
    return result | {"verdict": verdict(result)}


def two_sample_auc(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"], seed: int, steps: int = 400) -> float:
    """Area under the ROC curve, on the second halves, of a 2 x 64 perceptron fitted to tell the first halves apart."""
    from scipy.stats import rankdata  # where it is used: SciPy is slow to import

    n, m = len(a) // 2, len(b) // 2
    x = jnp.asarray(np.concatenate([a[:n], b[:m]]), jnp.float32)
    y = jnp.concatenate([jnp.ones(n), jnp.zeros(m)])
    weight = jnp.concatenate([jnp.full(n, 0.5 / n), jnp.full(m, 0.5 / m)])  # both sides count alike
    scores = np.asarray(
        _fit_classifier(x, y, weight, jnp.asarray(np.concatenate([a[n:], b[m:]]), jnp.float32), seed, steps)
    )
    rank = rankdata(scores)
    positives = len(a) - n
    negatives = len(scores) - positives
    return float((rank[:positives].sum() - positives * (positives + 1) / 2) / (positives * negatives))


@functools.partial(jax.jit, static_argnames=("seed", "steps"))
def _fit_classifier(x: Array, y: Array, weight: Array, test: Array, seed: int, steps: int) -> Array:
    """Logits on `test` after `steps` full-batch Adam steps."""
    sizes = (x.shape[1], 64, 64, 1)
    keys = jr.split(jr.key(seed), 3)
    layers = [
        (jr.normal(k, (i, o)) / np.sqrt(i), jnp.zeros(o)) for k, i, o in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]

    def logits(layers, x):
        for w, b in layers[:-1]:
            x = jax.nn.silu(x @ w + b)
        return (x @ layers[-1][0] + layers[-1][1])[:, 0]

    def loss(layers):
        return (weight * optax.sigmoid_binary_cross_entropy(logits(layers, x), y)).sum()

    optimiser = optax.adam(3e-3)

    def step(carry, _):
        layers, opt = carry
        change, opt = optimiser.update(jax.grad(loss)(layers), opt)
        return (optax.apply_updates(layers, change), opt), None

    (layers, _), _ = jax.lax.scan(step, (layers, optimiser.init(layers)), None, steps)
    return logits(layers, test)


def verdict(result: dict[str, Any]) -> str:
    """The measurements in words."""
    auc, floor = result["two_sample_auc"], result["two_sample_floor"]
    ratio, ends = result["nearest_neighbour"]["ratio"], result["terminal_rate"]
    told = (
        "cannot be told from"
        if auc < max(floor, 0.5) + 0.05
        else "can be told, with effort, from"
        if auc < 0.8
        else "can be told from"
    )
    copies = (
        "copies of the training states"
        if ratio < 0.3
        else "new states, as far from the training states as held-out ones are"
    )
    if ratio >= 1.5:
        copies = "states further from the training data than held-out ones are"
    elif ratio < 0.7 and ratio >= 0.3:
        copies = "states closer to the training data than held-out ones are"
    if ends["real"] == 0:
        ending = (
            "No recorded step ends, and no synthetic one"
            if ends["synthetic"] == 0
            else "Synthetic steps end where none should"
        )
    else:
        ending = f"Ends come {ends['synthetic'] / ends['real']:.2f} times as often as in held-out data"
    return (
        f"Synthetic transitions {told} held-out ones (AUC {auc:.2f}, floor {floor:.2f}); they are {copies}. {ending}."
    )


def _sample(data: Dataset, rng: np.random.Generator) -> dict[str, np.ndarray]:
    rows = rng.permutation(len(data))[:ROWS]
    return {name: getattr(data, name)[rows] for name in ("obs", "action", "reward", "next_obs")}


def _features(rows: dict[str, np.ndarray], train: Dataset) -> Float[np.ndarray, "n d"]:
    """(s, a, r, s' - s), standardised by the training rows."""
    stack = lambda r: np.concatenate([r["obs"], r["action"], r["reward"][:, None], r["next_obs"] - r["obs"]], 1)
    whole = {name: getattr(train, name) for name in ("obs", "action", "reward", "next_obs")}
    reference = stack(whole)
    return (stack(rows) - reference.mean(0)) / (reference.std(0) + 1e-6)


def _marginals(made: dict[str, np.ndarray], real: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """KS distance of the next state, the action and the reward per dimension; histograms of the first PICTURES."""
    from scipy.stats import ks_2samp

    out = []
    for name, label in (("reward", "reward"), ("action", "action"), ("next_obs", "state")):
        a, b = (np.atleast_2d(rows[name].T).T for rows in (made, real))
        for d in range(a.shape[1]):
            entry: dict[str, Any] = {"name": label if a.shape[1] == 1 and name == "reward" else f"{label} {d}"}
            entry["ks"] = float(np.asarray(ks_2samp(a[:, d], b[:, d]))[0])
            if len(out) < PICTURES:
                low, high = np.quantile(np.concatenate([a[:, d], b[:, d]]), [0.001, 0.999])
                edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
                for side, values in (("synthetic", a[:, d]), ("real", b[:, d])):
                    counts = np.histogram(values, edges)[0]
                    density = counts / (len(values) * (edges[1] - edges[0]))
                    entry[side] = {"edges": edges.round(6).tolist(), "density": density.round(6).tolist()}
            out.append(entry)
    return out


def _nearest(
    made: np.ndarray, real: np.ndarray, train: np.ndarray, unit: np.ndarray, rng: np.random.Generator
) -> dict[str, float]:
    """Median distance to the nearest training state, in standard deviations per dimension (root mean square)."""
    train = train[rng.permutation(len(train))[:50_000]]
    near = lambda x: float(np.median(_nearest_distance(x[:1_000] / unit, train / unit)))
    a, b = near(made), near(real)
    return {"synthetic_to_train": a, "holdout_to_train": b, "ratio": a / max(b, 1e-12)}


def _nearest_distance(x: np.ndarray, reference: np.ndarray) -> Float[np.ndarray, " n"]:
    """Distance of each row of x to its nearest reference row, per square root of the dimension."""
    centre = reference.mean(0)  # |a|^2 - 2 ab + |b|^2 loses small distances between points far from the origin
    x, points = x - centre, jnp.asarray(reference - centre, jnp.float32)
    norms = jnp.square(points).sum(1)
    nearest = lambda row: (norms - 2 * points @ row).min() + jnp.square(row).sum()
    squared = jax.lax.map(nearest, jnp.asarray(x, jnp.float32), batch_size=50)
    return np.sqrt(np.maximum(np.asarray(squared), 0.0) / x.shape[1])


def _inverse_consistency(
    synthetic: Dataset, later: np.ndarray, model: TrainedModel, rng: np.random.Generator
) -> float | None:
    """RMS difference (scaled actions) between the carried action and the one inferred from the pair, after the first
    step.
    """
    rows = np.flatnonzero(later)
    if len(rows) == 0:
        return None
    rows = rng.permutation(rows)[:ROWS]
    scales, inverse = model.model.scales, model.networks.inverse

    def error(obs, action, next_obs):
        inferred = inverse.infer(scales.obs.apply(obs), scales.change.apply(next_obs - obs))
        return jnp.square(inferred - scales.action(action)).mean()

    errors = jax.vmap(error)(*(jnp.asarray(getattr(synthetic, k)[rows]) for k in ("obs", "action", "next_obs")))
    return float(jnp.sqrt(errors.mean()))
