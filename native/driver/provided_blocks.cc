#include "driver/provided_blocks.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace ringway {
namespace {

// At first, and while most are filled and handed over: 1 MB. The kernel fills them also while JavaScript runs. What
// lies further ahead has left the cache when it is looked at (500 raw connections x 16 of 64 KB: 64 blocks take 1.2
// times the CPU of 16, and 8 as much as 16), and whoever sends little waits behind it (beside 40 that stream: 66 ms
// with 64, 4 with 16).
constexpr uint32_t kCirculatingLong = 16;

// By hand, as in provided_buffers.cc: the header's flexible array member begins 8 bytes too late in C++.
uint8_t* EntryAt(void* entries, uint32_t index) {
  return static_cast<uint8_t*>(entries) + size_t{index} * sizeof(io_uring_buf);
}

}  // namespace

ProvidedBlocks::~ProvidedBlocks() {
  for (Block* block : blocks_) {
    if (block != nullptr) block->Unref();
  }
  if (entries_ != nullptr) ::munmap(entries_, entries_bytes_);
}

int ProvidedBlocks::Open(UringRing* ring, Landing* landing, uint32_t count, uint32_t block_bytes) {
  CHECK(count > 0 && count <= kIdBit && (count & (count - 1)) == 0);
  const size_t bytes = size_t{count} * sizeof(io_uring_buf);
  void* entries = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (entries == MAP_FAILED) return -ENOMEM;
  // The kernel has pinned these pages: copy-on-write after a fork must never give us others.
  ::madvise(entries, bytes, MADV_DONTFORK);
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<uint64_t>(entries);
  registration.ring_entries = count;
  registration.bgid = kGroup;
  if (const int error = ring->Register(IORING_REGISTER_PBUF_RING, &registration, 1); error < 0) {
    ::munmap(entries, bytes);
    return error;
  }
  landing_ = landing;
  entries_ = entries;
  entries_bytes_ = bytes;
  count_ = count;
  block_bytes_ = block_bytes;
  blocks_.resize(count);
  for (uint32_t index = count_; index > 0; --index) resting_.push_back(index - 1);
  Circulate(std::min(count_, kCirculatingLong));
  Publish(false);
  return 0;
}

bool ProvidedBlocks::Add(uint32_t index) {
  Block*& block = blocks_[index];
  if (block == nullptr) block = landing_->Make();
  if (block == nullptr) {
    without_memory_.push_back(index);
    return false;
  }
  uint8_t* entry = EntryAt(entries_, tail_ & (count_ - 1));
  const uint64_t address = reinterpret_cast<uint64_t>(block->data());
  const uint16_t id = static_cast<uint16_t>(index | kIdBit);
  // Not the whole entry: in the first one the last two bytes are the ring's tail.
  std::memcpy(entry + offsetof(io_uring_buf, addr), &address, sizeof(address));
  std::memcpy(entry + offsetof(io_uring_buf, len), &block_bytes_, sizeof(block_bytes_));
  std::memcpy(entry + offsetof(io_uring_buf, bid), &id, sizeof(id));
  ++tail_;
  return true;
}

Block* ProvidedBlocks::Detach(uint32_t id) { return std::exchange(blocks_[id & ~kIdBit], nullptr); }

void ProvidedBlocks::Circulate(uint32_t target) {
  while (circulating_ < target) {
    Add(resting_.back());
    resting_.pop_back();
    ++circulating_;
  }
}

void ProvidedBlocks::Return(uint32_t id) {
  const uint32_t index = id & ~kIdBit;
  ++returned_;
  if (blocks_[index] == nullptr) {
    ++detached_;
    if (circulating_ > kCirculatingLong) {
      --circulating_;
      return resting_.push_back(index);
    }
  }
  Add(index);
}

void ProvidedBlocks::Publish(bool starved) {
  while (!without_memory_.empty()) {
    const uint32_t index = without_memory_.back();
    without_memory_.pop_back();
    if (!Add(index)) break;
  }
  if (starved || returned_ > circulating_ / 2) {
    const bool are_long = detached_ > returned_ / 2;
    Circulate(std::min(are_long ? std::min(count_, kCirculatingLong) : count_, circulating_ * 2));
  }
  returned_ = 0;
  detached_ = 0;
  auto* tail = reinterpret_cast<uint16_t*>(EntryAt(entries_, 0) + offsetof(io_uring_buf, resv));
  std::atomic_ref(*tail).store(tail_, std::memory_order_release);
}

}  // namespace ringway
