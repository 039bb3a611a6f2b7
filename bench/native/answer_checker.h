// Finds the frames in what a connection receives and compares each with the request it answers, byte for byte, as it
// comes in pieces.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "connection.h"
#include "options.h"
#include "payload.h"
#include "rmp.h"

namespace ringway::bench {

inline size_t HeaderBytes(Protocol protocol) {
  return protocol == Protocol::kRmp ? rmp::kHeaderBytes : protocol == Protocol::kPlain ? 4 : 0;
}

enum class Verdict : uint8_t {
  kMore,       // the bytes are used up, and no frame ended
  kRight,      // the request in `incoming.slot` is answered
  kWrong,      // the same, and the answer is not what was asked for
  kCancelled,  // the same, with the status that a cancelled request has
  kPartial,    // one of its partial responses, the right one
  kPing,       // to be answered; the payload is in `ping`
  kIgnored,    // nothing to do
  kBroken,     // a frame nobody asked for, or one that breaks the protocol
};

class AnswerChecker {
 public:
  AnswerChecker(const Options& options, const PayloadPattern& pattern)
      : options_(options),
        pattern_(pattern),
        header_bytes_(HeaderBytes(options.protocol)),
        max_payload_bytes_(std::max(options.sizes.largest() + kPartialIndexBytes, kOtherPayloadBytes)) {}

  // Looks at bytes up to the end of one frame; `used` says how many.
  Verdict Take(Connection* connection, const uint8_t* bytes, size_t length, size_t* used) const {
    Incoming& in = connection->incoming;
    *used = 0;
    if (!in.started) {
      *used = std::min(length, header_bytes_ - in.header_bytes);
      std::memcpy(in.header.data() + in.header_bytes, bytes, *used);
      in.header_bytes += static_cast<uint8_t>(*used);
      if (in.header_bytes < header_bytes_) return Verdict::kMore;
      if (!Start(connection)) return Verdict::kBroken;
    }
    const size_t taken = std::min(length - *used, in.size - in.at);
    TakePayload(connection, bytes + *used, taken);
    *used += taken;
    return in.at < in.size ? Verdict::kMore : End(connection);
  }

 private:
  // Room for what is not an answer: an error's sentence, a ping's payload.
  static constexpr size_t kOtherPayloadBytes = 64 * 1024;
  static constexpr size_t kPartialIndexBytes = 4;

  // The header is whole. False: the protocol is broken.
  bool Start(Connection* connection) const {
    Incoming& in = connection->incoming;
    in.started = in.right = true;
    in.header_bytes = 0;
    in.at = 0;
    if (options_.protocol == Protocol::kRmp) return StartRmp(connection);
    const Slot* slot = connection->in_flight.At(in.slot = connection->in_flight.SlotOf(connection->next_answer));
    if (slot == nullptr) return false;
    ++connection->next_answer;
    in.kind = Incoming::Kind::kAnswer;
    in.size = options_.sizes.SizeOf(connection->index, slot->sequence);
    if (header_bytes_ > 0) {
      const size_t announced = ReadU32(in.header.data());
      in.right = announced == in.size;
      in.size = announced;
    }
    Expect(connection, *slot);
    return in.size <= max_payload_bytes_;
  }

  bool StartRmp(Connection* connection) const {
    Incoming& in = connection->incoming;
    const size_t length = ReadU32(in.header.data());
    if (length < rmp::kHeaderAfterLength || length - rmp::kHeaderAfterLength > max_payload_bytes_) return false;
    in.size = length - rmp::kHeaderAfterLength;
    switch (const uint8_t kind = in.header[4]) {
      case rmp::kResponse:
        return StartResponse(connection);
      case rmp::kPing:
        in.kind = Incoming::Kind::kPing;
        connection->ping.clear();
        return true;
      default:
        in.kind = Incoming::Kind::kIgnored;
        return kind == rmp::kHello || kind == rmp::kWindow || kind >= rmp::kFirstIgnored;
    }
  }

  bool StartResponse(Connection* connection) const {
    Incoming& in = connection->incoming;
    const uint32_t id = ReadU32(in.header.data() + 8);
    in.slot = id & 0xffff;
    Slot* slot = connection->in_flight.At(in.slot);
    if (slot == nullptr || id >> 16 != (slot->sequence & 0xffff)) return false;
    in.status = ReadU32(in.header.data() + 12);
    const bool more = (in.header[5] & rmp::kMore) != 0;
    if (in.status != rmp::kOk) {
      const bool cancelled = options_.mode == Mode::kCancel && in.status == rmp::kCancelled && !more;
      in.kind = cancelled ? Incoming::Kind::kCancelled : Incoming::Kind::kFailure;
      return true;
    }
    in.kind = more ? Incoming::Kind::kPartial : Incoming::Kind::kAnswer;
    const auto asked = static_cast<uint32_t>(options_.mode == Mode::kStream ? options_.partials : 0);
    const size_t expected = options_.sizes.SizeOf(connection->index, slot->sequence);
    if (more) {
      in.right = slot->partials < asked && in.size == kPartialIndexBytes + expected;
      ExpectPartial(connection, *slot, slot->partials++);
    } else {
      in.right = slot->partials == asked && in.size == (asked > 0 ? 0 : expected);
      Expect(connection, *slot);
    }
    return true;
  }

  void Expect(Connection* connection, const Slot& slot) const {
    Incoming& in = connection->incoming;
    PayloadPattern::WriteTag(in.tag.data(), connection->index, slot.sequence);
    in.tag_bytes = PayloadPattern::kTagBytes;
    in.stretch = pattern_.Stretch(connection->index, slot.sequence);
  }

  // A partial response carries its number, then the request's payload.
  void ExpectPartial(Connection* connection, const Slot& slot, uint32_t number) const {
    Expect(connection, slot);
    Incoming& in = connection->incoming;
    std::memmove(in.tag.data() + kPartialIndexBytes, in.tag.data(), in.tag_bytes);
    WriteU32(in.tag.data(), number);
    in.tag_bytes += kPartialIndexBytes;
  }

  void TakePayload(Connection* connection, const uint8_t* bytes, size_t length) const {
    Incoming& in = connection->incoming;
    const bool compares = in.kind == Incoming::Kind::kAnswer || in.kind == Incoming::Kind::kPartial;
    if (compares && in.right) {
      in.right = Matches(in, bytes, length);
    } else if (in.kind == Incoming::Kind::kPing) {
      connection->ping.insert(connection->ping.end(), bytes, bytes + length);
    }
    in.at += length;
  }

  static bool Matches(const Incoming& in, const uint8_t* bytes, size_t length) {
    const size_t of_tag = in.at < in.tag_bytes ? std::min(length, in.tag_bytes - in.at) : 0;
    if (std::memcmp(bytes, in.tag.data() + std::min<size_t>(in.at, in.tag_bytes), of_tag) != 0) return false;
    return length == of_tag ||
           std::memcmp(bytes + of_tag, in.stretch + (in.at + of_tag - in.tag_bytes), length - of_tag) == 0;
  }

  static Verdict End(Connection* connection) {
    Incoming& in = connection->incoming;
    in.started = false;
    switch (in.kind) {
      case Incoming::Kind::kAnswer:
        return in.right ? Verdict::kRight : Verdict::kWrong;
      case Incoming::Kind::kPartial:
        // A request with a wrong partial response is over for us when its final one has come.
        if (!in.right) connection->in_flight.At(in.slot)->partials = UINT32_MAX / 2;
        return in.right ? Verdict::kPartial : Verdict::kIgnored;
      case Incoming::Kind::kFailure:
        return (in.header[5] & rmp::kMore) != 0 ? Verdict::kBroken : Verdict::kWrong;
      case Incoming::Kind::kCancelled:
        return Verdict::kCancelled;
      case Incoming::Kind::kPing:
        return Verdict::kPing;
      case Incoming::Kind::kIgnored:
        break;
    }
    return Verdict::kIgnored;
  }

  const Options& options_;
  const PayloadPattern& pattern_;
  const size_t header_bytes_;
  const size_t max_payload_bytes_;
};

}  // namespace ringway::bench
