"""The library's sentences in the words of a terminal."""

from __future__ import annotations

import pytest

from convscope.cli.cleaning import duplicates
from convscope.cli.phrasing import flags_of, for_terminal, help_text, unwrapped
from convscope.cli.stores import cluster

pytestmark = pytest.mark.same_everywhere

FLAGS = {
    "n_clusters": "--n-clusters",
    "method": "--method",
    "k": "--k",
    "overwrite": "--overwrite",
    "store": "STORE",
    "weights": "--weights",
    "trust_pickle": "--trust-pickle",
}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("n_clusters=5: expected at most 3", "--n-clusters 5: expected at most 3"),
        ("method='kmeans' needs n_clusters", "--method kmeans needs --n-clusters"),
        ("method='my own': expected 'pca'", "--method 'my own': expected 'pca'"),
        ("choose another output, or give overwrite=True", "choose another output, or give --overwrite"),
        ("out/n_clusters.png: no such file", "out/n_clusters.png: no such file"),
        ("out/k=3/a.png: no such file", "out/k=3/a.png: no such file"),
        ("the method finds k groups", "the method finds k groups"),
        ("make one with project(store, method='tsne')", "make one with convscope project STORE --method tsne"),
        ("use pretrained=False", "use --random-weights"),
        ("load_model(PATH, trust_pickle=True)", "--model PATH --trust-pickle"),
        ("try load_model('timm:NAME', weights=PATH)", "try --model timm:NAME --weights PATH"),
        ("as in Model(network, output='logits'), or", "as in --model-output logits, or"),
        ("no layer 'x' (model.layers() lists all)", "no layer 'x' (`convscope layers` lists all)"),
        ("k=0: expected a whole number, or None", "--k 0: expected a whole number"),
        ("give a class, a callable, or a layer", "give a class, or a layer"),
        ("shuffled=True", "shuffled=True"),
        (
            "k=2; return convscope.Model(net, weights=(1, 2), k=f(3)), or k=3",
            "--k 2; return convscope.Model(net, weights=(1, 2), k=f(3)), or --k 3",
        ),
        ("widen `k`, or `kk`", "widen --k, or `kk`"),
    ],
)
def test_arguments_are_told_as_options(said: str, shown: str) -> None:
    assert for_terminal(said, FLAGS) == shown


def test_a_command_without_options_says_what_the_library_says() -> None:
    assert for_terminal("n_clusters=5", {}) == "n_clusters=5"


def test_options_are_told_as_they_are_typed() -> None:
    flags = flags_of(cluster)
    assert (flags["n_clusters"], flags["output"], flags["as_json"]) == ("--n-clusters", "--output", "--json")
    assert flags["store"] == "STORE"
    assert flags_of(duplicates)["limit"] == "--limit"


def test_a_help_is_a_sentence() -> None:
    assert help_text("seed", "of the noise, the same for every image.") == (
        "Seed of the noise, the same for every image."
    )
    assert help_text("n_frames", "at most ``n_steps`` + 1.") == "At most --n-steps + 1."
    assert help_text("layer", "one, as `Model.layers` lists them [a].") == "One, as `layers` lists them \\[a]."
    assert help_text("target", "a callable.").startswith("Class index or label")


def test_a_terminal_wraps_paragraphs_and_leaves_formulas() -> None:
    assert unwrapped("One line.\n\n    Two\n    lines.\n    ") == "One line.\n\nTwo lines."
    assert unwrapped("A.\n\n\b\n    a = b\n    b = c") == "A.\n\n\b\n    a = b\n    b = c"
