"""The report of a simulation as one page: no script, no network, light and dark, from a telephone up.

Comes in: the document of a simulation. Goes out: HTML. Charts are inline SVG without words, so that they may stretch; what
they mean stands around them as text, and every number is in a table too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from html import escape
from typing import Any

from engine.deploy.simulate_report import weekly

Document = Mapping[str, Any]
MOST_BARS = 100
FEWEST_PEOPLE_BARS, MOST_PEOPLE_BARS = 12, 40
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
COLOURS = 8
STYLE = """
:root{--paper:#fbfaf8;--card:#fff;--ink:#1d1c1a;--soft:#66625c;--line:#e4e0d9;--heat:26 95 180;
--c0:#2563ae;--c1:#d97706;--c2:#0f8a6d;--c3:#b83280;--c4:#7c5cd6;--c5:#7a8b1f;--c6:#c2452d;--c7:#5f6b7a;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--paper:#161614;--card:#1f1f1c;--ink:#eeece7;--soft:#a8a39a;--line:#35332f;--heat:120 175 250;
--c0:#6ea8f0;--c1:#f2a541;--c2:#3fc2a0;--c3:#ec7bb5;--c4:#a893f5;--c5:#b9c94f;--c6:#f0806a;--c7:#9aa7b8}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1000px;margin:0 auto;padding:24px 16px 64px}h1{font-size:1.7rem;line-height:1.2;margin:.2em 0 .1em}
h2{font-size:1.1rem;margin:0 0 .2em}.soft,figcaption{color:var(--soft);font-size:.875rem}p{margin:.2em 0 .8em}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:18px 18px 14px;margin:16px 0}
.tiles{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:12px;margin:18px 0}
@media(min-width:560px){.tiles{grid-template-columns:repeat(3,minmax(0,1fr))}}@media(min-width:960px){.tiles{grid-template-columns:repeat(6,minmax(0,1fr))}}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px}
.tile b{display:block;font-size:1.55rem;line-height:1.25;font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:.85rem}
table{border-collapse:collapse;width:100%;font-size:.92rem}th,td{text-align:left;padding:5px 10px 5px 0;border-top:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
th{color:var(--soft);font-weight:500;border-top:0}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;padding-right:0;padding-left:10px}
@media(max-width:620px){table.many thead{display:none}table.many tr{display:block;border-top:1px solid var(--line);padding:6px 0}
table.many td{display:block;border:0;padding:1px 0}table.many td.n{display:flex;justify-content:space-between;gap:12px;white-space:normal;overflow-wrap:normal}
table.many td.n::before{content:attr(data-label);color:var(--soft);overflow-wrap:anywhere;text-align:left}}svg{display:block;width:100%}.axis{display:flex;justify-content:space-between;color:var(--soft);font-size:.78rem;margin-top:3px}
.key{display:flex;flex-wrap:wrap;gap:4px 16px;margin:10px 0 4px;font-size:.88rem;list-style:none;padding:0}.key i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px}
.bar{display:block;height:6px;border-radius:3px;background:var(--c0);margin-top:3px;min-width:2px}details{margin-top:6px}summary{cursor:pointer;color:var(--soft);font-size:.88rem}
.heat{display:grid;grid-template-columns:2.6em repeat(24,minmax(0,1fr));gap:1px;font-size:.72rem;color:var(--soft)}.heat b{font-weight:400}.heat b{white-space:nowrap}.heat i{display:block;height:18px;border-radius:2px}
.up{color:var(--c2)}.down{color:var(--c6)}
"""


def page(found: Document, shop: str) -> str:
    """Return the whole page."""
    span = f"{found['from'][:10]} to {found['until'][:10]}"
    what = "what would have happened" if found["mode"] == "replay" else "what lies ahead"
    title = f"{escape(shop)}: {what}"
    parts = [
        _tiles(found), _mails_by_day(found), _comparison(found), _by_flow(found), _not_sent(found), _people(found),
        _hours(found), _pressure(found), _purchases(found), _recommendations(found),
    ]  # fmt: skip
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head><body><main>'
        f'<p class="soft">Homing · simulation</p><h1>{title}</h1><p class="soft">{span} · {_how(found)}</p>'
        + "".join(parts)
        + "</main></body></html>\n"
    )


def _how(found: Document) -> str:
    how = {"as recorded": "recorded facts, in the order in which they arrived", "none": "nothing new happens",
           "history": "customers go on as similar ones did"}[found["behaviour"]]  # fmt: skip
    return f"{how} · the clock stops {_often(found['clock'])} · played: {escape(found['played'])} · nothing was sent"


def _often(clock: str) -> str:
    """Return how often the clock stops, in words.

    >>> _often("every moment"), _often("every 15 minutes"), _often("every 60 minutes"), _often("every 120 minutes")
    ('at every moment', 'every 15 minutes', 'every hour', 'every 2 hours')
    """
    number = clock.split()[1]
    if not number.isdecimal():
        return f"at {clock}"
    hours, minutes = divmod(int(number), 60)
    if minutes:
        return clock
    return "every hour" if hours == 1 else f"every {hours} hours"


def _n(number: float) -> str:
    return f"{number:,}"


def _tiles(found: Document) -> str:
    worst = found["per_customer"]["worst"]
    tiles = [
        (_n(found["total"]), "mails"), (_n(found["customers"]), "customers"),
        (f"{found['per_customer']['mean']:.2f}", "mails for each customer"),
        (_n(worst[0]["mails"] if worst else 0), "mails to the one with most"),
        (_n(sum(found["exits_by_purchase"].values())), "left a flow by a purchase"),
        (_n(sum(found["not_sent"].values())), "not sent, each with a reason"),
    ]  # fmt: skip
    between = found.get("interval", {}).get("total")
    if between:
        tiles.append(
            (f"{_n(between['low'])} to {_n(between['high'])}", f"mails in {found['runs']} likely courses")
        )
    return (
        '<div class="tiles">'
        + "".join(f'<div class="tile"><b>{a}</b><span>{b}</span></div>' for a, b in tiles)
        + "</div>"
    )


def _section(title: str, intro: str, *content: str) -> str:
    return f'<section><h2>{title}</h2><p class="soft">{intro}</p>{"".join(content)}</section>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int]) -> str:
    """Return a table; on a telephone each row of a wide one stands as a list of its own."""
    wide = len(head) > 2

    def row(cells: Sequence[str], tag: str) -> str:
        told = []
        for place, cell in enumerate(cells):
            label = f' data-label="{head[place]}"' if wide and place and tag == "td" else ""
            told.append(f"<{tag}{' class=n' if place in numbers else ''}{label}>{cell}</{tag}>")
        return f"<tr>{''.join(told)}</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    style = ' class="many"' if wide else ""
    return f"<table{style}><thead>{row(head, 'th')}</thead><tbody>{body}</tbody></table>"


# ── mails over time ──────────────────────────────────────────────────────────────────────────────────────────────────


def _ordered(found: Document) -> list[str]:
    totals = {flow: sum(steps.values()) for flow, steps in found["mails"].items()}
    return sorted(totals, key=lambda flow: (-totals[flow], flow))


def _mails_by_day(found: Document) -> str:
    days = found["days"]
    long = len(days) > MOST_BARS
    bars = weekly(days) if long else days
    flows = _ordered(found)
    most = max((sum(bar["mails"].values()) for bar in bars), default=0)
    each = "week" if long else "day"
    chart = stacked(
        [[bar["mails"].get(flow, 0) for flow in flows] for bar in bars], most, f"Mails a {each} by flow"
    )
    ends = [bars[place]["day"] for place in sorted({0, len(bars) // 2, len(bars) - 1})] if bars else []
    axis = '<div class="axis">' + "".join(f"<span>{_day(day)}</span>" for day in ends) + "</div>"
    listed = [(_day(bar["day"]), *(_n(bar["mails"].get(flow, 0)) for flow in flows)) for bar in bars]
    table = _table([each, *map(escape, flows)], listed, range(1, len(flows) + 1))
    return _section(
        f"Mails a {each}, by flow", f"At most {_n(most)} in a {each}.", chart, axis, _key(flows),
        f"<details><summary>Numbers</summary>{table}</details>",
    )  # fmt: skip


def _day(text: str) -> str:
    return f"{date.fromisoformat(text):%d %b %Y}"


def _key(flows: Sequence[str]) -> str:
    items = (
        f'<li><i style="background:var(--c{number % COLOURS})"></i>{escape(flow)}</li>'
        for number, flow in enumerate(flows)
    )
    return f'<ul class="key">{"".join(items)}</ul>'


def stacked(bars: Sequence[Sequence[int]], most: int, label: str, height: int = 220) -> str:
    """Return stacked bars as an SVG that stretches; each bar is a list of numbers, lowest part first."""
    width = 8
    drawn = []
    for place, parts in enumerate(bars):
        top = float(height)
        for number, part in enumerate(parts):
            if part and most:
                size = part / most * (height - 4)
                top -= size
                drawn.append(
                    f'<rect x="{place * width + 0.7:.1f}" y="{top:.2f}" width="{width - 1.4:.1f}" height="{max(size - 0.6, 0.3):.2f}" fill="var(--c{number % COLOURS})"/>'
                )
    lines = "".join(
        f'<line x1="0" x2="{len(bars) * width}" y1="{height * share:.1f}" y2="{height * share:.1f}" stroke="var(--line)" stroke-width="1" vector-effect="non-scaling-stroke"/>'
        for share in (0.02, 0.265, 0.51, 0.755)
    )
    return (
        f'<svg viewBox="0 0 {max(1, len(bars)) * width} {height}" height="{height}" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f"{lines}{''.join(drawn)}</svg>"
    )


# ── flows, reasons, people ───────────────────────────────────────────────────────────────────────────────────────────


def _by_flow(found: Document) -> str:
    between = found.get("interval", {})
    rows = []
    for flow in sorted({*found["mails"], *found["entered"]}):
        steps = found["mails"].get(flow, {})
        total = sum(steps.values())
        likely = between.get(flow)
        spread = f' <span class="soft">({_n(likely["low"])} to {_n(likely["high"])})</span>' if likely else ""
        told = ", ".join(f"{escape(step)} {_n(number)}" for step, number in steps.items())
        rows.append(
            (
                f"{escape(flow)}<br><span class=soft>{told}</span>", _n(found["entered"].get(flow, 0)), f"{_n(total)}{spread}",
                _n(found["exits_by_purchase"].get(flow, 0)), _n(found["goals"].get(flow, 0)),
            )
        )  # fmt: skip
    head = ("flow and its mails", "entered", "mails", "left by a purchase", "reached the goal")
    return _section(
        "Flow by flow",
        "A goal counts for everybody who entered, however they were reached.",
        _table(head, rows, range(1, 5)),
    )


def _not_sent(found: Document) -> str:
    most = max(found["not_sent"].values(), default=1)
    rows = []
    for each in found["reasons"]:
        flows = ", ".join(f"{escape(flow)} {_n(number)}" for flow, number in each["flows"].items())
        examples = "; ".join(
            f"{escape(one['customer'])} on {one['at'][:16].replace('T', ' ')} UTC" for one in each["examples"]
        )
        bar = f'<span class="bar" style="width:{each["count"] / most * 100:.1f}%"></span>'
        rows.append(
            (
                f"{escape(each['reason'])}{bar}<span class=soft>{flows}<br>for example {examples}</span>",
                _n(each["count"]),
            )
        )
    return _section(
        "Not sent, and why", "Entries that were refused, mails that were left out, and enrollments that ended before their next mail.",
        _table(("reason", "times"), rows, (1,)),
    )  # fmt: skip


def _people(found: Document) -> str:
    spread = found["per_customer"]["distribution"]
    top = max(FEWEST_PEOPLE_BARS, *map(int, spread)) if spread else FEWEST_PEOPLE_BARS
    width = -(-top // MOST_PEOPLE_BARS)
    starts = range(1, top + 1, width)
    bars = [[sum(spread.get(str(n), 0) for n in range(start, start + width))] for start in starts]
    chart = stacked(bars, max(bar[0] for bar in bars), "Customers by number of mails", 160)
    axis = f'<div class="axis"><span>{"1 mail" if width == 1 else f"1 to {width} mails"}</span><span>{top} mails</span></div>'
    worst = _table(
        ("customer", "mails"),
        ((escape(each["customer"]), _n(each["mails"])) for each in found["per_customer"]["worst"]),
        (1,),
    )
    listed = [("0", _n(spread.get("0", 0)))] + [
        (str(start) if width == 1 else f"{start} to {start + width - 1}", _n(bar[0]))
        for start, bar in zip(starts, bars, strict=True)
    ]
    nobody = _n(spread.get("0", 0))
    return _section(
        "Mails for each customer", f"Without any, and not drawn: {nobody}.", chart, axis,
        f"<details><summary>Numbers</summary>{_table(('mails', 'customers'), listed, (1,))}</details>",
        f"<details><summary>Who gets most</summary>{worst}</details>",
    )  # fmt: skip


def _hours(found: Document) -> str:
    most = max((number for row in found["hours"] for number in row), default=0) or 1
    cells = ["<b></b>", *(f"<b>{hour if hour % 6 == 0 else ''}</b>" for hour in range(24))]
    for day, row in zip(WEEKDAYS, found["hours"], strict=True):
        cells.append(f"<b>{day}</b>")
        cells += [
            f'<i style="background:rgb(var(--heat) / {0.06 + 0.94 * number / most:.2f})" title="{day} {hour}:00, {_n(number)} mails"></i>'
            for hour, number in enumerate(row)
        ]
    listed = [(f"{hour}:00", *(_n(row[hour]) for row in found["hours"])) for hour in range(24)]
    table = _table(("hour", *WEEKDAYS), listed, range(1, 8))
    return _section(
        "When mails arrive", f"On the customer's own clock. The strongest colour is {_n(most)} in one hour of one weekday.",
        f'<div class="heat">{"".join(cells)}</div>', f"<details><summary>Numbers</summary>{table}</details>",
    )  # fmt: skip


def _pressure(found: Document) -> str:
    told = found["pressure"]
    rows = [
        ("were due at the gate", _n(told["due"])), ("went", _n(told["sent"])),
        (f"met a frequency cap that had no room ({told['capped_share']:.1%} of those due)", _n(told["capped"])),
        ("lost the room to a mail of higher priority", _n(told["outranked"])),
        ("waited until a cap had room again", _n(told["waited_for_a_cap"])),
        (f"waited for the morning ({told['quiet_share']:.1%})", _n(told["deferred_by_quiet_hours"])),
    ]  # fmt: skip
    return _section(
        "Caps and quiet hours",
        "What protects customers, and what it cost.",
        _table(("mails that", ""), rows, (1,)),
    )


def _purchases(found: Document) -> str:
    told = found["purchases"]
    rows = [
        (escape(flow), _n(each["orders"]), _amount(each["value_last_mail"], told["currency"]))
        for flow, each in told["by_flow"].items()
    ]
    share = told["after_a_mail"] / told["all"] if told["all"] else 0
    intro = (
        f"{_n(told['after_a_mail'])} of {_n(told['all'])} purchases ({share:.0%}) came within {told['days']} days after a mail. "
        "That they came after it does not mean that they came from it: compare with a holdout."
    )
    head = (
        "flow",
        f"purchases within {told['days']} days after its mail",
        "value where its mail was the last",
    )
    return _section("Purchases after mails", intro, _table(head, rows, (1, 2)))


def _amount(value: str, currency: str) -> str:
    """Return an amount with its currency.

    >>> _amount("7206.00", "EUR")
    '7,206.00 EUR'
    """
    return f"{Decimal(value):,.2f} {escape(currency)}"


def _recommendations(found: Document) -> str:
    if not found["recommendations"]:
        return ""
    rows = [
        (
            f"{escape(each['block'])}<br><span class=soft>"
            + ", ".join(f"{escape(name)} {_n(number)}" for name, number in each["strategies"].items())
            + "</span>",
            _n(each["mails"]), f"{each['filled'] / each['wanted']:.0%}" if each["wanted"] else "", _n(each["short"]), _n(each["empty"]),
        )
        for each in found["recommendations"]
    ]  # fmt: skip
    head = ("block and its strategies", "mails", "slots filled", "slots short", "empty")
    return _section(
        "Recommendations",
        "Which strategy filled the slots, and where products were missing.",
        _table(head, rows, range(1, 5)),
    )


def _change(difference: int) -> str:
    return f"{difference:+,}" if difference else "0"


def _comparison(found: Document) -> str:
    if "comparison" not in found:
        return ""
    rows = []
    for each in found["comparison"]:
        difference = each["this"] - each["against"]
        style = "up" if difference > 0 else "down" if difference < 0 else "soft"
        rows.append(
            (
                f"{escape(each['flow'])} · {escape(each['step'])}", _n(each["this"]), _n(each["against"]),
                f'<span class="{style}">{_change(difference)}</span>',
            )
        )  # fmt: skip
    other = found["against"]
    reasons = sorted({*found["not_sent"], *other["not_sent"]})
    told = [
        (escape(reason), _n(found["not_sent"].get(reason, 0)), _n(other["not_sent"].get(reason, 0)),
         _change(found["not_sent"].get(reason, 0) - other["not_sent"].get(reason, 0)))
        for reason in reasons
    ]  # fmt: skip
    head = (escape(found["played"]), escape(other["played"]), "difference")
    return _section(
        "Side by side", f"{_n(found['total'])} mails against {_n(other['total'])}.",
        _table(("mail", *head), rows, (1, 2, 3)),
        f"<details><summary>Reasons side by side</summary>{_table(('reason', *head), told, (1, 2, 3))}</details>",
    )  # fmt: skip
