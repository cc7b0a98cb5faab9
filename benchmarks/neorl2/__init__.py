"""Three tasks of NeoRL-2 as Gymnasium environments: DMSD-v0, Pipeline-v0 and SafetyHalfCheetah-v0.

Importing this module registers them, so `gymnasium.make("benchmarks.neorl2:Pipeline-v0")` works anywhere the repository
root is importable; `gymnasium.make_vec` gives the batched version of the first two. No episode ever ends early: all
`terminated` flags are False, and the registered time limit sets `truncated`.

Source: Gao et al., "NeoRL-2" (arXiv 2503.19267). The dynamics are our own code, written from the equations.
"""

from gymnasium import register

from benchmarks.neorl2.published import PUBLISHED_RETURNS, PUBLISHED_SCORES, REFERENCES

__all__ = ["PUBLISHED_RETURNS", "PUBLISHED_SCORES", "REFERENCES"]

register(
    id="DMSD-v0",
    entry_point="benchmarks.neorl2.dmsd:make",
    vector_entry_point="benchmarks.neorl2.dmsd:make_vector",
    max_episode_steps=100,
)
register(
    id="Pipeline-v0",
    entry_point="benchmarks.neorl2.pipeline:make",
    vector_entry_point="benchmarks.neorl2.pipeline:make_vector",
    max_episode_steps=1000,
)
register(
    id="SafetyHalfCheetah-v0",
    entry_point="benchmarks.neorl2.safety_half_cheetah:SafetyHalfCheetah",
    max_episode_steps=1000,
)
