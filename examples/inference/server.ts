/**
 * An inference server: UTF-8 text in, JSON out. The same as any backend of your own: `serve` and a function.
 *
 *     node server.js --name NAME [--port P] [--engine io_uring|epoll|portable|auto]
 */
import { parseArgs } from 'node:util';
import { type EngineName, serve } from 'ringway';
import { type Answer, analyse } from './model.js';

const { values } = parseArgs({
  options: {
    name: { type: 'string', default: 'inference' },
    port: { type: 'string', default: '0' },
    engine: { type: 'string', default: 'auto' },
  },
});

const server = await serve(
  {
    port: Number(values.port),
    // The model keeps this process's one thread busy: a reactor thread beside it would only wait for it.
    engine: { kind: values.engine as EngineName, reactors: 0 },
    // One at a time is all that a model on one thread can do; what waits can still be cancelled.
    maxConcurrent: 1,
    handleSignals: true,
  },
  {
    handle(task) {
      const answer: Answer = { server: values.name, ...analyse(task.payload.toString()) };
      return JSON.stringify(answer);
    },
  },
);

console.log(`listening on 127.0.0.1:${server.port} (${server.engine.name}: ${server.engine.reason})`);
