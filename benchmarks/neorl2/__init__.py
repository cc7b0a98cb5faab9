"""Three tasks of NeoRL-2 as Gymnasium environments: DMSD-v0, Pipeline-v0 and SafetyHalfCheetah-v0.

Importing this module registers them, so `gymnasium.make("benchmarks.neorl2:Pipeline-v0")` works wherever the root of
the repository is importable; `gymnasium.make_vec` gives the batched version of the first two. Beside them stand two
variants whose numbers are never to be set beside published ones: DMSD-Heavy-v0 (m = 30, shifted dynamics) and
Pipeline-Start80-v0 (every episode starts at target 80, as in the recordings). No episode ever ends early: all
`terminated` flags are False, and the registered time limit sets `truncated`.

Source: Gao et al., "NeoRL-2" (arXiv 2503.19267). The dynamics are our own code, written from the equations.
"""

from gymnasium import register

from benchmarks.neorl2.published import PUBLISHED_RETURNS, PUBLISHED_SCORES, REFERENCES

__all__ = ["PUBLISHED_RETURNS", "PUBLISHED_SCORES", "REFERENCES"]

for name, module, limit, options in (
    ("DMSD-v0", "dmsd", 100, {}),
    ("DMSD-Heavy-v0", "dmsd", 100, {"mass": 30.0}),
    ("Pipeline-v0", "pipeline", 1000, {}),
    ("Pipeline-Start80-v0", "pipeline", 1000, {"start": 80.0}),
):
    register(
        id=name,
        entry_point=f"benchmarks.neorl2.{module}:make",
        vector_entry_point=f"benchmarks.neorl2.{module}:make_vector",
        max_episode_steps=limit,
        kwargs=options,
    )
register(
    id="SafetyHalfCheetah-v0",
    entry_point="benchmarks.neorl2.safety_half_cheetah:SafetyHalfCheetah",
    max_episode_steps=1000,
)
