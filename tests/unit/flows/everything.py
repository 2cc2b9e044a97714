"""One flow, segments and offers that use every word of the language: what round trips and hashes are tried on."""

from __future__ import annotations

SEGMENTS = """\
# people that we know well
loyal: [{customer: {orders: {gte: 3}, spent: {gt: 99.50}}}]
loyal-in-asia:
  - segment: loyal
  - customer: {country: [JP, TW]}
unused: [{not_segment: loyal}]
"""

OFFERS = """\
ten: {percent: 10, pattern: "TEA-########", valid_for: 7d, when_empty: five}
five: {amount: 5 EUR, code: SPRING, once_per: message, when_empty: wait}
ship: {free_shipping: true, code: SHIP}
gift: {gift: SKU-1, code: GIFT}
two: {buy_one_get_one: SKU-2, code: TWO}
early: {early_access: loyal}
"""

FLOW = """\
flow: one
summary: Everything that can be said, at once.
kind: marketing
topic: reminders
priority: 80
sender: ceo
max_lateness: 3d
policy: {quiet_hours: "22:00-07:00", caps: [2 per 1d], when_capped: wait}
trigger:
  - {event: cart_updated, quiet_for: 4h, where: {value: {gte: 20.5}, cart_id: {exists: true}}, gather: 1d}
  - {anniversary: birthday, offset: -7d, at: 09:00}
  - {date: points_expire_at, offset: -1mo, at: "08:30"}
  - {date: properties.renewal}
  - {lapsed: {event: order_placed, after: 1.5x, at_least: 30d, at_most: 1y, otherwise: 90d}}
  - {lapsed: {event: order_placed, after: 90d}, where: {value: {gt: 0}}}
  - {replenish: {lead: 3d}, where: {category: tea}}
  - {segment: loyal-in-asia}
  - {product: back_in_stock, interest: [viewed, wishlist], within: 60d}
  - {product: price_drop, by: 5%}
  - {product: low_stock, below: 5, interest: cart}
  - {schedule: "0 9 1 * *", segment: loyal, clock: customer}
  - {schedule: 2026-11-26 10:00}
re_entry: {per: cart, after: 7d}
enter_if:
  - customer: {country: [JP, TW, "NO"], properties.shoe_size: 42, tags: {contains: vip}, rfm.r: {gte: 4, lt: 6}}
  - did_not: order_placed
    within: 30d
    where: {value: {gte: 10}}
  - any:
      - did: product_viewed
        times: {gte: 2}
        since: 2026-01-01
      - all: [{segment: loyal}, {not: {customer: {email: {starts_with: test}}}}]
      - {did: order_placed, sum: {value: {gte: 100}}, since: entry, times: 3}
      - {did: review_given, same: order_id}
only_if:
  - cart: {lines: {any: {in_stock: true}, none: {category: wine}}, value: {gte: 20}}
  - order: {status: {ne: cancelled}, lines.category: {in: [tea, cups]}}
  - product: {stock: {not_in: [0]}, price: {lte: 9.99}}
  - trigger: {value: {eq: 20}, years: {exists: false}, at: {before: 2027-01-01T10:00:00+09:00, after: 2026-01-01}}
  - customer: {last_order_at: {within: 30d}, first_order_at: {older_than: 1y}, points_expire_at: {in_next: 2w}}
  - offer: {ten: {held: true, used: false}}
  - not_segment: loyal-in-asia
exit_when: [{did: order_placed}, {did: mail_clicked, where: {flow: one}}]
goal: {did: order_placed, within: 5d}
holdout: 12.5%
steps:
  - send: a
  - wait: 30min
  - wait: {until: 09:00, days: weekdays, at_least: 20h}
  - {wait: {until: "18:30", days: [mon, thu]}, id: evening}
  - wait: {until: points_expire_at, offset: -7d}
  - wait: {until: offer.ten.expires_at}
  - wait: {until: {did: survey_answered, where: {survey: nps}}, up_to: 14d, as: answer}
  - branch:
      - when: [{answer: {score: {gte: 9}}}]
        steps:
          - {send: b, subject: "Thank you, {{ customer.first_name }}", offer: ten, topic: offers, sender: ceo,
             only_if: [{did_not: order_placed, since: entry}]}
          - wait: 1y
      - when: [{customer: {orders: 0}}]
        steps: []
      - otherwise:
          - set: {vip: true, properties.note: "{{ answer.text }}", tags: {add: vip, remove: [new]}, consent: {all: withdrawn}}
          - exit: unhappy
  - experiment:
      name: nudge
      arms:
        nothing: {weight: 50, steps: []}
        more:
          weight: 50
          steps:
            - {send: b, id: b-again}
            - wait: 2w
  - webhook: {to: sms, with: {text: "Hello {{ customer.first_name }}", priority: 1, score: 0.5, to: [a, b]}}
    only_if: [{customer: {country: JP}}]
  - {send: [a, b, c], id: guide}
"""
FILES = {"flows/one.yaml": FLOW, "flows/segments.yaml": SEGMENTS, "flows/offers.yaml": OFFERS}
