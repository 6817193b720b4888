"""`manage.py realtime_tail`: what arrives on a channel, a line of JSON for each message."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inngest_realtime_core import Channel, RealtimeError
from inngest_realtime_core.endpoints.selection import select

from ... import conf


class Command(BaseCommand):
    """Prints the messages of a channel until it is interrupted."""

    help = (
        "Print what arrives on a channel, a line of JSON for each message, until interrupted: "
        "`realtime_tail pipeline runId=abc123` for a grant and its parameters, or "
        "`realtime_tail --channel pipeline:abc123 --topics status` for a channel's own name."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("grant", nargs="?", help="the name of a grant in INNGEST_REALTIME['GRANTS']")
        parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="the parameters of its channel")
        parser.add_argument("--channel", help="a channel's own name, instead of a grant")
        parser.add_argument("--topics", help="comma-separated; by default all that the grant has")
        parser.add_argument("--limit", type=int, help="end after so many messages")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            channel, topics = self._chosen(options)
            with conf.get_realtime().subscribe_sync(channel=channel, topics=topics) as subscription:
                self.stderr.write(f"Listening to {subscription.channel} ({', '.join(subscription.topics)}).")
                for number, message in enumerate(subscription, 1):
                    self.stdout.write(message.to_json().decode())
                    self.stdout.flush()
                    if number == options["limit"]:
                        return
        except RealtimeError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            pass

    def _chosen(self, options: dict[str, Any]) -> tuple[Channel | str, list[str]]:
        topics: list[str] = options["topics"].split(",") if options["topics"] else []
        if options["channel"]:
            if options["grant"] or not topics:
                raise CommandError("With --channel, give --topics and no grant.")
            return options["channel"], topics
        grants = conf.endpoints(asgi=False).grants
        grant = grants.get(options["grant"] or "")
        if grant is None:
            raise CommandError(f"Name one of the grants ({', '.join(grants) or 'there are none'}), or a --channel.")
        parameters: list[tuple[str, str]] = []
        for parameter in options["parameters"]:
            name, equals, value = parameter.partition("=")
            if not equals:
                raise CommandError(f"{parameter!r} is not of the form NAME=VALUE.")
            parameters.append((name, value))
        selection = select(grant, [*parameters, *(("topics", topic) for topic in topics)])
        return selection.channel, list(selection.topics)
