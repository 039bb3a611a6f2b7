/** Many clients, each with one request at a time, until every request has its answer. */
import { type Client, connectClient, type EngineName, StatusError } from 'ringway';
import type { Answer } from './model.js';

export interface LoadOptions {
  readonly clients: number;
  readonly requests: number;
  readonly texts: readonly string[];
  readonly engine: EngineName;
  /** One answer in so many is kept, to be computed again. */
  readonly sampleEvery: number;
}

export interface Sample {
  readonly text: string;
  readonly answer: Answer;
}

/** Counts while the load runs, and its result afterwards. */
export class Load {
  readonly options: LoadOptions;
  /** Answers that each request got: 1, or something is wrong. */
  readonly answers: Uint8Array;
  /** ms, of the requests answered so far. */
  readonly latencies: Float64Array;
  readonly perServer = new Map<string, number>();
  /** By the name of the status. */
  readonly errors = new Map<string, number>();
  readonly samples: Sample[] = [];
  answered = 0;
  failed = 0;
  /** Frames nobody had asked for: a second answer would be among them. */
  unexpected = 0;
  seconds = 0;
  #next = 0;
  #stopped = false;

  constructor(options: LoadOptions) {
    this.options = options;
    this.answers = new Uint8Array(options.requests);
    this.latencies = new Float64Array(options.requests);
  }

  /** No further requests; those in flight are waited for. */
  stop(): void {
    this.#stopped = true;
  }

  /** @throws when no connection can be had. */
  async run(port: number): Promise<void> {
    const { clients, engine } = this.options;
    const open = Array.from({ length: clients }, () => connectClient(`rmp://127.0.0.1:${port}`, { engine }));
    try {
      await Promise.all(open.map((client) => client.ready()));
      const begin = performance.now();
      await Promise.all(open.map((client) => this.#work(client)));
      this.seconds = (performance.now() - begin) / 1000;
    } finally {
      for (const client of open) this.unexpected += client.stats().ignoredFrames;
      await Promise.all(open.map((client) => client.close()));
    }
  }

  async #work(client: Client): Promise<void> {
    while (this.#next < this.options.requests && !this.#stopped) await this.#request(client, this.#next++);
  }

  async #request(client: Client, n: number): Promise<void> {
    const text = this.options.texts[n % this.options.texts.length];
    const begin = performance.now();
    try {
      const answer = JSON.parse((await client.request(text)).toString()) as Answer;
      this.latencies[this.answered++] = performance.now() - begin;
      this.answers[n]++;
      this.perServer.set(answer.server, (this.perServer.get(answer.server) ?? 0) + 1);
      if (n % this.options.sampleEvery === 0) this.samples.push({ text, answer });
    } catch (error) {
      this.failed++;
      const name = error instanceof StatusError ? error.code : `not JSON: ${error}`;
      this.errors.set(name, (this.errors.get(name) ?? 0) + 1);
    }
  }
}
