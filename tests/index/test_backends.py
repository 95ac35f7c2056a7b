from __future__ import annotations

import subprocess
import sys

import pytest

from index.backends import BACKENDS, index_factory
from lookalike.domain import Space
from lookalike.errors import BadSettings
from security.row_files import SealedRowFiles


@pytest.mark.parametrize("url", BACKENDS)
def test_each_backend_makes_an_empty_index_of_the_space(url, tmp_path):
    space = Space("toy", 8, "none")
    index = index_factory(url, files=SealedRowFiles(tmp_path))("", space)

    assert index.space == space
    assert len(index) == 0


def test_a_generation_may_have_a_backend_of_its_own():
    index = index_factory("faiss:")("exact:", Space("toy", 8, "none"))

    assert type(index).__name__ == "ExactIndex"


def test_vectors_on_disk_without_a_place_for_them_are_refused():
    with pytest.raises(BadSettings, match="on disk"):
        index_factory("faiss+disk:")("", Space("toy", 8, "none"))


@pytest.mark.parametrize("url", ["", "faiss", "faiss:x", "https://host:9200"])
def test_an_unknown_backend_is_refused_with_what_is_allowed(url):
    with pytest.raises(BadSettings, match=r"exact:, faiss\+disk:, faiss:"):
        index_factory(url)


def test_the_table_loads_no_backend_that_is_not_asked_for():
    code = "import sys, index.backends; sys.exit('faiss' in sys.modules or 'elasticsearch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
