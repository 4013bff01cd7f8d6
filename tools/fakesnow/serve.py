"""Serves fakesnow on 127.0.0.1 at the port that is its argument, with what a load needs and fakesnow lacks.

fakesnow runs Snowflake's SQL on DuckDB. With what this file adds it still differs from Snowflake: names do not tell upper
from lower case, a statement that fails ends its transaction, and numbers in a VARIANT pass through floating point numbers.
"""

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
                if left <= 0 or not conn.waits:
                    raise failure("the lock was not released", 625, "57014")
                self.free.wait(left)
            self.holders[name] = conn

    def give(self, conn):
        with self.free:
            conn.waits = False
            self.holders = {name: holder for name, holder in self.holders.items() if holder is not conn}
            self.free.notify_all()


fences = Fences()
# Two sessions that create a table at once are none's failure.
creating = threading.Lock()


class Sessions(dict):
    """A session that ends rolls its transaction back."""

    def __delitem__(self, token):
        conn = self[token]
        super().__delitem__(token)
        fences.give(conn)
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
    # INFORMATION_SCHEMA.COLUMNS has no such column here.
    command = command.replace("datetime_precision AS fraction", "9 AS fraction")
    try:
        if match := UPDATE.match(command):
            fences.take((self._conn.database, match[1]), self._conn)
            for again in ("ROLLBACK", "BEGIN"):
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

uvicorn.run(fakesnow.server.app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
