// What is sent: in a closed loop after an answer, in an open one when it is due.
#include <algorithm>
#include <utility>

#include "generator.h"

namespace ringway::bench {

bool Generator::IsDue(uint64_t now_ns) const {
  return options_.open_loop() && arrivals_.next_ns() < std::min(now_ns, window_end_ns_);
}

void Generator::SendDue() {
  for (int i = 0; i < kDueAtOnce && IsDue(now_ns_ = Now()); ++i) {
    const uint64_t due_ns = arrivals_.next_ns();
    arrivals_.Advance();
    Connection* connection = TakeTurn();
    if (connection == nullptr) return;
    if (due_ns >= window_start_ns_) {
      ++result_.arrivals;
      result_.lateness.Record(now_ns_ - due_ns);
    }
    if (in_flight_ == 0) last_progress_ns_ = now_ns_;
    if (connection->in_flight.count() < static_cast<uint32_t>(options_.depth)) {
      Request(connection, due_ns);
      Flush(connection);
    } else {
      if (connection->waiting == nullptr) connection->waiting = std::make_unique<std::deque<uint64_t>>();
      connection->waiting->push_back(due_ns);
      ++waiting_;
    }
  }
}

// The next open connection; null when there is none.
Connection* Generator::TakeTurn() {
  for (size_t i = 0; i < connections_.size(); ++i) {
    Connection* connection = &connections_[turn_];
    turn_ = turn_ + 1 == connections_.size() ? 0 : turn_ + 1;
    if (connection->fd >= 0) return connection;
  }
  return nullptr;
}

void Generator::SendNext(Connection* connection) {
  if (options_.open_loop()) {
    if (connection->waiting == nullptr || connection->waiting->empty()) return;
    --waiting_;
    Request(connection, connection->waiting->front());
    connection->waiting->pop_front();
  } else if (sending_ && !churns_) {
    Request(connection, now_ns_);
  }
}

void Generator::Request(Connection* connection, uint64_t due_ns) {
  const uint32_t sequence = connection->next_sequence++;
  const uint32_t slot = connection->in_flight.Add(sequence, due_ns, in_order_);
  ++in_flight_;
  writer_.Write(OutboxOf(connection), connection->index, sequence, slot);
}

Outbox* Generator::OutboxOf(Connection* connection) {
  return connection->HasUnsent() ? connection->unsent.get() : &outbox_;
}

void Generator::Flush(Connection* connection) {
  if (outbox_.empty() || outbox_.SendTo(connection->fd)) return;
  if (connection->unsent == nullptr) connection->unsent = std::make_unique<Outbox>();
  std::swap(*connection->unsent, outbox_);
}

}  // namespace ringway::bench
