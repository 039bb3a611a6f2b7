/**
 * What `npm start` runs: a gateway and three inference servers as processes of their own, real text from 50 clients through
 * them, and a table of what came of it. Exit status 0 only when every request got exactly one answer, and the right one.
 */
import { isDeepStrictEqual, parseArgs } from 'node:util';
import type { EngineName } from 'ringway';
import { type Cluster, ROOT, startCluster } from './cluster.js';
import { Load } from './load.js';
import { analyse } from './model.js';
import { resultRows, showProgress, table } from './report.js';
import { fileTexts, readmeTexts } from './texts.js';

const SERVERS = 3;
/** One answer in so many is computed again in this process. */
const SAMPLE_EVERY = 20;
const ENGINES = ['auto', 'io_uring', 'epoll', 'portable'];
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
/** 128 + SIGINT. */
const INTERRUPTED = 130;
const HELP = `npm start [-- options]

Starts a gateway and three inference servers (wink-nlp, English: sentiment and entities of a text), sends text through the
gateway from many clients at once, and prints a table. Exit status 0: every request got exactly one answer, and a right one.

  --input FILE    text to send, paragraph by paragraph. Default: the README files in node_modules.
  --requests N    default 100000
  --clients N     at once. Default 50
  --engine NAME   ${ENGINES.join(' | ')}. Default auto
  --serve         keep gateway and servers up, and say how to talk to them; Ctrl-C drains
  --help`;

interface Arguments {
  readonly input: string | undefined;
  readonly requests: number;
  readonly clients: number;
  readonly engine: EngineName;
  readonly serve: boolean;
  readonly help: boolean;
}

async function main(): Promise<number> {
  let args: Arguments;
  try {
    args = readArguments();
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${HELP}`);
    return 2;
  }
  if (args.help) {
    console.log(HELP);
    return 0;
  }
  return args.serve ? serveUntilInterrupted(args) : demonstrate(args);
}

async function demonstrate(args: Arguments): Promise<number> {
  const { input, requests, clients, engine } = args;
  const texts = input === undefined ? readmeTexts(`${ROOT}node_modules`) : fileTexts(input);
  if (texts.length === 0) {
    console.error(`${input ?? 'node_modules'} holds no paragraph of text`);
    return 2;
  }
  const load = new Load({ clients, requests, texts, engine, sampleEvery: SAMPLE_EVERY });
  const interrupt = new Interrupt(() => load.stop());
  const cluster = await startCluster(SERVERS, engine);
  let right = false;
  try {
    const source = input ?? 'the README files in node_modules';
    console.log(`gateway listening on 127.0.0.1:${cluster.rmpPort} (${cluster.engine})`);
    console.log(`${texts.length} texts from ${source}: ${requests} requests from ${clients} clients`);
    right = await runLoad(load, cluster);
  } finally {
    interrupt.end();
    right = (await cluster.stop()) && right;
  }
  if (interrupt.happened) return INTERRUPTED;
  console.log(right ? 'every request got exactly one answer' : 'NOT every request got exactly one right answer');
  return right ? 0 : 1;
}

/** @returns whether every request got exactly one answer, and the right one. */
async function runLoad(load: Load, cluster: Cluster): Promise<boolean> {
  const stopProgress = showProgress(load);
  try {
    await load.run(cluster.rmpPort);
  } finally {
    stopProgress();
  }
  const wrong = load.samples.filter(({ text, answer: { sentiment, entities } }) => {
    return !isDeepStrictEqual({ sentiment, entities }, analyse(text));
  });
  console.log(table(resultRows(load, cluster.engine, wrong.length)));
  return wrong.length === 0 && load.unexpected === 0 && load.answers.every((count) => count === 1);
}

async function serveUntilInterrupted({ engine }: Arguments): Promise<number> {
  const cluster = await startCluster(SERVERS, engine);
  console.log(howToTalk(cluster));
  await new Promise<void>((resolve) => {
    const interrupt = new Interrupt(() => {
      interrupt.end();
      resolve();
    });
    for (const child of [cluster.gateway, ...cluster.servers]) {
      void child.exited.then((status) => {
        if (!interrupt.happened) console.error(`${child.name} ended with exit status ${status}`);
      });
    }
  });
  console.log('draining');
  return (await cluster.stop()) ? 0 : 1;
}

function howToTalk({ rmpPort, linesPort, adminPort, engine, servers }: Cluster): string {
  return `gateway (${engine}) and ${servers.length} inference servers are up. Talk to them:

  printf 'I love this.\\n' | nc -N 127.0.0.1 ${linesPort}
  bin/ringway request --port ${rmpPort} 'Ada Lovelace was born on 10 December 1815.'
  python3 examples/python/client.py ${rmpPort} 'What a terrible day.' 'What a day!'
  curl http://127.0.0.1:${adminPort}/backends

Ctrl-C drains and ends.`;
}

/** Ctrl-C and SIGTERM: the first ends in order, the second at once (children are killed on the way out). */
class Interrupt {
  happened = false;
  readonly #act: () => void;
  readonly #listener = (): void => {
    if (this.happened) process.exit(INTERRUPTED);
    this.happened = true;
    this.#act();
  };

  constructor(act: () => void) {
    this.#act = act;
    for (const signal of SIGNALS) process.on(signal, this.#listener);
  }

  end(): void {
    for (const signal of SIGNALS) process.off(signal, this.#listener);
  }
}

/** @throws an Error that says what is wrong with which argument. */
function readArguments(): Arguments {
  const { values } = parseArgs({
    options: {
      input: { type: 'string' },
      requests: { type: 'string', default: '100000' },
      clients: { type: 'string', default: '50' },
      engine: { type: 'string', default: 'auto' },
      serve: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (!ENGINES.includes(values.engine))
    throw new Error(`--engine is ${values.engine}: ${ENGINES.join(', ')} are there`);
  return {
    ...values,
    input: values.input,
    requests: count('--requests', values.requests),
    clients: count('--clients', values.clients),
    engine: values.engine as EngineName,
  };
}

function count(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new Error(`${name} is ${text}: a whole number from 1 is needed`);
  return value;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
