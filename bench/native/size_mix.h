// The payload sizes of a run: one, or several with weights. Which one a request has follows from its connection and
// sequence alone, so that the answer's size is known without keeping it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace ringway::bench {

class SizeMix {
 public:
  static constexpr size_t kLeast = 8;  // a payload names its connection and sequence
  static constexpr size_t kMost = 64 << 20;

  SizeMix() { static_cast<void>(Parse("64")); }

  // "SIZE" or "SIZE:WEIGHT,SIZE:WEIGHT…" with whole numbers. False: not understood, and nothing changed.
  bool Parse(const char* text) {
    std::vector<uint32_t> sizes;
    uint64_t sum = 0;
    for (const char* at = text;;) {
      size_t size;
      size_t weight = 1;
      if (!ReadNumber(&at, kMost, &size) || size < kLeast) return false;
      if (*at == ':' && (++at, !ReadNumber(&at, kMostWeight, &weight) || weight == 0)) return false;
      sizes.insert(sizes.end(), weight, static_cast<uint32_t>(size));
      sum += uint64_t{weight} * size;
      if (*at == '\0') break;
      if (*at++ != ',') return false;
    }
    text_ = text;
    sizes_ = std::move(sizes);
    mean_ = static_cast<double>(sum) / static_cast<double>(sizes_.size());
    return true;
  }

  size_t SizeOf(uint32_t connection, uint32_t sequence) const {
    if (sizes_.size() == 1) return sizes_[0];
    uint64_t mixed = (uint64_t{connection} << 32 | sequence) + 0x9e3779b97f4a7c15;  // splitmix64 (Steele 2014)
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
    return sizes_[(mixed >> 33) % sizes_.size()];
  }

  size_t largest() const { return *std::max_element(sizes_.begin(), sizes_.end()); }
  double mean() const { return mean_; }
  const std::string& text() const { return text_; }

 private:
  static constexpr size_t kMostWeight = 10'000;

  static bool ReadNumber(const char** at, size_t most, size_t* out) {
    if (**at < '0' || **at > '9') return false;
    char* end = nullptr;
    *out = std::strtoul(*at, &end, 10);
    *at = end;
    return *out <= most;
  }

  std::string text_;
  std::vector<uint32_t> sizes_;  // each as often as its weight says
  double mean_ = 0;
};

}  // namespace ringway::bench
