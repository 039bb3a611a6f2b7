#include "driver/provided_buffers.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace ringway {
namespace {

constexpr uint32_t kCirculatingAtFirst = 256;

void* Reserve(size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  // The kernel has pinned the entries' pages: copy-on-write after a fork must never give us others. The buffers it
  // reaches through ours, so that shared ones need none of this.
  ::madvise(memory, bytes, MADV_DONTFORK);
  return memory;
}

// Entries are addressed by hand: in C++ the header's flexible array member begins 8 bytes too late (its empty struct
// has a size there). The tail overlays the last two bytes of the first entry.
uint8_t* EntryAt(void* entries, uint32_t index) {
  return static_cast<uint8_t*>(entries) + size_t{index} * sizeof(io_uring_buf);
}

}  // namespace

ProvidedBuffers::~ProvidedBuffers() {
  if (own_ != nullptr) ::munmap(own_, memory_bytes_);
  if (entries_ != nullptr) ::munmap(entries_, entries_bytes_);
}

int ProvidedBuffers::Open(UringRing* ring, uint32_t count, uint32_t buffer_bytes, std::span<uint8_t> shared) {
  CHECK(count > 0 && count <= 32768 && (count & (count - 1)) == 0);
  CHECK_GT(buffer_bytes, 0u);
  count_ = count;
  buffer_bytes_ = buffer_bytes;
  memory_bytes_ = size_t{count} * buffer_bytes;
  entries_bytes_ = size_t{count} * sizeof(io_uring_buf);
  if (shared.size() < memory_bytes_) own_ = Reserve(memory_bytes_);
  memory_ = shared.size() < memory_bytes_ ? static_cast<uint8_t*>(own_) : shared.data();
  entries_ = Reserve(entries_bytes_);
  if (memory_ == nullptr || entries_ == nullptr) return -ENOMEM;

  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<uint64_t>(entries_);
  registration.ring_entries = count;
  registration.bgid = kGroup;
  if (const int error = ring->Register(IORING_REGISTER_PBUF_RING, &registration, 1); error < 0) return error;

  while (circulating_ < std::min(count_, kCirculatingAtFirst)) Add(circulating_++);
  Publish(false);
  return 0;
}

void ProvidedBuffers::Add(uint32_t buffer) {
  uint8_t* entry = EntryAt(entries_, tail_ & (count_ - 1));
  const uint64_t address = reinterpret_cast<uint64_t>(Data(buffer));
  const uint16_t id = static_cast<uint16_t>(buffer);
  // Not the whole entry: in the first one the last two bytes are the ring's tail.
  std::memcpy(entry + offsetof(io_uring_buf, addr), &address, sizeof(address));
  std::memcpy(entry + offsetof(io_uring_buf, len), &buffer_bytes_, sizeof(buffer_bytes_));
  std::memcpy(entry + offsetof(io_uring_buf, bid), &id, sizeof(id));
  ++tail_;
}

void ProvidedBuffers::Return(uint32_t buffer) {
  Add(buffer);
  ++returned_;
}

void ProvidedBuffers::Publish(bool starved) {
  if (starved || returned_ > circulating_ / 2) {
    const uint32_t target = std::min(count_, circulating_ * 2);
    while (circulating_ < target) Add(circulating_++);
  }
  returned_ = 0;
  auto* tail = reinterpret_cast<uint16_t*>(EntryAt(entries_, 0) + offsetof(io_uring_buf, resv));
  std::atomic_ref(*tail).store(tail_, std::memory_order_release);
}

}  // namespace ringway
