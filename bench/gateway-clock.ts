/** The gateway's own clock of its tasks, from receipt to outcome: the histogram `ringway_task_seconds` of its metrics. */

export interface GatewayClock {
  readonly sumSeconds: number;
  readonly count: number;
  /** Cumulative, by upper bound; the last one is infinite. */
  readonly buckets: readonly { readonly upToSeconds: number; readonly count: number }[];
}

export interface Range {
  readonly low: number;
  readonly high: number;
}

/** Of the tasks between two looks at it. A percentile is known to the bucket it fell in. */
export interface ClockReading {
  readonly meanUs: number;
  readonly p50Us: Range;
  readonly p99Us: Range;
}

/** Undefined when the metrics have no such histogram. */
export function readGatewayClock(metrics: string): GatewayClock | undefined {
  const value = (name: string) => Number(new RegExp(`^ringway_task_seconds_${name} (\\S+)$`, 'm').exec(metrics)?.[1]);
  const [sumSeconds, count] = [value('sum'), value('count')];
  if (Number.isNaN(sumSeconds) || Number.isNaN(count)) return undefined;
  const lines = metrics.matchAll(/^ringway_task_seconds_bucket\{le="(\S+?)"\} (\d+)$/gm);
  const buckets = [...lines].map(([, bound, upTo]) => ({
    upToSeconds: bound === '+Inf' ? Number.POSITIVE_INFINITY : Number(bound),
    count: Number(upTo),
  }));
  return { sumSeconds, count, buckets };
}

/** Undefined when no task ended in between. */
export function readingBetween(before: GatewayClock, after: GatewayClock): ClockReading | undefined {
  const count = after.count - before.count;
  if (count === 0) return undefined;
  const counts = after.buckets.map(({ upToSeconds, count: upTo }, index) => ({
    upToUs: upToSeconds * 1e6,
    count: upTo - (before.buckets[index]?.count ?? 0),
  }));
  const rangeOf = (fraction: number): Range => {
    const at = counts.findIndex((bucket) => bucket.count >= fraction * count);
    return at < 0
      ? { low: 0, high: Number.POSITIVE_INFINITY }
      : { low: counts[at - 1]?.upToUs ?? 0, high: counts[at].upToUs };
  };
  const meanUs = ((after.sumSeconds - before.sumSeconds) / count) * 1e6;
  return { meanUs, p50Us: rangeOf(0.5), p99Us: rangeOf(0.99) };
}
