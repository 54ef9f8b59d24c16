"""The taxonomy and gRPC statuses map onto each other completely."""

import grpc
import pytest

from rundlet import errors
from rundlet.cri.errors import ERROR_BY_STATUS, STATUS_BY_ERROR, error_from_call, status_of


def test_every_error_has_its_own_status():
    assert set(STATUS_BY_ERROR) == set(errors.Error.__subclasses__())
    assert len(set(STATUS_BY_ERROR.values())) == len(STATUS_BY_ERROR)


@pytest.mark.parametrize("kind", errors.Error.__subclasses__())
def test_an_error_comes_back_as_itself(kind):
    assert ERROR_BY_STATUS[status_of(kind("message"))] is kind


def test_a_subclass_maps_as_its_parent():
    class Special(errors.NotFound):
        pass

    assert status_of(Special("x")) is grpc.StatusCode.NOT_FOUND


def test_a_failure_without_status_is_internal():
    assert isinstance(error_from_call(grpc.RpcError("odd")), errors.Internal)
