"""A checkpoint holds what was saved to the last bit, says when it does not, and is never half a file."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dawm.errors import CheckpointError
from dawm.run import checkpoint


def tree():
    return {
        "net": eqx.nn.MLP(3, 2, 4, 1, key=jr.key(0)),
        "step": jnp.asarray(7),
        "empty": jnp.zeros((0, 3)),
        "flag": np.array([True, False]),
        "half": jnp.asarray([1.5, -2.0], jnp.bfloat16),
        "rule": "not an array",
    }


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if eqx.is_array(x):
            assert x.dtype == y.dtype
            assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
        else:
            assert x is y or x == y


def test_a_tree_comes_back_bit_for_bit(tmp_path):
    saved = tree()
    checkpoint.save(tmp_path / "a.ckpt", saved, {"step": 7})
    like = jax.tree.map(lambda x: jnp.zeros_like(x) if isinstance(x, jax.Array) else x, saved)
    assert_same(checkpoint.load(tmp_path / "a.ckpt", like), saved)
    shapes = eqx.filter_eval_shape(lambda: saved | {"rule": None})
    assert_same(checkpoint.load(tmp_path / "a.ckpt", shapes)["net"], saved["net"])
    assert checkpoint.read_header(tmp_path / "a.ckpt") == {"step": 7}


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.int32, np.uint8, np.bool_, np.float64]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
def test_any_array_comes_back_with_its_bits(tmp_path_factory, array):
    path = tmp_path_factory.mktemp("any") / "a.ckpt"
    checkpoint.save(path, array)
    back = checkpoint.load(path, np.empty(array.shape, array.dtype))
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()


def test_every_flipped_byte_is_noticed(tmp_path):
    path, saved = tmp_path / "a.ckpt", {"w": np.arange(60.0), "step": np.asarray(7)}
    checkpoint.save(path, saved, {"step": 7, "name": "x"})
    whole = path.read_bytes()
    start_of_arrays = whole.index(b"\n", whole.index(b"leaves")) + 1
    places = [*range(start_of_arrays), *range(start_of_arrays, len(whole), 11), len(whole) - 1]
    for place in places:  # all bytes of magic, checksum and header, and every eleventh of the arrays
        for flip in (0x01, 0x80):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            with pytest.raises(CheckpointError):
                checkpoint.load(path, saved)
            with pytest.raises(CheckpointError):
                checkpoint.read_header(path)


@pytest.mark.parametrize("keep", [0, 5, 18, 60, 200, -1])
def test_a_file_cut_short_is_noticed(tmp_path, keep):
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, tree())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"damaged|corrupt"):
        checkpoint.load(path, tree())


def test_another_version_is_told_apart_from_damage(tmp_path):
    checkpoint.save(tmp_path / "a.ckpt", {"a": jnp.ones(3)})
    content = (tmp_path / "a.ckpt").read_bytes()
    (tmp_path / "a.ckpt").write_bytes(content.replace(b"dawm-checkpoint 2", b"dawm-checkpoint 1", 1))
    with pytest.raises(CheckpointError, match="another version of dawm"):
        checkpoint.load(tmp_path / "a.ckpt", {"a": jnp.ones(3)})


def test_other_settings_are_told_apart_from_damage(tmp_path):
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, {"w": jnp.zeros((2, 3))})
    with pytest.raises(CheckpointError, match=r"float32\[2, 3\] where this configuration has float32\[3, 2\]"):
        checkpoint.load(path, {"w": jnp.zeros((3, 2))})
    with pytest.raises(CheckpointError, match="holds 1 arrays where this configuration has 2"):
        checkpoint.load(path, {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)})
    with pytest.raises(CheckpointError, match="cannot read the checkpoint"):
        checkpoint.load(tmp_path / "none.ckpt", {"w": jnp.zeros((2, 3))})


def test_a_crash_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    checkpoint.write_whole(path, lambda file: file.write(b"old"))

    def crash(file):
        file.write(b"half of the n")
        file.flush()
        raise OSError("power cut")

    with pytest.raises(OSError, match="power cut"):
        checkpoint.write_whole(path, crash)
    assert path.read_bytes() == b"old"
    checkpoint.write_whole(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]  # the part of the crash is gone


def test_a_crash_just_before_the_rename_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, jnp.asarray(1.0))

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, jnp.asarray(2.0))
    assert float(checkpoint.load(path, jnp.asarray(0.0))) == 1.0
