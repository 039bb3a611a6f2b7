// Heap bytes of any size with a count of owners: large frames are handed over (to JavaScript, to a send queue) whole.
//
// Thread rule: Ref, Unref and reading are for any thread. Writing is for the one owner there is before it is shared.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ringway {

class alignas(std::max_align_t) Block {
 public:
  // One reference, the caller's. nullptr when out of memory. The bytes are not cleared.
  static Block* Make(size_t size);
  // Another size with the same leading bytes; `block` must have one owner and is gone afterwards. nullptr when out of
  // memory: then `block` is as it was. The C library moves large blocks by remapping pages, without copying them.
  static Block* Resize(Block* block, size_t size);
  // Memory of somebody else's, who calls it `landing` and takes it back when that is told him.
  static Block* Wrap(uint8_t* bytes, size_t size, uint32_t landing);

  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  void Ref() { references_.fetch_add(1, std::memory_order_relaxed); }
  void Unref();
  bool HasOneOwner() const { return references_.load(std::memory_order_acquire) == 1; }

  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  static constexpr uint32_t kNoLanding = UINT32_MAX;
  uint32_t landing() const { return landing_; }

  // Of all blocks there are now.
  static size_t BytesInUse() { return bytes_in_use_.load(std::memory_order_relaxed); }

 private:
  Block(uint8_t* data, size_t size, uint32_t landing) : landing_(landing), size_(size), data_(data) {}
  static Block* MakeIn(void* memory, size_t size);

  static std::atomic<size_t> bytes_in_use_;

  std::atomic<uint32_t> references_{1};
  const uint32_t landing_;
  const size_t size_;
  uint8_t* const data_;  // behind it, or wrapped
};

}  // namespace ringway
