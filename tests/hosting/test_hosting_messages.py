import pickle

import pytest

from napari_nucleus import errors
from napari_nucleus.errors import HostError, WeightsError
from napari_nucleus.hosting.messages import Failure, ModelSpec


class MissingKeysError(WeightsError):
    """A kind of error that errors.py does not name."""


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_for_the_user_keeps_its_type_and_words(name):
    error = getattr(errors, name)("slide.svs: level 3 is truncated.")
    back = pickle.loads(pickle.dumps(Failure.of(error))).to_error()
    assert type(back) is type(error)
    assert str(back) == str(error)


def test_a_subclass_crosses_as_the_error_that_is_public():
    assert type(Failure.of(MissingKeysError("3 keys")).to_error()) is WeightsError


def test_a_fault_is_not_dressed_up_as_an_error_for_the_user_and_keeps_its_traceback():
    def broken():
        return 1 / 0

    try:
        broken()
    except ZeroDivisionError as fault:
        back = Failure.of(fault).to_error()
    assert not isinstance(back, errors.NucleusError)
    assert "ZeroDivisionError" in str(back)
    assert "in broken" in "".join(back.__notes__)


def test_a_factory_must_name_module_and_function():
    with pytest.raises(ValueError, match="'module:function'"):
        ModelSpec("napari_nucleus.models.zoo")


def test_the_key_of_a_model_does_not_depend_on_the_order_of_its_arguments():
    a = ModelSpec("m:f", {"name": "nano", "device": "cpu"})
    b = ModelSpec("m:f", {"device": "cpu", "name": "nano"})
    assert a.key == b.key
    assert a.key != ModelSpec("m:f", {"device": "cuda", "name": "nano"}).key


def test_a_host_error_is_itself():
    assert isinstance(Failure.of(HostError("x")).to_error(), HostError)
