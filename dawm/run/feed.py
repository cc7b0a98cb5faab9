"""Training data that change from chunk to chunk, because they do not fit into memory together.

The next chunk's data are made by a thread while the present one's are trained on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Feed:
    """`make(i)`: the data of chunk i, always of the same shapes."""

    make: Callable[[int], Any]

    def then(self, change: Callable[[Any], Any]) -> Feed:
        """The same with every chunk's data changed."""
        return Feed(lambda chunk: change(self.make(chunk)))


@contextlib.contextmanager
def fed(data: Any, chunks: int) -> Iterator[Callable[[int], Any]]:
    """A function from the number of a chunk, of `chunks` in all, to its data; they must be asked for in order."""
    if not isinstance(data, Feed):
        yield lambda chunk: data
        return
    with ThreadPoolExecutor(1, "feed") as thread:
        ahead: dict[int, Future] = {}

        def at(chunk: int) -> Any:
            now = ahead.pop(chunk, None) or thread.submit(data.make, chunk)
            made = now.result()
            if chunk + 1 < chunks:
                ahead[chunk + 1] = thread.submit(data.make, chunk + 1)
            return made

        yield at
