// Latencies in logarithmic buckets, after HdrHistogram: 128 linear steps per power of two, so a value read back is at
// most 0.8 % too high. Fixed size, no allocation, one increment per value.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace ringway::bench {

class Histogram {
 public:
  void Record(uint64_t nanoseconds, uint64_t times = 1) {
    counts_[BucketOf(nanoseconds)] += times;
    total_ += times;
    max_ = std::max(max_, nanoseconds);
  }

  // The value that `fraction` of all values do not exceed, in nanoseconds; 0 when empty.
  uint64_t Quantile(double fraction) const {
    const auto rank = static_cast<uint64_t>(fraction * static_cast<double>(total_));
    uint64_t seen = 0;
    for (size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (seen > rank) return std::min(UpperBound(i), max_);
    }
    return max_;
  }

  uint64_t max() const { return max_; }

 private:
  static constexpr unsigned kStepBits = 7;
  static constexpr uint64_t kSteps = uint64_t{1} << kStepBits;
  static constexpr unsigned kMaxBits = 40;  // about 18 minutes

  static size_t BucketOf(uint64_t value) {
    if (value < kSteps) return value;
    value = std::min(value, (uint64_t{1} << kMaxBits) - 1);
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - 1 - kStepBits;
    return (shift + 1) * kSteps + ((value >> shift) - kSteps);
  }

  static uint64_t UpperBound(size_t bucket) {
    if (bucket < kSteps) return bucket;
    const uint64_t shift = bucket / kSteps - 1;
    return ((kSteps + bucket % kSteps + 1) << shift) - 1;
  }

  std::array<uint64_t, (kMaxBits - kStepBits + 1) * kSteps> counts_{};
  uint64_t total_ = 0;
  uint64_t max_ = 0;
};

}  // namespace ringway::bench
