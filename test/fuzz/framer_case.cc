#include "fuzz/framer_case.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>

#include "fuzz/fuzz_input.h"

namespace ringway::test {

namespace {

constexpr size_t kLongestStream = 1 << 14;
constexpr uint32_t kLargestHeader = 1024;
constexpr uint64_t kLargestFrame = (uint64_t{1} << 31) - 1;

uint64_t MaxFrameLength(FuzzInput& input) {
  static constexpr uint64_t kCommon[] = {1, 2, 3, 4, 8, 16, 100, 255, 256, 65536, 16777216, kLargestFrame};
  const uint8_t choice = input.U8();
  if (choice < std::size(kCommon)) return kCommon[choice];
  return std::max<uint64_t>(1, choice < 128 ? choice : input.U16());
}

// Mostly small, sometimes as large as is allowed.
uint32_t HeaderSize(FuzzInput& input) {
  const uint8_t size = input.U8();
  return size < 250 ? size % 13 : input.U16() % (kLargestHeader + 1);
}

int64_t Adjustment(FuzzInput& input) {
  const uint8_t choice = input.U8();
  if (choice < 128) return 0;
  if (choice < 250) return static_cast<int8_t>(input.U8());
  return std::clamp<int64_t>(static_cast<int32_t>(input.U32()), -int64_t{INT32_MAX}, INT32_MAX);
}

void ParseLengthField(FuzzInput& input, FramingOptions* options) {
  static constexpr uint32_t kLengths[] = {4, 1, 2, 3, 8};
  options->length_field_length = kLengths[input.Below(5)];
  options->little_endian = input.Flag();
  options->length_field_offset = HeaderSize(input);
  options->header_length = HeaderSize(input);
  options->length_adjustment = Adjustment(input);
  const uint32_t field_end = options->length_field_offset + options->length_field_length;
  uint32_t strip = HeaderSize(input);
  // Never through the middle of the length field, never past the header.
  if (strip > options->length_field_offset && strip < field_end) strip = field_end;
  options->initial_bytes_to_strip = std::min({strip, field_end + options->header_length, kLargestHeader});
  if (options->initial_bytes_to_strip > options->length_field_offset && options->initial_bytes_to_strip < field_end) {
    options->initial_bytes_to_strip = options->length_field_offset;
  }
}

void ParseDelimiter(FuzzInput& input, FramingOptions* options) {
  static constexpr std::string_view kCommon[] = {"\n", "\r\n", std::string_view("\0", 1), "aa", "aab", "abab"};
  const uint8_t choice = input.U8();
  if (choice < std::size(kCommon)) {
    options->delimiter = kCommon[choice];
  } else {
    const std::string_view bytes = input.Bytes(1 + choice % 16);
    if (!bytes.empty()) options->delimiter = bytes;
  }
  options->strip_delimiter = !input.Flag();
  options->strip_carriage_return = input.Flag() && options->strip_delimiter;
  options->accept_unterminated = input.Flag();
}

FrameResult Call(Framer& framer, std::string_view bytes, bool finish) {
  const auto exact = std::make_unique<uint8_t[]>(bytes.size());
  std::memcpy(exact.get(), bytes.data(), bytes.size());
  const std::span<const uint8_t> span(exact.get(), bytes.size());
  return finish ? framer.Finish(span) : framer.Next(span);
}

void RequirePromises(const FrameResult& result, size_t available, const FramerOutcome& before, bool finish) {
  FUZZ_REQUIRE(!result.hold, "no framer holds by itself");
  if (result.status == FrameStatus::kNeedMore) {
    FUZZ_REQUIRE(result.consumed == 0, "%zu bytes of an incomplete frame were consumed", result.consumed);
    FUZZ_REQUIRE(finish || result.needed > available, "needs %zu, has %zu", result.needed, available);
    FUZZ_REQUIRE(result.frame_bytes == 0 || result.frame_bytes > available, "an incomplete frame of %zu in %zu",
                 result.frame_bytes, available);
  }
  if (result.status == FrameStatus::kFrame) {
    FUZZ_REQUIRE(result.consumed > 0 && result.consumed <= available, "%zu of %zu", result.consumed, available);
    FUZZ_REQUIRE(result.frame_bytes == result.consumed, "%zu, %zu", result.frame_bytes, result.consumed);
    FUZZ_REQUIRE(result.offset <= result.consumed && result.length <= result.consumed - result.offset, "outside");
    const bool was_known = before.end == FrameStatus::kNeedMore && before.frame_bytes != 0;
    FUZZ_REQUIRE(!was_known || result.consumed == before.frame_bytes, "the frame's size changed");
  }
}

// One call. True: it gave a frame.
bool Step(Framer& framer, FramerOutcome* outcome, bool finish) {
  std::string& left = outcome->left;
  const FrameResult result = Call(framer, left, finish);
  RequirePromises(result, left.size(), *outcome, finish);
  outcome->end = result.status;
  outcome->declared = result.declared;
  outcome->needed = result.status == FrameStatus::kNeedMore ? result.needed : 1;
  outcome->frame_bytes = result.frame_bytes;
  if (result.status != FrameStatus::kFrame) return false;
  outcome->frames.push_back(left.substr(result.offset, result.length));
  left.erase(0, result.consumed);
  return true;
}

// --- the reference

struct Verdict {
  FrameStatus status = FrameStatus::kNeedMore;
  size_t consumed = 0;
  size_t offset = 0;
  size_t length = 0;
  int64_t declared = 0;
};

Verdict Failed(FrameStatus status, __int128 declared) {
  Verdict verdict;
  verdict.status = status;
  verdict.declared = static_cast<int64_t>(declared);
  return verdict;
}

Verdict LengthField(const FramingOptions& options, std::string_view bytes) {
  const size_t prefix = options.length_field_offset + options.length_field_length;
  if (bytes.size() < prefix) return {};
  uint64_t field = 0;
  for (uint32_t i = 0; i < options.length_field_length; ++i) {
    const auto byte = static_cast<uint8_t>(bytes[options.length_field_offset + i]);
    field |= uint64_t{byte} << 8 * (options.little_endian ? i : options.length_field_length - 1 - i);
  }
  if (field >> 63 != 0) return Failed(FrameStatus::kMalformed, static_cast<int64_t>(field));
  const __int128 body = static_cast<__int128>(field) + options.length_adjustment;
  if (body > INT64_MAX) return Failed(FrameStatus::kTooLong, INT64_MAX);
  const __int128 payload = body - options.header_length;
  if (payload < 0) return Failed(FrameStatus::kMalformed, field);
  if (payload > options.max_frame_length) return Failed(FrameStatus::kTooLong, payload);
  const auto whole = static_cast<size_t>(body) + prefix;
  if (whole < options.initial_bytes_to_strip) return Failed(FrameStatus::kMalformed, field);
  if (bytes.size() < whole) return {};
  return {FrameStatus::kFrame, whole, options.initial_bytes_to_strip, whole - options.initial_bytes_to_strip, 0};
}

Verdict Delimited(const FramingOptions& options, std::string_view bytes) {
  const size_t width = options.delimiter.size();
  const size_t longest = options.max_frame_length + (options.strip_carriage_return ? 1 : 0) + width;
  const size_t found = bytes.find(options.delimiter);
  if (found == std::string_view::npos || found + width > longest) {
    return bytes.size() >= longest ? Failed(FrameStatus::kTooLong, longest) : Verdict{};
  }
  const bool has_return = options.strip_carriage_return && found > 0 && bytes[found - 1] == '\r';
  const size_t payload = found - (has_return ? 1 : 0);
  if (payload > options.max_frame_length) return Failed(FrameStatus::kTooLong, found + width);
  return {FrameStatus::kFrame, found + width, 0, options.strip_delimiter ? payload : found + width, 0};
}

Verdict Varint(const FramingOptions& options, std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < 5; ++i) {
    if (i == bytes.size()) return {};
    const auto byte = static_cast<uint8_t>(bytes[i]);
    value += static_cast<uint64_t>(byte % 128) << (7 * i);
    if (byte >= 128) continue;
    if (value >> 32 != 0) return Failed(FrameStatus::kMalformed, value);
    if (value > options.max_frame_length) return Failed(FrameStatus::kTooLong, value);
    if (bytes.size() < i + 1 + value) return {};
    return {FrameStatus::kFrame, i + 1 + value, i + 1, value, 0};
  }
  return Failed(FrameStatus::kMalformed, value);
}

Verdict Judge(const FramingOptions& options, std::string_view bytes) {
  switch (options.format) {
    case FramingFormat::kLengthField:
      return LengthField(options, bytes);
    case FramingFormat::kDelimiter:
      return Delimited(options, bytes);
    case FramingFormat::kVarint:
      return Varint(options, bytes);
    case FramingFormat::kRaw:
      break;
  }
  if (bytes.empty()) return {};
  return {FrameStatus::kFrame, bytes.size(), 0, bytes.size(), 0};
}

}  // namespace

FramerCase ParseFramerCase(FramingFormat format, const uint8_t* data, size_t size) {
  FuzzInput input(data, size);
  FramerCase parsed;
  parsed.options.format = format;
  parsed.options.max_frame_length = MaxFrameLength(input);
  if (format == FramingFormat::kLengthField) ParseLengthField(input, &parsed.options);
  if (format == FramingFormat::kDelimiter) ParseDelimiter(input, &parsed.options);
  parsed.finish = input.Flag();
  const uint32_t pieces = input.Below(8);
  for (uint32_t i = 0; i < pieces; ++i) parsed.pieces.push_back(1 + size_t{input.U8()});
  parsed.stream = input.rest().substr(0, kLongestStream);
  return parsed;
}

FramerOutcome RunFramer(const FramerCase& input, const std::vector<size_t>& pieces, bool patient) {
  const std::unique_ptr<Framer> framer = MakeFramer(input.options);
  FramerOutcome outcome;
  size_t at = 0;
  for (size_t i = 0; at < input.stream.size() && !outcome.failed(); ++i) {
    const size_t length = pieces.empty() ? input.stream.size() : pieces[i % pieces.size()];
    outcome.left += input.stream.substr(at, length);
    at += std::min(length, input.stream.size() - at);
    if (patient && outcome.left.size() < outcome.needed) continue;
    while (!outcome.left.empty() && Step(*framer, &outcome, false)) {
    }
  }
  if (input.finish && !outcome.failed() && !outcome.left.empty()) Step(*framer, &outcome, true);
  return outcome;
}

FramerOutcome RunReference(const FramerCase& input) {
  FramerOutcome outcome;
  std::string_view left = input.stream;
  while (!left.empty()) {
    const Verdict verdict = Judge(input.options, left);
    outcome.end = verdict.status;
    outcome.declared = verdict.declared;
    if (verdict.status != FrameStatus::kFrame) break;
    outcome.frames.emplace_back(left.substr(verdict.offset, verdict.length));
    left.remove_prefix(verdict.consumed);
  }
  outcome.left = left;
  if (!input.finish || outcome.failed() || outcome.left.empty() || !input.options.accept_unterminated) return outcome;
  if (outcome.left.size() > input.options.max_frame_length) {
    outcome.end = FrameStatus::kTooLong;
    outcome.declared = static_cast<int64_t>(outcome.left.size());
    return outcome;
  }
  outcome.end = FrameStatus::kFrame;
  outcome.frames.push_back(std::move(outcome.left));
  outcome.left.clear();
  return outcome;
}

}  // namespace ringway::test
