"""Useful floating-point operations, counted by hand: those of the matrix products that the mathematics asks for.

    forward            y = x W        2 · rows · ins · outs
    weight gradients   x' dy          the same
    input gradients    dy W'          the same, of those inputs only that need one

Biases, activations, normalisation, losses and optimisers are left out, and so is what a program computes without need
(the gradient of the critic's weights while the policy climbs it, say). A rate of useful operations by the machine's own
rate at matrix products is therefore a share of what the mathematics could reach.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple


class Layer(NamedTuple):
    """A matrix of a perceptron."""

    ins: int
    outs: int
    back: int | None = None  # inputs that need a gradient: all where None, none in a layer that sees data


def perceptron(ins: int, outs: int, width: int, depth: int) -> list[Layer]:
    """`depth` hidden layers of `width` units; the first sees data."""
    sizes = [ins, *[width] * depth, outs]
    layers = [Layer(i, o) for i, o in itertools.pairwise(sizes)]
    return [layers[0]._replace(back=0), *layers[1:]]


def forward(rows: int, layers: list[Layer]) -> int:
    """Of evaluating `layers` on `rows` rows."""
    return sum(2 * rows * layer.ins * layer.outs for layer in layers)


def input_gradients(rows: int, layers: list[Layer]) -> int:
    """Of the gradients with respect to what enters each layer."""
    back = lambda layer: layer.ins if layer.back is None else layer.back
    return sum(2 * rows * back(layer) * layer.outs for layer in layers)


def training(rows: int, layers: list[Layer]) -> int:
    """Of the loss and the gradient of all weights."""
    return 2 * forward(rows, layers) + input_gradients(rows, layers)


def climbing(rows: int, layers: list[Layer], actions: int) -> int:
    """Of a value and its gradient with respect to the actions among the inputs; the weights stay as they are."""
    return forward(rows, layers) + input_gradients(rows, [layers[0]._replace(back=actions), *layers[1:]])


def td3_update(batch: int, obs: int, act: int, width: int, depth: int, *, climbed: int, freq: int = 2) -> float:
    """One update of twin critics, and 1/freq of one of the policy, which climbs the first or both of them.

    The targets' networks are evaluated, the critics trained, and the policy trained through `climbed` of them.
    With batch 256, 11 observations, 3 actions and two layers of 256 (TD3+BC on Hopper): 404 million.
    """
    actor, critic = perceptron(obs, act, width, depth), perceptron(obs + act, 1, width, depth)
    critics = forward(batch, actor) + 2 * forward(batch, critic) + 2 * training(batch, critic)
    policy = training(batch, actor) + climbed * climbing(batch, critic, act)
    return critics + policy / freq


def iql_update(batch: int, obs: int, act: int, width: int, depth: int) -> float:
    """One update of value, twin critics and policy. As above: 524 million."""
    actor, critic = perceptron(obs, act, width, depth), perceptron(obs + act, 1, width, depth)
    value = perceptron(obs, 1, width, depth)
    targets = 2 * forward(batch, critic) + forward(batch, value)  # Q' of the value's loss, V(s') of the critics'
    return targets + training(batch, value) + 2 * training(batch, critic) + training(batch, actor)


def learner_update(kind: str, batch: int, obs: int, act: int, width: int, depth: int) -> float:
    """One update of a learner by its name: td3bc, rebrac or iql."""
    if kind == "iql":
        return iql_update(batch, obs, act, width, depth)
    return td3_update(batch, obs, act, width, depth, climbed={"td3bc": 1, "rebrac": 2}[kind])


def linear_layer(layer: Any, back: int | None = None) -> Layer:
    """Of a `dawm.nets.linear.Linear`, whose weight is (ins, outs), with or without an axis of members before."""
    ins, outs = layer.weight.shape[-2:]
    return Layer(ins, outs, back)


def body_layers(body: Any, learnt: int = 0) -> list[Layer]:
    """The matrices of a `dawm.nets.mlp.MLPBody` that see each row; `learnt` of its conditions come from a network that
    is trained too.
    """
    layers = [linear_layer(body.entry, 0), linear_layer(body.exit)]
    layers += [] if body.given is None else [linear_layer(body.given, learnt)]
    layers += [linear_layer(part) for block in body.blocks for part in (block.inner, block.outer)]
    return layers if body.modulated_by_noise else layers + _modulating(body, learnt)


def level_layers(model: Any) -> list[Layer]:
    """The matrices of a world model's denoiser that see the noise level alone: once for all rows at one level."""
    body = model.body if model.config.kind == "trajectory" else model.members.body
    return _modulating(body) if body.modulated_by_noise else []


def _modulating(body: Any, learnt: int = 0) -> list[Layer]:
    layers = [linear_layer(body.embedding.layers[0], learnt), *map(linear_layer, body.embedding.layers[1:])]
    return layers if body.modulation is None else [*layers, linear_layer(body.modulation)]


def model_layers(model: Any) -> list[Layer]:
    """The matrices of a world model's denoiser that see each row, and of what encodes its conditions: those of one row,
    or member.
    """
    if model.config.kind == "trajectory":
        return body_layers(model.body)
    member = model.members
    encoder = [linear_layer(layer) for layer in member.encoder.layers]
    encoder[0] = encoder[0]._replace(back=model.config.provenance)
    return encoder + body_layers(member.body, learnt=model.config.context)
