"""The baseline for writes on PostgreSQL: connections that insert a row and commit, and again."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg

from bench import Figures
from bench.load import CLIENTS

_TEXT = "x" * 100  # about as long as what is known of a note


def insert(url: str, seconds: float) -> Figures:
    """Insert rows on CLIENTS connections for so many seconds."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS inserts (id bigserial PRIMARY KEY, x text)")
    end = time.monotonic() + seconds
    with ThreadPoolExecutor(CLIENTS) as pool:
        counts = pool.map(_insert, [url] * CLIENTS, [end] * CLIENTS)
        return {"rps": sum(counts) / seconds}


def _insert(url: str, end: float) -> int:
    with psycopg.connect(url) as connection:
        count = 0
        while time.monotonic() < end:
            connection.execute("INSERT INTO inserts (x) VALUES (%s)", [_TEXT])
            connection.commit()
            count += 1
        return count
