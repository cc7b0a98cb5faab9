"""The bodies that a denoiser can have. A body maps one window, one noise level and a tuple of conditions to a window:

body(x: (time, channels), noise: (), conditions: (c_1,), (c_2,), ...) -> (time, channels)
"""

from collections.abc import Callable, Sequence

from jaxtyping import PRNGKeyArray

from dawm.nets.mlp import MLPBodyConfig, make_mlp_body
from dawm.nets.transformer import TransformerConfig, make_transformer
from dawm.nets.unet import UNetConfig, make_unet

BodyConfig = MLPBodyConfig | UNetConfig | TransformerConfig

BODIES: dict[str, tuple[type, Callable]] = {
    "mlp": (MLPBodyConfig, make_mlp_body),
    "unet": (UNetConfig, make_unet),
    "transformer": (TransformerConfig, make_transformer),
}


def make_body(config: BodyConfig, time: int, channels: int, cond_dims: Sequence[int], *, key: PRNGKeyArray) -> Callable:
    """The body that a configuration describes, for windows (time, channels) and conditions of the given sizes.

    Raises ConfigError where the body cannot serve windows of this length.
    """
    _, build = BODIES[config.kind]
    return build(config, time, channels, tuple(cond_dims), key=key)
