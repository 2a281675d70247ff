"""What a user is told, wherever it was found out."""

import pytest
from torch.utils.data import DataLoader

from threedzal.errors import UserError
from threedzal.option_errors import option_sentence


class Broken:
    """A data set whose second item is bad input."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index:
            raise UserError("b.tiff: cannot be read; mend it")
        return index


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_s_worker_hands_on_the_sentence_alone(workers):
    with pytest.raises(UserError) as error:
        list(DataLoader(Broken(), num_workers=workers))
    assert str(error.value) == "b.tiff: cannot be read; mend it"


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("unrecognized arguments: --x 3", "unrecognized arguments: --x 3"),
        (
            "Parser key \"data.tau\":\n  Expected a <class 'float'>. Got value: much",
            "option data.tau: wanted float, got much",
        ),
        (
            'Parser key "trainer.max_epochs":\n  Does not validate against any of the Union subtypes\n  Errors:\n'
            "    - Expected a <class 'int'>\n    - Expected a <class 'NoneType'>\n  Given value: x",
            "option trainer.max_epochs: wanted int or null, got x",
        ),
        (
            'Parser key "model":\n  Errors:\n    - option width: wanted float, got a\n'
            "    - Expected a <class 'NoneType'>",
            "option model.width: wanted float, got a",
        ),
        (
            "Parser key \"config\": File does not exist: '/a.yaml'",
            "option config: File does not exist: '/a.yaml'",
        ),
    ],
)
def test_a_parser_s_page_becomes_a_sentence(message, sentence):
    assert option_sentence(message) == sentence
