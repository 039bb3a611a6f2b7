"""A client for Ringway in plain Python 3.  python3 client.py PORT TEXT...  sends each text at once, prints answers as they come.

docs/PROTOCOL.md specifies the frames. `Client` can be used by many threads: one of its own reads and hands out the answers.
"""
import itertools, queue, socket, struct, sys, threading
from concurrent.futures import ThreadPoolExecutor

HEADER = struct.Struct(">IBBHII")  # length, kind, flags, route, id, arg
REQUEST, RESPONSE, CANCEL, PING, PONG = 1, 2, 3, 6, 7
MORE, NOT_EXECUTED, META, OK, UNAVAILABLE = 1, 8, 128, 0, 14

class StatusError(Exception):
    """args: status, sentence, and whether it is safe to send the request again."""

class Client:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ids, self.sending, self.broken = itertools.count(1), threading.Lock(), False
        self.answers = {}  # by id: a queue of (flags, status, payload)
        threading.Thread(target=self._read, daemon=True).start()

    def stream(self, payload, route=0, deadline_ms=0):
        """The parts of the answer as they come. Raises StatusError. Leaving the loop early cancels the request."""
        id, answers, flags = next(self.ids), queue.Queue(), MORE
        self.answers[id] = answers
        if self.broken: raise StatusError(UNAVAILABLE, "the link is broken: connect anew", True)
        self._send(REQUEST, route, id, deadline_ms, payload)
        try:
            while flags & MORE:
                flags, status, part = answers.get()
                if status != OK: raise StatusError(status, part.decode(), bool(flags & NOT_EXECUTED))
                yield part
        finally:
            if flags & MORE: self._send(CANCEL, 0, id, 0)  # the id stays taken until the final response came

    def _send(self, kind, route, id, arg, payload=b""):
        with self.sending:  # frames of several threads must not be mixed
            self.socket.sendall(HEADER.pack(12 + len(payload), kind, 0, route, id, arg) + payload)

    def _read(self):
        stream = self.socket.makefile("rb")  # its read(n) puts partial reads together
        try:
            while len(header := stream.read(16)) == 16:
                length, kind, flags, _, id, arg = HEADER.unpack(header)
                payload = stream.read(length - 12)
                if flags & META: payload = payload[2 + struct.unpack_from(">H", payload)[0]:]
                if kind == PING: self._send(PONG, 0, id, 0, payload)
                elif kind == RESPONSE and id in self.answers:
                    (self.answers[id] if flags & MORE else self.answers.pop(id)).put((flags, arg, payload))
        except OSError: pass
        self.broken = True
        for answers in list(self.answers.values()):  # nobody knows how far these came
            answers.put((0, UNAVAILABLE, b"the link broke"))

if __name__ == "__main__":
    if len(sys.argv) < 3 or not sys.argv[1].isdigit(): sys.exit("usage: python3 client.py PORT TEXT...")
    try: client = Client("127.0.0.1", int(sys.argv[1]))
    except OSError as error: sys.exit("no connection to port %s: %s" % (sys.argv[1], error.strerror))
    ask = lambda text: sys.stdout.write(b"".join(client.stream(text.encode())).decode() + "\n")
    with ThreadPoolExecutor(len(sys.argv)) as threads: list(threads.map(ask, sys.argv[2:]))
