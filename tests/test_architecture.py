"""The shape of the house: imports point down, files stay small, no code runs from data, tables agree with settings."""

from __future__ import annotations

import ast
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import dawm

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dawm"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 400


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def in_new_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_imports_point_down_the_flow():
    pytest.importorskip("importlinter")
    done = in_new_python("import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_folder_is_in_the_contract():
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = {name.strip() for line in settings["contracts"][0]["layers"] for name in line.split("|")}
    not_code = {"assets", "presets"}
    here = {p.stem if p.suffix == ".py" else p.name for p in PACKAGE.iterdir() if p.is_dir() or p.suffix == ".py"}
    assert here - {"__init__", "__main__", "__pycache__"} - not_code == layers


def test_no_file_is_long():
    long = {str(p.relative_to(ROOT)): n for p in MODULES if (n := len(p.read_text().splitlines())) >= MOST_LINES}
    assert not long, f"split these, each by what its parts do: {long}"


def test_no_place_for_odds_and_ends():
    banned = {"utils", "util", "helpers", "helper", "misc", "common"}
    named = [p for p in PACKAGE.rglob("*") if p.stem in banned and p.name != "__pycache__"]
    assert not named


def test_no_function_hides_its_module():
    """`from dawm.x.y import y` would make `dawm.x.y` a function for whoever imports the module after it."""
    for path in MODULES:
        names = {n.name for n in parsed(path).body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        names -= {"main"}  # the entry of a command is never imported from its package
        assert path.stem not in names, f"{path.relative_to(ROOT)} defines `{path.stem}`"
        if path.name == "__init__.py":
            inside = {p.stem for p in path.parent.iterdir() if p.is_dir() or p.suffix == ".py"}
            exported = names | {
                a.asname or a.name for n in parsed(path).body if isinstance(n, ast.ImportFrom) for a in n.names
            }
            assert not exported & (inside - {"__init__"}), f"{path.relative_to(ROOT)} hides a module"


def test_no_public_name_hides_a_folder():
    inside = {p.stem for p in PACKAGE.iterdir() if p.is_dir() or p.suffix == ".py"}
    assert not set(dawm.__all__) & inside


def test_every_public_name_can_be_had():
    missing = [name for name in dawm.__all__ if not hasattr(dawm, name)]
    assert not missing
    with pytest.raises(AttributeError, match="no attribute `lode`"):
        dawm.lode  # noqa: B018


def test_nothing_runs_code_from_data():
    for path in [*MODULES, *(ROOT / "scripts").glob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        for node in ast.walk(parsed(path)):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = getattr(node, "module", None) or ""
                roots = {module.split(".")[0]} | {a.name.split(".")[0] for a in node.names}
                assert not roots & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}, where
            if isinstance(node, ast.Call):
                assert not (isinstance(node.func, ast.Name) and node.func.id in {"eval", "exec"}), where
                allowed = [k.value for k in node.keywords if k.arg == "allow_pickle"]
                assert all(isinstance(v, ast.Constant) and v.value is False for v in allowed), where


@pytest.mark.parametrize("module", ["dawm", "dawm.cli.main"])
def test_importing_is_light(module):
    heavy = ["jax", "equinox", "optax", "matplotlib", "gymnasium", "h5py", "mujoco", "minari"]
    done = in_new_python(f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_optional_packages_are_imported_where_they_are_needed():
    for path in MODULES:
        for node in parsed(path).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                module = getattr(node, "module", None) or ""
                roots = {module.split(".")[0]} | {
                    a.name.split(".")[0] for a in node.names if isinstance(node, ast.Import)
                }
                assert not roots & {"mujoco", "minari", "beartype", "ray"}, f"{path.relative_to(ROOT)}:{node.lineno}"


def options(config: type, field: str) -> set[str]:
    """The words that a `Literal` field of a configuration allows."""
    return set(typing.get_args(typing.get_type_hints(config)[field]))


def test_configurations_of_a_table_carry_its_kinds():
    from dawm.agents.registry import AGENTS, AgentConfig
    from dawm.nets.registry import BODIES, BodyConfig

    for table, union in ((AGENTS, AgentConfig), (BODIES, BodyConfig)):
        for kind, (config, build) in table.items():
            assert config().kind == kind
            assert options(config, "kind") == {kind}
            assert callable(build)
        assert set(typing.get_args(union)) == {config for config, _ in table.values()}


def test_settings_that_name_a_row_know_every_row():
    from dawm.data.normalise import NORMALISERS
    from dawm.diffusion.levels import LEVELS
    from dawm.diffusion.objective import NOISE_LAWS
    from dawm.diffusion.parameterisation import PARAMETERISATIONS
    from dawm.diffusion.process import ProcessConfig
    from dawm.diffusion.steps import STEPS
    from dawm.worldmodel.coordinates import COORDINATES
    from dawm.worldmodel.trajectory import TrajectoryConfig

    tables = {
        (ProcessConfig, "parameterisation"): PARAMETERISATIONS,
        (ProcessConfig, "levels"): LEVELS,
        (ProcessConfig, "noise_law"): NOISE_LAWS,
        (ProcessConfig, "step"): STEPS,
        (TrajectoryConfig, "coordinates"): COORDINATES,
        (TrajectoryConfig, "normaliser"): NORMALISERS,
    }
    for (config, field), table in tables.items():
        assert options(config, field) == set(table), f"{config.__name__}.{field}"
