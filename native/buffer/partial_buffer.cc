#include "buffer/partial_buffer.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace ringway {

bool PartialBuffer::Append(std::span<const uint8_t> bytes, size_t limit_hint) {
  if (bytes.empty()) return true;
  if (bytes.size() > Capacity() - end_ && !MakeRoom(bytes.size(), limit_hint)) return false;
  std::memcpy(Base() + end_, bytes.data(), bytes.size());
  end_ += bytes.size();
  DCHECK_LE(end_, Capacity());
  return true;
}

void PartialBuffer::Consume(size_t n) {
  CHECK_LE(n, size());
  begin_ += n;
  if (begin_ == end_) Clear();
}

void PartialBuffer::Clear() {
  FreeStorage();
  storage_ = 0;
  begin_ = end_ = 0;
}

size_t PartialBuffer::bytes_held() const {
  if (storage_ == 0) return 0;
  return Capacity() + (IsBlock() ? sizeof(Block) : sizeof(Chunk));
}

Block* PartialBuffer::DetachAsBlock(size_t frame_bytes, size_t* offset) {
  CHECK(frame_bytes > 0 && frame_bytes <= size());
  if (!IsBlock() || Capacity() > 2 * frame_bytes) return nullptr;
  PartialBuffer rest(pool_);
  if (!rest.Append(bytes().subspan(frame_bytes))) return nullptr;
  Block* block = AsBlock();
  *offset = begin_;
  storage_ = rest.storage_;
  begin_ = rest.begin_;
  end_ = rest.end_;
  rest.storage_ = 0;
  return block;
}

uint8_t* PartialBuffer::Base() const {
  if (storage_ == 0) return nullptr;
  return IsBlock() ? AsBlock()->data() : AsChunk()->bytes;
}

size_t PartialBuffer::Capacity() const {
  if (storage_ == 0) return 0;
  return IsBlock() ? AsBlock()->size() : AsChunk()->capacity;
}

// Moving to the front costs no more than what the last append copied: whatever was consumed ended in it.
bool PartialBuffer::MakeRoom(size_t more, size_t limit_hint) {
  const size_t needed = size() + more;
  if (needed <= Capacity()) {
    std::memmove(Base(), Base() + begin_, size());
    end_ -= begin_;
    begin_ = 0;
    return true;
  }
  if (needed <= BufferPool::kMaxChunkBytes) {
    MoveToChunk(needed);
    return true;
  }
  const size_t doubled = std::max(needed, 2 * Capacity());
  return MoveToBlock(limit_hint >= needed ? std::min(doubled, limit_hint) : doubled);
}

void PartialBuffer::MoveToChunk(size_t capacity) {
  Chunk* chunk = pool_.Acquire(capacity);
  if (!empty()) std::memcpy(chunk->bytes, Base() + begin_, size());
  FreeStorage();
  storage_ = reinterpret_cast<uintptr_t>(chunk);
  end_ -= begin_;
  begin_ = 0;
}

bool PartialBuffer::MoveToBlock(size_t capacity) {
  Block* block = nullptr;
  if (IsBlock()) {
    // In place first, so that the C library can remap the pages instead of copying them.
    if (begin_ > 0) std::memmove(Base(), Base() + begin_, size());
    end_ -= begin_;
    begin_ = 0;
    block = Block::Resize(AsBlock(), capacity);
    if (block == nullptr) return false;
  } else {
    block = Block::Make(capacity);
    if (block == nullptr) return false;
    if (!empty()) std::memcpy(block->data(), Base() + begin_, size());
    FreeStorage();
    end_ -= begin_;
    begin_ = 0;
  }
  storage_ = reinterpret_cast<uintptr_t>(block) | kBlockBit;
  return true;
}

void PartialBuffer::FreeStorage() {
  if (storage_ == 0) return;
  if (IsBlock()) {
    AsBlock()->Unref();
  } else {
    pool_.Release(AsChunk());
  }
}

}  // namespace ringway
