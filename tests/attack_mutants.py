"""The protection that each test of `tests/attacks` stands for, and the same without it: `nox -s mutants -- attacks`.

So with some tests elsewhere that stand for a limit. Each entry has a test, a file, the text that protects, and what
takes its place: the test has to fail then. Files are those of the core, or begin at the root. Of a test with several
cases one may be named.
"""

from __future__ import annotations

BAD = "test_bad_messages.py::"
BYTES = "test_buffered_bytes.py::"
LIMITS = "test_documented_limits.py::"
SECRETS = "test_secret_locals.py::"
TENANTS = "test_tenants.py::"
HTTP = "over_http/test_limits.py::"
UVICORN, GUNICORN = "fastapi-uvicorn", "flask-gunicorn"
LIMIT = "../test_limits.py::test_"
OVERLAPS = "../test_overlaps.py::test_no_name_of_two_channels_"
DEV = "../devserver/test_"

ATTACKS: list[tuple[str, str, str, str]] = [
    # Bad messages.
    (
        f"{BAD}test_what_cannot_be_decoded_is_a_gap[deep in many places]",
        "_upstream/protocol.py",
        "> MAX_DEPTH and _is_deep(data):\n        return True",
        "> MAX_DEPTH:\n        pass",
    ),
    (
        f"{BAD}test_what_cannot_be_decoded_is_a_gap[digits]",
        "_upstream/protocol.py",
        "if len(data) > MAX_DIGITS and",
        "if False and",
    ),
    (
        f"{BAD}test_an_envelope_that_is_not_as_it_should_be",
        "_upstream/protocol.py",
        '    for text in (b"{" + frame[start:], frame):\n',
        "    for text in (frame,):\n",
    ),
    (
        f"{BAD}test_an_envelope_that_is_not_as_it_should_be",
        "_upstream/protocol.py",
        "                unreadable = _find_address(frame)\n",
        "                unreadable = None\n",
    ),
    (
        f"{BAD}test_a_number_beyond_all_floats",
        "messages/message.py",
        'if b"null" in text and re.search(_HUGE, envelope.data):',
        "if False:",
    ),
    (
        f"{BAD}test_nothing_is_raised_late",
        "_upstream/protocol.py",
        "return not (_is_undecodable(envelope.data) or (len(metadata) > _SHORT and _is_undecodable(metadata)))",
        "return not _is_undecodable(envelope.data)",
    ),
    (
        f"{BAD}test_many_deep_places_are_looked_at_once",
        "_upstream/protocol.py",
        "    for level in range(_LEVELS):\n",
        "    depth = 0\n    while re.search(rb'[\\[{][^\\[\\]{}]*[\\]}]', data):\n"
        "        data = re.sub(rb'[\\[{][^\\[\\]{}]*[\\]}]', b'', data)\n        depth += 1\n"
        "    return depth > MAX_DEPTH\n    for level in range(_LEVELS):\n",
    ),
    (
        f"{BAD}test_a_message_without_a_json_form_ends_no_stream",
        "_hub/groups.py",
        "error = None if schema is None else encoding_error(message)",
        "error = None",
    ),
    (
        f"{BAD}test_publish_refuses_what_json_cannot_say",
        "_api/payload.py",
        "    for place, part in untyped_parts(value, adapter, path):\n        _plain(part, place)\n",
        "",
    ),
    (
        f"{BAD}test_publish_refuses_deep_nesting",
        "_api/payload.py",
        "    except RecursionError:\n        raise PublishError(_TOO_DEEP.format(name)) from None\n",
        "",
    ),
    (
        f"{BAD}test_a_message_says_its_data_in_a_short_line",
        "messages/message.py",
        'shown = raw if len(raw) <= 200 else raw[:200] + b"..."',
        "shown = raw",
    ),
    (
        f"{BAD}test_a_stream_that_is_named_by_a_mebibyte_is_not_followed",
        "_upstream/protocol.py",
        " or len(stream_id) > _MAX_STREAM_ID",
        "",
    ),
    # Bytes that wait.
    (
        f"{BYTES}test_whatever_comes_the_total_stays_below_its_limit",
        "_hub/budget.py",
        "excess -= each.shed(excess)",
        "excess = 0",
    ),
    (
        f"{BYTES}test_small_messages_count_as_well",
        "_hub/queue.py",
        "            limits.budget.spend(limits.step * self._small_size())\n",
        "",
    ),
    (
        f"{BYTES}test_who_holds_most_pays_and_is_told",
        "_hub/budget.py",
        "sorted(holders, key=lambda each: each.held_bytes, reverse=True)",
        "sorted(holders, key=lambda each: each.held_bytes)",
    ),
    (
        f"{BYTES}test_another_event_loop_drops_what_it_holds_itself",
        "_hub/budget.py",
        "                each.shed_later()\n",
        "                each.shed(excess)\n",
    ),
    (
        f"{BYTES}test_of_several_on_one_event_loop_the_one_that_holds_most_pays",
        "_hub/budget.py",
        "held[1].is_here, held[0]), reverse=True",
        "held[1].is_here), reverse=True",
    ),
    (
        f"{BYTES}test_another_event_loop_that_holds_most_pays_while_there_is_time",
        "_hub/budget.py",
        "here_first = held >= limit",
        "here_first = True",
    ),
    (
        f"{BYTES}test_who_is_asked_twice_drops_the_same_bytes_once",
        "_hub/hub.py",
        "self.shed(self.budget.excess)",
        "self.shed(500_000)",
    ),
    (
        f"{BYTES}test_who_is_asked_drops_nothing_when_that_was_done_in_the_meantime",
        "_hub/hub.py",
        "self.shed(self.budget.excess)",
        "self.shed(300_000)",
    ),
    (
        f"{BYTES}test_looking_is_rare",
        "_hub/budget.py",
        "    return max(until - _held(shedders), step)\n",
        "    return 0.0\n",
    ),
    (
        f"{BYTES}test_three_streams_that_nobody_reads",
        "_hub/queue.py",
        "        self._limits.budget.spend(size)\n",
        "",
    ),
    (
        f"{BYTES}test_two_event_loops_share_one_limit",
        "_hub/budget.py",
        "        self.room = _room(self._limit, self._shedders())\n",
        "        self.room = _room(self._limit, [each for each in self._shedders() if each.is_here])\n        return\n",
    ),
    (
        f"{BYTES}test_all_realtimes_of_a_process_share_one_limit",
        "_hub/budget.py",
        "        if len(budgets) > 1:\n",
        "        if False:\n",
    ),
    (
        f"{BYTES}test_data_streams_are_bounded_in_bytes_of_memory",
        "_hub/open_streams.py",
        "                self.drop(self.held_bytes - self._max_bytes)\n",
        "                pass\n",
    ),
    (
        f"{BYTES}test_data_streams_are_bounded_in_bytes_of_memory",
        "messages/data_stream.py",
        "size = sys.getsizeof(chunk)",
        "size = len(chunk)",
    ),
    (
        f"{BYTES}test_open_data_streams_count_in_the_total",
        "_hub/open_streams.py",
        "            self.held_bytes += added\n",
        "",
    ),
    (
        f"{BYTES}test_errors_that_wait_are_bounded_in_bytes",
        "subscriptions/callbacks.py",
        " or (self._pending and self.held_bytes + size > self._max_bytes)",
        "",
    ),
    (
        f"{BYTES}test_errors_that_wait_count_in_the_total",
        "subscriptions/callbacks.py",
        "        self._hub.budget.spend(size)\n",
        "",
    ),
    (
        f"{BYTES}test_a_message_with_a_hundred_thousand_mistakes",
        "_hub/views.py",
        "_MAX_DETAILS: Final = 20",
        "_MAX_DETAILS: Final = 10**9",
    ),
    (
        f"{BYTES}test_metadata_counts_like_the_payload",
        "_upstream/protocol.py",
        "            envelope.weigh(len(frame))\n",
        "",
    ),
    (
        f"{BYTES}test_metadata_counts_of_what_is_published",
        "_api/publishing.py",
        "    envelope.weigh(len(envelope.data) + len(envelope.metadata))\n",
        "",
    ),
    (
        f"{BYTES}test_an_error_keeps_no_more_than_a_mebibyte",
        "_hub/views.py",
        "    if kept <= _MAX_CAUSE:\n",
        "    if True:\n",
    ),
    (
        f"{BYTES}test_an_error_counts_with_all_that_it_keeps",
        "_hub/views.py",
        "    kept = count * _PER_MISTAKE + envelope.size\n",
        "    kept = envelope.size\n",
    ),
    (
        f"{BYTES}test_an_error_counts_with_all_that_it_keeps",
        "_hub/views.py",
        "        kept += _PER_BYTE * len(envelope.data)\n",
        "        pass\n",
    ),
    # The table of limits.
    (
        f"{LIMITS}test_each_row_is_looked_at",
        "docs/security.md",
        "| length of an event id | 200 characters | a gap | fixed |\n",
        "",
    ),
    (
        f"{LIMITS}test_a_row_names_the_defaults_of_the_code",
        "endpoints/parameters.py",
        "_MAX_PARAMETERS: Final = 256",
        "_MAX_PARAMETERS: Final = 2_560",
    ),
    (f"{LIMITS}test_what_changes_a_limit_exists", "docs/security.md", "`linger=`", "`lingering=`"),
    (
        f"{LIMITS}test_other_defaults_are_those_of_the_options",
        "_hub/options.py",
        "total_buffer_bytes: int = ",
        "total_buffer_bytes: int = 7 * ",
    ),
    (
        f"{LIMITS}test_a_limit_is_not_switched_off_by_accident",
        "endpoints/options.py",
        "                check_count(name, getattr(self, name))\n",
        "                pass\n",
    ),
    # Options at their bounds.
    (
        "test_extreme_options.py::test_streams_and_endpoint_errors",
        "arguments.py",
        "MAX_SECONDS: Final = ",
        "MAX_SECONDS: Final = 10.0**9 * ",
    ),
    (
        "test_extreme_options.py::test_sync_streams",
        "endpoints/wsgi.py",
        "poller.poll(min(timeout * 1000, _MAX_POLL))",
        "poller.poll(timeout * 1000)",
    ),
    # Fuzzing.
    (
        "test_fuzz_input.py::test_whatever_frames_come",
        "_upstream/protocol.py",
        "            if not is_decodable(envelope):\n"
        "                return Unreadable(envelope.channel, envelope.topic) if envelope.channel else None\n",
        "",
    ),
    (
        "test_fuzz_input.py::test_whatever_frames_come",
        "messages/message.py",
        "if _LF in encoded or _CR in encoded:",
        "if False:",
    ),
    (
        "test_fuzz_input.py::test_whatever_claims_a_token_has",
        "_api/claims.py",
        "ValueError, OverflowError, RecursionError)",  # the last is for old versions of PyJWT
        "ValueError)",
    ),
    (
        "test_fuzz_input.py::test_an_id_is_not_made_up",
        "_replay/event_ids.py",
        "        if found is None:\n            return None\n        text, _, tag",
        "        if found is None:\n            return Cursor('', 0, 0)\n        text, _, tag",
    ),
    (
        "test_fuzz_input.py::test_an_id_is_not_changed",
        "_replay/event_ids.py",
        "        if not any(compare_digest(_tag(key, channel, text), tag) for key in self._keys):\n"
        "            return None\n",
        "",
    ),
    (
        "test_fuzz_openapi.py::test_tokens_are_as_documented",
        "endpoints/parameters.py",
        "    except (ValueError, RecursionError):\n        document = None",
        "    except RecursionError:\n        document = None",
    ),
    (
        "test_fuzz_openapi.py::test_streams_are_as_documented",
        "endpoints/selection.py",
        'raise EndpointError(400, "missing_parameter",',
        'raise EndpointError(418, "missing_parameter",',
    ),
    (
        "test_fuzz_redis.py::test_what_is_read_is_either_good_or_refused",
        "integrations/inngest_realtime_redis/scripts.py",
        "if envelope.channel != channel or not is_decodable(envelope):",
        "if not is_decodable(envelope):",
    ),
    (
        "test_fuzz_redis.py::test_a_message_that_nobody_can_read",
        "integrations/inngest_realtime_redis/scripts.py",
        "if envelope.channel != channel or not is_decodable(envelope):",
        "if envelope.channel != channel:",
    ),
    (
        "test_fuzz_redis.py::test_a_key_of_another_kind",
        "integrations/inngest_realtime_redis/trouble.py",
        'return "WRONGTYPE" in str(error)',
        "return False",
    ),
    (
        "test_fuzz_redis.py::test_anything_in_any_key",
        "integrations/inngest_realtime_redis/store.py",
        "        except Exception as error:\n            # Whatever keeps Redis",
        "        except ConnectionError as error:\n            # Whatever keeps Redis",
    ),
    # What is held while Redis is asked.
    (
        "test_held_messages.py::test_more_than_is_worth_holding_is_a_gap_at_once",
        "_hub/recall.py",
        "        if held.full:\n",
        "        if False:\n",
    ),
    (
        "test_held_messages.py::test_what_is_held_counts_in_the_total",
        "_hub/recall.py",
        "        self._streams.budget.spend(envelope.size)\n",
        "",
    ),
    (
        "test_held_messages.py::test_what_was_dropped_is_told",
        "_hub/recall.py",
        "        self.whole = self.whole and not self.envelopes\n",
        "",
    ),
    # Forks.
    (
        "test_forks.py::test_the_child_of_a_fork_has_all_of_its_limits",
        "endpoints/limits.py",
        "        each.begin()",
        "        pass",
    ),
    (
        "test_forks.py::test_the_child_of_a_fork_has_all_of_its_limits",
        "endpoints/limits.py",
        "            if os.getpid() == process:",
        "            if True:",
    ),
    # Log lines.
    (
        "test_log_lines.py::test_messages_that_cannot_be_delivered_make_one_line",
        "_telemetry/throttled_log.py",
        "if now - written < self._interval:",
        "if False:",
    ),
    (
        "test_log_lines.py::test_a_connection_whose_messages_cannot_be_delivered_makes_one_line",
        "_telemetry/throttled_log.py",
        "if now - written < self._interval:",
        "if False:",
    ),
    (
        "test_log_lines.py::test_a_connection_whose_messages_cannot_be_delivered_makes_one_line",
        "_upstream/connection.py",
        "            except Exception as error:\n                # Whatever it is",
        "            except ZeroDivisionError as error:\n                # Whatever it is",
    ),
    # Everybody comes back.
    (
        "test_many_return.py::test_fifty_streams_that_return[resume]",
        "_hub/groups.py",
        "        if view not in views:\n",
        "        if True:\n",
    ),
    (
        "test_many_return.py::test_fifty_streams_that_return[stale]",
        "_hub/recall.py",
        "        if cursor is None and self._shared is None and otherwise is None:\n"
        "            self._replay_missed(spec, buffer, None)\n",
        "        if cursor is None and self._shared is None and otherwise is None:\n"
        "            self._replay_missed(spec, buffer, None)\n"
        "            for entry in self.history.entries:\n"
        "                entry.views = None\n                self._groups.view_ahead(spec, entry, encoded=True)\n",
    ),
    # Secrets.
    (
        f"{SECRETS}test_what_is_refused_when_it_is_given[settings]",
        "settings.py",
        "        del api_base_url, client_api_base_url, signing_key, signing_key_fallback, environ\n",
        "",
    ),
    (
        f"{SECRETS}test_what_is_refused_when_it_is_given",
        "settings.py",
        "        return error.with_traceback(None)\n    return None\n",
        "        raise\n    return None\n",
    ),
    (
        f"{SECRETS}test_a_malformed_key_of_the_environment",
        "settings.py",
        "        return error.with_traceback(None)\n\n\ndef _checked",
        "        raise\n\n\ndef _checked",
    ),
    (
        f"{SECRETS}test_a_malformed_key_that_nobody_checked",
        "settings.py",
        "    del key  # error reports show the local variables of the frames that an error went through\n",
        "",
    ),
    (
        f"{SECRETS}test_a_proxy_that_fails",
        "_api/proxies.py",
        "        del proxy  # it may hold a password, and error reports show local variables\n",
        "",
    ),
    (
        f"{SECRETS}test_what_fails_at_inngest[connect refused]",
        "_api/tokens.py",
        'return f"IssuedToken(env_id={self.env_id!r})"',
        'return f"IssuedToken({self.token!r})"',
    ),
    (
        f"{SECRETS}test_what_fails_at_inngest[unreachable]",
        "_api/http.py",
        '        return f"HttpRequest(method={self.method!r}, url={self.url!r})"',
        '        return f"HttpRequest(method={self.method!r}, url={self.url!r}, headers={self.headers!r})"',
    ),
    (
        f"{SECRETS}test_what_a_request_says_of_its_sender",
        "endpoints/request.py",
        "    query: str = field(repr=False)\n",
        "    query: str\n",
    ),
    (
        f"{SECRETS}test_what_httpx_logs",
        "_api/http.py",
        "    built.url = _QuietURL(built.url)\n",
        "",
    ),
    (f"{SECRETS}test_what_is_refused_when_it_is_given", "realtime.py", "        del replay ", "        pass "),
    (
        f"{SECRETS}test_what_is_refused_when_it_is_given",
        "_api/settings_source.py",
        "            self._given = SettingsArguments()",
        "            pass",
    ),
    (
        f"{SECRETS}test_what_is_refused_when_it_is_given[claims]",
        "_api/client_token.py",
        "            del self ",
        "            pass ",
    ),
    (
        f"{SECRETS}test_what_is_refused_when_it_is_given[elsewhere]",
        "subscriptions/key.py",
        "                return cls(problem=problem)\n",
        "                pass\n",
    ),
    (
        f"{SECRETS}test_what_reports_show_of_what_holds_a_secret",
        "_telemetry/secret_struct.py",
        "    def __rich_repr__(",
        "    def __rich_report__(",
    ),
    (
        f"{SECRETS}test_a_view_that_fails_with_its_token[flask]",
        "integrations/inngest_realtime_flask/decorators.py",
        "held = Held(route.obtain_sync(route_request()))",
        "held = route.obtain_sync(route_request())",
    ),
    # Tenants.
    (
        f"{TENANTS}test_the_order_of_topics_costs_nothing",
        "_hub/groups.py",
        "        view = (schema, untyped)\n        if view not in views:",
        "        view = (schema, untyped, object())\n        if view not in views:",
    ),
    (
        f"{TENANTS}test_what_one_subscriber_does_to_a_message",
        "_hub/groups.py",
        "                elif id(message) in given:\n"
        "                    buffer.push(twin(message, message.event_id), size)\n",
        "",
    ),
    (
        f"{TENANTS}test_what_one_subscriber_does_to_a_message",
        "_hub/groups.py",
        "                for buffer in readers[1:]:\n"
        "                    buffer.push(twin(message, message.event_id), size)\n",
        "                for buffer in readers[1:]:\n                    buffer.push(message, size)\n",
    ),
    (
        f"{TENANTS}test_grants_that_can_mean_one_channel",
        "endpoints/endpoints.py",
        "        check_overlaps(grants)\n",
        "",
    ),
    (
        f"{TENANTS}test_text_from_the_web_goes_through_the_same_checks",
        "channels/parameter.py",
        "                self._check_again(value, text)\n",
        "                pass\n",
    ),
    (
        f"{TENANTS}test_text_from_the_web_goes_through_the_same_checks",
        "channels/parameter.py",
        "                return self.check(choice)\n",
        "                return choice\n",
    ),
    (
        f"{TENANTS}test_a_validator_does_not_make_another_type",
        "channels/parameter.py",
        "        if not any(_is_of(value, bare) for bare in bare_types(self.annotation)):\n",
        "        if False:\n",
    ),
    (
        f"{TENANTS}test_a_run_message_is_for_those_who_asked",
        "_hub/views.py",
        "        return topic in self.names or topic not in followed\n",
        "        return True\n",
    ),
    # Over HTTP.
    (
        "over_http/test_fuzz.py::test_whatever_is_asked_for[fastapi-uvicorn]",
        "endpoints/parameters.py",
        "    except (ValueError, RecursionError):\n        document = None",
        "    except RecursionError:\n        document = None",
    ),
    (
        "over_http/test_fuzz.py::test_nothing_of_it_was_an_error_of_the_server[fastapi-uvicorn]",
        "endpoints/endpoints.py",
        "        told = EndpointError.of(error)\n        self.realtime.count_endpoint_error(told.code)\n"
        "        return Answer.from_error(told)",
        "        logger.error('failed', exc_info=error)\n        return Answer.from_error(error)",
    ),
    (
        f"{HTTP}test_forty_mebibytes_of_topics[{UVICORN}-chunked]",
        "endpoints/asgi.py",
        "            if len(body) >= size:\n                break\n",
        "",
    ),
    (
        f"{HTTP}test_forty_mebibytes_of_topics[{UVICORN}-chunked]",
        "endpoints/endpoints.py",
        "        if len(body) > self.options.max_body:\n            raise self._too_large()\n        return body",
        "        return body",
    ),
    (
        f"{HTTP}test_names_that_are_too_long_open_nothing[{UVICORN}]",
        "endpoints/selection.py",
        "    if len(channel.name) > max_length:\n",
        "    if False:\n",
    ),
    (
        f"{HTTP}test_bodies_that_are_no_parameters[{UVICORN}-objects]",
        "endpoints/parameters.py",
        "    except (ValueError, RecursionError):\n        document = None",
        "    except ValueError:\n        document = None",
    ),
    (
        f"{HTTP}test_bodies_that_are_no_parameters[{UVICORN}-topics twice]",
        "endpoints/parameters.py",
        "        if key in seen:\n",
        "        if False:\n",
    ),
    (
        f"{HTTP}test_bodies_that_have_no_end[{UVICORN}]",
        "endpoints/endpoints.py",
        "            return self._bounded(await until_shutdown(self.realtime, body))\n",
        "            import time\n            time.sleep(0.5)\n"
        "            return self._bounded(await until_shutdown(self.realtime, body))\n",
    ),
    (
        f"{HTTP}test_bodies_that_trickle[{UVICORN}]",
        "endpoints/endpoints.py",
        "        with deadline(_BODY_TIMEOUT):\n",
        "        with deadline(None):\n",
    ),
    (
        f"{HTTP}test_bodies_that_trickle[{UVICORN}]",
        "endpoints/endpoints.py",
        "self._bounded(await until_shutdown(self.realtime, body))",
        "self._bounded(await body)",
    ),
    (
        f"{HTTP}test_the_streams_of_one_client[{UVICORN}]",
        "endpoints/options.py",
        '            object.__setattr__(self, "max_streams_per_client", _CLIENT_STREAMS)\n',
        "            pass\n",
    ),
    (
        f"{HTTP}test_new_channels_and_streams_that_return[{UVICORN}]",
        "endpoints/endpoints.py",
        "if client is not None and not await self._continues(opening):",
        "if client is not None:",
    ),
    (
        f"{HTTP}test_new_channels_and_streams_that_return[{GUNICORN}]",
        "endpoints/endpoints.py",
        "        self._rate.spend(self._client_sync(request))\n",
        "",
    ),
    (
        f"{HTTP}test_more_streams_than_a_process_has[{UVICORN}]",
        "endpoints/limits.py",
        "            if self._limit is not None and self._open >= self._limit:\n",
        "            if False:\n",
    ),
    (
        f"{HTTP}test_an_inngest_that_stalls[{UVICORN}]",
        "endpoints/limits.py",
        "            if self._failures < _FAILURES:\n",
        "            if True:\n",
    ),
    (
        "test_slow_inngest.py::test_a_newcomer_waits_so_long_for_all_steps_together",
        "endpoints/bodies.py",
        "        with deadline(_OPEN_TIMEOUT):\n",
        "        with deadline(None):\n",
    ),
    (
        f"{HTTP}test_threads_that_wait_for_an_inngest_that_stalls",
        "endpoints/issuing.py",
        "        with self._threads.entered():\n",
        "        if True:\n",
    ),
    (
        f"{HTTP}test_what_failures_cost_of_the_log[{UVICORN}]",
        "endpoints/errors.py",
        '    _log.write(logging.ERROR, kind, f"A realtime endpoint failed: {error}", error, event="endpoint.failed")',
        '    logging.getLogger("a").error("A realtime endpoint failed", exc_info=error)',
    ),
    (
        f"over_http/test_slow_readers.py::test_memory_that_clients_who_do_not_read_can_take[{UVICORN}]",
        "_hub/queue.py",
        "        while self.bytes_waiting > self._limits.large_bytes and self._items:\n            self._overflow()\n",
        "",
    ),
    (
        "over_http/test_limits.py::test_a_form_without_a_boundary[django-uvicorn]",
        "integrations/inngest_realtime_django/requests.py",
        "BadRequest, MultiPartParserError, Susp",
        "BadRequest, Susp",
    ),
    # Limits and the rest, whose tests are elsewhere.
    (f"{LIMIT}slots_of_all_and_of_each", "endpoints/limits.py", "of_client >= self._per_client:", "of_client > 99:"),
    (
        f"{LIMIT}slots_of_all_and_of_each",
        "endpoints/limits.py",
        "                    del self._by_client[client]\n",
        "                    pass\n",
    ),
    (
        f"{LIMIT}a_client_gets_a_burst_and_then_so_many_a_second",
        "endpoints/limits.py",
        "            if missing > self._burst - 1:\n",
        "            if False:\n",
    ),
    (
        f"{LIMIT}clients_that_are_gone_take_no_memory",
        "endpoints/limits.py",
        "            if now >= self._next_sweep:\n",
        "            if False:\n",
    ),
    (
        f"{LIMIT}token_requests_at_once",
        "endpoints/limits.py",
        "        if not self._slots.acquire(blocking=False) and not self._wait():\n",
        "        if False:\n",
    ),
    (
        f"{LIMIT}threads_wait_for_their_turn_to_ask_for_a_token",
        "endpoints/limits.py",
        "        if not self._patience or not self._waiting.acquire(blocking=False):\n            return False\n",
        "        return False\n",
    ),
    (
        f"{LIMIT}no_more_than_so_many_wait_and_no_longer",
        "endpoints/limits.py",
        "return left > 0 and self._slots.acquire(timeout=left)",
        "return True",
    ),
    (
        f"{LIMIT}who_comes_while_the_first_stalls_does_not_wait_as_well",
        "endpoints/limits.py",
        "left = min(list(self._began.values()), default=now) + self._patience - now",
        "left = self._patience",
    ),
    (
        f"{LIMIT}an_inngest_that_fails_is_left_alone_for_a_while",
        "endpoints/limits.py",
        "            if self._failures < _FAILURES:\n",
        "            if True:\n",
    ),
    (
        f"{LIMIT}an_inngest_that_fails_is_left_alone_for_a_while",
        "endpoints/limits.py",
        "            self._open_until = now + _TRIAL\n",
        "",
    ),
    (
        f"{LIMIT}a_single_failure_holds_nobody_up",
        "endpoints/limits.py",
        "    def succeeded(self) -> None:\n        self._failures = 0\n",
        "    def succeeded(self) -> None:\n        pass\n",
    ),
    (
        f"{LIMIT}what_the_trial_ends_with",
        "endpoints/limits.py",
        "                self._open_until = time.monotonic()\n            raise",
        "                pass\n            raise",
    ),
    (
        f"{LIMIT}who_left_before_it_failed_is_no_trial",
        "endpoints/limits.py",
        "            if on_trial:\n",
        "            if True:\n",
    ),
    (
        f"{LIMIT}names_of_clients",
        "endpoints/limits.py",
        "return name if len(name) <= _MAX_NAME else hashlib",
        "return name if True else hashlib",
    ),
    (
        "../test_overlaps.py::test_channels_that_can_have_one_name",
        "endpoints/overlaps.py",
        "forms.append([allowed, None])",
        "pass",
    ),
    (f"{OVERLAPS}goes_unnoticed", "endpoints/overlaps.py", "forms += [_UUID_FORM, _DATE_FORM]", "pass"),
    (f"{OVERLAPS}goes_unnoticed", "endpoints/overlaps.py", 'if "-" in separators else [[], [_DASH]]', ""),
    (f"{OVERLAPS}goes_unnoticed", "endpoints/overlaps.py", "([_FIRST], [_FIRST, _DIGITS, None])", "([_FIRST],)"),
    (f"{OVERLAPS}goes_unnoticed", "endpoints/overlaps.py", "and not separators & set(text)]", "][:1]"),
    (f"{OVERLAPS}goes_unnoticed", "endpoints/overlaps.py", "known - separators, separators", "_HEX, separators"),
    (
        "../test_overlaps.py::test_channels_whose_names_differ",
        "endpoints/overlaps.py",
        "both = characters & others",
        "both = characters | others",
    ),
    (
        "../test_overlaps.py::test_one_class_under_two_names_is_right",
        "endpoints/overlaps.py",
        "if one.channel == other.channel or",
        "if",
    ),
    (
        "../test_throttled_log.py::test_one_line_in_a_while_and_then_how_many_there_were",
        "_telemetry/throttled_log.py",
        "if now - written < self._interval:",
        "if False:",
    ),
    (
        "../test_throttled_log.py::test_tracebacks_are_for_debug",
        "_telemetry/throttled_log.py",
        "exc_info=error if traceback else None",
        "exc_info=error",
    ),
    (
        "../test_throttled_log.py::test_many_kinds_at_once_share_a_line",
        "_telemetry/throttled_log.py",
        "kind = kind if len(recent) < _MAX_KINDS else _OTHERS",
        "pass",
    ),
    (
        "../test_lazy_settings.py::test_a_source_shows_no_key",
        "_api/settings_source.py",
        "    def __str__(self) -> str:\n",
        "    def __repr__(self) -> str:\n        return f'{self._given}'\n\n    def __str__(self) -> str:\n",
    ),
    (
        f"{DEV}tokens.py::test_two_million_topics_are_refused_at_once",
        "integrations/inngest_realtime_devserver/entries.py",
        "    if len(items) > MAX_ENTRIES:\n",
        "    if False:\n",
    ),
    (
        f"{DEV}tokens.py::test_a_path_that_is_not_served_is_an_error_in_json",
        "integrations/inngest_realtime_devserver/application.py",
        "exception_handlers={404: _not_served, 405",
        "exception_handlers={405",
    ),
    (
        f"{DEV}access.py::test_a_name_that_was_made_to_mean_this_machine_is_refused",
        "integrations/inngest_realtime_devserver/access.py",
        'return alone and is_loopback_url(f"http://{host}") and',
        "return alone and",
    ),
    (
        f"{DEV}access.py::test_pages_from_elsewhere_may_not",
        "integrations/inngest_realtime_devserver/access.py",
        "(not origin or is_loopback_url(origin))",
        "True",
    ),
    (
        f"{DEV}access.py::test_the_host_of_a_request",
        "integrations/inngest_realtime_devserver/access.py",
        "return alone and is",
        "return is",
    ),
]
