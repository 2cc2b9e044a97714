"""Bugs planted in what GUARANTEES.md promises under "Nobody who must not"."""

from __future__ import annotations

import base64
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, select, update

from engine.delivery import dispatch, gatekeeping, recording
from engine.facts import consents, rights, state_rows
from engine.journeys import decide
from engine.policy import gate
from engine.render import seal
from engine.runtime import (
    daemon,
    golive,
    installation,
    rails,
)
from engine.store import meta
from engine.store.prepared import Prepared
from engine.store.tables import messages
from engine.web.links import signup, unsubscribe
from tests.planted.planting import always, breaks, instead


@breaks(
    "No recorded consent, no marketing; a suppression ends it at once",
    "tests/scenarios/test_time.py::test_suppression_drops_what_waits_in_the_outbox",
)
def suppression_leaves_the_outbox_alone() -> None:
    """Nobody who is suppressed gets into anything any more; what waits in the outbox is not looked at."""
    instead(rights, "_leave", always(None))


OLD_GRANT = "An old grant never overrides a withdrawal"


@breaks(OLD_GRANT, "tests/integration/test_ingest.py::test_the_stricter_consent_wins_a_merge")
def looser_consent_wins_a_merge() -> None:
    """Of two customers who are one the newest word counts, whichever of the two gave it."""

    def newest(_real: Any) -> Any:
        def fold_two(one: Any, other: Any) -> Any:
            def times(topic: str) -> Any:
                told = [state[topic] for state in (one, other) if topic in state]
                return {name: state_rows.newest(*(each[name] for each in told)) for name in state_rows.TIMES}

            return {topic: times(topic) for topic in sorted({*one, *other})}, {}

        return fold_two

    instead(state_rows, "fold_two", newest)


@breaks(OLD_GRANT, "tests/integration/test_ingest.py::test_consent_states")
def undated_grant_counts_from_its_receipt() -> None:
    """A grant without a date stands where it was told."""
    instead(consents, "_effective", lambda _: lambda row: row["at"] or row["received_at"])


@breaks(
    "Somebody erased comes back by their own word alone",
    "tests/integration/test_web_links.py::test_who_was_erased_comes_back_by_their_own_word_only",
)
def erased_come_back_by_anybodys_word() -> None:
    """Whoever holds the link of a sign-up may type any address behind it."""
    instead(signup, "hmac", lambda _: SimpleNamespace(compare_digest=lambda *_: True))


ERASED = "An erased person is forgotten and stays so"


@breaks(ERASED, "tests/integration/test_cli.py::test_erasing_forgets_and_stays")
def erased_are_not_known_again() -> None:
    """No hash is kept of who was erased."""
    instead(
        rights,
        "insert_new",
        lambda real: (
            lambda connection, table, rows: [] if table.name == "erased" else real(connection, table, rows)
        ),
    )


@breaks(ERASED, "tests/integration/test_ingest_customers.py::test_erased")
def facts_of_the_erased_stay() -> None:
    """Only the customer's own row is emptied."""
    instead(rights, "_forget_facts", lambda _: lambda *__: None)


CAPS = "Caps and quiet hours"


@breaks(CAPS, "tests/crash/test_crash.py::test_caps_hold_for_several_programs[sqlite]")
def caps_are_counted_before_the_lock() -> None:
    """What each customer has had is counted when a group is made, and not again when it is handed over."""

    def counted_before(real: Any) -> Any:
        def hand_over(database: Any, group: Any, at: Any, *rest: Any) -> None:
            with database.read() as connection:
                judged = gatekeeping.verdicts(connection, [made.message for made in group], at)
            time.sleep(0.3)  # other programs come between
            setattr(dispatch, "verdicts", lambda *_: judged)  # noqa: B010 - for this group
            real(database, group, at, *rest)

        return hand_over

    instead(dispatch, "_hand_over_group", counted_before)


@breaks(
    "After the answer to an opt-out no hand-over begins",
    "tests/integration/test_opt_out.py::test_after_the_click_no_hand_over_begins",
)
def opt_out_is_written_after_its_answer() -> None:
    """A click is answered at once, and written a moment later."""

    def later(real: Any) -> Any:
        def withdraw(*told: Any) -> None:
            threading.Timer(1.0, real, told).start()

        return withdraw

    instead(unsubscribe, "_withdraw", later)


BOUGHT = "After a purchase is acknowledged no mail begins that it ends"


@breaks(
    BOUGHT, "tests/integration/test_opt_out.py::test_after_the_purchase_no_hand_over_begins", postgresql=True
)
def gate_locks_nobody() -> None:
    """The gate reads its customers and lets others write about them meanwhile."""
    instead(gatekeeping, "_LOCK", lambda real: Prepared(_unlocked(real._statement)))


def _unlocked(statement: Any) -> Any:
    copied = statement._generate()
    copied._for_update_arg = None
    return copied


@breaks(BOUGHT, "tests/scenarios/test_time.py::test_a_purchase_during_the_outage_ends_the_flow_first")
def exits_are_overlooked() -> None:
    """What ends an enrollment by its own flow's words is not asked, neither on its way nor at the gate."""

    def lawful(real: Any) -> Any:
        def leave_reason(flow: Any, _exits: Any, person: Any, truth: Any) -> Any:
            return real(flow, (), person, truth)

        return leave_reason

    def careless(real: Any) -> Any:
        def judge(question: Any, now: Any) -> Any:
            return real(replace(question, exit_clause=None), now)

        return judge

    instead(decide, "leave_reason", lawful)
    instead(gate, "judge", careless)


MERGED = "Customers who turn out to be one lose no word on their mails"
MERGING = "tests/integration/test_merge_while_sending.py::"


@breaks(MERGED, MERGING + "test_a_merge_before_the_gate_is_no_word_against_the_mail")
def mail_of_a_merged_customer_is_dropped() -> None:
    """Whose customer became another one is judged as somebody who is not there."""

    def judged(real: Any) -> Any:
        def hold_back(connection: Connection, group: Any, verdicts: Any, at: Any, tally: Any) -> Any:
            pairs = [(made.message, verdict) for made, verdict in zip(group, verdicts, strict=True)]
            return dispatch._stop(connection, pairs, at, tally)

        return hold_back

    instead(dispatch, "_hold_back", judged)


@breaks(MERGED, MERGING + "test_a_merge_during_the_hand_over_loses_no_word")
def word_on_a_merged_customers_mail_is_lost() -> None:
    """What became of a mail is not told where its customer became another one meanwhile."""

    def unmoved(real: Any) -> Any:
        def still_ours(connection: Connection, results: Any) -> Any:
            whose = {made.message.id: made.message.customer_id for made, _, _ in results}
            held = real(connection, results)
            return [each for each in held if each[0].message.customer_id == whose[each[0].message.id]]

        return still_ours

    instead(recording, "_still_ours", unmoved)


COPIED = "A new, virtual or copied database mails nobody"
OPERATING = "tests/integration/test_operating.py::"


@breaks(COPIED, OPERATING + "test_a_copy_beside_the_live_one_stays_a_sandbox")
def copy_in_the_same_folder_is_live() -> None:
    """An installation is told by its folder."""

    def by_folder(real: Any) -> Any:
        def fingerprint(settings: Any, *_: Any) -> str:
            return str(settings.root)

        return fingerprint

    instead(installation, "fingerprint", by_folder)


@breaks(COPIED, OPERATING + "test_a_copy_stays_a_sandbox")
def copied_database_is_live() -> None:
    """That a database ever went live is enough."""

    def somewhere(real: Any) -> Any:
        def why_sandbox(settings: Any, opened: Any) -> str | None:
            reason: str | None = real(settings, opened)
            return None if reason and "elsewhere" in reason else reason

        return why_sandbox

    instead(installation, "why_sandbox", somewhere)


@breaks(COPIED, OPERATING + "test_a_virtual_database_never_goes_live")
def virtual_database_goes_live() -> None:
    """Nobody asks on which clock a database stands."""
    instead(meta, "virtual_now", always(None))


@breaks(COPIED, OPERATING + "test_going_live_cancels_the_sandbox")
def sandbox_goes_on_live() -> None:
    """Who began in the sandbox stays inside when it goes live."""
    instead(golive, "_sandboxed", always([]))


PAUSE = "A pause takes hold within two seconds"
DAEMON = "tests/integration/test_daemon.py::test_a_pause_takes_hold_within_two_seconds"


@breaks(PAUSE, DAEMON)
def daemon_begins_unpaused() -> None:
    """What was paused goes on when the daemon is started anew."""

    def anew(real: Any) -> Any:
        def run(self: Any, *rest: Any) -> None:
            with self._database.write() as connection:
                rails.resume(connection, None)
            real(self, *rest)

        return run

    instead(daemon.Daemon, "run", anew)


BRAKE = "A flow that suddenly targets everybody is stopped"
RAILS = "tests/scenarios/test_rails.py::"


@breaks(BRAKE, RAILS + "test_just_the_usual_most_go")
def brake_lets_twice_as_many_through() -> None:
    """What is usual is taken twice."""
    instead(rails, "usual_most", lambda real: lambda *told: 2 * real(*told))


@breaks(BRAKE, RAILS + "test_a_flow_that_suddenly_targets_everybody_is_stopped")
def brake_on_entries_forgotten() -> None:
    """Nobody counts who enters; the mails are counted when there are none yet."""
    instead(rails, "brake_on_entries", always(None))


@breaks(BRAKE, RAILS + "test_mails_that_fall_due_together_are_stopped")
def brake_on_mails_forgotten() -> None:
    """Nobody counts the mails that fall due."""
    instead(rails, "brake_on_sends", always({}))


@breaks(
    "A flow that suddenly targets everybody is stopped",
    "tests/scenarios/test_rails.py::test_what_another_worker_holds_is_counted",
)
def brake_overlooks_what_others_hold() -> None:
    """What another worker has claimed is counted neither as due nor as gone."""

    def overlooked(real: Any) -> Any:
        def due_to_send(connection: Connection, flows: Any, at: Any) -> Any:
            held = select(messages.c.id).where(
                messages.c.state == "claimed", messages.c.claimed_by == "another"
            )
            ids = list(connection.scalars(held))
            hidden = update(messages).where(messages.c.id.in_(ids))
            connection.execute(hidden.values(state="dropped"))
            found = real(connection, flows, at)
            connection.execute(hidden.values(state="claimed"))
            return found

        return due_to_send

    instead(rails, "due_to_send", overlooked)


@breaks("A preview opens nothing", "tests/unit/render/test_links.py::test_another_last_letter_breaks_a_token")
def last_letter_of_a_link_is_any_of_four() -> None:
    """A link is read though its last letter, whose bits are not all used, is another one."""

    def lenient(real: Any) -> Any:
        def unseal(secrets: Any, context: bytes, text: str) -> bytes | None:
            try:
                raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            except ValueError:
                return None
            found: bytes | None = real(secrets, context, seal._written(raw))
            return found

        return unseal

    instead(seal, "unseal", lenient)
