"""CSV as rows: quotes that are never closed lose nothing, and legal line breaks in cells stay what they are."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.facts.csv_tables import csv_rows
from engine.facts.fact import BadRow, Row
from engine.facts.json_texts import LARGEST_ROW

HEADER = "external_id,email,first_name\n"


def read(text: str) -> list[Row | BadRow]:
    """Return the rows of a table."""
    return list(csv_rows(io.BufferedReader(io.BytesIO(text.encode())), "table.csv"))


def cells(row: Row | BadRow) -> list[str]:
    """Return the cells of a row, whether it was set aside or not."""
    return list(row.raw[0].values())


def people(*numbers: int) -> str:
    """Return plain rows of these numbers."""
    return "".join(f"{number},q{number}@x.test,N{number}\n" for number in numbers)


def good(rows: list[Row | BadRow]) -> list[str]:
    """Return who is in the rows that were not set aside."""
    return [row.values["external_id"] for row in rows if isinstance(row, Row)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file_that_ends_within_a_quote(end: str) -> None:
    """The row with the quote is set aside with the line of the file; the rows below are rows."""
    text = HEADER + people(9) + '10,q10@x.test,"Jo\n' + people(*range(11, 60))
    rows = read(text.replace("\n", end))
    (bad,) = [row for row in rows if isinstance(row, BadRow)]
    assert (bad.number, bad.column, cells(bad)) == (2, "first_name", ["10", "q10@x.test", '"Jo'])
    assert "line 3 of the file" in bad.reason
    assert "49 lines below" in bad.reason
    assert good(rows) == ["9", *(str(number) for number in range(11, 60))]
    assert [row.number for row in rows] == list(range(1, 52))


def test_a_quote_that_the_next_one_closes() -> None:
    """A stray quote does not reach to the next quoted cell: that one belongs to its own row."""
    rows = read(HEADER + '100,w@x.test,"Jo\n' + people(111, 112) + '130,v@x.test,"Al"\n' + people(131))
    assert isinstance(rows[0], BadRow)
    assert good(rows) == ["111", "112", "130", "131"]
    assert cells(rows[3]) == ["130", "v@x.test", "Al"]


def test_a_stray_quote_among_quoted_cells() -> None:
    """Where every cell is quoted, the row whose quote is missing is set aside alone."""
    quoted = [f'"{n}","q{n}@x.test","N, {n}"\n' for n in range(1, 8)]
    quoted[2] = '"3","q3@x.test","N, 3\n'
    rows = read(HEADER + "".join(quoted))
    assert [isinstance(row, BadRow) for row in rows] == [n == 2 for n in range(7)]
    assert good(rows) == ["1", "2", "4", "5", "6", "7"]


def test_a_cell_that_swallowed_rows_is_set_aside_whole() -> None:
    """Closed well but far below, the cell stays whole in the quarantine, and out of it is taken as it stands."""
    rows = read(HEADER + '100,w@x.test,"Jo\n' + people(111, 112) + '130,v@x.test,Al"\n' + people(131))
    bad = rows[0]
    assert isinstance(bad, BadRow)
    assert "line 2 of the file that is closed in line 5" in bad.reason
    assert cells(bad)[2] == "Jo\n" + people(111, 112) + "130,v@x.test,Al"
    assert good(rows) == ["131"]
    again = io.StringIO()
    csv.writer(again).writerows(
        [["row", "column", "reason", *HEADER.strip().split(",")], ["1", "", "", *cells(bad)]]
    )
    assert [cells(row) for row in read(again.getvalue()) if isinstance(row, Row)] == [cells(bad)]


def test_a_quote_that_closes_in_another_column() -> None:
    """A row that ends with other cells than it began with is read line by line."""
    rows = read(HEADER + '"1,a@x.test,Ann\n' + people(2, 3) + '4,d@x.test,Dan"\n' + people(5))
    assert isinstance(rows[0], BadRow)
    assert good(rows) == ["2", "3", "4", "5"]


@pytest.mark.parametrize(
    "cell",
    [
        "1 High Street\nLondon, SW1, UK",
        "1 High Street\r\nLondon",
        "Dear shop,\n\nthanks, all is well, I think.\n\nAnn",
        'She said "yes",\nand left, too, "soon"',
        '{\n  "size": 3,\n  "fits": true,\n  "tags": ["a", "b"]\n}',
        "a,b\n\n\n",
    ],
)
def test_legal_line_breaks_stay(cell: str) -> None:
    """Addresses, notes and properties with line breaks, commas and quotes in them are cells."""
    for header in (["id", "email", "note"], ["id", "note", "email"], ["id", "note"], ["note", "id"]):
        told = [
            [{"id": f"c{number}", "email": f"c{number}@x.test", "note": cell}[name] for name in header]
            for number in range(3)
        ]
        text = io.StringIO()
        csv.writer(text).writerows([header, *told])
        rows = read(text.getvalue())
        assert all(isinstance(row, Row) for row in rows), rows
        assert [cells(row) for row in rows] == told


def test_a_note_that_is_cut_off_makes_no_customers() -> None:
    """Lines of a text whose end is missing are set aside, though they have as many cells as a row."""
    rows = read('external_id,note\nc1,fine\nc2,"Dear all,\nthanks, best\nGreetings,Ann\n')
    assert good(rows) == ["c1"]
    assert [cells(row) for row in rows[1:]] == [
        ["c2", '"Dear all', ""],
        ["thanks", " best"],
        ["Greetings", "Ann"],
    ]


def test_a_quote_and_a_line_that_is_too_long() -> None:
    """A quote that runs into a line of more than a row can be loses neither the lines before nor those after it."""
    rows = read(HEADER + '1,a@x.test,"Jo\n' + people(2) + "x" * 1_100_000 + "\n" + people(3))
    assert [isinstance(row, BadRow) for row in rows] == [True, False, True, False]


def test_a_quote_over_more_than_a_row_can_be() -> None:
    """However far below the next quote is, the rows in between are read."""
    text = HEADER + '1,a@x.test,"Jo\n' + people(*range(2, 60_000)) + '60000,z@x.test,"Zo"\n'
    assert len(text) > LARGEST_ROW
    found = read(text)
    assert isinstance(found[0], BadRow)
    assert good(found) == [str(number) for number in range(2, 60_001)]


def test_a_header_that_is_never_closed() -> None:
    """A quote in the header is told: there are no columns to put anything under."""
    with pytest.raises(UsageError, match="header"):
        read('external_id,"email\n' + people(1))
    assert [cells(row) for row in read('external_id,"first\nname"\n1,Jo\n')] == [["1", "Jo"]]


def test_ragged_rows_know_their_columns() -> None:
    """A row with fewer or more cells keeps those that it has, and the header that it stood below."""
    short, long = (row for row in read(HEADER + "1,a@x.test\n3,c@x.test,Cy,extra\n"))
    assert isinstance(short, BadRow)
    assert isinstance(long, BadRow)
    assert short.columns == long.columns == ("external_id", "email", "first_name")
    assert (cells(short), cells(long)) == (["1", "a@x.test"], ["3", "c@x.test", "Cy", "extra"])


_CELLS = st.text(st.sampled_from('ab1 ",\n;'), max_size=8)


@given(st.lists(st.lists(_CELLS, min_size=3, max_size=3), min_size=1, max_size=6))
def test_what_is_written_well_is_read_whole(told: list[list[str]]) -> None:
    """Each row of a table that is written well comes back cell by cell, be it as a row or set aside."""
    text = io.StringIO()
    csv.writer(text).writerows([["id", "b", "c"], *told])
    assert [cells(row) for row in read(text.getvalue())] == told


@given(st.lists(st.booleans(), min_size=3, max_size=9), st.data())
def test_a_stray_quote_loses_no_row(quoted: list[bool], data: st.DataObject) -> None:
    """Wherever a quote is opened and not closed, every other row is read, or is set aside with all of its cells."""
    lines = [
        f'{number},c{number}@x.test,"N{number}"' if quote else f"{number},c{number}@x.test,N{number}"
        for number, quote in enumerate(quoted)
    ]
    hurt, place = data.draw(st.integers(0, len(lines) - 1)), data.draw(st.integers(0, 2))
    parts = lines[hurt].replace('"', "").split(",")
    parts[place] = '"' + parts[place]
    lines[hurt] = ",".join(parts)
    rows = read(HEADER + "\n".join(lines))
    assert [cells(row)[0].strip('"') for row in rows] == [str(number) for number in range(len(lines))]
    assert [row.number for row in rows if isinstance(row, BadRow)] == [hurt + 1]
