"""What an experiment's expected.json says of its values: {"value": NAME, and one of equals, at_least, at_most, same_as, other_than}."""
import dataclasses
import json

# The word in expected.json, whether it holds, and how a person says it. same_as and other_than name another value.
RULES = {
    "equals": (lambda is_, want: is_ == want, "{}"),
    "at_least": (lambda is_, want: is_ >= want, "at least {}"),
    "at_most": (lambda is_, want: is_ <= want, "at most {}"),
    "same_as": (lambda is_, want: is_ == want, "the same as {}"),
    "other_than": (lambda is_, want: is_ != want, "other than {}"),
}
NAMING = ("same_as", "other_than")


@dataclasses.dataclass
class Verdict:
    value: str
    expected: str
    measured: object
    passed: bool

    def __str__(self):
        return f"{self.value} is {self.measured}, expected: {self.expected}"


def load_expected(folder):
    """{"claim": ..., FORM: {"expected": text, "measured": text, "checks": [...]}}; says where it is wrong."""
    path = folder / "expected.json"
    expected = json.loads(path.read_text())
    for form, about in expected.items():
        for check in about.get("checks", []) if isinstance(about, dict) else []:
            if "value" not in check or len([word for word in check if word in RULES]) != 1:
                raise ValueError(f"{path}: {form}: a check names a value and one of {', '.join(RULES)}: {check}")
    return expected


def compare(expected, values):
    """A verdict for each check. A value that was not measured fails; it never passes for lack of evidence."""
    verdicts = []
    for check in expected["checks"]:
        name = check["value"]
        rule, = (word for word in check if word in RULES)
        holds, text = RULES[rule]
        want = check[rule]
        known = values.get(want) if rule in NAMING else want
        said = text.format(f"\"{want}\"" if rule in NAMING else want)
        if name not in values or known is None:
            verdicts.append(Verdict(name, said, "not measured", False))
            continue
        comparable = rule not in ("at_least", "at_most") or isinstance(values[name], (int, float))
        verdicts.append(Verdict(name, said, values[name], comparable and holds(values[name], known)))
    return verdicts
