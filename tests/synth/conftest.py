import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "worldmodel"))

from world_fixtures import compiled_once, data, trained

__all__ = ["compiled_once", "data", "trained"]
