// What the blocks of raw receives are made of: memory that JavaScript allocated and offers, where there is any. A long
// chunk is then an ordinary Buffer, which the garbage collector frees with its young generation; memory of ours that is
// handed over it keeps until it has gone through all of the heap.
//
// Thread rule: the reactor's, which is JavaScript's where it offers anything.
// Lifetime rule: what is offered lives until it was told of as received, or the driver is gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "buffer/block.h"

namespace ringway {

class Landing {
 public:
  explicit Landing(size_t block_bytes) : block_bytes_(block_bytes) {}

  // `bytes` has block_bytes; `index` is JavaScript's name for it.
  void Offer(uint32_t index, uint8_t* bytes) { offered_.emplace_back(index, bytes); }

  // One reference, the caller's. nullptr when out of memory.
  Block* Make() {
    if (offered_.empty()) return Block::Make(block_bytes_);
    // What was offered last is most likely still in the cache.
    const auto [index, bytes] = offered_.back();
    offered_.pop_back();
    return Block::Wrap(bytes, block_bytes_, index);
  }

 private:
  const size_t block_bytes_;
  std::vector<std::pair<uint32_t, uint8_t*>> offered_;
};

}  // namespace ringway
