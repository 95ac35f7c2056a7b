"""A small real RTSP server over TCP that plays H.264 in a loop: RFC 2326, interleaved as its section 10.12 has it.

FFmpeg makes the RTP packets and sends them to a UDP port of this process, which hands them on.
"""

from __future__ import annotations

import base64
import socket
import struct
import threading
import time

import av

from lookalike.domain import Pixels

SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n" + (
    "a=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
)


class RtspServer:
    """asked: what was asked of it, in order; alive: while it is false, connections are closed at once."""

    def __init__(self, frames: list[Pixels], fps: int, credential: tuple[str, str] | None = None) -> None:
        self.asked: list[str] = []
        self.alive = True
        self._frames = frames
        self._fps = fps
        self._basic = None
        if credential is not None:
            self._basic = "Basic " + base64.b64encode(":".join(credential).encode()).decode()
        self._stop = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self._listening.getsockname()[1]}/stream"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._stop.set()
        self._listening.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            try:
                while self.alive and (head := self._head(lines)):
                    method, headers = head
                    self.asked.append(method)
                    self._reply(connection, method, headers)
                    if method == "PLAY":
                        self._play(connection)
                        return
            except OSError:
                return

    @staticmethod
    def _head(lines) -> tuple[str, dict[str, str]] | None:
        first = lines.readline().decode()
        headers = {}
        while line := lines.readline().decode().strip():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        return (first.split(" ")[0], headers) if first else None

    def _reply(self, connection: socket.socket, method: str, headers: dict[str, str]) -> None:
        status, more, body = "200 OK", "Session: 1\r\n", ""
        if self._basic is not None and headers.get("authorization") != self._basic:
            status, more = "401 Unauthorized", 'WWW-Authenticate: Basic realm="test"\r\n'
        elif method == "DESCRIBE":
            body = SDP
            more += f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        elif method == "SETUP":
            more += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        elif method == "OPTIONS":
            more += "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        head = f"RTSP/1.0 {status}\r\nCSeq: {headers.get('cseq', '0')}\r\n{more}\r\n"
        connection.sendall((head + body).encode())

    def _play(self, connection: socket.socket) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
            packets.bind(("127.0.0.1", 0))
            packets.settimeout(0.5)
            done = threading.Event()
            port = packets.getsockname()[1]
            threading.Thread(target=self._encode, args=(port, done), daemon=True).start()
            try:
                while self.alive and not self._stop.is_set():
                    try:
                        packet = packets.recv(65_536)
                    except TimeoutError:
                        continue
                    if 200 <= packet[1] <= 204:
                        continue  # RTCP, which FFmpeg sends to the next port but for an odd one
                    connection.sendall(b"$" + struct.pack("!BH", 0, len(packet)) + packet)
            finally:
                done.set()

    def _encode(self, port: int, done: threading.Event) -> None:
        options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(self._fps)}
        with av.open(f"rtp://127.0.0.1:{port}?pkt_size=1200", "w", format="rtp") as out:
            stream = out.add_stream("libx264", rate=self._fps, options=options)
            stream.height, stream.width = self._frames[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            began, number = time.monotonic(), 0
            while not done.is_set() and not self._stop.is_set():
                frame = av.VideoFrame.from_ndarray(self._frames[number % len(self._frames)], format="rgb24")
                frame.pts = number
                out.mux(stream.encode(frame))
                number += 1
                time.sleep(max(0.0, began + number / self._fps - time.monotonic()))
