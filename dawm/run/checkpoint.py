"""One file holds a pytree and a JSON header. It appears whole or not at all, and nothing in it can run code.

Layout: the line `dawm-checkpoint 2`, a line with the SHA-256 of all that follows, one line of JSON (header, shape and
dtype of each leaf), then the raw bytes of the leaves in C order.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import equinox as eqx
import jax
import numpy as np

from dawm.errors import CheckpointError

MAGIC = b"dawm-checkpoint 2\n"
T = TypeVar("T")


def write_whole(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Create or replace `path` by what `write(file)` writes: after a crash there is the old file or the new, never a
    part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def save(path: Path, tree: Any, header: dict[str, Any] | None = None) -> None:
    """Write the arrays of `tree` (its structure is rebuilt by the caller on loading) and a JSON header."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(tree, eqx.is_array))]
    payload = b"".join(np.ascontiguousarray(leaf).tobytes() for leaf in leaves)
    head = {"header": header or {}, "leaves": [[list(leaf.shape), leaf.dtype.name] for leaf in leaves]}
    content = json.dumps(head).encode() + b"\n" + payload
    digest = hashlib.sha256(content).hexdigest().encode()
    write_whole(path, lambda file: file.writelines([MAGIC, digest + b"\n", content]))


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a checkpoint, without its arrays."""
    return _read(path)[0]["header"]


def load(path: Path, like: T) -> T:
    """The tree stored in `path`, with the structure (and everything but the arrays) of `like`.

    `like` may hold arrays or `jax.ShapeDtypeStruct`s. Raises CheckpointError if the file is corrupt or its arrays do
    not fit `like`.
    """
    head, payload = _read(path)
    is_leaf = lambda x: eqx.is_array(x) or isinstance(x, jax.ShapeDtypeStruct)
    dynamic, static = eqx.partition(like, is_leaf)
    wanted, structure = jax.tree.flatten(dynamic)
    stored = head["leaves"]
    if len(stored) != len(wanted):
        raise CheckpointError(f"`{path}` holds {len(stored)} arrays where this configuration has {len(wanted)}.")
    leaves, offset = [], 0
    for i, ((shape, dtype), leaf) in enumerate(zip(stored, wanted, strict=True)):
        if tuple(shape) != tuple(leaf.shape) or dtype != leaf.dtype.name:
            raise CheckpointError(
                f"array {i} of `{path}` is {dtype}{shape} where this configuration has"
                f" {leaf.dtype.name}{list(leaf.shape)}: it was written with other settings."
            )
        array = np.frombuffer(payload, np.dtype(dtype), int(np.prod(shape)), offset).reshape(shape)
        offset += array.nbytes
        leaves.append(array.copy() if isinstance(leaf, np.ndarray) else jax.numpy.asarray(array))
    return eqx.combine(jax.tree.unflatten(structure, leaves), static)


def _strange(path: Path, magic: bytes) -> str:
    """What to say of a file that does not begin as it should."""
    if magic.startswith(b"dawm-checkpoint "):
        return f"`{path}` was written by another version of dawm: read it with that one, or train again."
    return f"`{path}` is no checkpoint of dawm, or its first bytes are damaged."


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
            if magic != MAGIC:
                raise CheckpointError(_strange(path, magic))
            digest, content = file.readline().strip(), file.read()
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint `{path}`: {error.strerror}.") from None
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise CheckpointError(
            f"`{path}` is corrupt (its checksum does not match). Delete it to go on from the one before."
        )
    head, _, payload = content.partition(b"\n")
    return json.loads(head), payload
