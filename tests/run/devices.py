"""What the tests of several devices do on however many this process has, and what they find there.

    python devices.py OUT ONE            a model and policies on the devices of the process, results in OUT
    python devices.py OUT ONE worlds     the other kinds of world models from data to library instead

ONE is the folder of the same run on one device, whose half-way checkpoint is taken up here.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax
import jax.monitoring
import jax.numpy as jnp
import jax.random as jr
import linear_world
import numpy as np

from dawm.agents.config import PolicyConfig
from dawm.agents.fit import policy_update, train_policy
from dawm.agents.policy import initial_state, seeds_of
from dawm.agents.td3bc import TD3BCConfig
from dawm.data.sampling import make_pool
from dawm.diffusion.process import ProcessConfig
from dawm.nets.mlp import MLPBodyConfig
from dawm.run.folder import RunFolder
from dawm.run.loop import LoopConfig, compile_updates, fit
from dawm.run.mesh import device_count, split_rows, split_seeds, spread
from dawm.run.optim import make_optimiser
from dawm.synth.futures import FuturesConfig, build_library
from dawm.synth.generator import GenerateConfig, generate
from dawm.types import Start
from dawm.worldmodel import fit as world_fit
from dawm.worldmodel import trained as trained_models
from dawm.worldmodel.gaussian import EnsembleModelConfig
from dawm.worldmodel.latent import LatentConfig
from dawm.worldmodel.networks import Networks, fit_scales
from dawm.worldmodel.trained import TrainedModel
from dawm.worldmodel.transition import TransitionConfig

BATCH, SEEDS, STEPS = 96, 4, 20  # 24 rows for each of four devices, a number that no width of a network is
LOOP = LoopConfig(steps=STEPS, chunk=5, monitor_every=STEPS, save_every=STEPS // 2)
BODY, PROCESS = MLPBodyConfig(width=16, depth=1, embed=8), ProcessConfig(steps=3)
SHARED = {"body": replace(BODY, conditioning="noise"), "process": replace(PROCESS, shared=4)}  # rows share levels
POLICY = PolicyConfig(algo=TD3BCConfig(width=8, depth=1), batch_size=16, seeds=SEEDS, loop=LOOP)
WORLDS = {
    "trajectory": linear_world.TrajectoryConfig(horizon=4, **SHARED),
    "latent": LatentConfig(members=3, horizon=2, context=8, body=BODY, process=PROCESS),
    "transition": TransitionConfig(body=BODY, process=PROCESS),
    "ensemble": EnsembleModelConfig(horizon=2),
}


def settings(kind: str):
    networks = linear_world.tiny_networks(batch_size=BATCH, loop=LOOP)
    return linear_world.tiny_config(
        model=WORLDS[kind], networks=networks, batch_size=BATCH, loop=LOOP, measure_windows=4, measure_samples=2
    )


def numbers(tree) -> np.ndarray:
    """All floating numbers of a tree in one row."""
    return np.concatenate(
        [np.asarray(leaf).ravel() for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_inexact_array))]
    )


def diffusion(data, out: Path | None):
    """(the trained trajectory model, its state): the second phase, around one-step networks of random numbers."""
    config, scales = settings("trajectory"), fit_scales(data, data.spec)
    sizes = data.obs.shape[1], data.action.shape[1], True
    rng, build = np.random.default_rng(0), lambda key: Networks(config.networks, *sizes, key=key)
    shapes = eqx.filter_eval_shape(build, jr.key(0))
    drawn = lambda leaf: jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype)  # without a program that draws
    networks = jax.tree.map(lambda leaf: drawn(leaf) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf, shapes)
    model = world_fit.assemble(config, data.spec, scales, networks, data, key=jr.key(1))
    windows, fold = world_fit.training_rows(data, config)
    optimiser = make_optimiser(config.optim, config.loop.steps)
    folder = None if out is None else RunFolder.start(out, "world_model", {}, {})
    state = fit(
        world_fit.diffusion_update(config, optimiser), world_fit.initial_state(model, optimiser),
        (model, windows, world_fit.annotated(model, windows, fold)), config.loop,
        seed=3, folder=folder, layout=split_rows(config.batch_size),
    )  # fmt: skip
    facts = {"name": data.info.name, "origin": data.info.origin, "fingerprint": data.fingerprint}
    return TrainedModel(model.with_trained(state[1]), config, data.spec, facts, {}), state


def generation(model: TrainedModel, data) -> dict[str, np.ndarray]:
    """Synthetic rows, and on how many devices a block of futures lies when it is made."""
    made = generate(model, data, GenerateConfig(transitions=2_000))
    rows = np.arange(trained_models.BATCH) % len(data)
    starts = Start(data.obs[rows], data.action[rows], np.zeros(len(rows), np.float32), data.source[rows])
    out = trained_models._generate(model.model, starts, jr.key(0), jnp.asarray(0), 0)
    shards = [len(rows) // leaf.addressable_shards[0].data.shape[0] for leaf in jax.tree.leaves(out)]
    columns = {name: getattr(made, name) for name in ("obs", "action", "reward", "next_obs", "terminal")}
    return columns | {"shards": np.array(shards)}


def half_way(folder: Path, to: Path) -> Path:
    """A copy of a run that was stopped at its half: its last checkpoint is not there."""
    shutil.copytree(folder, to)
    last = to / "checkpoints" / f"{STEPS:08d}.ckpt"
    assert last.exists()
    last.unlink()
    (to / "finished").unlink(missing_ok=True)
    return to


def chunks(data) -> dict[str, np.ndarray]:
    """Two more chunks of updates of the policies: where the state lies, and what the second compiles."""
    events = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: events.append(event) if "compile" in event else None
    )
    spec, layout = data.spec, split_seeds(SEEDS)
    nothing = np.zeros(spec.obs_dim, np.float32)
    pool = layout.copied(make_pool(data.transitions()))
    state = layout.placed(initial_state(POLICY, spec, nothing, nothing + 1, len(data)))
    members = seeds_of(POLICY)
    run, key = compile_updates(policy_update(POLICY, spec), LOOP.chunk, layout, members), members.keys(0)
    state, _ = run(state, pool, key, 0)
    places, compiled = [leaf.sharding for leaf in jax.tree.leaves(state)], len(events)
    state, _ = jax.block_until_ready(run(state, pool, key, LOOP.chunk))
    again = [leaf.sharding for leaf in jax.tree.leaves(state)]
    weights = jax.tree.leaves(eqx.filter(state.learner.critic, eqx.is_array))
    seeds = {(shard.device.id, shard.index[0].start or 0) for leaf in weights for shard in leaf.addressable_shards}
    return {
        "compiled_first": np.array(compiled),
        "compiled_later": np.array(len(events) - compiled),
        "moved": np.array(places != again),
        "seeds": np.array(sorted(seeds)),
    }


def small() -> dict[str, np.ndarray]:
    """What `dawm.run.mesh` does with sizes that the devices share evenly and with others."""
    count, placed = jax.local_device_count(), split_seeds(6).placed(jnp.zeros((6, 2)))
    parts = lambda n: len(jax.jit(spread)(jnp.zeros(n)).sharding.device_set)
    with jax.default_device(jax.local_devices()[-1]):
        chosen = device_count(8)
    home = split_seeds(6).home(placed)
    return {
        "count": np.array(count),
        "even": np.array(parts(8)),
        "uneven": np.array(parts(7)),
        "keys": np.array(len(jax.jit(spread)(jr.split(jr.key(0), 8)).sharding.device_set)),
        "six": np.array([split_seeds(6).devices, placed.addressable_shards[0].data.shape[0]]),
        "five": np.array(split_seeds(5).devices),
        "chosen": np.array(chosen),
        "home": np.array([len(home.sharding.device_set), home.committed]),
    }


def both(out: Path, other: Path | None) -> None:
    """The parts of the tests that are not slow; `other` is None on one device, where there is nothing to take up."""
    data = linear_world.make_data(40)
    model, state = diffusion(data, out / "model")
    results = {"generated": generation(model, data)}
    policy = train_policy(data, POLICY, folder=out / "policy")
    results["trained"] = {"model": numbers(state), "policy": numbers((policy.actor, policy.value))}
    if other is not None:
        results |= {"small": small(), "chunks": chunks(data), "resumed": resumed(other, out)}
    write(out, results)


def resumed(other: Path, out: Path) -> dict[str, np.ndarray]:
    """The runs of `other` from their half to their end, on the devices of this process."""
    data = linear_world.make_data(40)
    half_way(other / "model", out / "again"), half_way(other / "policy", out / "policy-again")
    policy = train_policy(data, POLICY, folder=out / "policy-again")
    return {"model": numbers(diffusion(data, out / "again")[1]), "policy": numbers((policy.actor, policy.value))}


def worlds(out: Path, other: Path | None) -> None:
    """The other kinds of world models: both phases of training, generation, a library of futures."""
    del other
    data, results = linear_world.make_data(40), {}
    for kind in ("latent", "transition", "ensemble"):
        model = world_fit.train_world_model(data, settings(kind), folder=out / kind)
        found = generation(model, data) | {"model": numbers(model.model)}
        if WORLDS[kind].dynamics:
            library = build_library(model, data, FuturesConfig(futures=4, block=256), folder=out / f"{kind}-library")
            found["library"] = library.rows(np.arange(len(data))).next_obs
        results[kind] = found
    write(out, results)


def write(out: Path, results: dict[str, dict[str, np.ndarray]]) -> None:
    np.savez(
        out / "results.npz", **{f"{part}/{name}": value for part in results for name, value in results[part].items()}
    )


def losses(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


if __name__ == "__main__":
    here, one = (Path(word) for word in sys.argv[1:3])
    here.mkdir(parents=True, exist_ok=True)
    (worlds if "worlds" in sys.argv else both)(here, one)
