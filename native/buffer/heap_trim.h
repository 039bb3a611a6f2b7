// Gives the heap's free pages back to the kernel after a burst of large frames. The C library keeps them: they lie in
// pieces between what is still in use, and a burst of 64 KB frames left 100 to 250 MB behind for good.
//
// Thread rule: one per reactor; the heap is the process's.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ringway {

class HeapTrim {
 public:
  static constexpr size_t kWorthBytes = size_t{16} << 20;
  static constexpr uint64_t kIntervalMs = 5000;

  // Told now and then what blocks hold. Trims when that has fallen to a quarter of its peak since the last time and the
  // peak was worth it: a millisecond per 10 MB, so never twice within the interval. True when it did.
  bool Look(size_t block_bytes, uint64_t now_ms);

 private:
  size_t peak_bytes_ = 0;
  uint64_t next_ms_ = 0;
};

}  // namespace ringway
