// What waits to be sent on one connection, in order: copied bytes in chunks of the pool, pinned blocks, pinned or lent
// memory of somebody else.
//
//     head_ -> [....sent....|--waiting--] -> [pin: block, offset, length] -> [--waiting--|....room....] <- tail_
//               ^begin moves with Consume                                     Append writes here, at end^
//
// Bytes never move between Append and Consume: the front part may be in flight in the kernel while Append goes on
// behind. Idle (size() == 0) it holds no memory.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "buffer/block.h"
#include "buffer/buffer_pool.h"

namespace ringway {

class SendQueue {
 public:
  // The pool outlives the queue.
  explicit SendQueue(BufferPool& pool) : pool_(pool) {}
  ~SendQueue() { Clear(); }
  SendQueue(const SendQueue&) = delete;
  SendQueue& operator=(const SendQueue&) = delete;

  // Copies. The tail chunk is filled first; the first chunk is small, each further one larger.
  void Append(std::span<const uint8_t> bytes);
  // Takes a reference on the block until its bytes are consumed or cleared.
  void AppendBlock(Block* block, size_t offset, size_t length);

  // Somebody else's memory, unchanged and alive until its bytes are consumed or cleared.
  void AppendPinned(const uint8_t* bytes, size_t length);

  // Somebody else's memory until KeepLent, by which what the kernel has not taken of it is copied. Not while a send is
  // in flight.
  void AppendLent(const uint8_t* bytes, size_t length);
  void KeepLent();
  bool HasLent() const { return has_lent_; }

  // Describes the front of the queue; answers how many of the at most `max` entries were filled in.
  int Gather(iovec* iov, int max) const;
  // The first n bytes were taken by the kernel (n <= size()).
  void Consume(size_t n);

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // Never while a send is in flight: its bytes would be reused under the kernel's hands.
  void Clear();

 private:
  void PushPin(uint32_t tag, Block* block, const uint8_t* bytes, size_t length);
  void PushChunk(Chunk* chunk);
  void PopFront();

  BufferPool& pool_;
  Chunk* head_ = nullptr;
  Chunk* tail_ = nullptr;
  size_t size_ = 0;
  bool has_lent_ = false;
};

static_assert(sizeof(SendQueue) <= 48);

}  // namespace ringway
