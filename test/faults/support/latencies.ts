/** Latencies in buckets of 10 µs up to 2 s, and the worst one exactly. */
const BUCKET_MS = 0.01;
const BUCKETS = 200_000;

export class Latencies {
  readonly #buckets = new Uint32Array(BUCKETS + 1);
  count = 0;
  maxMs = 0;

  record(ms: number): void {
    this.#buckets[Math.min(BUCKETS, Math.floor(ms / BUCKET_MS))]++;
    this.count++;
    if (ms > this.maxMs) this.maxMs = ms;
  }

  /** @param share 0.99: the 99th percentile. In ms; 0 where nothing was recorded. */
  percentileMs(share: number): number {
    const wanted = this.count * share;
    let seen = 0;
    for (let i = 0; i <= BUCKETS; i++) {
      seen += this.#buckets[i];
      if (seen >= wanted && seen > 0) return Math.min(this.maxMs, (i + 1) * BUCKET_MS);
    }
    return 0;
  }

  reset(): void {
    this.#buckets.fill(0);
    this.count = 0;
    this.maxMs = 0;
  }
}
