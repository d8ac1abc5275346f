"""As much of an NBD client as the scripts need: fixed newstyle, OPT_GO, simple replies, one request at a time."""

import socket
import struct
import urllib.parse


class Closed(Exception):
    """The server went away."""


class Failed(AssertionError):
    """The server answered with an error."""

    def __init__(self, what, error):
        super().__init__(f"{what} failed: {error}")
        self.error = error


class Client:
    def __init__(self, uri, timeout=60):
        parts = urllib.parse.urlparse(uri)
        path = urllib.parse.parse_qs(parts.query)["socket"][0]
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.handle = 0
        try:
            self._negotiate(parts.path.lstrip("/").encode())
        except (Closed, Failed):
            self.socket.close()
            raise

    def _take(self, count):
        data = bytearray()
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionError as error:
                raise Closed() from error
            if not part:
                raise Closed()
            data += part
        return bytes(data)

    def _send(self, data):
        try:
            self.socket.sendall(data)
        except (ConnectionError, BrokenPipeError) as error:
            raise Closed() from error

    def _negotiate(self, export):
        assert self._take(16) == b"NBDMAGICIHAVEOPT"
        flags = struct.unpack(">H", self._take(2))[0]
        assert flags & 1, "the server does not speak fixed newstyle"
        self._send(struct.pack(">I", flags & 3))
        option = struct.pack(">I", len(export)) + export + struct.pack(">HH", 1, 2)
        self._send(b"IHAVEOPT" + struct.pack(">II", 7, len(option)) + option)
        self.size = self.generation = None
        while True:
            magic, _, kind, length = struct.unpack(">QIII", self._take(20))
            assert magic == 0x0003E889045565A9
            body = self._take(length)
            if kind == 3 and struct.unpack(">H", body[:2])[0] == 0:
                self.size = struct.unpack(">Q", body[2:10])[0]
            elif kind == 3 and struct.unpack(">H", body[:2])[0] == 2:
                # The description: under which attachment the volume is offered.
                self.generation = int(body[2:].decode().split()[1])
            elif kind == 1:
                assert self.size is not None
                return
            else:
                if kind != 3:
                    raise Failed("the choice of the export", body.decode())

    def _request(self, kind, offset, length, data=b""):
        self.handle += 1
        self._send(struct.pack(">IHHQQI", 0x25609513, 0, kind, self.handle, offset, length) + data)
        magic, error, handle = struct.unpack(">IIQ", self._take(16))
        assert magic == 0x67446698 and handle == self.handle
        if error:
            raise Failed(f"request {kind} at {offset}", error)

    def read(self, offset, length):
        self._request(0, offset, length)
        return self._take(length)

    def write(self, offset, data):
        self._request(1, offset, len(data), data)

    def trim(self, offset, length):
        self._request(4, offset, length)

    def flush(self):
        self._request(3, 0, 0)

    def close(self):
        self._send(struct.pack(">IHHQQI", 0x25609513, 0, 2, 0, 0, 0))
        self.socket.close()
