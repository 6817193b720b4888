"""Channels of every shape that data takes, with a value to publish for each: what `types` is tried on."""

from __future__ import annotations

import enum
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypeVar

from pydantic import (
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    RootModel,
    SecretStr,
    computed_field,
    field_serializer,
    model_serializer,
)
from pydantic.alias_generators import to_camel
from typing_extensions import NotRequired, TypeAliasType, TypedDict

from inngest_realtime_core import Channel, topic

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Status(BaseModel):
    """How far a run is. Ends with */ and `code`."""

    message: str = Field(description="What people read.")
    step: str | None = None


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    created_at: datetime
    long_name_of_it: int = 3
    odd: str = Field(default="x", serialization_alias="odd-name")


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    good: bool = True


class Page(BaseModel, Generic[T]):
    items: list[T]
    next: int | None = None


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    a: int


class OpenNumbers(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int] = Field(init=False)

    label: str


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")

    a: int


class Empty(BaseModel):
    pass


class Area(BaseModel):
    width: float
    height: float

    @computed_field
    @property
    def size(self) -> float:
        return self.width * self.height


class Ids(RootModel[list[int]]):
    pass


class Perhaps(RootModel[Optional[int]]):  # noqa: UP045
    pass


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


@dataclass
class Point:
    x: int
    y: int = 0
    tags: list[str] = field(default_factory=list)


class Pair(NamedTuple):
    left: int
    right: str = "r"


Remark = TypeAliasType("Remark", Optional[str])  # noqa: UP045


@dataclass
class Size:
    width: int
    height: int | None = None


class Note(BaseModel):
    """Sent without the fields that are None."""

    title: str
    remark: Remark = None
    mood: Literal["good", None] = None
    size: Size = Field(default_factory=lambda: Size(1))
    status: Status | None = None
    cells: dict[str, int | None] = {}
    parent: Note | None = None


Nested = TypeAliasType("Nested", "int | list[Nested]")


Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | str | int | None")


class Folder(RootModel[dict[str, "Folder"]]):
    pass


class Moves(RootModel[dict[Literal["left", "right"], "Moves"]]):
    pass


class Section(BaseModel):
    """It may have sections by any name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Section] = Field(init=False)

    size: int


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Unsaid(BaseModel):
    """Its serializers do not say what they return."""

    at: datetime
    price: Annotated[Decimal, PlainSerializer(float)]
    path: PurePosixPath
    recent: deque[int]

    @field_serializer("at")
    def _seconds(self, at):  # type: ignore[no-untyped-def]
        return at.timestamp()


class UnsaidWhole(BaseModel):
    a: int

    @model_serializer
    def _list(self):  # type: ignore[no-untyped-def]
        return [self.a]


class Times(BaseModel):
    day: date
    at: datetime
    clock: time
    took: timedelta


class Others(BaseModel):
    id: uuid.UUID
    price: Decimal
    url: AnyUrl
    address: IPv4Address
    path: PurePosixPath
    secret: SecretStr


class Deep(BaseModel):
    pages: dict[str, Page[Status]]
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]]
    parent: Deep | None = None


class Shapes(Channel, name="shapes:{run_id}"):
    """All of them on one channel."""

    run_id: str

    text = topic(str)
    integer = topic(int)
    number = topic(float)
    flag = topic(bool)
    nothing = topic(type(None))
    anything = topic(Any)
    optional = topic(Optional[str])  # noqa: UP045 -- as many write it
    model = topic(Status)
    camel = topic(Camel)
    literals = topic(Literal["a", "b", 1, True, None])
    color = topic(Color)
    level = topic(Level)
    union = topic(int | str | list[int])
    pet = topic(Annotated[Cat | Dog, Field(discriminator="kind")])
    pets = topic(list[Cat | Dog])
    page = topic(Page[int])
    page_of_models = topic(Page[Status])
    tree = topic(Tree)
    open = topic(Open)
    open_numbers = topic(OpenNumbers)
    strict = topic(Strict)
    empty = topic(Empty)
    area = topic(Area)
    ids = topic(Ids)
    perhaps = topic(Perhaps)
    movie = topic(Movie)
    point = topic(Point)
    pair = topic(Pair)
    nested = topic(Nested)
    note = topic(Note, exclude_none=True)
    notes = topic(list[Note], exclude_none=True)
    recursive = topic(Json)
    folder = topic(Folder)
    moves = topic(Moves)
    section = topic(Section)
    access = topic(Access)
    unsaid = topic(Unsaid)
    unsaid_whole = topic(UnsaidWhole)
    no_elements = topic(tuple[()])
    full_note = topic(Note)
    times = topic(Times)
    others = topic(Others)
    deep = topic(Deep)
    mapping = topic(dict[str, int])
    by_color = topic(dict[Color, int])
    by_number = topic(dict[int, str])
    any_mapping = topic(dict[str, Any])
    lists = topic(list[list[int | None]])
    untyped_list = topic(list[Any])
    fixed = topic(tuple[int, str])
    variadic = topic(tuple[int, ...])
    exactly = topic(Annotated[list[int], Field(min_length=2, max_length=2)])
    unique = topic(set[int])
    frozen = topic(frozenset[str])
    sequence = topic(Sequence[int])
    readonly = topic(Mapping[str, bool])
    constrained = topic(Annotated[int, Field(ge=0, le=100)])
    json = topic(JsonValue)
    odd_name = topic(str, name="odd-name.of:a topic")


class Job(Channel, name="job:{org_id}:{number}"):
    org_id: str
    number: int
    done = topic(bool)


class HTTPRequests(Channel, name="http`${{x}}\\{day}/{level}/{color}"):
    day: date
    level: Level
    color: Color
    seen = topic(int)


class Default(Channel, name="news"):
    headline = topic(str)


VALUES: dict[str, Any] = {
    "text": 'a "text" 🦄',
    "integer": 7,
    "number": 2.5,
    "flag": False,
    "nothing": None,
    "anything": {"a": [1, None]},
    "optional": None,
    "model": Status(message="hi"),
    "camel": Camel(created_at=datetime(2026, 1, 2, tzinfo=timezone.utc)),
    "literals": None,
    "color": Color.GREEN,
    "level": Level.HIGH,
    "union": [1, 2],
    "pet": Dog(),
    "pets": [Cat(), Dog(good=False)],
    "page": Page[int](items=[1]),
    "page_of_models": Page[Status](items=[Status(message="a", step="b")], next=2),
    "tree": Tree(name="a", children=[Tree(name="b")]),
    "open": Open.model_validate({"a": 1, "b": [2]}),
    "open_numbers": OpenNumbers.model_validate({"label": "l", "n": 2}),
    "strict": Strict(a=1),
    "empty": Empty(),
    "area": Area(width=2, height=3),
    "ids": Ids([1, 2]),
    "perhaps": Perhaps(None),
    "movie": Movie(title="M"),
    "point": Point(1),
    "pair": Pair(1),
    "nested": [1, [2, [3]]],
    "note": Note(title="a", cells={"x": None}, parent=Note(title="b", status=Status(message="m"))),
    "notes": [Note(title="a"), Note(title="b", remark="r", mood="good", size=Size(1, 2))],
    "full_note": Note(title="a"),
    "recursive": {"a": [1, None, {"b": "c"}]},
    "folder": Folder({"a": Folder({})}),
    "moves": Moves({"left": Moves({"right": Moves({})})}),
    "section": Section.model_validate({"size": 2, "a": {"size": 1}}),
    "access": Access.READ | Access.WRITE,
    "unsaid": Unsaid(at=datetime(2026, 1, 2), price=Decimal("1.5"), path=PurePosixPath("a"), recent=deque([1])),
    "unsaid_whole": UnsaidWhole(a=1),
    "no_elements": (),
    "times": Times(day=date(2026, 1, 2), at=datetime(2026, 1, 2, 3), clock=time(4, 5), took=timedelta(seconds=90)),
    "others": Others(
        id=uuid.UUID(int=5),
        price=Decimal("1.50"),
        url=AnyUrl("https://example.com/"),
        address=IPv4Address("127.0.0.1"),
        path=PurePosixPath("a/b"),
        secret=SecretStr("never seen"),
    ),
    "deep": Deep(pages={"x": Page[Status](items=[])}, pets=[Cat()], parent=Deep(pages={}, pets=[])),
    "mapping": {"a": 1},
    "by_color": {Color.RED: 1},
    "by_number": {1: "a"},
    "any_mapping": {"a": [None]},
    "lists": [[1, None], []],
    "untyped_list": [1, "a", None],
    "fixed": (1, "a"),
    "variadic": (1, 2, 3),
    "exactly": [1, 2],
    "unique": {1},
    "frozen": frozenset(["a"]),
    "sequence": [1],
    "readonly": {"a": True},
    "constrained": 50,
    "json": {"a": [1, {"b": None}]},
    "odd-name.of:a topic": "odd",
}
