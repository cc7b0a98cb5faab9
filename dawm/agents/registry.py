"""The algorithms. To add one: a file with its configuration and its `make_*`, and a row here."""

from __future__ import annotations

from dawm.agents.base import Learner
from dawm.agents.bc import BCConfig, make_bc
from dawm.agents.iql import IQLConfig, make_iql
from dawm.agents.quantile import QuantileConfig, make_quantile
from dawm.agents.rebrac import ReBRACConfig, make_rebrac
from dawm.agents.targets import Target, one_step
from dawm.agents.td3bc import TD3BCConfig, make_td3bc
from dawm.types import Spec

AgentConfig = BCConfig | TD3BCConfig | IQLConfig | ReBRACConfig | QuantileConfig

AGENTS = {
    "bc": (BCConfig, make_bc),
    "td3bc": (TD3BCConfig, make_td3bc),
    "iql": (IQLConfig, make_iql),
    "rebrac": (ReBRACConfig, make_rebrac),
    "quantile": (QuantileConfig, make_quantile),
}


def make_agent(config: AgentConfig, spec: Spec, steps: int, target: Target = one_step) -> Learner:
    """The learner of one seed for a run of `steps` updates (schedules need the length)."""
    return AGENTS[config.kind][1](config, spec, steps, target)
