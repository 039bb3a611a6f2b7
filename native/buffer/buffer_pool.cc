#include "buffer/buffer_pool.h"

#include <sys/mman.h>

#include <new>

#include "base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) static_cast<void>(0)
#define ASAN_UNPOISON_MEMORY_REGION(address, size) static_cast<void>(0)
#endif

namespace ringway {

// Kept apart from the memory it describes, so that a slab of one 64 KB chunk is possible and empty slabs stay
// untouched.
struct Slab {
  uint8_t* memory = nullptr;
  Slab* prev = nullptr;
  Slab* next = nullptr;
  Chunk* free = nullptr;  // released chunks, the last one first
  uint32_t class_index = 0;
  uint32_t used = 0;    // chunks that are out
  uint32_t carved = 0;  // chunks that were ever out since the slab was cut for this class
};

namespace {

constexpr uint32_t ChunksOf(uint32_t class_index) {
  return static_cast<uint32_t>(BufferPool::kSlabBytes) / BufferPool::kClassBytes[class_index];
}

uint32_t ClassFor(size_t min_bytes) {
  uint32_t class_index = 0;
  while (BufferPool::kClassBytes[class_index] - sizeof(Chunk) < min_bytes) ++class_index;
  return class_index;
}

bool IsFull(const Slab& slab) { return slab.used == ChunksOf(slab.class_index); }

Chunk* TakeChunk(Slab& slab) {
  const uint32_t class_bytes = BufferPool::kClassBytes[slab.class_index];
  Chunk* chunk = slab.free;
  if (chunk != nullptr) {
    slab.free = chunk->next;
  } else {
    chunk = reinterpret_cast<Chunk*>(slab.memory + size_t{slab.carved} * class_bytes);
    ++slab.carved;
  }
  ++slab.used;
  ASAN_UNPOISON_MEMORY_REGION(chunk, class_bytes);
  chunk->next = nullptr;
  chunk->slab = &slab;
  chunk->capacity = class_bytes - static_cast<uint32_t>(sizeof(Chunk));
  chunk->begin = chunk->end = chunk->tag = 0;
  return chunk;
}

void UnmapSlab(Slab* slab) {
  ASAN_UNPOISON_MEMORY_REGION(slab->memory, BufferPool::kSlabBytes);
  CHECK_EQ(::munmap(slab->memory, BufferPool::kSlabBytes), 0);
  delete slab;
}

}  // namespace

BufferPool::~BufferPool() {
  CHECK_EQ(bytes_in_use_, size_t{0});
  while (empty_ != nullptr) {
    Slab* slab = empty_;
    empty_ = slab->next;
    UnmapSlab(slab);
  }
}

Chunk* BufferPool::Acquire(size_t min_bytes) {
  CHECK_LE(min_bytes, kMaxChunkBytes);
  const uint32_t class_index = ClassFor(min_bytes);
  Slab* slab = partial_[class_index];
  if (slab == nullptr) {
    slab = TakeEmptySlab();
    slab->class_index = class_index;
    LinkPartial(slab);
  }
  Chunk* chunk = TakeChunk(*slab);
  if (IsFull(*slab)) UnlinkPartial(slab);
  bytes_in_use_ += kClassBytes[class_index];
  return chunk;
}

void BufferPool::Release(Chunk* chunk) {
  Slab* slab = chunk->slab;
  CHECK(slab != nullptr && slab->used > 0);
  const bool was_full = IsFull(*slab);
  bytes_in_use_ -= kClassBytes[slab->class_index];
  chunk->slab = nullptr;  // a second release stops at the CHECK above
  chunk->next = slab->free;
  slab->free = chunk;
  ASAN_POISON_MEMORY_REGION(chunk->bytes, chunk->capacity);
  --slab->used;
  if (slab->used == 0) {
    if (!was_full) UnlinkPartial(slab);
    Retire(slab);
  } else if (was_full) {
    LinkPartial(slab);
  }
}

Slab* BufferPool::TakeEmptySlab() {
  if (empty_ != nullptr) {
    Slab* slab = empty_;
    empty_ = slab->next;
    empty_bytes_ -= kSlabBytes;
    slab->next = nullptr;
    return slab;
  }
  void* memory = ::mmap(nullptr, kSlabBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  Slab* slab = new (std::nothrow) Slab;
  CHECK(slab != nullptr);
  slab->memory = static_cast<uint8_t*>(memory);
  ASAN_POISON_MEMORY_REGION(slab->memory, kSlabBytes);
  bytes_mapped_ += kSlabBytes;
  return slab;
}

// The last chunk came back: the slab waits for any class, or goes.
void BufferPool::Retire(Slab* slab) {
  if (empty_bytes_ + kSlabBytes > max_free_bytes_) {
    bytes_mapped_ -= kSlabBytes;
    UnmapSlab(slab);
    return;
  }
  ASAN_POISON_MEMORY_REGION(slab->memory, kSlabBytes);
  slab->free = nullptr;
  slab->carved = 0;
  slab->prev = nullptr;
  slab->next = empty_;
  empty_ = slab;
  empty_bytes_ += kSlabBytes;
}

void BufferPool::LinkPartial(Slab* slab) {
  Slab*& first = partial_[slab->class_index];
  slab->prev = nullptr;
  slab->next = first;
  if (first != nullptr) first->prev = slab;
  first = slab;
}

void BufferPool::UnlinkPartial(Slab* slab) {
  if (slab->next != nullptr) slab->next->prev = slab->prev;
  if (slab->prev != nullptr) {
    slab->prev->next = slab->next;
  } else {
    partial_[slab->class_index] = slab->next;
  }
  slab->prev = slab->next = nullptr;
}

}  // namespace ringway
