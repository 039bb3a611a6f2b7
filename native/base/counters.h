// What a reactor counts. Thread rule: one writer, the reactor's thread; any thread may read (each value is whole, the
// set is not a snapshot).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/tables.gen.h"

namespace ringway {

class Counters {
 public:
  void Add(Counter counter, uint64_t n = 1) {
    std::atomic<uint64_t>& value = values_[static_cast<size_t>(counter)];
    value.store(value.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  uint64_t Get(Counter counter) const { return values_[static_cast<size_t>(counter)].load(std::memory_order_relaxed); }

 private:
  std::array<std::atomic<uint64_t>, static_cast<size_t>(Counter::kCount)> values_ = {};
};

}  // namespace ringway
