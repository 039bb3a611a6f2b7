// A handler for `ringway backend`: echoes, and writes the id in front of each payload into a file before it answers, at once, so
// that the record survives kill -9. RECORD: the file. DELAY_MS: each answer waits so long.
import { openSync, writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const ID_BYTES = 4;
const record = openSync(process.env.RECORD, 'a');
const delayMs = Number(process.env.DELAY_MS ?? 0);

const inPlace = {
  handleInPlace(request) {
    writeSync(record, request.bytes, request.start, ID_BYTES);
    request.respond(request.bytes, request.start, request.end);
  },
};

const delayed = {
  async handle(task) {
    writeSync(record, task.payload, 0, ID_BYTES);
    await delay(delayMs);
    return task.payload;
  },
};

export default delayMs > 0 ? delayed : inPlace;
