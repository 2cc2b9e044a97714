"""Bugs planted in what GUARANTEES.md promises under "Looking ahead"."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from contextlib import nullcontext
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import select

from engine.delivery import claim, dispatch
from engine.deploy import (
    content,
    plan,
    plan_moving,
    simulate,
    simulate_copy,
    simulate_feed,
    simulate_folder,
    simulate_known,
    simulate_run,
    simulate_shelf,
)
from engine.outbox import ledger
from engine.recommend import catalogue, packed
from engine.recommend.rebuild import NAME
from engine.runtime import at_the_gate, rails, story, why
from engine.store import meta
from engine.store.dialect import among
from engine.store.tables import events, flow_versions
from tests.planted.planting import always, breaks, instead

REPLAY = "tests/integration/test_simulate.py::"
PLAN = "tests/integration/test_plan.py::"
WHY = "tests/integration/test_why.py::"


DECIDES = "A replay decides as the live engine did"
CHANGING = "tests/integration/test_simulate_changing.py::"
AS_LIVE = CHANGING + "test_a_replay_of_a_changing_shop_decides_as_the_live_engine"


@breaks(DECIDES, REPLAY + "test_a_replay_decides_as_the_live_engine")
def replay_knows_no_caps() -> None:
    """A simulation asks the gate without the shop's caps."""

    def uncapped(real: Any) -> Any:
        def rehearse(opened: Any, at: Any, *rest: Any, **named: Any) -> Any:
            settings = replace(at.settings, policy=replace(at.settings.policy, caps=()))
            return real(opened, replace(at, settings=settings), *rest, **named)

        return rehearse

    instead(dispatch, "rehearse", uncapped)


@breaks(DECIDES, AS_LIVE)
def replay_forgets_suppressions() -> None:
    """Who was suppressed on the way is mailed as before."""
    instead(simulate_feed, "_suppressed", always([]))


@breaks(DECIDES, AS_LIVE)
def replay_knows_one_price_of_a_product() -> None:
    """Products cost from the beginning to the end what they cost at first."""
    instead(simulate_feed, "_catalogue", lambda real: lambda given: _but_for(real(given), "price"))


@breaks(DECIDES, AS_LIVE)
def replay_knows_one_stock_of_a_product() -> None:
    """There are as many of a product at the end as at the beginning."""
    instead(simulate_feed, "_catalogue", lambda real: lambda given: _but_for(real(given), "stock"))


def _but_for(rows: Any, field: str) -> Any:
    """Yield what is told of the catalogue without what changes of one field later."""
    return (row for row in rows if "title" in row[2] or field not in row[2])


@breaks(DECIDES, AS_LIVE)
def replay_has_no_nights() -> None:
    """Nobody comes into a segment by night, and no scores are reckoned."""
    instead(simulate_run, "needs_nights", always(False))


@breaks(DECIDES, AS_LIVE)
def loaded_history_arrives_as_it_was_received() -> None:
    """What was told in one batch with facts of long ago is not known for history."""
    instead(simulate_feed, "loaded_at", always(frozenset()))


KNOWN = "What a replay takes as known is what its facts add up to"
ADDS_UP = REPLAY + "test_what_is_written_as_known_is_what_the_facts_add_up_to"


@breaks(KNOWN, ADDS_UP)
def what_became_of_an_order_later_is_known() -> None:
    """An order of the past is written as it stands now, whatever was told of it after the start."""

    def as_it_stands(_real: Any) -> Any:
        def settled(connection: Any, read: Any, key: Any, name: str, moments: Any) -> Any:
            told = read[events.name].alias("of")
            own = told.c.order_id if name == "order:" else told.c.cart_id
            by_then = moments.arrival(connection, told) <= moments.start
            return key.in_(select(own).where(own.is_not(None), by_then))

        return settled

    instead(simulate_known, "_settled", as_it_stands)


@breaks(KNOWN, ADDS_UP)
def profile_of_later_is_known_from_the_start() -> None:
    """Everybody's record is written as it stands, also where it was told anew after the start."""

    def all_told(_real: Any) -> Any:
        def told_once(connection: Any) -> frozenset[int]:
            named = select(events.c.customer_id).where(events.c.name.in_(simulate_known.TOLD))
            return frozenset(connection.scalars(named))

        return told_once

    instead(simulate_feed, "_told_once", all_told)


SAME_BYTES = "The same input gives the same bytes"


@breaks(
    SAME_BYTES,
    REPLAY + "test_the_same_bytes_whatever_the_database_and_the_number_of_processes",
    postgresql=True,
)
def parts_go_by_a_hash_of_each_process() -> None:
    """Which part a customer belongs to hangs on Python's own hash, which is another one in each process."""

    def by_hash(_real: Any) -> Any:
        return lambda self, reference: self.of == 1 or hash(reference) % self.of == self.part

    instead(simulate_copy.Slice, "has", by_hash)


@breaks(SAME_BYTES, REPLAY + "test_the_same_bytes_whatever_the_size_of_batches")
def claim_of_a_few_parts_a_customers_mails() -> None:
    """A claim takes what fell due first, so that a mail goes without those of its customer that come before it."""

    def first_alone(_real: Any) -> Any:
        def waiting(connection: Any, now: Any, closed: Any, limit: int, _keys: Any = None) -> Any:
            return claim._first(tuple(sorted(closed))).column(connection, now=now, limit=limit)

        return waiting

    instead(claim, "_waiting", first_alone)


@breaks(SAME_BYTES, REPLAY + "test_the_same_bytes_whether_a_stop_is_done_boldly_or_with_care")
def unwritten_mails_are_not_superseded() -> None:
    """A mail that a bold step keeps unwritten is overlooked where a newer one of its flow falls due."""
    instead(ledger, "_write_held_of", always(None))


@breaks(SAME_BYTES, CHANGING + "test_parts_are_not_made_of_what_ties_customers_together")
def ties_between_customers_are_overlooked() -> None:
    """Customers who are ranked among all are ranked among those of their part."""
    instead(simulate, "tied_together", always(False))


SHELF = "What is recommended in a replay is what a night at that moment would have built"
NIGHT = (
    "tests/integration/test_simulate_shelf.py::test_a_shelf_is_what_a_night_at_its_moment_would_have_built"
)


@breaks(SHELF, NIGHT)
def shelf_knows_what_was_cancelled_later() -> None:
    """An order that was cancelled after the moment of a shelf is missing from it."""

    def with_hindsight(real: Any) -> Any:
        def at(self: Any, now: Any) -> Any:
            early = array("q", [min(each, 0) if each != packed.NEVER else each for each in self.cancelled])
            return real(replace(self, cancelled=early), now)

        return at

    instead(packed.History, "at", with_hindsight)


@breaks(SHELF, NIGHT)
def shelf_lacks_how_long_things_last() -> None:
    """What was learned of categories is not kept with the tables."""
    instead(simulate_shelf, "STATE", lambda _real: (NAME,))


RECOMMENDS = "tests/integration/test_simulate_shelf.py::test_a_replay_recommends_what_the_live_engine_would"


@breaks(SHELF, RECOMMENDS)
def replay_keeps_its_first_shelf() -> None:
    """Tables are put on once, at the beginning."""

    def first(real: Any) -> Any:
        def restock(self: Any, moment: Any) -> None:
            if self._next_shelf:
                self._next_shelf = len(self.shelves)
            real(self, moment)

        return restock

    instead(simulate_run.Run, "_restock", first)


@breaks(SHELF, RECOMMENDS)
def what_was_read_of_a_shelf_outlives_it() -> None:
    """What recommendations are made from is kept in memory when the tables change."""
    instead(catalogue.Memory, "forget", always(None))


@breaks(
    "A killed simulation leaves nothing for long",
    "tests/integration/test_simulate_folder.py::test_what_a_killed_simulation_left_goes_when_the_next_begins",
)
def folder_of_a_killed_simulation_stays() -> None:
    """Nobody looks whether a simulation has ended."""
    instead(simulate_folder, "_is_left_behind", always(False))


@breaks(
    "A killed simulation leaves nothing for long",
    "tests/integration/test_simulate_folder.py::test_the_processes_of_a_killed_simulation_end",
)
def processes_of_a_killed_simulation_go_on() -> None:
    """Nobody tells the processes of a simulation that the one which waits for them is gone."""
    instead(simulate, "_end_with_parent", always(None))


@breaks(
    "A killed simulation leaves nothing for long",
    "tests/integration/test_simulate_folder.py::test_a_folder_stays_while_any_process_of_it_works",
)
def folder_is_held_by_its_first_process_alone() -> None:
    """The other processes of a simulation do not say that they work in its folder."""

    def unheld(_real: Any) -> Any:
        return lambda _folder: nullcontext()

    instead(simulate_folder, "used_too", unheld)


@breaks(
    "Plan and simulate touch nothing",
    "tests/integration/test_simulate.py::test_the_real_database_is_not_touched",
)
def simulation_notes_that_it_ran() -> None:
    """A simulation writes into the real database when it last ran."""

    def noting(real: Any) -> Any:
        def simulate(opened: Any, *rest: Any, **named: Any) -> Any:
            with opened.write() as connection:
                meta.put(connection, "simulated", "now")
            return real(opened, *rest, **named)

        return simulate

    instead(simulate, "simulate", noting)


@breaks(
    "Plan and simulate touch nothing", PLAN + "test_a_plan_says_who_could_enter_and_what_keeps_the_others_out"
)
def plan_notes_that_it_was_made() -> None:
    """A plan writes into the database when it was made."""

    def noting(real: Any) -> Any:
        def made(opened: Any, *rest: Any, **named: Any) -> Any:
            with opened.write() as connection:
                meta.put(connection, "planned", "now")
            return real(opened, *rest, **named)

        return made

    instead(plan, "plan", noting)


@breaks(
    "Nobody is moved where the step is gone", PLAN + "test_those_inside_are_moved_step_by_step_and_back_again"
)
def everybody_inside_is_moved() -> None:
    """Whoever stands at a step that the new version has no more goes on at it all the same."""
    instead(plan_moving, "can_move", always(True))


@breaks(
    "Nobody is moved where the step is gone", PLAN + "test_those_inside_are_moved_step_by_step_and_back_again"
)
def earlier_version_is_the_newest() -> None:
    """Whichever earlier version is asked for, that which was stored last is made live again."""

    def newest(real: Any) -> Any:
        def earlier_version(connection: Any, digest: str) -> Any:
            flow, table = real(connection, digest).flow, flow_versions.c
            query = select(table.hash, table.definition).where(table.flow == flow)
            row = connection.execute(query.order_by(table.created_at.desc()).limit(1)).one()
            return plan_moving.Earlier(flow, row.hash, row.definition)

        return earlier_version

    instead(plan_moving, "earlier_version", newest)


@breaks("A story reads no table whole", WHY + "test_no_table_is_read_whole_for_a_story")
def fates_are_looked_for_without_an_index() -> None:
    """What became of a customer's mails is asked for by a reckoned number, which no index knows."""

    def reckoned(real: Any) -> Any:
        return lambda connection, column, values: real(connection, column + 0, values)

    instead(at_the_gate, "among", reckoned, there_alone=True)


CONTENT = "A plan names what the mails say and give otherwise"
OTHERWISE = PLAN + "test_a_plan_names_the_mails_and_offers_that_say_or_give_something_else"


@breaks(CONTENT, OTHERWISE)
def mails_in_other_languages_are_overlooked() -> None:
    """Only the mail in the shop's own language is compared."""

    def own_language(real: Any) -> Any:
        def parts(self: Any, flow: Any) -> Any:
            return {
                name: text
                for name, text in real(self, flow).items()
                if len(PurePosixPath(name).parts) <= 2 or content._is_shared(name)
            }

        return parts

    instead(content.Content, "parts", own_language)


@breaks(CONTENT, OTHERWISE)
def layouts_are_overlooked() -> None:
    """Only mails are compared, and not what they are laid out by."""
    instead(content, "_is_shared", always(False))


@breaks(CONTENT, OTHERWISE)
def offer_that_stands_in_is_overlooked() -> None:
    """Only the offers that a flow names itself are compared."""

    def named(_real: Any) -> Any:
        return lambda self, sends: iter({step.offer for step in sends if step.offer} & self.offers.keys())

    instead(content.Content, "_given", named)


@breaks(
    "A plan's ranges hold what driving everybody gives",
    PLAN + "test_of_a_large_shop_the_first_day_is_forecast_from_more_customers_than_the_month",
)
def range_of_a_sample_is_its_number() -> None:
    """What a sample gives counts as certain, though it is only multiplied."""

    def certain(_real: Any) -> Any:
        return lambda low, high, sample: plan.Range(
            min(low, high) * sample, high * sample, max(low, high) * sample
        )

    instead(plan, "_between", certain)


@breaks(
    "A plan's ranges hold what driving everybody gives",
    PLAN + "test_of_a_large_shop_the_first_day_is_forecast_from_more_customers_than_the_month",
)
def sample_is_told_as_everybody() -> None:
    """What a sample gives is told as it is, and not as so many times as much."""

    def unscaled(real: Any) -> Any:
        return lambda low, high, sample: real(low, high, 1)

    instead(plan, "_between", unscaled)


@breaks(
    "What a forecast stands on is what the database holds",
    REPLAY + "test_a_copy_is_the_same_whichever_way_it_is_made",
)
def mails_in_hand_go_over_as_they_are() -> None:
    """Where rows go over within SQLite, a message that somebody holds is copied as held."""

    def as_held(real: Any) -> Any:
        def posted(connection: Any, table: Any, ids: Any, *, sandbox: bool) -> Any:
            if table.schema is None:
                return real(connection, table, ids, sandbox=sandbox)
            mine = among(connection, table.c.customer_id, ids)
            return select(table).where(mine, table.c.sandbox.is_(sandbox))

        return posted

    instead(simulate_copy, "_posted", as_held)


HELD = REPLAY + "test_a_copy_holds_what_the_database_holds"


@breaks("What a forecast stands on is what the database holds", HELD)
def unread_facts_are_not_copied() -> None:
    """A forecast does not know of what no pass has looked at yet."""
    instead(simulate_copy, "_unread", lambda _real: lambda *_: iter(()))


@breaks("What a forecast stands on is what the database holds", HELD)
def pause_is_not_copied() -> None:
    """A forecast of a shop that is paused is of one that is not."""
    instead(simulate_copy, "_KEPT", lambda real: tuple(each for each in real if each != rails.PAUSED_ALL))


WAITS = "A paused flow says what it waits for"


@breaks(WAITS, WHY + "test_a_paused_flow_says_what_comes_next")
def paused_flow_tells_the_next_step_alone() -> None:
    """A story does not say that its flow must be resumed first."""
    instead(why, "_next", lambda _real: why._following)


@breaks(WAITS, WHY + "test_a_paused_flow_says_what_comes_next")
def who_came_to_a_paused_flow_is_not_told() -> None:
    """A fact that came while the flow stood still is not named as what comes next."""
    instead(why, "_at_the_door", always(None))


@breaks(WAITS, WHY + "test_a_cap_that_was_lost_within_a_pass_shows_who_took_it")
def cap_forgets_who_took_its_room() -> None:
    """A mail that went at the very moment at which another was kept back does not count."""
    instead(at_the_gate, "bisect_right", lambda _real: bisect_left, there_alone=True)


STORY = "A story reads in its order and by what had a say"


@breaks(STORY, WHY + "test_a_story_reads_in_order_and_leaves_out_what_had_no_say")
def story_is_told_as_it_was_written() -> None:
    """Decisions stand as the journal has them, the end of a flow before what became of its last mail."""
    instead(why, "_in_order", lambda _real: list)


@breaks(STORY, WHY + "test_a_story_reads_in_order_and_leaves_out_what_had_no_say")
def exits_that_did_not_hold_are_told() -> None:
    """An entry is told with the exits that kept nobody out."""
    instead(story, "_matters", always(True))


@breaks(STORY, WHY + "test_what_hangs_on_the_trigger_is_not_asked_without_one")
def clauses_about_a_trigger_are_asked_without_one() -> None:
    """Whether an order is the first is asked of somebody who has not ordered."""
    instead(why, "needs_trigger", always(False), there_alone=True)


@breaks(
    "A trial from an empty folder goes as its page says",
    "tests/docs/test_documents.py::test_the_commands_of_a_document_run[trial.md]",
)
def what_nobody_can_know_is_not_told() -> None:
    """A story leaves out the clauses that only what happens can answer."""

    def without(real: Any) -> Any:
        return lambda now: real(now and {**now, "open": ()})

    instead(story, "_now", without)
