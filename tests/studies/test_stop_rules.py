"""The study of rules that end a loop, in small."""

from __future__ import annotations

from studies.stop_rules import RULES, generations, table


def test_rules_are_compared_with_hindsight():
    made = generations(1, count=3, epochs=2)
    first, *lines = table([made, made]).splitlines()
    assert first.startswith("rule")
    assert len(lines) == len(RULES)
    errors = [generation.metrics["forces (eV/Å)"] for generation in made]
    for line in lines:
        end, *_ = line[34:].split(",")
        ratio = float(line.rsplit(",", 1)[1])
        assert abs(ratio - errors[int(end) - 1] / min(errors)) < 0.01
