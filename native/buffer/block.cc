#include "buffer/block.h"

#include <cstdlib>
#include <new>

#include "base/check.h"

namespace ringway {

static_assert(sizeof(Block) % alignof(std::max_align_t) == 0, "data() is aligned like malloc's");

constinit std::atomic<size_t> Block::bytes_in_use_{0};

Block* Block::Make(size_t size) {
  if (size > SIZE_MAX - sizeof(Block)) return nullptr;
  void* memory = std::malloc(sizeof(Block) + size);
  if (memory == nullptr) return nullptr;
  bytes_in_use_.fetch_add(size, std::memory_order_relaxed);
  return MakeIn(memory, size);
}

Block* Block::MakeIn(void* memory, size_t size) {
  return new (memory) Block(static_cast<uint8_t*>(memory) + sizeof(Block), size, kNoLanding);
}

Block* Block::Wrap(uint8_t* bytes, size_t size, uint32_t landing) {
  void* memory = std::malloc(sizeof(Block));
  return memory == nullptr ? nullptr : new (memory) Block(bytes, size, landing);
}

Block* Block::Resize(Block* block, size_t size) {
  CHECK(block->HasOneOwner());
  if (size > SIZE_MAX - sizeof(Block)) return nullptr;
  const size_t before = block->size();
  void* memory = std::realloc(static_cast<void*>(block), sizeof(Block) + size);
  if (memory == nullptr) return nullptr;
  bytes_in_use_.fetch_add(size - before, std::memory_order_relaxed);
  return MakeIn(memory, size);
}

void Block::Unref() {
  const uint32_t before = references_.fetch_sub(1, std::memory_order_acq_rel);
  CHECK(before > 0);
  if (before > 1) return;
  if (landing_ == kNoLanding) bytes_in_use_.fetch_sub(size_, std::memory_order_relaxed);
  this->~Block();
  std::free(this);
}

}  // namespace ringway
