// When the requests of an open loop are to be sent: at a constant rate on average, whatever the server does.
#pragma once

#include <cmath>
#include <cstdint>

namespace ringway::bench {

enum class Spacing : uint8_t {
  kPoisson,  // exponential gaps: independent users; bursts happen
  kUniform,  // equal gaps
};

class Arrivals {
 public:
  Arrivals(double per_second, Spacing spacing) : gap_ns_(1e9 / per_second), spacing_(spacing) {}

  void StartAt(uint64_t start_ns) {
    start_ns_ = start_ns;
    offset_ns_ = Gap();
  }

  uint64_t next_ns() const { return start_ns_ + static_cast<uint64_t>(offset_ns_); }
  void Advance() { offset_ns_ += Gap(); }

 private:
  double Gap() { return spacing_ == Spacing::kUniform ? gap_ns_ : -std::log(UnitInterval()) * gap_ns_; }

  // In (0, 1], by xorshift64* (Vigna 2016). The seed is fixed: two runs send at the same times.
  double UnitInterval() {
    state_ ^= state_ >> 12, state_ ^= state_ << 25, state_ ^= state_ >> 27;
    return static_cast<double>((state_ * 0x2545f4914f6cdd1d >> 11) + 1) * 0x1p-53;
  }

  const double gap_ns_;
  const Spacing spacing_;
  uint64_t start_ns_ = 0;
  double offset_ns_ = 0;
  uint64_t state_ = 0x9e3779b97f4a7c15;
};

}  // namespace ringway::bench
