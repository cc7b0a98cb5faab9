from world_fixtures import compiled_once, data, trained

__all__ = ["compiled_once", "data", "trained"]
