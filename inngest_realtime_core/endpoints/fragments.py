"""HTML of messages from templates, for `Grant(render=)`: Django's, or those of any Jinja2 environment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast

from ..arguments import describe
from ..channels.topic import TYPED_KINDS
from ..errors import ConfigurationError
from ..messages.message import Message


class TemplateEnvironment(Protocol):
    """A Jinja2 environment: Flask's `app.jinja_env`."""

    autoescape: Any

    def get_template(self, name: str) -> Any: ...


class TemplateEngine(Protocol):
    """What holds a Jinja2 environment: `Jinja2Templates` of Starlette, Django's engine of that kind."""

    env: Any


RenderTemplate = Callable[[str, dict[str, Any]], str]


def template_fragments(
    source: TemplateEnvironment | TemplateEngine | RenderTemplate, templates: Mapping[str, str]
) -> Callable[[Message[Any]], str | None]:
    """Makes the `render` of a grant: each topic by its template, which finds `data` and `message`.

    Messages of other topics, and what is no data (the parts of data streams), make no HTML.

    Args:
        source: A Jinja2 environment, or what holds one as its `env` (`Jinja2Templates` of Starlette); Django's
            `render_to_string`, or any function of a template's name and a context.
        templates: The names of the templates by the names of the topics.

    Raises:
        ConfigurationError: The environment does not escape what it puts into one of the templates.
    """
    environment: Any = source if hasattr(source, "autoescape") else getattr(source, "env", source)
    if not callable(source) and not hasattr(environment, "autoescape"):
        raise ConfigurationError(
            f"The source of the templates is {describe(source)}: expected a Jinja2 environment such as app.jinja_env, "
            "or Django's render_to_string."
        )
    if not isinstance(cast("object", templates), Mapping):
        wanted = 'expected a dict of the names of topics and templates, {"status": "status.html"}'
        raise ConfigurationError(f"The templates are {describe(templates)}: {wanted}.")
    render = source if callable(source) else _escaping(environment, templates.values())

    def fragment(message: Message[Any]) -> str | None:
        name = templates.get(message.topic)
        if name is None or message.kind not in TYPED_KINDS:
            return None
        return render(name, {"data": message.data, "message": message})

    return fragment


def _escaping(environment: TemplateEnvironment, names: Iterable[str]) -> RenderTemplate:
    for name in names:
        escapes = environment.autoescape
        if not (escapes(name) if callable(escapes) else escapes):
            raise ConfigurationError(
                f"The Jinja2 environment does not escape in {name!r}, so that markup in a message would be run by the "
                "page. Make it with autoescape=select_autoescape()."
            )
    return lambda name, context: str(environment.get_template(name).render(context))
