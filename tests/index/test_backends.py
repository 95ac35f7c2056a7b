from __future__ import annotations

import subprocess
import sys

import pytest

from index.backends import BACKENDS, index_factory
from lookalike.domain import Space
from lookalike.errors import BadSettings


@pytest.mark.parametrize("url", BACKENDS)
def test_each_backend_makes_an_empty_index_of_the_space(url):
    space = Space("toy", 8, "none")
    index = index_factory(url)("", space)

    assert index.space == space
    assert len(index) == 0


def test_a_generation_may_have_a_backend_of_its_own():
    index = index_factory("faiss:")("exact:", Space("toy", 8, "none"))

    assert type(index).__name__ == "ExactIndex"


@pytest.mark.parametrize("url", ["", "faiss", "faiss:x", "https://host:9200"])
def test_an_unknown_backend_is_refused_with_what_is_allowed(url):
    with pytest.raises(BadSettings, match="exact:, faiss:"):
        index_factory(url)


def test_the_table_loads_no_backend_that_is_not_asked_for():
    code = "import sys, index.backends; sys.exit('faiss' in sys.modules or 'elasticsearch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
