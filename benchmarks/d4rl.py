"""Published D4RL scores: the last checkpoint after a million updates, four seeds, as CORL and OfflineRL-Kit have them.

TD3+BC, IQL, CQL, ReBRAC and EDAC are CORL's (its README; the last checkpoint, not the best one that it also lists),
MOPO, RAMBO, COMBO and MOBILE OfflineRL-Kit's (its README), with a penalty and a rollout length chosen for each task.
All are of D4RL's own simulators of the versions named, so a score of a newer simulator is comparable in size only.
"""

from __future__ import annotations

SOURCE = (
    "published D4RL scores (CORL and OfflineRL-Kit, last checkpoint after 1,000,000 updates, mean ± std of four seeds)"
)

_CORL = ("td3bc", "iql", "cql", "rebrac", "edac")
_KIT = ("mopo", "rambo", "combo", "mobile")

Score = tuple[float, float | None]  # mean and spread over seeds, None where none is given


def _row(corl: tuple[Score | float, ...], kit: tuple[Score, ...] = ()) -> dict[str, Score]:
    named = [*zip(_CORL, corl, strict=True), *zip(_KIT, kit, strict=bool(kit))]
    return {method: score if isinstance(score, tuple) else (score, None) for method, score in named}


PUBLISHED_SCORES: dict[str, dict[str, Score]] = {
    "halfcheetah-medium-v2": _row(
        ((48.10, 0.18), (48.31, 0.22), 47.04, 64.04, 67.70), ((72.4, 4.2), (78.7, 1.1), (71.9, 8.5), (75.8, 0.8))
    ),
    "halfcheetah-medium-replay-v2": _row(
        ((44.84, 0.59), (44.46, 0.22), 45.04, 51.18, 62.06), ((72.1, 3.8), (68.5, 3.6), (66.5, 6.5), (71.9, 3.2))
    ),
    "halfcheetah-medium-expert-v2": _row(
        ((90.78, 6.04), (94.74, 0.52), 95.63, 103.80, 104.76), ((83.6, 12.5), (98.8, 4.3), (98.2, 0.2), (100.9, 1.5))
    ),
    "hopper-medium-v2": _row(
        ((60.37, 3.49), (67.53, 3.78), 59.08, 102.29, 101.70), ((62.8, 38.1), (82.1, 38.0), (84.7, 9.3), (103.6, 1.0))
    ),
    "hopper-medium-replay-v2": _row(
        ((64.42, 21.52), (97.43, 6.39), 95.11, 94.98, 99.66), ((92.7, 20.7), (93.4, 11.4), (90.1, 25.2), (105.1, 1.3))
    ),
    "hopper-medium-expert-v2": _row(
        ((101.17, 9.07), (107.42, 7.80), 99.26, 109.45, 105.19),
        ((74.6, 44.2), (85.0, 30.7), (108.8, 2.6), (112.5, 0.2)),
    ),
    "walker2d-medium-v2": _row(
        ((82.71, 4.78), (80.91, 3.17), 80.75, 85.82, 93.36), ((84.1, 3.2), (86.1, 1.0), (83.9, 2.0), (88.3, 2.5))
    ),
    "walker2d-medium-replay-v2": _row(
        ((85.62, 4.01), (82.15, 3.03), 73.09, 84.25, 87.10), ((85.9, 5.3), (73.7, 6.5), (89.4, 6.4), (90.5, 1.7))
    ),
    "walker2d-medium-expert-v2": _row(
        ((110.03, 0.36), (111.72, 0.86), 109.56, 111.86, 114.75),
        ((108.2, 4.3), (78.4, 45.4), (110.0, 0.2), (114.5, 2.2)),
    ),
    "maze2d-umaze-v1": _row(((29.41, 12.31), (42.11, 0.58), -8.90, 106.87, 95.26)),
    "maze2d-medium-v1": _row(((59.45, 36.25), (34.85, 2.72), 86.11, 105.11, 57.04)),
    "maze2d-large-v1": _row(((97.10, 25.41), (61.72, 3.50), 23.75, 78.33, 95.60)),
    "antmaze-umaze-v2": _row(((70.75, 39.18), (77.00, 5.52), 92.75, 97.75, 0.0)),
    "antmaze-umaze-diverse-v2": _row(((44.75, 11.61), (54.25, 5.54), 37.25, 83.50, 0.0)),
    "antmaze-medium-play-v2": _row((0.25, (65.75, 11.71), 65.75, 89.50, 0.0)),
    "antmaze-medium-diverse-v2": _row((0.25, (73.75, 5.45), 67.25, 83.50, 0.0)),
    "antmaze-large-play-v2": _row((0.0, (42.00, 4.53), 20.75, 52.25, 0.0)),
    "antmaze-large-diverse-v2": _row((0.0, (30.25, 3.63), 20.50, 64.00, 0.0)),
    "pen-human-v1": _row((-3.88, 78.49, 13.71, 103.2, 5.1)),
    "pen-cloned-v1": _row((5.13, 83.42, 1.04, 102.8, 12.0)),
    "pen-expert-v1": _row((122.53, 128.05, -1.41, 152.2, -1.6)),
    "door-human-v1": _row((-0.33, 3.26, 5.53, -0.10, -0.12)),
    "door-cloned-v1": _row((-0.34, 3.07, -0.33, 0.06, 2.66)),
    "door-expert-v1": _row((-0.33, 106.65, -0.32, 106.4, 106.3)),
    "hammer-human-v1": _row((1.02, 1.79, 0.14, 0.24, 0.28)),
    "hammer-cloned-v1": _row((0.25, 1.50, 0.30, 5.0, 0.19)),
    "hammer-expert-v1": _row((3.11, 128.68, 0.26, 133.6, 28.5)),
    "relocate-human-v1": _row((-0.29, 0.12, 0.06, 0.16, -0.17)),
    "relocate-cloned-v1": _row((-0.30, 0.04, -0.29, 1.66, 0.17)),
    "relocate-expert-v1": _row((-1.73, 106.11, -0.30, 107.5, 71.9)),
}
