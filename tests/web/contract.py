"""web/openapi.json as a judge: is an answer, or an event, what the document says, to the last key?
And do its numbers add up? Needs the packages of requirements-rest.txt; environment() has them."""

import copy
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "deploy"))
import pool  # noqa: E402

PINS = pathlib.Path(__file__).with_name("requirements-rest.txt")
DOCUMENT = pool.SOURCE / "web/openapi.json"
METHODS = ("get", "post", "put", "patch", "delete")
ERRORS = {name: (int(number), unit or None) for number, name, unit in re.findall(
    r'(?m)^GPUPOOL_ERROR\((\d+), (\w+), "(\w*)"\)', (pool.SOURCE / "base/errors.def").read_text())}
WHOLE = "urn:gpupool:openapi"


def environment():
    return pool.packages("rest-packages", PINS)


def closed(schema):
    """The same, but a key that it does not list is an error. Clients are told to expect more keys;
    a test is not to miss one that nobody wrote down."""
    schema = copy.deepcopy(schema)

    def close(part):
        if isinstance(part, dict):
            if "properties" in part and "required" in part:
                part.setdefault("additionalProperties", False)
            for each in part.values():
                close(each)
        elif isinstance(part, list):
            for each in part:
                close(each)

    close(schema)
    return schema


def pointer(*keys):
    return "#/" + "/".join(key.replace("~", "~0").replace("/", "~1") for key in keys)


def sums(found):
    """Every number in it that another one follows from."""
    if isinstance(found, list):
        for each in found:
            sums(each)
    if not isinstance(found, dict):
        return
    for each in found.values():
        sums(each)
    have = {key for key, each in found.items() if not isinstance(each, (dict, list))}
    if {"charged_ms", "given_back_ms", "held_ms"} <= have:
        assert found["charged_ms"] + found["given_back_ms"] == found["held_ms"], found
    if {"allowance_ms", "used_ms", "held_ms", "left_ms"} <= have:
        left = found["allowance_ms"] - found["used_ms"] - found["held_ms"]
        assert found["left_ms"] == max(0, left), found
        assert found["credits_held_ms"] <= found["credits_ms"], found
    if {"window_opened_at", "resets_at"} <= have:
        assert (found["window_opened_at"] is None) == (found["resets_at"] is None), found
    if {"outcome", "ran_ms"} <= have:
        assert found["charged_ms"] in (0, min(found["held_ms"], found["ran_ms"] * found["factor"]))
        assert found["charged_credits_ms"] <= found["charged_ms"], found
        assert found["held_credits_ms"] <= found["held_ms"], found
    if {"cost_ms", "declared_ms", "factor"} <= have:
        # A refusal's cost is of what would be held first, where that is less.
        held_first = "code" in have and found["first_held_ms"]
        assert found["cost_ms"] == (held_first or found["declared_ms"]) * found["factor"], found
    if "first_held_cost_ms" in have:
        assert found["first_held_cost_ms"] == found["first_held_ms"] * found["factor"], found
    if {"code", "number", "unit"} <= have:
        assert (found["number"], found["unit"]) == ERRORS[found["code"]], found
        assert (found["want"] is None) == (found["have"] is None) == (found["unit"] is None), found


class Contract:
    def __init__(self, document):
        import jsonschema
        import referencing
        from referencing.jsonschema import DRAFT202012

        self.document = document
        strict = document | {"components": closed(document["components"])}
        self.registry = referencing.Registry().with_resource(
            WHOLE, referencing.Resource.from_contents(strict, DRAFT202012))
        self.validator = jsonschema.Draft202012Validator
        self.best = jsonschema.exceptions.best_match

    def operations(self):
        """(method, path, operation) of all of them."""
        for path, item in self.document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield method, path, item[method]

    def at(self, place, instance, what):
        validator = self.validator({"$ref": WHOLE + place}, registry=self.registry,
                                   format_checker=self.validator.FORMAT_CHECKER)
        error = self.best(validator.iter_errors(instance))
        if error is not None:
            where = "/".join(str(key) for key in error.absolute_path)
            raise AssertionError(f"{what}: at /{where}: {error.message}\n"
                                 f"{json.dumps(instance, indent=1)[:4000]}")
        sums(instance)
        return instance

    def schema(self, name, instance):
        return self.at(pointer("components", "schemas", name), instance, name)

    def error(self, answer):
        """An error of no operation: a path or a method that is not there, or of HTTP itself."""
        assert answer.media_type == "application/json", answer
        return self.schema("ErrorBody", answer.json())["error"]

    def answer(self, method, path, answer):
        """The JSON of an answer to the operation, or its bytes, after every check."""
        what = f"{method.upper()} {path}: {answer.status}"
        keys = ("paths", path, method.lower(), "responses", str(answer.status))
        responses = self.document["paths"][path][method.lower()]["responses"]
        assert str(answer.status) in responses, f"{what} is not in the document: {answer}"
        response = responses[str(answer.status)]
        if "$ref" in response:
            keys = tuple(response["$ref"].removeprefix("#/").split("/"))
            response = self.document["components"]["responses"][keys[-1]]
        if answer.status == 200 and not answer.body and "text/plain" in response["content"]:
            return b""  # an empty text has no type
        assert answer.media_type in response["content"], f"{what}: not {answer}"
        if answer.status == 429 and answer.json().get("error", {}).get("code") == "rate_limited":
            assert re.fullmatch(r"\d+", answer.headers["Retry-After"] or ""), what
        if answer.media_type != "application/json":
            return answer.body
        return self.at(pointer(*keys, "content", "application/json", "schema"), answer.json(), what)

    def event(self, name, found):
        events = self.document["paths"]["/v1/events"]["get"]["responses"]["200"]["content"][
            "text/event-stream"]["x-events"]
        assert name in events, f"event {name} is not in the document: {found}"
        return self.at(pointer("paths", "/v1/events", "get", "responses", "200", "content",
                               "text/event-stream", "x-events", name, "schema"), found,
                       f"event {name}")
