"""Four devices do what one does: the same losses, weights, rows and policies, and each its part of the work.

One device is this process; the four are virtual devices of a process of their own.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import devices
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dawm.run.mesh import split_rows, split_seeds, spread

COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
pytestmark = pytest.mark.skipif(jax.local_device_count() != 1, reason="these tests compare with one device")


def on_four(folder: Path, one: Path, *words: str) -> dict[str, np.ndarray]:
    """What the same functions find in a process of four devices; compiled programs are written beside it."""
    flags = f"--xla_force_host_platform_device_count=4 --xla_dump_to={folder}-programs"
    flags += " --xla_dump_hlo_as_text --xla_dump_hlo_module_re=jit_run"
    flags = f"{os.environ.get('XLA_FLAGS', '')} {flags}"
    env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, devices.__file__, str(folder), str(one), *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4_000:]
    return dict(np.load(folder / "results.npz"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("devices")


@pytest.fixture(scope="module")
def one(folder):
    (folder / "one").mkdir()
    devices.both(folder / "one", None)
    return dict(np.load(folder / "one" / "results.npz"))


@pytest.fixture(scope="module")
def four(folder, one):
    return on_four(folder / "four", folder / "one")


def assert_close(found, expected, atol=1e-5):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=atol)


def test_losses_and_weights_are_those_of_one_device(one, four, folder):
    rows, wanted = (devices.losses(folder / name / "model") for name in ("four", "one"))
    assert len(wanted) == devices.STEPS // devices.LOOP.chunk
    assert wanted[0]["loss"] != wanted[-1]["loss"]
    for row, want in zip(rows, wanted, strict=True):
        assert_close([row["loss"], row["step"]], [want["loss"], want["step"]], atol=0)
    assert_close(four["trained/model"], one["trained/model"])


def programs(folder):
    """The compiled chunks in their order."""
    return [path.read_text() for path in sorted(Path(f"{folder}-programs").glob("*after_optimizations.txt"))]


def between_devices(program: str) -> list[str]:
    """What goes from device to device."""
    return [word for word in COLLECTIVES if f"{word}(" in program]


def test_the_batch_is_split_and_gradients_are_summed(four, folder):
    update = programs(folder / "four")[0]  # of the diffusion
    assert between_devices(update) == ["all-reduce"]
    part, whole = devices.BATCH // 4, devices.BATCH
    assert re.search(rf"f32\[{part},\d+\]\S* dot\(", update)
    assert not re.search(rf"f32\[{whole},\d+\]\S* dot\(", update)


def test_synthetic_rows_are_the_same_and_are_made_by_all_devices(one, four):
    assert len(one["generated/obs"]) >= 2_000
    for name in ("obs", "action", "reward", "next_obs"):
        assert_close(four[f"generated/{name}"], one[f"generated/{name}"])
    np.testing.assert_array_equal(four["generated/terminal"], one["generated/terminal"])
    assert set(one["generated/shards"]) == {1}
    assert set(four["generated/shards"]) == {4}


def test_policies_are_the_same_and_each_device_has_its_seed(one, four, folder):
    assert_close(four["trained/policy"], one["trained/policy"])
    assert four["chunks/seeds"].tolist() == [[0, 0], [1, 1], [2, 2], [3, 3]]  # (device, first seed it holds)
    update = programs(folder / "four")[1]
    assert "num_partitions=4" in update
    assert not re.search(rf"f32\[{devices.SEEDS},\d+,\S* dot\(", update)  # one seed's products, and not those of four
    assert between_devices(update) == []


def test_later_chunks_compile_nothing_and_find_the_state_in_its_place(four):
    assert four["chunks/compiled_first"] > 0
    assert four["chunks/compiled_later"] == 0
    assert not four["chunks/moved"]


def test_a_checkpoint_goes_on_with_another_number_of_devices(one, four, folder):
    assert_close(four["resumed/model"], one["trained/model"])  # half on one, half on four
    assert_close(four["resumed/policy"], one["trained/policy"])
    again = devices.resumed(folder / "four", folder / "one")
    assert again.keys() == {"model", "policy"}
    assert_close(again["model"], four["trained/model"])
    assert_close(again["policy"], four["trained/policy"])


def test_sizes_that_the_devices_do_not_share_evenly(four):
    assert four["small/count"] == four["small/even"] == four["small/keys"] == 4
    assert four["small/uneven"] == 1  # 7 rows stay on one device
    assert four["small/six"].tolist() == [3, 2]  # six seeds: three devices with two each
    assert four["small/five"] == 1
    assert four["small/chosen"] == 1  # inside jax.default_device(...)
    assert four["small/home"].tolist() == [1, False]  # not bound to the device where they lie


def test_on_one_device_nothing_is_done():
    tree = {"rows": jnp.ones((4, 2)), "name": "x"}
    assert not jax.make_jaxpr(lambda rows: spread(rows))(tree["rows"]).eqns
    for layout in (split_rows(4), split_seeds(4)):
        assert all(f(tree) is tree for f in (layout.placed, layout.kept, layout.copied, layout.home))


@pytest.mark.slow
def test_the_other_world_models_are_those_of_one_device(tmp_path):
    (tmp_path / "one").mkdir()
    devices.worlds(tmp_path / "one", None)
    one = dict(np.load(tmp_path / "one" / "results.npz"))
    four = on_four(tmp_path / "four", tmp_path / "one", "worlds")
    assert one.keys() == four.keys()
    for name, wanted in one.items():
        if name.endswith("/shards"):
            assert set(wanted) == {1}
            assert set(four[name]) == {4}, name
        else:
            np.testing.assert_allclose(four[name], wanted, rtol=1e-3, atol=1e-4, err_msg=name)
    updates = programs(tmp_path / "four")  # of the one-step networks and of the diffusions
    assert len(updates) >= 4
    assert [between_devices(update) for update in updates] == [["all-reduce"]] * len(updates)
