import type { CounterName } from './tables.gen.js';

/** All at 0. Written out, so that it is one shape with fast fields: the hot path counts in it. */
export function makeCounters(): Record<CounterName, number> {
  return {
    accepted: 0,
    refused_max_connections: 0,
    refused_max_connections_per_ip: 0,
    accept_errors: 0,
    adopted: 0,
    connects: 0,
    connect_errors: 0,
    closed: 0,
    frames_received: 0,
    bytes_received: 0,
    sends: 0,
    bytes_sent: 0,
    short_sends: 0,
    receive_buffers_starved: 0,
    receive_pauses: 0,
    stale_completions: 0,
    stale_commands: 0,
    dropped_bytes_after_close: 0,
    frames_too_long: 0,
    bad_frames: 0,
    idle_timeouts: 0,
    partial_frame_timeouts: 0,
    write_stalls: 0,
    send_buffer_full: 0,
    memory_full: 0,
  };
}
