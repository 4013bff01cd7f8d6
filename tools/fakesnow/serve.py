"""Serves fakesnow on 127.0.0.1 at the port that is its argument, with what a load needs and fakesnow lacks.

fakesnow runs Snowflake's SQL on DuckDB. With what this file adds it still differs from Snowflake: names do not tell upper
from lower case, a statement that fails ends its transaction, and numbers in a VARIANT pass through floating point numbers.
"""

import collections
import contextlib
import os
import re
import secrets
import shutil
import sys
import threading
import time

import duckdb
import pyarrow as pa
import snowflake.connector.errors
import uvicorn

import fakesnow.arrow
import fakesnow.copy_into
import fakesnow.cursor
import fakesnow.info_schema
import fakesnow.instance
import fakesnow.server
import fakesnow.transforms
from fakesnow.transforms import stage

Cursor = fakesnow.cursor.FakeSnowflakeCursor
connect, execute = fakesnow.instance.FakeSnow.connect, Cursor.execute
source_urls = fakesnow.copy_into._source_urls
integer_precision = fakesnow.transforms.integer_precision
timestamp_struct = fakesnow.arrow.timestamp_to_sf_struct
write_bucket_file = fakesnow.server._write_bucket_file

LOCK_TIMEOUT = 20  # Seconds.
REMOVE = re.compile(r"^REMOVE @~/(\S+)$")
UPDATE = re.compile(r'^UPDATE ("PUBLIC"\."_lume_fence") ')
BEGIN = re.compile(r"^BEGIN TRANSACTION NAME ([A-Z_][A-Z0-9_]{0,254})$")
ABORT = re.compile(r"^SELECT SYSTEM\$ABORT_TRANSACTION\((-?\d+)\)$")
PRIMARY_KEY = re.compile(r",\s*PRIMARY KEY \([^\n]*\)(?=\s*\)$)")

# The numbers by which Snowflake calls what DuckDB raises.
NUMBERS = {
    duckdb.TransactionException: (625, "57014"),
    duckdb.ConversionException: (100038, "22018"),
    duckdb.OutOfRangeException: (100039, "22003"),
    duckdb.InvalidInputException: (100069, "22P02"),
    duckdb.ConstraintException: (100072, "22000"),
    duckdb.IOException: (91016, "22000"),
    FileNotFoundError: (91016, "22000"),
}


def failure(message, number, state):
    return snowflake.connector.errors.ProgrammingError(msg=message, errno=number, sqlstate=state)


class Fences:
    """Snowflake lets an UPDATE wait for the transaction that has updated the table, and then see what that has committed.

    DuckDB fails at once. Here the first statement of a transaction, an update of a fence, waits for its turn.
    """

    def __init__(self):
        self.free = threading.Condition()
        self.holders = {}

    def take(self, name, conn):
        deadline = time.monotonic() + LOCK_TIMEOUT
        with self.free:
            conn.waits = True
            while self.holders.get(name) not in (None, conn):
                left = deadline - time.monotonic()
                if not conn.waits:
                    raise failure("the transaction was aborted", 615, "")
                if left <= 0:
                    raise failure("the lock was not released", 625, "57014")
                self.free.wait(left)
            self.holders[name] = conn

    def interrupt(self, conn):
        with self.free:
            conn.waits = False
            self.free.notify_all()

    def give(self, conn):
        with self.free:
            conn.waits = False
            self.holders = {name: holder for name, holder in self.holders.items() if holder is not conn}
            self.free.notify_all()


class Transactions:
    """The open transactions that have a name. Others can list and abort them.

    Snowflake does not say what the session of an aborted transaction sees. Here each statement after it is a transaction of its
    own. A statement that runs is not cut: its transaction is rolled back after it.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.last = 1661899308790000000
        self.open = {}
        self.busy = collections.Counter()
        self.aborted = set()

    def begin(self, conn, name):
        with self.lock:
            self.last += 1
            self.open[conn] = (self.last, name)

    def end(self, conn):
        with self.lock:
            self.open.pop(conn, None)
            self.aborted.discard(conn)
        fences.give(conn)

    def current(self, conn):
        return self.open.get(conn, (None, None))[0]

    def show(self):
        columns = [f'{{}} AS "{name}"' for name in ("id", "user", "session", "name", "started_on", "state", "scope")]
        none = "SELECT " + ", ".join(columns).format(0, "''", 0, "''", "''", "''", 0) + " WHERE FALSE"
        with self.lock:
            return " UNION ALL ".join(
                [none] + ["SELECT " + ", ".join(columns).format(i, "'LUME'", 0, f"'{name}'", "''", "'running'", 0) for i, name in self.open.values()]
            )

    def abort(self, number):
        with self.lock:
            conn = next((c for c, (i, _) in self.open.items() if i == number), None)
            if conn is None:
                return
            if self.busy[conn]:
                self.aborted.add(conn)
                fences.interrupt(conn)
            else:
                self.roll_back(conn)

    def roll_back(self, conn):
        self.open.pop(conn, None)
        self.aborted.discard(conn)
        with contextlib.suppress(duckdb.Error):
            conn._duck_conn.rollback()
        fences.give(conn)

    @contextlib.contextmanager
    def request(self, conn):
        """Keeps a session's result until it has been read."""
        with self.lock:
            self.busy[conn] += 1
        try:
            yield
        finally:
            with self.lock:
                self.busy[conn] -= 1
                if conn in self.aborted:
                    self.roll_back(conn)


fences = Fences()
transactions = Transactions()
# Two sessions that create a table at once are none's failure.
creating = threading.Lock()


class Sessions(dict):
    """A session that ends rolls its transaction back."""

    def __delitem__(self, token):
        conn = self[token]
        super().__delitem__(token)
        transactions.end(conn)
        conn._duck_conn.close()


def connect_with_user_stage(self, *args, **kwargs):
    """Every user has the stage ~."""
    conn = connect(self, *args, **kwargs)
    execute(conn.cursor(), 'CREATE STAGE IF NOT EXISTS "~"')
    return conn


def execute_as_snowflake(self, command, *args, **kwargs):
    if match := REMOVE.match(command):
        folder = stage.internal_dir(f"{self._conn.database}.{self._conn.schema}.~")
        shutil.rmtree(os.path.join(folder, match[1]), ignore_errors=True)
        command = "SELECT 'removed' AS result"
    if command.startswith("CREATE TABLE"):
        # Snowflake keeps a primary key and does not enforce it.
        command = PRIMARY_KEY.sub("", command)
    if match := BEGIN.match(command):
        transactions.begin(self._conn, match[1])
        command = "BEGIN"
    if match := ABORT.match(command):
        transactions.abort(int(match[1]))
        command = "SELECT 'aborted' AS result"
    if command == "SHOW TRANSACTIONS":
        command = transactions.show()
    if command == "SELECT CURRENT_TRANSACTION() AS id":
        number = transactions.current(self._conn)
        command = f"SELECT '{number}' AS id" if number else "SELECT NULL::VARCHAR AS id"
    # INFORMATION_SCHEMA.COLUMNS has no such column here.
    command = command.replace("datetime_precision AS fraction", "9 AS fraction")
    try:
        if match := UPDATE.match(command):
            fences.take((self._conn.database, match[1]), self._conn)
            for again in ("ROLLBACK", "BEGIN") if transactions.current(self._conn) else ():
                execute(self, again)
        with creating if command.startswith("CREATE ") else contextlib.nullcontext():
            result = execute(self, command, *args, **kwargs)
    except (duckdb.Error, FileNotFoundError) as e:
        number, state = next((n for kind, n in NUMBERS.items() if isinstance(e, kind)), (None, None))
        if number is None:
            raise
        raise failure(str(e), number, state) from e
    if command.startswith("MERGE "):
        ((count,),) = self.fetchall()
        result = execute(self, f'SELECT {count} AS "number of rows inserted"')
    if command in ("COMMIT", "ROLLBACK"):
        transactions.end(self._conn)
    elif not transactions.current(self._conn):
        fences.give(self._conn)
    return result


def source_urls_of_stages(source, files):
    """FILES of an internal stage, whose folder has no scheme."""
    return source_urls(f"file://{source}" if source.startswith("/") else source, files)


def write_whole_file(path, body):
    """A file is in its place once it is whole."""
    whole = write_bucket_file(f"{path}.{secrets.token_hex(8)}", body)
    if whole:
        os.replace(whole, whole.rpartition(".")[0])
    return whole


def integer_precision_of_names(expression):
    """NUMBER(38,0) is no BIGINT."""
    if isinstance(expression, fakesnow.cursor.exp.DataType) and expression.expressions:
        return expression
    return integer_precision(expression)


def timestamp_struct_with_nulls(column):
    """NULLs stay NULLs."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    filled = timestamp_struct(column.fill_null(pa.scalar(0, column.type)))
    return pa.StructArray.from_arrays(filled.flatten(), fields=list(filled.type), mask=column.is_null())


async def app(scope, receive, send):
    """Tells which sessions have a statement under way."""
    conn = None
    if scope["type"] == "http" and scope["path"] == "/queries/v1/query-request":
        token = dict(scope["headers"]).get(b"authorization", b"").decode()[17:-1]
        conn = fakesnow.server.sessions.get(token)
    with transactions.request(conn) if conn else contextlib.nullcontext():
        await fakesnow.server.app(scope, receive, send)


fakesnow.server.sessions = Sessions()
fakesnow.server._write_bucket_file = write_whole_file
fakesnow.instance.FakeSnow.connect = connect_with_user_stage
fakesnow.copy_into._source_urls = source_urls_of_stages
fakesnow.transforms.integer_precision = integer_precision_of_names
fakesnow.arrow.timestamp_to_sf_struct = timestamp_struct_with_nulls
# Lengths of text are kept in another database of DuckDB, which no transaction can write to beside its own.
fakesnow.info_schema.insert_text_lengths_sql = lambda *args: "SELECT 1"
# DuckDB has a MERGE of its own. That of fakesnow makes a table, which a transaction cannot after it has changed rows.
fakesnow.transforms.merge = lambda expression: [expression]
Cursor.execute = execute_as_snowflake

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
