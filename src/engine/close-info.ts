import type { CloseInfo } from './engine.js';
import { CLOSE_REASONS, type CloseReason, type CounterName } from './tables.gen.js';

const MESSAGES = new Map<CloseReason, string>(CLOSE_REASONS.map(({ name, message }) => [name, message]));

/** The sentence of a reason, with its numbers filled in. */
export function closeMessage(reason: CloseReason, numbers: Readonly<Record<string, number>> = {}): string {
  const template = MESSAGES.get(reason) ?? reason;
  return template.replace(/\{(\w+)\}/g, (whole, name: string) => String(numbers[name] ?? whole));
}

/** What the system said. */
export type SystemError = Required<Pick<CloseInfo, 'errorCode' | 'errno'>> & Pick<CloseInfo, 'syscall'>;

export function closeInfo(
  reason: CloseReason,
  message: string,
  error: SystemError | undefined,
  bytesHandedToKernel: number,
): CloseInfo {
  return { reason, message, ...error, bytesHandedToKernel };
}

/** Reasons that have a counter of their own. */
export const COUNTER_OF_REASON: Partial<Record<CloseReason, CounterName>> = {
  'frame-too-long': 'frames_too_long',
  'bad-frame': 'bad_frames',
  'idle-timeout': 'idle_timeouts',
  'partial-frame-timeout': 'partial_frame_timeouts',
  'write-stalled': 'write_stalls',
  'send-buffer-full': 'send_buffer_full',
  'memory-full': 'memory_full',
};
