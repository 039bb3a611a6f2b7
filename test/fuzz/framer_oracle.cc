// Reads inputs of the framers' fuzz targets from stdin, one per line ("FORMAT HEX", FORMAT as FramingFormat counts),
// and prints a line of JSON for each: the framing, the stream and how it is cut, and what the native framer makes of
// it. test/unit/framer-twins.test.ts asks the framers of src/framing the same.
#include <cstdio>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/framer_case.h"

namespace ringway::test {
namespace {

std::string Hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const char byte : bytes) {
    hex.push_back(kDigits[static_cast<uint8_t>(byte) >> 4]);
    hex.push_back(kDigits[static_cast<uint8_t>(byte) & 15]);
  }
  return hex;
}

std::vector<uint8_t> Bytes(std::string_view hex) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoul(std::string(hex.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

class Line {
 public:
  Line& Number(const char* key, int64_t value) { return Raw(key, std::to_string(value)); }
  Line& Flag(const char* key, bool value) { return Raw(key, value ? "true" : "false"); }
  // Beyond what a JSON number holds exactly.
  Line& Text(const char* key, const std::string& value) { return Raw(key, '"' + value + '"'); }
  template <typename List, typename Show>
  Line& Each(const char* key, const List& list, Show show) {
    std::string items;
    for (const auto& item : list) items += (items.empty() ? "" : ",") + show(item);
    return Raw(key, '[' + items + ']');
  }
  std::string str() const { return '{' + text_ + '}'; }

 private:
  Line& Raw(const char* key, const std::string& value) {
    text_ += (text_.empty() ? "\"" : ",\"") + std::string(key) + "\":" + value;
    return *this;
  }
  std::string text_;
};

std::string Describe(const FramerCase& input, bool patient) {
  const FramingOptions& options = input.options;
  const FramerOutcome outcome = RunFramer(input, input.pieces, patient);
  Line line;
  line.Number("format", static_cast<int>(options.format))
      .Number("maxFrameLength", static_cast<int64_t>(options.max_frame_length))
      .Number("lengthFieldOffset", options.length_field_offset)
      .Number("lengthFieldLength", options.length_field_length)
      .Flag("littleEndian", options.little_endian)
      .Number("lengthAdjustment", options.length_adjustment)
      .Number("initialBytesToStrip", options.initial_bytes_to_strip)
      .Number("headerLength", options.header_length)
      .Text("delimiter", Hex(options.delimiter))
      .Flag("stripDelimiter", options.strip_delimiter)
      .Flag("stripCarriageReturn", options.strip_carriage_return)
      .Flag("acceptUnterminated", options.accept_unterminated)
      .Flag("finish", input.finish)
      .Flag("patient", patient)
      .Each("pieces", input.pieces, [](size_t piece) { return std::to_string(piece); })
      .Text("stream", Hex(input.stream))
      .Each("frames", outcome.frames, [](const std::string& frame) { return '"' + Hex(frame) + '"'; })
      .Number("status", static_cast<int>(outcome.end))
      .Text("declared", std::to_string(outcome.failed() ? outcome.declared : 0))
      .Number("needed", outcome.end == FrameStatus::kNeedMore ? static_cast<int64_t>(outcome.needed) : 0)
      .Number("frameBytes", outcome.end == FrameStatus::kNeedMore ? static_cast<int64_t>(outcome.frame_bytes) : 0)
      .Text("left", outcome.failed() ? "" : Hex(outcome.left));
  return line.str();
}

}  // namespace
}  // namespace ringway::test

int main() {
  using namespace ringway::test;
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    const auto format = static_cast<ringway::FramingFormat>(line.at(0) - '0');
    const std::vector<uint8_t> bytes = Bytes(std::string_view(line).substr(2));
    const FramerCase input = ParseFramerCase(format, bytes.data(), bytes.size());
    std::cout << Describe(input, false) << '\n' << Describe(input, true) << '\n';
  }
  return 0;
}
