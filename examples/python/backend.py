"""A backend for Ringway in plain Python 3: answers each text in upper case.  python3 backend.py [PORT]

docs/PROTOCOL.md specifies the frames. Each request is an asyncio task, so pings and cancels are answered meanwhile. SIGTERM
says going-away, refuses what is new, and ends when the requests in flight have their answers.
"""
import asyncio, signal, struct, sys

HEADER = struct.Struct(">IBBHII")  # length, kind, flags, route, id, arg
REQUEST, RESPONSE, CANCEL, PING, PONG, GOING_AWAY = 1, 2, 3, 6, 7, 8
MORE, NO_REPLY, NOT_EXECUTED, META = 1, 2, 8, 128
OK, CANCELLED, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE = 0, 1, 4, 13, 14
MAX_PAYLOAD, GRACE_MS = 16 * 1024 * 1024, 30_000
links, draining = {}, asyncio.Event()  # links: writer → (its tasks by id, "the gateway knows that we leave")


def infer(text):
    """The work. It runs in a thread: put the model here."""
    return text.upper()


async def handle(payload, partial):
    """Bytes in, bytes out. `partial(bytes)` sends a part of the answer ahead."""
    if payload.startswith(b"stream "):  # word by word, as a language model would
        for word in payload.split()[1:]:
            await partial(word.upper() + b" ")
        return b""
    return (await asyncio.to_thread(infer, payload.decode())).encode()


def send(writer, kind, flags, id, arg, payload=b""):
    writer.write(HEADER.pack(12 + len(payload), kind, flags, 0, id, arg) + payload)


async def work(writer, flags, id, budget_ms, payload):
    async def partial(data):
        if not flags & NO_REPLY:
            send(writer, RESPONSE, MORE, id, OK, data)
            await writer.drain()  # the gateway takes no more for now: wait
    return await asyncio.wait_for(handle(payload, partial), budget_ms / 1000 or None)


def answer(writer, flags, id, task):
    """Exactly one final response, however the task ended."""
    if task.cancelled():
        status, payload = CANCELLED, b"cancelled"
    elif isinstance(task.exception(), asyncio.TimeoutError):
        status, payload = DEADLINE_EXCEEDED, b"the deadline passed"
    elif task.exception():
        status, payload = INTERNAL, str(task.exception()).encode()
    else:
        status, payload = OK, task.result()
    if not flags & NO_REPLY and not writer.is_closing():
        send(writer, RESPONSE, 0, id, status, payload)


async def serve_link(reader, writer):
    tasks, told = links[writer] = {}, asyncio.Event()
    try:
        while True:
            length, kind, flags, _, id, arg = HEADER.unpack(await reader.readexactly(16))
            if not 12 <= length <= 12 + MAX_PAYLOAD:
                break
            payload = await reader.readexactly(length - 12)
            if kind == PING:
                send(writer, PONG, 0, id, 0, payload)
            elif kind == PONG:
                told.set()
            elif kind == CANCEL and id in tasks:
                tasks[id].cancel()
            elif kind == REQUEST and draining.is_set():
                if not flags & NO_REPLY:
                    send(writer, RESPONSE, NOT_EXECUTED, id, UNAVAILABLE, b"the backend is going away")
            elif kind == REQUEST and id in tasks:
                break  # the id is still in flight
            elif kind == REQUEST:
                if flags & META:  # a u16 length and that many bytes of fields come first
                    payload = payload[2 + struct.unpack_from(">H", payload)[0]:]
                key = object() if flags & NO_REPLY else id  # without a reply the id is free at once
                tasks[key] = task = asyncio.create_task(work(writer, flags, id, arg, payload))
                task.add_done_callback(lambda task, key=key, flags=flags, id=id: (
                    tasks.pop(key), answer(writer, flags, id, task)))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the gateway left: nobody waits for its answers
    for task in list(tasks.values()):
        task.cancel()
    del links[writer]
    writer.close()


async def main():
    server = await asyncio.start_server(serve_link, "127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9101)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, draining.set)
    print("listening on 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await draining.wait()
    server.close()
    for writer in links:  # the pong says that all requests from before the gateway knew have arrived
        send(writer, GOING_AWAY, 0, 0, GRACE_MS)
        send(writer, PING, 0, 0, 0)
    waits = [asyncio.create_task(told.wait()) for _, told in links.values()]
    if waits:
        await asyncio.wait(waits, timeout=1)
    open_tasks = [task for tasks, _ in links.values() for task in tasks.values()]
    if open_tasks:
        await asyncio.wait(open_tasks, timeout=GRACE_MS / 1000)
    for writer in list(links):
        writer.close()  # sends what is queued first
        await writer.wait_closed()


asyncio.run(main())
