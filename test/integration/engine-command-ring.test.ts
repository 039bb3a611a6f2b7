// More commands than their ring holds, given where no event follows that would take the rest along.
import { expect, test } from 'vitest';
import { describeEngines, useEngine } from '../support/engines.js';
import { lengthFraming, Recorder } from '../support/recorder.js';

describeEngines(
  'engine: a full command ring',
  (_driver, run) => {
    const fixture = useEngine(run);

    test('what found no room leaves by itself, in order, and a close behind it too', async () => {
      const handler = new Recorder();
      // Watermarks above everything: no drain wakes anybody.
      const options = { framing: lengthFraming, highWaterMark: 2 ** 30, maxBufferedBytes: 2 ** 30 };
      const listener = await fixture.engine.listen({ port: 0, ...options }, handler);
      const peer = await fixture.peer(listener);
      const connection = await handler.connection();
      const parts = Array.from({ length: 300 }, (_, i) => Buffer.alloc(16_000, i));
      setImmediate(() => {
        for (const part of parts) connection.send(part);
        connection.close();
      });
      const expected = Buffer.concat(parts);
      expect((await peer.bytes(expected.length)).equals(expected)).toBe(true);
      await peer.end();
    });
  },
  { reactors: [0, 1] },
);
