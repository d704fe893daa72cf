"""What is filled into configs, and what is refused."""

import pytest
from warren.core import placeholders
from warren.core.placeholders import NodeFacts
from warren.testing.builders import a_task

NODE = NodeFacts(id="n1", name="w1", labels={"zone": "north"})


def test_fills_in_facts_of_node_service_and_task() -> None:
    text = (
        b"{{ node.id }} {{node.name}} {{ node.labels.zone }} {{ service.name }}"
        b" {{ task.id }} {{ task.name }} {{ task.slot }} {{ task.revision }}"
    )

    filled = placeholders.fill(text, a_task(2, "w1", revision=3), NODE)

    assert filled == b"n1 w1 north web web-2-r3 web.2 2 3"
    assert placeholders.refusal(text) == ""


def test_everything_else_stays_as_it_is() -> None:
    text = "server { listen 80; } # ä {x} ${y} {a: {b: 1}}".encode()

    assert placeholders.fill(text, a_task(), NODE) == text
    assert placeholders.refusal(text) == ""


@pytest.mark.parametrize("word", ["node.colour", "node.labels.", "", "name"])
def test_what_means_nothing_is_refused(word: str) -> None:
    refusal = placeholders.refusal(f"a {{{{ {word} }}}} b".encode())

    assert refusal.startswith(f"has {{{{ {word} }}}}, which means nothing: known are node.id, ")


def test_what_is_no_text_is_refused() -> None:
    assert placeholders.refusal(b"\xff").startswith("is not UTF-8 text")


def test_a_label_that_the_node_lacks_is_named() -> None:
    with pytest.raises(KeyError, match=r"node\.labels\.rack"):
        placeholders.fill(b"{{ node.labels.rack }}", a_task(), NODE)
