/** Where the responses of one request go: into one Buffer for `request`, into an iterator for `stream`. */
import { Status } from '../engine/tables.gen.js';
import { StatusError } from '../protocol/status-error.js';

/** How a sink speaks to the request that feeds it. */
export interface SinkOwner {
  /** The consumer took `count` partial responses. */
  consumed(count: number): void;
  /** The consumer wants no more. */
  abandon(error: StatusError): void;
}

export interface ResponseSink {
  owner: SinkOwner | undefined;
  /** Bytes that wait for the consumer. */
  readonly bufferedBytes: number;
  partial(bytes: Buffer): void;
  final(bytes: Buffer): void;
  fail(error: StatusError): void;
}

export class GatheredResponse implements ResponseSink {
  owner: SinkOwner | undefined;
  readonly promise: Promise<Buffer>;
  #parts: Buffer[] | undefined;
  #resolve!: (bytes: Buffer) => void;
  #reject!: (error: StatusError) => void;
  #bytes = 0;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  get bufferedBytes(): number {
    return this.#bytes;
  }

  partial(bytes: Buffer): void {
    this.#parts ??= [];
    this.#parts.push(bytes);
    this.#bytes += bytes.length;
    this.owner?.consumed(1);
  }

  final(bytes: Buffer): void {
    this.#resolve(this.#parts === undefined ? bytes : Buffer.concat([...this.#parts, bytes]));
  }

  fail(error: StatusError): void {
    this.#reject(error);
  }
}

interface Reader {
  readonly resolve: (result: IteratorResult<Buffer>) => void;
  readonly reject: (error: StatusError) => void;
}

const DONE: IteratorResult<Buffer> = { done: true, value: undefined };

export class ResponseStream implements ResponseSink, AsyncIterableIterator<Buffer> {
  owner: SinkOwner | undefined;
  #waiting: Buffer[] = [];
  #readers: Reader[] = [];
  #bufferedBytes = 0;
  #ended = false;
  #error: StatusError | undefined;

  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Buffer>> {
    const bytes = this.#waiting.shift();
    if (bytes !== undefined) {
      this.#bufferedBytes -= bytes.length;
      this.owner?.consumed(1);
      return Promise.resolve({ done: false, value: bytes });
    }
    if (this.#error !== undefined) {
      const error = this.#error;
      this.#error = undefined;
      return Promise.reject(error);
    }
    if (this.#ended) return Promise.resolve(DONE);
    return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<Buffer>> {
    if (!this.#ended) this.owner?.abandon(new StatusError(Status.CANCELLED, 'the reader left the stream'));
    this.#end();
    this.#waiting = [];
    this.#bufferedBytes = 0;
    this.#error = undefined;
    return Promise.resolve(DONE);
  }

  partial(bytes: Buffer): void {
    const reader = this.#readers.shift();
    if (reader === undefined) {
      this.#waiting.push(bytes);
      this.#bufferedBytes += bytes.length;
      return;
    }
    reader.resolve({ done: false, value: bytes });
    this.owner?.consumed(1);
  }

  final(bytes: Buffer): void {
    if (bytes.length > 0) this.partial(bytes);
    this.#end();
  }

  fail(error: StatusError): void {
    if (this.#ended) return;
    const reader = this.#readers.shift();
    if (reader === undefined) this.#error = error;
    else reader.reject(error);
    this.#end();
  }

  #end(): void {
    this.#ended = true;
    for (const reader of this.#readers) reader.resolve(DONE);
    this.#readers = [];
  }
}
