"""A small WebSocket client (RFC 6455): enough to follow ComfyUI's events with the standard library.

Client to server: the handshake and control frames. Server to client: text and binary messages,
fragmented or not, pings (answered) and the closing handshake; TLS, no extensions. This file imports
the standard library alone, for dev.py loads it without the others.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
import struct
import time

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


class WebSocketClosed(ConnectionError):
    """The server closed the connection, or broke the protocol."""


class WebSocket:
    """Use as a context manager. `receive` gives one text message, or None when the time is over."""

    def __init__(
        self, host: str, port: int, resource: str, *, timeout: float = 10.0, tls: bool = False
    ):
        self._received = b""  # bytes read from the socket but not yet consumed
        self._message = b""  # the fragments of the message that is being received
        self._opcode = CONTINUATION
        self._socket = socket.create_connection((host, port), timeout=timeout)
        try:
            if tls:
                context = ssl.create_default_context()
                self._socket = context.wrap_socket(self._socket, server_hostname=host)
            self._shake_hands(f"{host}:{port}", resource, time.monotonic() + timeout)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def receive(self, timeout: float) -> str | None:
        """The next text message; binary messages (ComfyUI's previews) are passed over.

        Data that arrived in part stays buffered, so a call that timed out loses nothing.
        """
        deadline = time.monotonic() + timeout
        while True:
            frame = self._take_frame()
            if frame is None:
                if not self._read_more(deadline):
                    return None
                continue
            final, opcode, payload = frame
            if opcode == PING:
                self._send(PONG, payload)
            elif opcode == CLOSE:
                self._send(CLOSE, payload[:2])
                raise WebSocketClosed("the server closed the connection")
            elif opcode in (TEXT, BINARY, CONTINUATION):
                if (opcode == CONTINUATION) != (self._opcode != CONTINUATION):
                    raise WebSocketClosed("the server sent fragments out of order")
                self._opcode = self._opcode or opcode
                self._message += payload
                if final:
                    kind, message = self._opcode, self._message
                    self._opcode, self._message = CONTINUATION, b""
                    if kind == TEXT:
                        return message.decode("utf-8")

    def close(self) -> None:
        try:
            self._send(CLOSE, struct.pack("!H", 1000))
        except OSError:
            pass  # the other side has gone already
        self._socket.close()

    def _shake_hands(self, host: str, resource: str, deadline: float) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            (
                f"GET {resource} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                "Sec-WebSocket-Version: 13\r\n\r\n"
            ).encode("ascii")
        )
        while b"\r\n\r\n" not in self._received:
            if not self._read_more(deadline):
                raise WebSocketClosed("the server did not answer the handshake")
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        expected = base64.b64encode(hashlib.sha1((key + MAGIC).encode()).digest()).decode()
        if status.split()[1:2] != ["101"] or headers.get("sec-websocket-accept") != expected:
            raise WebSocketClosed(f"the server refused the connection: {status}")

    def _read_more(self, deadline: float) -> bool:
        """Wait for bytes until `deadline`; False when none came."""
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return False
        except OSError as error:
            raise WebSocketClosed(f"the connection broke: {error}") from error
        if not data:
            raise WebSocketClosed("the connection ended")
        self._received += data
        return True

    def _take_frame(self) -> tuple[bool, int, bytes] | None:
        """(final, opcode, payload) of the first whole frame in the buffer, which it leaves."""
        data = self._received
        if len(data) < 2:
            return None
        length, begin = data[1] & 0x7F, 2
        if data[1] & 0x80:
            raise WebSocketClosed("the server sent a masked frame")
        if length >= 126:
            width = 2 if length == 126 else 8
            if len(data) < begin + width:
                return None
            length = int.from_bytes(data[begin : begin + width], "big")
            begin += width
        if len(data) < begin + length:
            return None
        self._received = data[begin + length :]
        return bool(data[0] & 0x80), data[0] & 0x0F, data[begin : begin + length]

    def _send(self, opcode: int, payload: bytes) -> None:
        """A control frame: at most 125 bytes, masked as the RFC asks of clients."""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self._socket.settimeout(10.0)
        self._socket.sendall(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)
