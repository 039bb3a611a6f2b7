"""A client for Ringway in plain Python 3.  python3 client.py PORT TEXT...  sends each text at once, prints answers as they come.

docs/PROTOCOL.md specifies the frames. `Client` can be used by many threads: one of its own reads and hands out the answers.
"""
import itertools, queue, socket, struct, sys, threading

HEADER = struct.Struct(">IBBHII")  # length, kind, flags, route, id, arg
REQUEST, RESPONSE, CANCEL, PING, PONG, GOING_AWAY = 1, 2, 3, 6, 7, 8
MORE, META, OK, UNAVAILABLE = 1, 128, 0, 14


class StatusError(Exception):
    """A status other than OK (`status`); `not_executed`: it is safe to send the request again."""

    def __init__(self, status, sentence, not_executed=False):
        super().__init__("status %d: %s" % (status, sentence))
        self.status, self.not_executed = status, not_executed


class Client:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ids, self.sending, self.going_away = itertools.count(1), threading.Lock(), False
        self.answers = {}  # by id: a queue of (flags, status, payload)
        threading.Thread(target=self._read, daemon=True).start()

    def request(self, payload, route=0, deadline_ms=0):
        """The whole answer. Raises StatusError."""
        return b"".join(self.stream(payload, route, deadline_ms))

    def stream(self, payload, route=0, deadline_ms=0):
        """The parts of the answer as they come. Leaving the loop early cancels the request."""
        if self.going_away:
            raise StatusError(UNAVAILABLE, "the gateway is going away: connect anew", True)
        id, answers, flags = next(self.ids) & 0xFFFFFFFF, queue.Queue(), MORE
        self.answers[id] = answers
        self._send(REQUEST, route, id, deadline_ms, payload)
        try:
            while flags & MORE:
                flags, status, part = answers.get()
                if status != OK:
                    raise StatusError(status, part.decode(), bool(flags & 8))
                yield part
        finally:
            if flags & MORE:  # the id stays taken until the final response came
                self._send(CANCEL, 0, id, 0)

    def close(self):
        self.socket.close()

    def _send(self, kind, route, id, arg, payload=b""):
        with self.sending:  # frames of several threads must not be mixed
            self.socket.sendall(HEADER.pack(12 + len(payload), kind, 0, route, id, arg) + payload)

    def _read(self):
        stream = self.socket.makefile("rb")  # its read(n) puts partial reads together
        try:
            while len(header := stream.read(16)) == 16:
                length, kind, flags, _, id, arg = HEADER.unpack(header)
                payload = stream.read(length - 12)
                if kind == RESPONSE:
                    if flags & META:
                        payload = payload[2 + struct.unpack_from(">H", payload)[0]:]
                    answers = self.answers.get(id) if flags & MORE else self.answers.pop(id, None)
                    if answers:
                        answers.put((flags, arg, payload))
                elif kind == PING:
                    self._send(PONG, 0, id, 0, payload)
                elif kind == GOING_AWAY:
                    self.going_away = True
        except (OSError, ValueError):
            pass
        self.going_away = True
        for answers in self.answers.values():  # the link broke: nobody knows how far these came
            answers.put((0, UNAVAILABLE, b"the link broke"))


def main():
    client = Client("127.0.0.1", int(sys.argv[1]))
    ask = lambda text: sys.stdout.write(client.request(text.encode()).decode() + "\n")
    threads = [threading.Thread(target=ask, args=(text,)) for text in sys.argv[2:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()


if __name__ == "__main__":
    main()
