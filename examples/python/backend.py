"""A backend for Ringway in plain Python 3: answers each text in upper case.  python3 backend.py [PORT]

docs/PROTOCOL.md specifies the frames. SIGTERM says going-away, refuses what is new, and finishes what is in flight.
"""
import asyncio, signal, struct, sys

HEADER = struct.Struct(">IBBHII")  # length, kind, flags, route, id, arg
REQUEST, RESPONSE, CANCEL, PING, PONG, GOING_AWAY = 1, 2, 3, 6, 7, 8
MORE, NO_REPLY, NOT_EXECUTED, META = 1, 2, 8, 128
OK, CANCELLED, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE = 0, 1, 4, 13, 14
links, leaving = {}, asyncio.Event()  # links: writer → (its tasks by id, "the gateway knows that we leave")

async def handle(payload, partial):
    """The work: bytes in, bytes out. What computes for long belongs in a thread: `await asyncio.to_thread(infer, payload)`."""
    if payload.startswith(b"stream "):  # word by word, as a language model would
        for word in payload.split()[1:]:
            await partial(word.upper() + b" ")
        return b""
    return payload.decode().upper().encode()

def send(writer, kind, flags, id, arg, payload=b""):
    writer.write(HEADER.pack(12 + len(payload), kind, flags, 0, id, arg) + payload)

def start(writer, tasks, flags, id, budget_ms, payload):
    async def partial(data):
        send(writer, RESPONSE, MORE, id, OK, data)
        await writer.drain()  # the gateway takes no more for now: wait

    def answer(task):  # exactly one final response, however the task ended
        del tasks[key]
        if task.cancelled(): status, result = CANCELLED, b"cancelled"
        elif isinstance(task.exception(), asyncio.TimeoutError): status, result = DEADLINE_EXCEEDED, b"the deadline passed"
        elif task.exception(): status, result = INTERNAL, str(task.exception()).encode()
        else: status, result = OK, task.result()
        if not flags & NO_REPLY and not writer.is_closing(): send(writer, RESPONSE, 0, id, status, result)

    async def work():
        return await asyncio.wait_for(handle(payload, partial), budget_ms / 1000 or None)

    key = object() if flags & NO_REPLY else id  # without a reply the id is free at once
    tasks[key] = asyncio.create_task(work())
    tasks[key].add_done_callback(answer)

async def serve_link(reader, writer):
    tasks, told = links[writer] = {}, asyncio.Event()
    try:
        while True:
            length, kind, flags, _, id, arg = HEADER.unpack(await reader.readexactly(16))
            if not 12 <= length <= 12 + 16 * 1024 * 1024 or kind == REQUEST and id in tasks: break
            payload = await reader.readexactly(length - 12)
            if flags & META: payload = payload[2 + struct.unpack_from(">H", payload)[0]:]
            if kind == PING: send(writer, PONG, 0, id, 0, payload)
            elif kind == PONG: told.set()
            elif kind == CANCEL and id in tasks: tasks[id].cancel()
            elif kind == REQUEST and not leaving.is_set(): start(writer, tasks, flags, id, arg, payload)
            elif kind == REQUEST and not flags & NO_REPLY: send(writer, RESPONSE, NOT_EXECUTED, id, UNAVAILABLE, b"going away")
    except (asyncio.IncompleteReadError, ConnectionError): pass  # the gateway left: nobody waits for its answers
    for task in tasks.values(): task.cancel()
    del links[writer]
    writer.close()

async def within(seconds, awaited):
    try: await asyncio.wait_for(asyncio.gather(*awaited, return_exceptions=True), seconds)
    except asyncio.TimeoutError: pass

async def main():
    server = await asyncio.start_server(serve_link, "127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9101)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leaving.set)
    print("listening on 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await leaving.wait()
    server.close()
    for writer in links:  # the pong says that all requests from before the gateway knew have arrived
        send(writer, GOING_AWAY, 0, 0, 30_000)
        send(writer, PING, 0, 0, 0)
    await within(1, [told.wait() for _, told in links.values()])
    await within(30, [task for tasks, _ in links.values() for task in tasks.values()])
    for writer in list(links):
        writer.close()  # sends what is queued first
        await writer.wait_closed()

asyncio.run(main())
