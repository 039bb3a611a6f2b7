#include "buffer/send_queue.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/check.h"

namespace ringway {

namespace {

// Chunk::tag; 0 for bytes.
constexpr uint32_t kPinTag = 1;
constexpr uint32_t kLentTag = 2;

// What a tagged chunk holds instead of bytes.
struct Pin {
  Block* block;  // nullptr: memory of somebody else
  const uint8_t* bytes;
  size_t length;
};

Pin& PinOf(const Chunk& chunk) { return *reinterpret_cast<Pin*>(const_cast<uint8_t*>(chunk.bytes)); }

size_t BytesWaiting(const Chunk& chunk) { return chunk.tag != 0 ? PinOf(chunk).length : chunk.end - chunk.begin; }

size_t RoomBehind(const Chunk* chunk) { return chunk == nullptr || chunk->tag != 0 ? 0 : chunk->capacity - chunk->end; }

// Large enough for what is there, and of a larger class than the one before: a queue that grows goes on growing.
size_t NextChunkBytes(const Chunk* tail, size_t length) {
  const size_t larger = tail == nullptr || tail->tag != 0 ? 0 : size_t{tail->capacity} + 1;
  return std::min(std::max(length, larger), BufferPool::kMaxChunkBytes);
}

}  // namespace

void SendQueue::Append(std::span<const uint8_t> bytes) {
  size_ += bytes.size();
  while (!bytes.empty()) {
    if (RoomBehind(tail_) == 0) PushChunk(pool_.Acquire(NextChunkBytes(tail_, bytes.size())));
    const size_t n = std::min(bytes.size(), RoomBehind(tail_));
    std::memcpy(tail_->bytes + tail_->end, bytes.data(), n);
    tail_->end += static_cast<uint32_t>(n);
    bytes = bytes.subspan(n);
  }
}

void SendQueue::AppendBlock(Block* block, size_t offset, size_t length) {
  CHECK(offset <= block->size() && length <= block->size() - offset);
  if (length == 0) return;
  block->Ref();
  PushPin(kPinTag, block, block->data() + offset, length);
}

void SendQueue::AppendPinned(const uint8_t* bytes, size_t length) {
  if (length > 0) PushPin(kPinTag, nullptr, bytes, length);
}

void SendQueue::AppendLent(const uint8_t* bytes, size_t length) {
  if (length == 0) return;
  PushPin(kLentTag, nullptr, bytes, length);
  has_lent_ = true;
}

void SendQueue::KeepLent() {
  if (!has_lent_) return;
  has_lent_ = false;
  Chunk* chunk = head_;
  head_ = tail_ = nullptr;
  while (chunk != nullptr) {
    Chunk* const next = chunk->next;
    chunk->next = nullptr;
    if (chunk->tag == kLentTag) {
      const Pin pin = PinOf(*chunk);
      pool_.Release(chunk);
      size_ -= pin.length;
      Append({pin.bytes, pin.length});
    } else {
      PushChunk(chunk);
    }
    chunk = next;
  }
}

void SendQueue::PushPin(uint32_t tag, Block* block, const uint8_t* bytes, size_t length) {
  Chunk* chunk = pool_.Acquire(sizeof(Pin));
  chunk->tag = tag;
  new (chunk->bytes) Pin{block, bytes, length};
  PushChunk(chunk);
  size_ += length;
}

int SendQueue::Gather(iovec* iov, int max) const {
  int count = 0;
  for (const Chunk* chunk = head_; chunk != nullptr && count < max; chunk = chunk->next, ++count) {
    const uint8_t* base = chunk->tag != 0 ? PinOf(*chunk).bytes : chunk->bytes + chunk->begin;
    iov[count] = {const_cast<uint8_t*>(base), BytesWaiting(*chunk)};
  }
  return count;
}

void SendQueue::Consume(size_t n) {
  CHECK_LE(n, size_);
  size_ -= n;
  while (n > 0) {
    const size_t taken = std::min(n, BytesWaiting(*head_));
    n -= taken;
    if (head_->tag != 0) {
      PinOf(*head_).bytes += taken;
      PinOf(*head_).length -= taken;
    } else {
      head_->begin += static_cast<uint32_t>(taken);
    }
    if (BytesWaiting(*head_) == 0) PopFront();
  }
}

void SendQueue::Clear() {
  while (head_ != nullptr) PopFront();
  size_ = 0;
  has_lent_ = false;
}

void SendQueue::PushChunk(Chunk* chunk) {
  if (tail_ == nullptr) {
    head_ = chunk;
  } else {
    tail_->next = chunk;
  }
  tail_ = chunk;
}

void SendQueue::PopFront() {
  Chunk* chunk = head_;
  head_ = chunk->next;
  if (head_ == nullptr) tail_ = nullptr;
  if (chunk->tag == kPinTag && PinOf(*chunk).block != nullptr) PinOf(*chunk).block->Unref();
  pool_.Release(chunk);
}

}  // namespace ringway
