from tests.keeper.conftest import bundle, keeper, run

__all__ = ["bundle", "keeper", "run"]
