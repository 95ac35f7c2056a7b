"""The use cases over a real store, as the domain's own tests have them."""

from tests.lookalike.conftest import admin, open_house, pictures, shoot

__all__ = ["admin", "open_house", "pictures", "shoot"]
