"""A backend for Ringway in plain Python 3: answers each text in upper case.  python3 backend.py [PORT]

docs/PROTOCOL.md specifies the frames. SIGTERM says going-away, refuses what is new, and finishes what is in flight.
"""
import asyncio, signal, struct, sys

HEADER = struct.Struct(">IBBHII")  # length, kind, flags, route, id, arg
REQUEST, RESPONSE, CANCEL, PING, PONG, GOING_AWAY = 1, 2, 3, 6, 7, 8
MORE, NO_REPLY, NOT_EXECUTED, META = 1, 2, 8, 128
OK, CANCELLED, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE = 0, 1, 4, 13, 14
STATUS = {type(None): OK, asyncio.CancelledError: CANCELLED, asyncio.TimeoutError: DEADLINE_EXCEEDED}  # else INTERNAL
links, leaving = {}, False  # links: each writer's tasks by id

async def handle(payload, partial):
    """The work: bytes in, bytes out. What computes for long belongs in a thread: `await asyncio.to_thread(infer, payload)`."""
    if not payload.startswith(b"stream "): return payload.decode().upper().encode()
    for word in payload.split()[1:]: await partial(word.upper() + b" ")  # word by word, as a language model would
    return b""

def send(writer, kind, flags, id, arg, payload=b""):
    writer.write(HEADER.pack(12 + len(payload), kind, flags, 0, id, arg) + payload)

def start(writer, tasks, flags, id, budget_ms, payload):
    async def partial(data):
        send(writer, RESPONSE, MORE, id, OK, data)
        await writer.drain()  # the gateway takes no more for now: wait
    async def work():
        return await asyncio.wait_for(handle(payload, partial), budget_ms / 1000 or None)
    def answer(task):  # exactly one final response, however the task ended
        del tasks[key]
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        result = repr(error).encode() if error else task.result()
        if not flags & NO_REPLY and not writer.is_closing(): send(writer, RESPONSE, 0, id, STATUS.get(type(error), INTERNAL), result)
    key = object() if flags & NO_REPLY else id  # without a reply the id is free at once
    tasks[key] = asyncio.create_task(work())
    tasks[key].add_done_callback(answer)

async def serve_link(reader, writer):
    tasks = links[writer] = {}
    try:
        while True:
            length, kind, flags, _, id, arg = HEADER.unpack(await reader.readexactly(16))
            if not 12 <= length <= 12 + 16 * 1024 * 1024 or kind == REQUEST and id in tasks: break
            payload = await reader.readexactly(length - 12)
            if flags & META: payload = payload[2 + struct.unpack_from(">H", payload)[0]:]
            if kind == PING: send(writer, PONG, 0, id, 0, payload)
            elif kind == PONG and "pong" in tasks: tasks.pop("pong").set_result(None)
            elif kind == CANCEL and id in tasks: tasks[id].cancel()
            elif kind == REQUEST and not leaving: start(writer, tasks, flags, id, arg, payload)
            elif kind == REQUEST and not flags & NO_REPLY: send(writer, RESPONSE, NOT_EXECUTED, id, UNAVAILABLE, b"going away")
    except (asyncio.IncompleteReadError, ConnectionError): pass  # the gateway left: nobody waits for its answers
    for task in links.pop(writer).values(): task.cancel()
    writer.close()  # sends what is queued first

async def main():
    global leaving
    server = await asyncio.start_server(serve_link, "127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9101)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, (sigterm := asyncio.Event()).set)
    print("listening on 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    leaving = await sigterm.wait()
    server.close()
    for writer, tasks in links.items():  # the pong says that all requests from before the gateway knew have arrived
        send(writer, GOING_AWAY, 0, 0, 30_000)
        send(writer, PING, 0, 0, 0)
        tasks["pong"] = asyncio.get_running_loop().create_future()
    if links: await asyncio.wait([task for tasks in links.values() for task in tasks.values()], timeout=30)
    for writer in list(links): writer.close()
    await asyncio.gather(*[writer.wait_closed() for writer in links], return_exceptions=True)

asyncio.run(main())
