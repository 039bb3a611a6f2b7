// Writes requests: small payloads are copied into the outbox, large ones sent from where the pattern lies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "answer_checker.h"
#include "options.h"
#include "outbox.h"
#include "payload.h"
#include "rmp.h"

namespace ringway::bench {

class RequestWriter {
 public:
  RequestWriter(const Options& options, const PayloadPattern& pattern)
      : options_(options), pattern_(pattern), header_bytes_(HeaderBytes(options.protocol)) {}

  void Write(Outbox* outbox, uint32_t connection, uint32_t sequence, uint32_t slot) const {
    const size_t size = options_.sizes.SizeOf(connection, sequence);
    const bool copied = size < kBorrowFrom;
    const uint32_t id = (sequence & 0xffff) << 16 | slot;
    uint8_t* at = outbox->Append(header_bytes_ + (copied ? size : PayloadPattern::kTagBytes));
    if (options_.protocol == Protocol::kPlain) {
      WriteU32(at, static_cast<uint32_t>(size));
    } else if (options_.protocol == Protocol::kRmp) {
      rmp::Write(at, {rmp::kRequest, 0, static_cast<uint16_t>(options_.route), id, 0, size});
    }
    if (copied) {
      pattern_.Write(at + header_bytes_, size, connection, sequence);
    } else {
      PayloadPattern::WriteTag(at + header_bytes_, connection, sequence);
      outbox->Borrow(pattern_.Stretch(connection, sequence), size - PayloadPattern::kTagBytes);
    }
    if (options_.mode == Mode::kCancel) rmp::Write(outbox->Append(rmp::kHeaderBytes), {rmp::kCancel, 0, 0, id, 0, 0});
  }

  static void WritePong(Outbox* outbox, const Connection& connection) {
    const std::vector<uint8_t>& payload = connection.ping;
    uint8_t* at = outbox->Append(rmp::kHeaderBytes + payload.size());
    rmp::Write(at, {rmp::kPong, 0, 0, ReadU32(connection.incoming.header.data() + 8), 0, payload.size()});
    if (!payload.empty()) std::memcpy(at + rmp::kHeaderBytes, payload.data(), payload.size());
  }

 private:
  static constexpr size_t kBorrowFrom = 8192;

  const Options& options_;
  const PayloadPattern& pattern_;
  const size_t header_bytes_;
};

}  // namespace ringway::bench
