from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError
from datetime import date, datetime
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from inngest_realtime_core.channels import topic
from inngest_realtime_core.channels.channel import Channel, Topic, TopicRef
from inngest_realtime_core.channels.resolve import adapter_for, resolve_channel, resolve_topics
from inngest_realtime_core.errors import ChannelError, ConfigurationError, TopicError
from inngest_realtime_core.messages.envelope import Envelope
from inngest_realtime_core.messages.message import Message

if TYPE_CHECKING:
    from decimal import Decimal as NotDefinedYet
    from decimal import Decimal as OnlyForTypeCheckers


class Status(BaseModel):
    message: str
    step: str | None = None


class Colour(Enum):
    RED = "red"
    ODD = "a:b"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Pipeline(Channel, name="pipeline:{run_id}"):
    """A channel as the documentation writes it."""

    LIMIT: ClassVar[int] = 3
    run_id: str
    status = topic(Status)
    tokens = topic(str)
    lifecycle = topic(Any, name="$run")

    def path(self) -> str:
        return f"/runs/{self.run_id}"


class Chat(Channel, name="chat:{org}:{thread}"):
    org: str
    thread: str
    said = topic(str)


class Cell(Channel, name="cell/{sheet}/{day}/{row}/{colour}/{level}/{side}/{label}"):
    sheet: UUID
    day: date
    row: int
    colour: Colour
    level: Level
    side: Literal["left", 7]
    label: Annotated[str, Field(max_length=4)]


class News(Channel, name="news"):
    headline = topic(str)


CELL: dict[str, Any] = {
    "sheet": UUID(int=1),
    "day": date(2026, 1, 2),
    "row": -5,
    "colour": Colour.RED,
    "level": Level.HIGH,
    "side": 7,
    "label": "abcd",
}
CELL_NAME = "cell/00000000-0000-0000-0000-000000000001/2026-01-02/-5/red/2/7/abcd"


def message(kind: str, topic_name: str, channel: str = "pipeline:a") -> Message[Any]:
    return Message(Envelope(kind, msgspec.Raw(b"{}"), channel, topic_name), _untyped=False)


def declare(bases: tuple[Any, ...], body: dict[str, Any], name: object) -> Any:
    make: Any = type
    return make("Declared", bases, {"__module__": __name__, **body}, name=name)


class TestNames:
    def test_a_channel_has_the_name_its_parameters_give(self) -> None:
        channel = Pipeline(run_id="abc123")
        assert channel.name == str(channel) == "pipeline:abc123"
        assert channel.run_id == "abc123"
        assert repr(channel) == "Pipeline(run_id='abc123')"
        assert channel.path() == "/runs/abc123"

    def test_a_name_without_parameters(self) -> None:
        assert News().name == "news"
        assert News() == News()

    def test_every_kind_of_parameter_is_written_plainly(self) -> None:
        assert Cell(**CELL).name == CELL_NAME

    def test_doubled_braces_are_literal(self) -> None:
        class Braces(Channel, name="{{x}}:{a}"):
            a: str

        assert Braces(a="1").name == "{x}:1"

    def test_channels_are_values(self) -> None:
        channel = Pipeline(run_id="a")
        assert channel == Pipeline(run_id="a") != Pipeline(run_id="b")
        assert channel != "pipeline:a"
        assert len({channel, Pipeline(run_id="a"), Pipeline(run_id="b")}) == 2
        assert copy.deepcopy(channel) == copy.copy(channel) == pickle.loads(pickle.dumps(channel)) == channel

    def test_channels_of_different_classes_differ(self) -> None:
        class Other(Channel, name="pipeline:{run_id}"):
            run_id: str

        assert Other(run_id="a").name == Pipeline(run_id="a").name
        assert Other(run_id="a") != Pipeline(run_id="a")

    def test_channels_do_not_change(self) -> None:
        channel = Pipeline(run_id="a")
        with pytest.raises(FrozenInstanceError):
            channel.run_id = "b"  # type: ignore[misc]
        with pytest.raises(FrozenInstanceError):
            del channel.run_id
        with pytest.raises(FrozenInstanceError):
            channel.status = None  # type: ignore[assignment]
        assert channel.name == "pipeline:a"

    @given(st.text(min_size=1).filter(lambda text: text.isprintable() and ":" not in text))
    def test_any_printable_text_without_separators_makes_the_round_trip(self, text: str) -> None:
        channel = Pipeline(run_id=text)
        assert channel.name == f"pipeline:{text}"
        assert Pipeline.from_strings({"run_id": text}) == channel


class TestRefusedValues:
    @pytest.mark.parametrize(
        ("value", "says"),
        [
            ("", "empty"),
            ("a:b", "':'"),
            (":", "':'"),
            ("a\nb", "printable"),
            ("a\x00", "printable"),
            ("\ud800", "printable"),
            (7, "valid string"),
            (None, "valid string"),
            (b"abc", "valid string"),
        ],
    )
    def test_of_a_str(self, value: Any, says: str) -> None:
        with pytest.raises(ChannelError, match=says) as caught:
            Pipeline(run_id=value)
        assert caught.value.parameter == "run_id"

    @pytest.mark.parametrize(
        ("parameter", "value"),
        [
            ("sheet", str(UUID(int=1))),
            ("day", "2026-01-02"),
            ("day", datetime(2026, 1, 2)),
            ("row", True),
            ("row", "5"),
            ("row", 5.0),
            ("colour", "red"),
            ("side", "7"),
            ("side", "up"),
            ("label", "abcde"),
            ("label", "a/b"),
        ],
    )
    def test_of_other_types_strictly(self, parameter: str, value: Any) -> None:
        with pytest.raises(ChannelError) as caught:
            Cell(**{**CELL, parameter: value})
        assert caught.value.parameter == parameter

    def test_of_types_without_one_way_to_be_written(self) -> None:
        class Odd(Channel, name="odd:{x}"):
            x: float | bool | datetime | None

        for value in (1.5, True, None, datetime(2026, 1, 2)):
            with pytest.raises(ChannelError, match="str, int, UUID, date or Enum") as caught:
                Odd(x=value)
            assert caught.value.parameter == "x"

    def test_an_enums_value_counts(self) -> None:
        class Painted(Channel, name="painted:{colour}"):
            colour: Colour

        assert Painted(colour=Colour.RED).name == "painted:red"
        with pytest.raises(ChannelError, match="':'"):
            Painted(colour=Colour.ODD)

    def test_unknown_and_missing_parameters(self) -> None:
        with pytest.raises(ChannelError, match=r"no parameter 'runid'; it has: run_id") as caught:
            Pipeline(run_id="a", runid="b")  # type: ignore[call-arg]
        assert caught.value.parameter == "runid"
        with pytest.raises(ChannelError, match="run_id is missing") as caught:
            Pipeline()  # type: ignore[call-arg]
        assert caught.value.parameter == "run_id"

    def test_the_value_itself_is_not_repeated(self) -> None:
        with pytest.raises(ChannelError) as caught:
            Cell(**{**CELL, "label": "private text"})
        assert "private" not in str(caught.value)


class TestOneName:
    """Different values never share a name, so a value cannot reach into another channel."""

    @given(st.tuples(st.text(":ab"), st.text(":ab")), st.tuples(st.text(":ab"), st.text(":ab")))
    def test_with_a_separator(self, first: tuple[str, str], second: tuple[str, str]) -> None:
        check_one_name(Chat, ("org", "thread"), first, second)

    @given(st.tuples(st.text("_a"), st.text("_a")), st.tuples(st.text("_a"), st.text("_a")))
    def test_with_underscores(self, first: tuple[str, str], second: tuple[str, str]) -> None:
        class Under(Channel, name="u{a}__{b}"):
            a: str
            b: str

        check_one_name(Under, ("a", "b"), first, second)

    @given(
        st.tuples(st.integers(-200, 200), st.integers(-200, 200), st.text("1-", max_size=3)),
        st.tuples(st.integers(-200, 200), st.integers(-200, 200), st.text("1-", max_size=3)),
    )
    def test_with_numbers(self, first: tuple[int, int, str], second: tuple[int, int, str]) -> None:
        class Numbers(Channel, name="{a}1{b}11{c}"):
            a: int
            b: int
            c: str

        check_one_name(Numbers, ("a", "b", "c"), first, second)

    def test_fixed_forms_may_hold_the_separator(self) -> None:
        class Dashes(Channel, name="user-{user}-{day}-{rest}"):
            user: UUID
            day: date
            rest: str

        name = Dashes(user=UUID(int=0), day=date(2026, 1, 2), rest="x").name
        assert name == "user-00000000-0000-0000-0000-000000000000-2026-01-02-x"
        with pytest.raises(ChannelError) as caught:
            Dashes(user=UUID(int=0), day=date(2026, 1, 2), rest="x-y")
        assert caught.value.parameter == "rest"

    def test_every_separator_of_the_template_counts(self) -> None:
        class Mixed(Channel, name="a.b/{x}:{y}@end"):
            x: str
            y: str

        assert Mixed(x="one_1", y="ü").name == "a.b/one_1:ü@end"
        for separator in "./:@":
            with pytest.raises(ChannelError):
                Mixed(x=f"a{separator}", y="b")
            with pytest.raises(ChannelError):
                Mixed(x="a", y=f"{separator}b")


def check_one_name(
    channel_class: type[Channel], names: tuple[str, ...], first: tuple[Any, ...], second: tuple[Any, ...]
) -> None:
    try:
        one = channel_class(**dict(zip(names, first, strict=True)))
        two = channel_class(**dict(zip(names, second, strict=True)))
    except ChannelError:
        return
    assert (one.name == two.name) == (first == second)


class TestFromStrings:
    def test_values_are_parsed_by_their_annotations(self) -> None:
        channel = Cell.from_strings(
            {
                "sheet": str(UUID(int=1)).upper(),
                "day": "2026-01-02",
                "row": "-5",
                "colour": "red",
                "level": "2",
                "side": "7",
                "label": "abcd",
            }
        )
        assert channel == Cell(**CELL)
        assert channel.name == CELL_NAME

    @pytest.mark.parametrize(
        ("values", "parameter"),
        [
            ({}, "run_id"),
            ({"run_id": ""}, "run_id"),
            ({"run_id": "a:b"}, "run_id"),
            ({"run_id": "a", "runId": "a"}, "runId"),
            ({"run_id": ["a"]}, "run_id"),
            ({"run_id": 7}, "run_id"),
        ],
    )
    def test_endpoint_errors(self, values: Any, parameter: str) -> None:
        with pytest.raises(ChannelError) as caught:
            Pipeline.from_strings(values)
        assert caught.value.parameter == parameter

    @pytest.mark.parametrize(
        ("parameter", "text"), [("sheet", "x"), ("day", "x"), ("row", "x"), ("colour", "RED"), ("level", "3")]
    )
    def test_text_of_another_type(self, parameter: str, text: str) -> None:
        strings = {"sheet": str(UUID(int=1)), "day": "2026-01-02", "row": "1", "colour": "red", "level": "2"}
        with pytest.raises(ChannelError) as caught:
            Cell.from_strings({**strings, "side": "left", "label": "a", parameter: text})
        assert caught.value.parameter == parameter


class TestDeclarations:
    def test_topics_by_their_wire_names_in_order(self) -> None:
        assert list(Pipeline.topics()) == ["status", "tokens", "$run"]
        assert Pipeline.topics()["$run"] is Pipeline.lifecycle
        assert isinstance(Pipeline.status, Topic)
        assert (Pipeline.status.name, Pipeline.status.type) == ("status", Status)

    def test_parameters_with_their_types(self) -> None:
        annotations = {name: parameter.annotation for name, parameter in Cell.parameters().items()}
        label = annotations.pop("label")
        assert get_args(label)[0] is str
        assert annotations == {
            "sheet": UUID,
            "day": date,
            "row": int,
            "colour": Colour,
            "level": Level,
            "side": Literal["left", 7],
        }
        assert News.parameters() == {}

    def test_topics_and_parameters_are_inherited(self) -> None:
        class Part(Pipeline, name="pipeline:{run_id}:{part}"):
            part: int
            extra = topic(bool)

        part = Part(run_id="a", part=1)
        assert part.name == "pipeline:a:1"
        assert list(Part.topics()) == ["status", "tokens", "$run", "extra"]
        assert list(Part.parameters()) == ["run_id", "part"]
        assert part.status.channel is part

    def test_a_subclass_may_keep_the_name(self) -> None:
        class Louder(Pipeline):
            volume = topic(int)

        assert Louder(run_id="a").name == "pipeline:a"
        assert list(Louder.topics()) == ["status", "tokens", "$run", "volume"]

    def test_a_class_without_a_name_is_a_mixin(self) -> None:
        class WithStatus(Channel):
            status = topic(Status)

        class WithNothingOfOurs:
            tokens = topic(str)

        class Job(WithStatus, WithNothingOfOurs, name="job:{job}"):
            job: int

        assert sorted(Job.topics()) == ["status", "tokens"]
        assert Job(job=1).status.name == "status"
        with pytest.raises(ConfigurationError, match="WithStatus has no name"):
            WithStatus()

    def test_an_overridden_topic_is_replaced(self) -> None:
        class Changed(Pipeline):
            status = topic(int)  # type: ignore[assignment]
            tokens = None  # type: ignore[assignment]

        assert list(Changed.topics()) == ["status", "$run"]
        assert Changed.topics()["status"].type is int

    def test_types_of_the_enclosing_function_are_found(self) -> None:
        class Local(Enum):
            ONE = "one"

        class Here(Channel, name="here:{x}"):
            x: Local

        assert Here(x=Local.ONE).name == "here:one"

    def test_a_type_defined_later_is_found_when_it_is_needed(self) -> None:
        class Early(Channel, name="early:{x}"):
            x: DefinedLater

        assert Early(x=DefinedLater.ONE).name == "early:one"

    def test_a_type_that_is_never_defined_says_so_at_its_first_use(self) -> None:
        class Unresolved(Channel, name="unresolved:{x}"):
            x: OnlyForTypeCheckers

        with pytest.raises(ConfigurationError, match=r"x: the annotation 'OnlyForTypeCheckers' cannot be resolved"):
            Unresolved(x=1)  # type: ignore[arg-type]

    def test_models_need_not_be_complete_when_the_class_is_made(self) -> None:
        class Node(BaseModel):
            next: NotDefinedYet | None = None

        class Graph(Channel, name="graph"):
            node = topic(Node)

        with pytest.raises(ConfigurationError, match="type of topic 'node'"):
            assert Graph.node.adapter
        Node.model_rebuild(_types_namespace={"NotDefinedYet": int})
        assert Graph.node.adapter is not None


class DefinedLater(Enum):
    ONE = "one"


class TestRefusedDeclarations:
    @pytest.mark.parametrize(
        ("name", "body", "says"),
        [
            ("a:{x}", {}, r"uses \{x\}, which is not declared"),
            ("a", {"__annotations__": {"x": str}}, r"x is not in the name"),
            ("a:{x}:{x}", {"__annotations__": {"x": str}}, "twice"),
            ("a:{x}{y}", {"__annotations__": {"x": str, "y": str}}, "touch"),
            ("a:{x", {"__annotations__": {"x": str}}, "not a valid template"),
            ("a:{}", {}, "plain parameter names"),
            ("a:{0}", {}, "plain parameter names"),
            ("a:{x.y}", {"__annotations__": {"x": str}}, "plain parameter names"),
            ("a:{x:>3}", {"__annotations__": {"x": str}}, "plain parameter names"),
            ("a:{x!r}", {"__annotations__": {"x": str}}, "plain parameter names"),
            ("a\n{x}", {"__annotations__": {"x": str}}, "not printable"),
            ("", {}, "non-empty"),
            (7, {}, "non-empty"),
            (None, {"__annotations__": {"x": str}}, "parameters but no name"),
            ("a:{x}", {"__annotations__": {"x": str}, "x": "default"}, "no defaults"),
            ("a:{name}", {"__annotations__": {"name": str}}, "name: the class has an attribute"),
            ("a:{topics}", {"__annotations__": {"topics": str}}, "topics: the class has an attribute"),
            (
                "a:{from_strings}",
                {"__annotations__": {"from_strings": str}},
                "from_strings: the class has an attribute",
            ),
            ("a", {"topics": topic(str)}, "a channel's own"),
            ("a", {"x": topic(str), "y": topic(str, name="x")}, "'x' twice"),
            ("a:{x}", {"__annotations__": {"x": str}, "x": topic(str)}, "a topic has no annotation"),
            ("a", {"status": Status}, r"write status = topic\(Status\)"),
            ("a", {"tokens": str}, r"write tokens = topic\(str\)"),
            ("a", {"rows": list[int]}, r"write rows = topic\(list\[int\]\)"),
            ("a", {"data": Any}, r"write data = topic\("),
        ],
    )
    def test_each_says_what_to_do(self, name: Any, body: dict[str, Any], says: str) -> None:
        with pytest.raises(ConfigurationError, match=says):
            declare((Channel,), body, name)

    def test_types_that_are_no_topics(self) -> None:
        class Jobs(Channel, name="jobs"):
            Data = Status
            made_with: ClassVar[type] = Status

            class meta:
                ordering = 1

        assert dict(Jobs.topics()) == {}

    def test_a_parameter_over_an_inherited_topic(self) -> None:
        with pytest.raises(ConfigurationError, match="both a parameter and a topic"):
            declare((Pipeline,), {"__annotations__": {"status": str}}, "p:{run_id}:{status}")

    def test_a_parameter_over_an_inherited_method(self) -> None:
        with pytest.raises(ConfigurationError, match="path: the class has an attribute"):
            declare((Pipeline,), {"__annotations__": {"path": str}}, "p:{run_id}:{path}")

    def test_topics_that_cannot_be(self) -> None:
        with pytest.raises(ConfigurationError, match="not its name in quotes"):
            topic("Status")
        for name in ("", "a\n", "\ud800"):
            with pytest.raises(ConfigurationError, match="name="):
                topic(str, name=name)
        with pytest.raises(ConfigurationError, match="no name yet"):
            assert topic(str).name


class TestTopics:
    def test_an_adapter_is_made_once(self) -> None:
        adapter = Pipeline.status.adapter
        assert adapter is Pipeline(run_id="a").status.adapter is adapter_for(Pipeline, "status")
        assert adapter is not None
        assert adapter.validate_python({"message": "x"}) == Status(message="x")

    def test_any_has_no_adapter(self) -> None:
        assert Pipeline.lifecycle.adapter is None
        assert adapter_for(Pipeline, "$run") is None
        assert adapter_for(Pipeline, "other") is None
        assert adapter_for(None, "status") is None

    def test_a_ref_knows_its_channel(self) -> None:
        ref = Pipeline(run_id="a").status
        assert isinstance(ref, TopicRef)
        assert (str(ref.channel), ref.name, ref.type) == ("pipeline:a", "status", Status)
        assert ref == Pipeline(run_id="a").status
        assert ref not in (Pipeline(run_id="b").status, Pipeline(run_id="a").tokens, "status")
        assert len({ref, Pipeline(run_id="a").status}) == 1
        assert repr(ref) == "<TopicRef 'status' of Pipeline(run_id='a')>"
        assert repr(Pipeline.status) == "<Topic 'status': Status>"

    @pytest.mark.parametrize(
        ("kind", "topic_name", "channel", "ref_matches", "topic_matches"),
        [
            ("data", "status", "pipeline:a", True, True),
            ("run", "status", "pipeline:a", True, True),
            ("data", "status", "pipeline:b", False, True),
            ("data", "tokens", "pipeline:a", False, False),
            ("gap", "status", "pipeline:a", False, False),
            ("chunk", "status", "pipeline:a", False, False),
            ("datastream-start", "status", "pipeline:a", False, False),
            ("datastream-end", "status", "pipeline:a", False, False),
        ],
    )
    def test_matching(self, kind: str, topic_name: str, channel: str, ref_matches: bool, topic_matches: bool) -> None:
        candidate = message(kind, topic_name, channel)
        assert Pipeline(run_id="a").status.matches(candidate) is ref_matches
        assert Pipeline.status.matches(candidate) is topic_matches

    def test_matching_uses_the_wire_name(self) -> None:
        assert Pipeline.lifecycle.matches(message("run", "$run"))
        assert not Pipeline.lifecycle.matches(message("run", "lifecycle"))


class TestResolving:
    def test_a_channel(self) -> None:
        resolved = resolve_channel(Pipeline(run_id="a"))
        assert (resolved.name, resolved.declaration) == ("pipeline:a", Pipeline)

    def test_a_string(self) -> None:
        resolved = resolve_channel("anything at all:\n☃")
        assert (resolved.name, resolved.declaration) == ("anything at all:\n☃", None)

    @pytest.mark.parametrize("bad", ["", "\ud800", 7, None, b"x", Pipeline])
    def test_what_is_no_channel(self, bad: Any) -> None:
        with pytest.raises(ChannelError):
            resolve_channel(bad)

    def test_topics(self) -> None:
        channel = Pipeline(run_id="a")
        assert resolve_topics(channel) == resolve_topics(channel, None) == ("status", "tokens", "$run")
        assert resolve_topics(channel, ["tokens", channel.status, Pipeline.lifecycle, "tokens"]) == (
            "tokens",
            "status",
            "$run",
        )

    def test_topics_of_a_string(self) -> None:
        assert resolve_topics("c", ["b", "a", "b"]) == ("b", "a")
        assert resolve_topics("pipeline:a", [Pipeline.status, Pipeline(run_id="a").tokens]) == ("status", "tokens")

    @pytest.mark.parametrize(
        ("channel", "topics", "says"),
        [
            ("c", None, "A str declares no topics"),
            ("c", [], "empty"),
            ("c", [""], "empty"),
            ("c", ["a\n"], "not printable"),
            ("c", ["\ud800"], "not printable"),
            ("c", [7], "not int"),
            ("c", "status", "must be a list"),
            ("c", Pipeline.status, "must be a list"),
            ("c", [Pipeline(run_id="a").status], "not of 'c'"),
            (Pipeline(run_id="a"), [], "empty"),
            (Pipeline(run_id="a"), ["lifecycle"], r"no topic 'lifecycle'; it has: status, tokens, \$run"),
            (Pipeline(run_id="a"), [Pipeline(run_id="b").status], "Take it from the same channel"),
            (Pipeline(run_id="a"), [Chat.said], "another class"),
        ],
    )
    def test_refused_topics(self, channel: Any, topics: Any, says: str) -> None:
        with pytest.raises(TopicError, match=says):
            resolve_topics(channel, topics)

    def test_a_channel_that_declares_nothing(self) -> None:
        class Empty(Channel, name="empty"):
            pass

        with pytest.raises(TopicError, match="Empty declares no topics"):
            resolve_topics(Empty())
        with pytest.raises(TopicError, match="it has: none"):
            resolve_topics(Empty(), ["x"])
