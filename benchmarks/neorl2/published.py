"""Published NeoRL-2 numbers for our three tasks (repository polixir/NeoRL2 at b50d91d, benchmark/task_*.csv).

How they were made: every method was trained with seeds 7, 42 and 210 at each point of a grid of hyper-parameters; the
table shows the last evaluation (1000 episodes) of the grid point with the best *online* return, as mean and standard
deviation (n - 1) over its runs. A method with fixed settings gets no such help, so `MEDIAN_RETURNS` gives the median
grid point. Which target Pipeline started from when these were measured is not known (see `pipeline.py`).
"""

from __future__ import annotations

SOURCE = "published NeoRL-2 scores (grid point chosen by online return, mean ± std over three seeds)"

# Return that means a score of 0, and of 100.
REFERENCES = {
    "DMSD-v0": (30.60, 849.51),
    "Pipeline-v0": (-296.0, 751.0),
    "SafetyHalfCheetah-v0": (-283.0, 2507.0),
}

# Score, mean and spread. "data" is the mean of the training set.
PUBLISHED_SCORES = {
    "DMSD-v0": {
        "data": (56.64, None),
        "bc": (65.09, 1.64),
        "cql": (70.24, 1.12),
        "edac": (78.65, 2.30),
        "mcq": (77.75, 1.16),
        "td3bc": (60.01, 0.79),
        "mopo": (68.23, 0.65),
        "combo": (68.33, 0.41),
        "rambo": (76.22, 1.92),
        "mobile": (64.36, 0.78),
    },
    "Pipeline-v0": {
        "data": (69.25, None),
        "bc": (68.61, 13.42),
        "cql": (81.08, 8.25),
        "edac": (72.88, 4.64),
        "mcq": (49.70, 7.39),
        "td3bc": (81.95, 7.46),
        "mopo": (-26.33, 92.65),
        "combo": (55.50, 4.28),
        "rambo": (24.06, 74.39),
        "mobile": (65.51, 4.05),
    },
    "SafetyHalfCheetah-v0": {
        "data": (73.56, None),
        "bc": (70.16, 0.38),
        "cql": (71.18, 0.61),
        "edac": (53.11, 11.14),
        "mcq": (54.65, 4.32),
        "td3bc": (68.58, 0.39),
        "mopo": (23.71, 24.28),
        "combo": (57.79, 13.27),
        "rambo": (-422.43, 307.49),
        "mobile": (8.68, 3.93),
    },
}

# Mean return, in the environment's units.
PUBLISHED_RETURNS = {
    "DMSD-v0": {
        "data": 494.45,
        "bc": 563.63,
        "cql": 605.78,
        "edac": 674.69,
        "mcq": 667.34,
        "td3bc": 522.05,
        "mopo": 589.37,
        "combo": 590.17,
        "rambo": 654.76,
        "mobile": 557.67,
    },
    "Pipeline-v0": {
        "data": 429.01,
        "bc": 422.36,
        "cql": 552.92,
        "edac": 467.05,
        "mcq": 224.35,
        "td3bc": 562.06,
        "mopo": -571.70,
        "combo": 285.11,
        "rambo": -44.13,
        "mobile": 389.88,
    },
    "SafetyHalfCheetah-v0": {
        "data": 1769.31,
        "bc": 1674.53,
        "cql": 1702.90,
        "edac": 1198.71,
        "mcq": 1241.70,
        "td3bc": 1630.44,
        "mopo": 378.46,
        "combo": 1329.28,
        "rambo": -12068.85,
        "mobile": -40.77,
    },
}

# Mean return of the median grid point: the method without the help of the environment in choosing its settings.
MEDIAN_RETURNS = {
    "DMSD-v0": {
        "bc": 560.5,
        "cql": 484.4,
        "edac": 633.8,
        "mcq": 576.5,
        "td3bc": 514.7,
        "mopo": 575.8,
        "combo": 575.9,
        "rambo": 637.1,
        "mobile": 451.2,
    },
    "Pipeline-v0": {
        "bc": 330.5,
        "cql": 376.8,
        "edac": 384.3,
        "mcq": -266.1,
        "td3bc": 512.1,
        "mopo": -1110.4,
        "combo": 143.7,
        "rambo": -752.8,
        "mobile": -99.2,
    },
    "SafetyHalfCheetah-v0": {
        "bc": 841.1,
        "cql": 1546.2,
        "edac": 517.5,
        "mcq": 278.0,
        "td3bc": 1578.4,
        "mopo": -239.8,
        "combo": 874.4,
        "rambo": -49978.2,
        "mobile": -18775.4,
    },
}
