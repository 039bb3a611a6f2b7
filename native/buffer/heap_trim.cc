#include "buffer/heap_trim.h"

#include <malloc.h>

#include <algorithm>

namespace ringway {

bool HeapTrim::Look(size_t block_bytes, uint64_t now_ms) {
  peak_bytes_ = std::max(peak_bytes_, block_bytes);
  if (peak_bytes_ < kWorthBytes || block_bytes > peak_bytes_ / 4 || now_ms < next_ms_) return false;
  next_ms_ = now_ms + kIntervalMs;
  peak_bytes_ = block_bytes;
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
  return true;
}

}  // namespace ringway
