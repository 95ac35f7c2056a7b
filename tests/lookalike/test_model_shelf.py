from __future__ import annotations

from dataclasses import replace

import pytest

from lookalike.domain import Kind
from lookalike.errors import LicenceNotAccepted, ModelInUse, ModelNotFound, NoEarlierModel
from lookalike.model_shelf import Shelf, ShelvedModel, require_licence

ONE = ShelvedModel("faces-1", "faces", Kind.FACE, "1" * 64, "me", 8, "MIT", True, "", "Drawn.", 9, 1.0)
TWO = replace(ONE, model="faces-2", digest="2" * 64)
SHELF = Shelf().with_model(ONE).with_model(TWO)


def test_a_model_is_found_by_its_full_name_or_by_a_name_that_only_one_has():
    assert SHELF.find("faces-2") == TWO
    assert Shelf().with_model(ONE).find("faces") == ONE
    with pytest.raises(ModelNotFound, match="faces-1, faces-2"):
        SHELF.find("faces")
    with pytest.raises(ModelNotFound):
        SHELF.find("other")


def test_the_same_model_again_is_no_second_one():
    assert len(SHELF.with_model(replace(ONE, imported_at=2.0)).models) == 2


def test_rolling_back_returns_to_what_was_active_before_and_at_last_to_the_settings():
    shelf = SHELF.with_active(Kind.FACE, "faces-1").with_active(Kind.FACE, "faces-2")
    assert shelf.active(Kind.FACE) == "faces-2"
    shelf = shelf.rolled_back(Kind.FACE, "faces-2")
    assert shelf.active(Kind.FACE) == "faces-1"
    shelf = shelf.rolled_back(Kind.FACE, "faces-1")
    assert shelf.active(Kind.FACE) is None
    with pytest.raises(NoEarlierModel):
        shelf.rolled_back(Kind.FACE, "faces-1")


def test_activating_the_active_model_again_needs_no_second_rollback():
    shelf = SHELF.with_active(Kind.FACE, "faces-1").with_active(Kind.FACE, "faces-1")
    assert shelf.rolled_back(Kind.FACE, "faces-1").active(Kind.FACE) is None


def test_kinds_have_nothing_to_do_with_each_other():
    assert SHELF.with_active(Kind.FACE, "faces-1").active(Kind.IMAGE) is None


def test_the_active_model_is_not_removed_and_a_removed_one_is_never_rolled_back_to():
    shelf = SHELF.with_active(Kind.FACE, "faces-1").with_active(Kind.FACE, "faces-2")
    with pytest.raises(ModelInUse):
        shelf.without("faces-2")
    shelf = shelf.without("faces-1")
    assert shelf.rolled_back(Kind.FACE, "faces-2").active(Kind.FACE) is None


def test_a_model_that_is_not_for_commercial_use_needs_a_yes():
    require_licence(ONE, accepted=False)
    research = replace(ONE, commercial=False, licence="CC-BY-NC", note="Research alone.")
    with pytest.raises(LicenceNotAccepted, match=r"CC-BY-NC: Research alone\."):
        require_licence(research, accepted=False)
    require_licence(research, accepted=True)
