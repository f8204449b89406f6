"""Notes over HTTP, kept in Postgres: GET /notes lists them, POST /notes adds one."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2


class Notes(BaseHTTPRequestHandler):
    """What is answered to whom."""

    def do_GET(self) -> None:
        self.answer(query("SELECT id, text FROM notes ORDER BY id"))

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.answer(query("INSERT INTO notes (text) VALUES (%s) RETURNING id, text", text))

    def answer(self, notes: list[tuple[int, str]]) -> None:
        body = json.dumps([{"id": number, "text": text} for number, text in notes]) + "\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())


def query(statement: str, *values: str) -> list[tuple[int, str]]:
    """One transaction on a connection of its own, by the Unix socket."""
    connection = psycopg2.connect("dbname=postgres")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()
    finally:
        connection.close()


ThreadingHTTPServer(("127.0.0.1", 8000), Notes).serve_forever()
