import numpy as np
import pytest

from lookalike.domain import Embeddings, Permission, Principal, Space, collection_name, subject_id
from lookalike.errors import InvalidInput, PermissionDenied, SpaceMismatch

SPACE = Space("model-a", 4, "112")


@pytest.mark.parametrize("name", ["staff", "a", "A-1_b.c", "_x", "-x", "9" * 255])
def test_a_plain_collection_name_is_taken(name):
    assert collection_name(name) == name


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "é", "a\n", "9" * 256])
def test_any_other_collection_name_is_refused(name):
    with pytest.raises(InvalidInput):
        collection_name(name)


@pytest.mark.parametrize("id", ["a", "Ann Lee", "王小明", "😀", "o'Neil; DROP", "x" * 256])
def test_a_subject_id_may_be_a_name_in_any_script(id):
    assert subject_id(id) == id


@pytest.mark.parametrize("id", ["", "a/b", "a\nb", "a\x00", "e\u0301", "x" * 257, "\ud800", "a\u2028b"])
def test_slashes_controls_and_other_normal_forms_are_refused(id):
    with pytest.raises(InvalidInput):
        subject_id(id)


def test_embeddings_of_another_dimension_do_not_fit_a_space():
    with pytest.raises(SpaceMismatch):
        Embeddings(SPACE, np.zeros((1, 5), dtype=np.float32))


def test_two_spaces_are_never_compared():
    with pytest.raises(SpaceMismatch):
        SPACE.require(Space("model-b", 4, "112"))


def test_an_embedding_does_not_show_its_vector():
    secret = Embeddings(SPACE, np.full((1, 4), 0.123, dtype=np.float32))
    assert "0.123" not in repr(secret)


def test_a_right_on_one_collection_is_no_right_on_another():
    caller = Principal("key:1", (), {"staff": frozenset({Permission.READ})})
    caller.require(Permission.READ, "staff")
    for collection in ("visitors", None):
        with pytest.raises(PermissionDenied):
            caller.require(Permission.READ, collection)


def test_a_right_on_all_collections_holds_on_each():
    caller = Principal("key:1", (), {None: frozenset({Permission.READ})})
    caller.require(Permission.READ, "staff")
    with pytest.raises(PermissionDenied):
        caller.require(Permission.ERASE, "staff")
