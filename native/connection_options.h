// What connections of one listener (or one outgoing connection) have in common. Read-only once shared.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "admission.h"
#include "base/tables.gen.h"
#include "framer/framer.h"
#include "socket_address.h"

namespace ringway {

// Memory of the whole engine, counted over all reactors.
struct EngineAccounts {
  uint64_t max_buffered_bytes = limits::max_engine_bytes;
  uint64_t max_partial_bytes = limits::max_partial_bytes;
  std::atomic<int64_t> buffered_bytes{0};
  std::atomic<int64_t> partial_bytes{0};
};

struct ConnectionOptions {
  FramingOptions framing;
  uint64_t idle_timeout_ms = limits::idle_timeout_ms;
  uint64_t partial_frame_timeout_ms = limits::partial_frame_timeout_ms;
  uint64_t write_stall_timeout_ms = limits::write_stall_timeout_ms;
  uint64_t connect_timeout_ms = limits::connect_timeout_ms;
  uint64_t high_water_mark = limits::high_water_mark;
  uint64_t low_water_mark = limits::low_water_mark;
  uint64_t max_buffered_bytes = limits::max_buffered_bytes;
  // What it holds counts against the engine's bounds, and ends it when they are passed.
  bool is_accounted = true;
  // Frames and bytes delivered per turn. An outgoing connection has more: it stands for many clients, whose answers
  // leave together when they arrive together.
  uint32_t credit_frames = static_cast<uint32_t>(limits::credit_frames);
  uint32_t credit_bytes = static_cast<uint32_t>(limits::credit_bytes);
  // From here on a frame is handed over in its receive buffer, where that may be; as with what is lent to a send.
  uint32_t held_frame_bytes = 8 * 1024;
  bool no_delay = true;
  uint64_t keep_alive_ms = limits::keep_alive_ms;
  uint32_t listener = 0;  // its id; 0: an outgoing connection
  SocketAddress local;    // an outgoing connection is bound to it first
  EngineAccounts* accounts = nullptr;
  std::shared_ptr<Admission> admission;  // of accepted connections
};

}  // namespace ringway
