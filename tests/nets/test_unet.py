"""The U-Net: its matrix products against XLA's convolution, its size against the published code, its refusals."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from dawm.errors import ConfigError
from dawm.nets.unet import Conv, ConvBlock, Double, UNetConfig, make_unet

DIMENSIONS = ("NWC", "WIO", "NWC")


@pytest.mark.parametrize("time", [1, 2, 3, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2)])
def test_conv_is_xla_convolution(time, kernel, stride):
    conv, x = Conv(3, 4, kernel, stride=stride, key=jr.key(0)), jr.normal(jr.key(1), (time, 3))
    padding = [(kernel // 2, kernel // 2)]
    expected = jax.lax.conv_general_dilated(x[None], conv.weight, (stride,), padding, dimension_numbers=DIMENSIONS)[0]
    np.testing.assert_allclose(conv(x), expected + conv.bias, atol=1e-5)


@pytest.mark.parametrize("time", [1, 2, 4])
def test_double_is_pytorchs_transposed_convolution(time):
    """ConvTranspose1d(kernel 4, stride 2, padding 1): scatter x[i] * w[k] to position 2i + k - 1."""
    double, x = Double(3, key=jr.key(0)), jr.normal(jr.key(1), (time, 3))
    expected = np.zeros((2 * time, 3))
    for i in range(time):
        for k in range(4):
            if 0 <= 2 * i + k - 1 < 2 * time:
                expected[2 * i + k - 1] += np.asarray(x[i] @ double.weight[k])
    np.testing.assert_allclose(double(x), expected + double.bias, atol=1e-5)


def test_group_norm_is_over_time_and_the_channels_of_a_group():
    block = ConvBlock(3, 16, 5, key=jr.key(0))
    x = jr.normal(jr.key(1), (4, 3))
    h = np.asarray(block.conv(x), np.float64)
    for group in range(8):
        part = h[:, 2 * group : 2 * group + 2]
        h[:, 2 * group : 2 * group + 2] = (part - part.mean()) / np.sqrt(part.var() + 1e-5)
    np.testing.assert_allclose(block(x), h * np.tanh(np.log1p(np.exp(h))), atol=1e-4)


@pytest.mark.parametrize(("dim", "millions"), [(128, 60.7), (64, 15.2), (32, 3.8)])
def test_sizes_are_those_of_decision_diffusers_code(dim, millions):
    """Hopper with its action channel, conditioned on action and return: counted from the published layers."""
    model = eqx.filter_eval_shape(make_unet, UNetConfig(dim=dim), 8, 15, (3, 1), key=jr.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(model) if hasattr(leaf, "size"))
    assert count / 1e6 == pytest.approx(millions, abs=0.05)


def test_the_program_has_no_convolution():
    model = eqx.filter_eval_shape(make_unet, UNetConfig(dim=8), 8, 5, (2,), key=jr.key(0))
    loss = lambda model, x: model(x, jnp.asarray(0.1), (jnp.ones(2),)).sum()
    arrays, static = eqx.partition(model, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    program = jax.make_jaxpr(jax.grad(lambda arrays, x: loss(eqx.combine(arrays, static), x)))(arrays, jnp.ones((8, 5)))
    assert "conv_general_dilated" not in str(program)
    assert "dot_general" in str(program)


@pytest.mark.parametrize(("time", "mults"), [(8, (1, 4, 8)), (4, (1, 4, 8)), (12, (1, 2, 2)), (7, (2,)), (6, (1, 2))])
def test_lengths_that_halve_come_out_as_they_went_in(time, mults):
    model = make_unet(UNetConfig(dim=8, dim_mults=mults), time, 3, (), key=jr.key(0))
    assert jax.eval_shape(lambda x: model(x, jnp.asarray(0.1), ()), jnp.ones((time, 3))).shape == (time, 3)


@pytest.mark.parametrize("error", [ValueError, ConfigError])
def test_other_lengths_are_refused_with_the_remedy(error):
    with pytest.raises(error, match="length is a multiple of 4, got 10: change the window, or the number of entries"):
        make_unet(UNetConfig(dim=8), 10, 3, (), key=jr.key(0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"dim": 12}, "multiple of 8"), ({"dim_mults": ()}, "dim_mults"), ({"kernel": 4}, "kernel must be odd, got 4")],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**settings)
