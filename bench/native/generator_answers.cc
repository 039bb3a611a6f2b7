// What is received: found, checked, counted.
#include <sys/socket.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>

#include "generator.h"

namespace ringway::bench {

void Generator::Receive(Connection* connection, bool to_the_end) {
  while (true) {
    const ssize_t got = recv(connection->fd, inbox_.get(), kReadBytes, 0);
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) {
      return GiveUp(
          connection, &result_.errors.closed,
          got == 0 ? "the server closed the connection; in this run's messages so far" : "receive failed, errno",
          got == 0 ? result_.messages : static_cast<uint64_t>(errno));
    }
    now_ns_ = Now();
    if (!Consume(connection, inbox_.get(), static_cast<size_t>(got))) return;
    if (churns_ && connection->in_flight.empty()) return EndCycle(connection);
    if (static_cast<size_t>(got) < kReadBytes && !to_the_end) break;
  }
  Flush(connection);
}

bool Generator::Consume(Connection* connection, const uint8_t* bytes, size_t length) {
  for (size_t at = 0; at < length;) {
    size_t used;
    const Verdict verdict = checker_.Take(connection, bytes + at, length - at, &used);
    at += used;
    if (!Act(connection, verdict)) return false;
  }
  return true;
}

bool Generator::Act(Connection* connection, Verdict verdict) {
  switch (verdict) {
    case Verdict::kMore:
    case Verdict::kIgnored:
      return true;
    case Verdict::kPing:
      RequestWriter::WritePong(OutboxOf(connection), *connection);
      return true;
    case Verdict::kPartial:
      CountPartial(connection);
      return true;
    case Verdict::kBroken:
      GiveUp(connection, &result_.errors.unexpected, "not a frame that may come here; of bytes",
             connection->incoming.size);
      return false;
    case Verdict::kRight:
    case Verdict::kWrong:
    case Verdict::kCancelled:
      Settle(connection, verdict);
      return true;
  }
  return false;
}

void Generator::CountPartial(Connection* connection) {
  last_progress_ns_ = now_ns_;
  if (!measuring_) return;
  ++result_.partials;
  const Slot* slot = connection->in_flight.At(connection->incoming.slot);
  if (slot->partials == 1) result_.first_partial.Record(now_ns_ - slot->due_ns);
}

void Generator::Settle(Connection* connection, Verdict verdict) {
  const uint32_t slot_index = connection->incoming.slot;
  const Slot slot = *connection->in_flight.At(slot_index);
  connection->in_flight.Remove(slot_index, in_order_);
  --in_flight_;
  ++settled_;
  last_progress_ns_ = now_ns_;
  if (verdict == Verdict::kWrong) {
    ++result_.errors.wrong;
    if (++explained_ <= kMaxExplained) {
      std::fprintf(stderr,
                   "ringway-load: connection %" PRIu32 ": a wrong answer to message %" PRIu32 ", status %" PRIu32 "\n",
                   connection->index, slot.sequence, connection->incoming.status);
    }
  } else {
    if (measuring_) {
      ++result_.messages;
      ++(verdict == Verdict::kCancelled ? result_.cancelled : result_.answered);
    }
    // An open loop's answers count by when they were due, also when they came after the measured time.
    const bool counts = options_.open_loop() ? slot.due_ns >= window_start_ns_ : measuring_;
    if (counts) result_.latency.Record(now_ns_ - slot.due_ns);
  }
  SendNext(connection);
}

}  // namespace ringway::bench
