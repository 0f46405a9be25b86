"""Formats that nobody thought of, in a model that says anything; and many at once, by many threads."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_checkpoint import Geometry, make_checkpoint

from iaa_runtime import IAAPipeline
from iaa_runtime.errors import CutOffError
from iaa_runtime.text.formats import KEPT, Formats, format_check

pytest.importorskip("llguidance")

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6)
LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.lists(WORDS | st.integers(-99, 99) | st.none() | st.booleans(), min_size=1, max_size=4).map(
        lambda values: {"enum": [*values]}
    ),
    st.tuples(st.integers(-50, 50), st.integers(0, 50)).map(
        lambda ends: {"type": "integer", "minimum": ends[0], "maximum": ends[0] + ends[1]}
    ),
    st.integers(0, 8).map(lambda most: {"type": "string", "maxLength": most}),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": "string", "pattern": "^[a-c]{1,3}$"}]),
)


def holding(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.dictionaries(WORDS, inner, max_size=3).map(
            lambda parts: {"type": "object", "properties": parts, "required": sorted(parts)[::2]}
        ),
        st.tuples(inner, st.integers(0, 3)).map(lambda of: {"type": "array", "items": of[0], "maxItems": of[1]}),
        st.lists(inner, min_size=1, max_size=3).map(lambda ways: {"anyOf": ways}),
    )


SCHEMAS = holding(st.recursive(LEAVES, holding, max_leaves=5))


@pytest.fixture(scope="module")
def babbling(tmp_path_factory: pytest.TempPathFactory) -> IAAPipeline:
    return IAAPipeline.from_pretrained(make_checkpoint(tmp_path_factory.mktemp("tiny"), Geometry(context=640)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schema=SCHEMAS, seed=st.integers(0, 1000))
def test_answers_of_random_weights_have_random_schemas(
    babbling: IAAPipeline, schema: dict[str, Any], seed: int
) -> None:
    """In the check of what servers say, too; what is cut is an error and no answer."""
    options = {"do_sample": True, "temperature": 2.0, "seed": seed, "max_new_tokens": 200}
    try:
        text = babbling.text("Hi", format=schema, **options)
    except CutOffError:
        return
    jsonschema.validate(json.loads(text), schema)
    assert format_check(json.dumps(schema))(text)
    assert format_check(json.dumps(schema))(json.dumps(json.loads(text), indent=1))


def test_threads_share_the_compiled_formats(babbling: IAAPipeline) -> None:
    """More formats than are kept, so that some are compiled while others are dropped."""
    formats = Formats(babbling.tokenizer, babbling.model.config.vocab_size, babbling.eos)

    def allowed(number: int) -> bytes:
        return bytes(formats.matcher(f"[a-d]{{{number % (2 * KEPT) + 1}}}-{number % (2 * KEPT)}").compute_bitmask())

    one_by_one = [allowed(number) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(allowed, range(200))) == one_by_one
