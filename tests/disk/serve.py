#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""An HTTP server for tests, on loopback, that can misbehave. Ends when its standard input does.

usage: serve.py FOLDER LOG [CERTIFICATE-AND-KEY]

Prints its port. The query of an address says how it is answered; with `once=KEY` only the first request with that KEY is
answered so, the rest properly:
  cut=N       the connection is closed after N bytes
  hang=N      nothing more comes after N bytes
  rate=N      so many bytes a second
  length=no   no Content-Length
  status=N    that status, with `location=URL` as the Location
  cookie=C    403 unless the request has that cookie
LOG gets a JSON line when a request has ended: path, cookie, header (X-Test), sent (bytes of the body). Ranges are served.
"""
import http.server
import json
import os
import re
import ssl
import sys
import threading
import time
import urllib.parse

folder, log_path = sys.argv[1:3]
lock, seen = threading.Lock(), set()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    sent = 0

    def log_message(self, *words):
        pass

    def note(self, path):
        line = {"path": path, "cookie": self.headers.get("Cookie"), "header": self.headers.get("X-Test"), "sent": self.sent}
        with lock, open(log_path, "a") as log:
            log.write(json.dumps(line) + "\n")

    def refuse(self, status, location=None):
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"no\n")

    def wait_until_it_leaves(self):
        self.wfile.flush()
        try:
            self.connection.recv(1)
        except OSError:
            pass

    def send_head(self, query, size, start, end):
        self.send_response(206 if "Range" in self.headers else 200)
        if query.get("length") != "no":
            self.send_header("Content-Length", str(end - start))
        if "Range" in self.headers:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def send_file(self, path, query):
        size = os.stat(path).st_size
        start, last = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "bytes=0-")).groups()
        start, end = int(start), min(int(last) + 1, size) if last else size
        rate, began = int(query.get("rate", 0)), time.monotonic()
        self.send_head(query, size, start, end)
        if self.command == "HEAD":
            return
        end = min(start + int(query.get("cut", query.get("hang", size))), end) - start
        with open(path, "rb") as file:
            file.seek(start)
            while self.sent < end:
                piece = file.read(min(65536, end - self.sent))
                self.wfile.write(piece)
                self.sent += len(piece)
                if rate:
                    time.sleep(max(0, began + self.sent / rate - time.monotonic()))
        if "hang" in query:
            self.wait_until_it_leaves()

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.sent, self.close_connection = 0, "Range" not in self.headers  # such clients come again and again
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        with lock:
            if query.get("once") in seen:
                query = {}
            if "once" in query:
                seen.add(query["once"])
        path = os.path.join(folder, os.path.basename(url.path))
        try:
            if "cookie" in query and self.headers.get("Cookie") != query["cookie"]:
                self.refuse(403)
            elif "status" in query:
                self.refuse(int(query["status"]), query.get("location"))
            elif not os.path.exists(path):
                self.refuse(404)
            else:
                self.send_file(path, query)
        except (BrokenPipeError, ConnectionResetError):
            pass
        self.note(url.path)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
