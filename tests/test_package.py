"""What a user installs: the built wheel with what it says it needs, and nothing else that lies around here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
# Whoever looks for convscope has to find the one that was installed, not this working copy.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, env=CLEAN, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needed_by(wanted: Distribution) -> dict[str, Distribution]:
    """All that a distribution requires, and what that requires, by name; from the environment of the tests."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    todo: list[tuple[Distribution, str]] = [(wanted, "")]  # each with an extra that was asked for
    while todo:
        holder, extra = todo.pop()
        for requirement in map(Requirement, holder.requires or ()):
            name = canonicalize_name(requirement.name)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                for asked in ("", *requirement.extras):
                    if (name, asked) not in seen:
                        seen.add((name, asked))
                        found[name] = distribution(name)
                        todo.append((found[name], asked))
    return found


def lend(lent: Distribution, site: Path) -> None:
    """Each of its files under its name in another site-packages."""
    if lent.files is None:
        pytest.skip(f"{lent.name} was installed without a list of its files")
    for file in lent.files:
        place, source = site / file, Path(str(lent.locate_file(file)))
        if ".." not in file.parts and source.is_file() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bin`` of an environment with the wheel, and of all that is installed here only what it needs."""
    place = tmp_path_factory.mktemp("venv")
    venv.create(place, with_pip=False, symlinks=True)
    python, (wheel,) = place / "bin" / "python", dist.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", python, "--quiet", "--disable-pip-version-check"]
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=place)
    (site,) = place.glob("lib/python*/site-packages")
    (convscope,) = distributions(path=[str(site)])
    for lent in needed_by(convscope).values():
        lend(lent, site)
    run(*pip, "check", cwd=place)
    return place / "bin"


@pytest.mark.slow
def test_the_source_distribution_has_what_its_tests_need(dist: Path) -> None:
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    for name in (
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "pyproject.toml",
        "tests/conftest.py",
        "examples/own_network.py",
    ):
        assert name in names, name


@pytest.mark.slow
def test_the_wheel_alone_does_what_the_readme_shows(installed: Path, tmp_path: Path) -> None:
    convscope = installed / "convscope"
    run(convscope, "samples", "samples", cwd=tmp_path)
    photos, crops = tmp_path / "samples" / "photos", tmp_path / "samples" / "crops"
    for folder in crops.iterdir():  # three kinds of pictures are enough, and soon done
        if folder.name not in ("cat", "coffee", "rocket"):
            shutil.rmtree(folder)
    run(convscope, "report", photos / "cat.png", photos / "coffee.png", "--collection", crops, cwd=tmp_path)
    assert (tmp_path / "out" / "report.html").stat().st_size > 100_000
    run(convscope, "embed", crops / "cat", crops / "coffee", "--store", "crops.lance", cwd=tmp_path)
    run(convscope, "neighbors", "crops.lance", photos / "cat.png", cwd=tmp_path)
    run(convscope, "project", "crops.lance", "--method", "tsne", cwd=tmp_path)
    assert list((tmp_path / "out").rglob("*.html")) != [tmp_path / "out" / "report.html"]


@pytest.mark.slow
def test_what_is_asked_for_by_an_extra_is_not_needed_to_import(installed: Path, tmp_path: Path) -> None:
    everything = (
        "import importlib, pkgutil, convscope\n"
        "for found in pkgutil.walk_packages(convscope.__path__, 'convscope.'):\n"
        "    if not found.name.endswith('__main__'): importlib.import_module(found.name)\n"
        "print(convscope.__file__)"
    )
    where = run(installed / "python", "-c", everything, cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
