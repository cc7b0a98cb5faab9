"""The stages one at a time, on the dataset inside the package: world model, synthetic data, policy, scores.

    python examples/stage_by_stage.py            # needs the extra `mujoco` for the scores
    python examples/stage_by_stage.py --tiny     # hardly any training, and no scores: only to see that it works

Each stage reads and writes a run folder. Run the script again after an interruption: it goes on where it stopped.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import dawm


def main(out: str = "runs/stages", quick: bool = False) -> None:
    data = dawm.load("demo")
    if quick:
        data = data.select(range(min(40, data.episodes)))
    print(data.summary())

    # what is modelled, and how: every choice is a field
    model_config = dawm.WorldModelConfig(
        model=dawm.TrajectoryConfig(horizon=4, process=dawm.ProcessConfig(step="euler", steps=4)),
        loop=dawm.LoopConfig(steps=10_000),
    )
    policy_config = dawm.PolicyConfig(algo=dawm.IQLConfig(), ratio=0.5, seeds=2, loop=dawm.LoopConfig(steps=50_000))
    count = 100_000
    if quick:
        loop, count = dawm.LoopConfig(steps=20, chunk=20, monitor_every=20, save_every=20), 200
        small = replace(model_config.networks.ensemble, members=2, width=16)
        networks = replace(model_config.networks, loop=loop, batch_size=32, ensemble=small)
        model_config = replace(model_config, loop=loop, networks=networks, measure_windows=16, measure_samples=2)
        policy_config = replace(policy_config, loop=loop)

    model = dawm.train_world_model(data, model_config, folder=f"{out}/model")
    print("first-step error over that of a plain network:", model.measured["first_step_ratio"])

    shard = 64 if quick else 2_048
    synthetic = dawm.generate(
        model, data, dawm.GenerateConfig(transitions=count, shard=shard), folder=f"{out}/synthetic"
    )
    print(synthetic.summary())

    policy = dawm.train_policy(data, policy_config, synthetic=synthetic, folder=f"{out}/policy")
    print(policy[0](data.obs[:2]))
    if not quick:
        scores = dawm.score_policy(f"{out}/policy", "Hopper-v5", episodes=10)
        print(f"return {scores['return_mean']:.0f}, score {scores['normalized_score']}")
    print(dawm.write_report(f"{out}/policy"))


if __name__ == "__main__":
    main(quick="--tiny" in sys.argv)
