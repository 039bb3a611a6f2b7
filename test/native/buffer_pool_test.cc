#include "buffer/buffer_pool.h"

#include <doctest/doctest.h>

#include <cstring>
#include <set>
#include <vector>

#include "buffer/block.h"
#include "support/random_seed.h"

namespace ringway {
namespace {

TEST_CASE("a chunk is the smallest that is large enough, and empty") {
  BufferPool pool;
  struct Case {
    size_t min_bytes;
    size_t class_bytes;
  };
  const size_t head = sizeof(Chunk);
  const Case cases[] = {{0, 2048},
                        {1, 2048},
                        {2048 - head, 2048},
                        {2049 - head, 16384},
                        {2048, 16384},
                        {16384 - head, 16384},
                        {16385 - head, 65536},
                        {65536 - head, 65536}};
  for (const Case& wanted : cases) {
    CAPTURE(wanted.min_bytes);
    Chunk* chunk = pool.Acquire(wanted.min_bytes);
    CHECK(chunk->capacity == wanted.class_bytes - head);
    CHECK(chunk->next == nullptr);
    CHECK(chunk->begin == 0);
    CHECK(chunk->end == 0);
    CHECK(chunk->tag == 0);
    CHECK(pool.bytes_in_use() == wanted.class_bytes);
    std::memset(chunk->bytes, 0xee, chunk->capacity);
    chunk->begin = chunk->end = chunk->tag = 7;
    pool.Release(chunk);
    CHECK(pool.bytes_in_use() == 0);
  }
}

TEST_CASE("the chunk released last is the next one out") {
  BufferPool pool;
  for (const size_t bytes : {size_t{100}, size_t{10000}, size_t{50000}}) {
    Chunk* other = pool.Acquire(bytes);
    Chunk* first = pool.Acquire(bytes);
    Chunk* second = pool.Acquire(bytes);
    pool.Release(first);
    pool.Release(second);
    CHECK(pool.Acquire(bytes) == second);
    CHECK(pool.Acquire(bytes) == first);
    pool.Release(first);
    pool.Release(second);
    pool.Release(other);
  }
}

TEST_CASE("an empty slab serves another class") {
  BufferPool pool;
  Chunk* small = pool.Acquire(1);
  pool.Release(small);
  CHECK(pool.bytes_free() == BufferPool::kSlabBytes);
  Chunk* large = pool.Acquire(60000);
  CHECK(pool.bytes_free() == 0);
  CHECK(large == small);
  pool.Release(large);
}

TEST_CASE("memory falls back to the bound once chunks return, and to nothing with a bound of nothing") {
  for (const size_t bound : {size_t{0}, BufferPool::kSlabBytes, 3 * BufferPool::kSlabBytes + 1}) {
    BufferPool pool(bound);
    std::vector<Chunk*> chunks;
    for (int i = 0; i < 1000; ++i) chunks.push_back(pool.Acquire(std::vector<size_t>{1, 9000, 60000}[i % 3]));
    CHECK(pool.bytes_in_use() > 20'000'000);
    for (Chunk* chunk : chunks) pool.Release(chunk);
    CHECK(pool.bytes_in_use() == 0);
    CHECK(pool.bytes_free() == bound / BufferPool::kSlabBytes * BufferPool::kSlabBytes);
  }
}

TEST_CASE("slabs in use fill up before another one is begun") {
  BufferPool pool(0);
  std::vector<Chunk*> chunks;
  for (int i = 0; i < 32; ++i) chunks.push_back(pool.Acquire(1));
  CHECK(pool.bytes_free() == 0);
  for (int i = 0; i < 32; i += 2) {
    pool.Release(chunks[i]);
    chunks[i] = nullptr;
  }
  CHECK(pool.bytes_free() == 16 * 2048);
  for (int i = 0; i < 32; i += 2) chunks[i] = pool.Acquire(1);
  CHECK(pool.bytes_free() == 0);
  for (Chunk* chunk : chunks) pool.Release(chunk);
}

struct Held {
  Chunk* chunk;
  uint8_t fill;
};

void Fill(const Held& held) { std::memset(held.chunk->bytes, held.fill, held.chunk->capacity); }

bool IsIntact(const Held& held) {
  for (uint32_t i = 0; i < held.chunk->capacity; ++i) {
    if (held.chunk->bytes[i] != held.fill) return false;
  }
  return true;
}

TEST_CASE("random operations: chunks never overlap, and the counts are right") {
  std::mt19937_64 random(test::RandomSeed());
  BufferPool pool(4 * BufferPool::kSlabBytes);
  std::vector<Held> held;
  size_t in_use = 0;
  for (int step = 0; step < 20000; ++step) {
    // Phases of growing and of shrinking, so that slabs fill up and run empty.
    const bool grow = test::Between(random, 0, 9) < ((step / 500) % 2 == 0 ? 7u : 3u);
    if (grow || held.empty()) {
      const size_t longest = std::vector<size_t>{2000, 16000, BufferPool::kMaxChunkBytes}[test::Between(random, 0, 2)];
      held.push_back({pool.Acquire(test::Between(random, 0, longest)), static_cast<uint8_t>(random())});
      in_use += held.back().chunk->capacity + sizeof(Chunk);
      Fill(held.back());
    } else {
      const size_t at = test::Between(random, 0, held.size() - 1);
      std::swap(held[at], held.back());
      REQUIRE(IsIntact(held.back()));
      in_use -= held.back().chunk->capacity + sizeof(Chunk);
      pool.Release(held.back().chunk);
      held.pop_back();
    }
    REQUIRE(pool.bytes_in_use() == in_use);
  }
  for (const Held& last : held) {
    REQUIRE(IsIntact(last));
    pool.Release(last.chunk);
  }
  CHECK(pool.bytes_in_use() == 0);
  CHECK(pool.bytes_free() <= 4 * BufferPool::kSlabBytes);
}

TEST_CASE("a block lives until its last owner lets go") {
  Block* block = Block::Make(100000);
  REQUIRE(block != nullptr);
  CHECK(block->size() == 100000);
  CHECK(reinterpret_cast<uintptr_t>(block->data()) % alignof(std::max_align_t) == 0);
  CHECK(block->HasOneOwner());
  std::memset(block->data(), 1, block->size());
  block->Ref();
  CHECK_FALSE(block->HasOneOwner());
  block->Unref();
  CHECK(block->HasOneOwner());
  CHECK(block->data()[99999] == 1);
  block->Unref();
}

TEST_CASE("a block keeps its leading bytes when it is resized") {
  Block* block = Block::Make(10);
  std::memcpy(block->data(), "0123456789", 10);
  block = Block::Resize(block, 5'000'000);
  REQUIRE(block != nullptr);
  CHECK(block->size() == 5'000'000);
  CHECK(std::memcmp(block->data(), "0123456789", 10) == 0);
  block = Block::Resize(block, 4);
  CHECK(block->size() == 4);
  CHECK(std::memcmp(block->data(), "0123", 4) == 0);
  block->Unref();
}

TEST_CASE("a size that cannot be had is a null, and the block stays as it was") {
  CHECK(Block::Make(SIZE_MAX) == nullptr);
  CHECK(Block::Make(SIZE_MAX - 8) == nullptr);
  Block* block = Block::Make(1);
  block->data()[0] = 'x';
  CHECK(Block::Resize(block, SIZE_MAX) == nullptr);
  CHECK(block->size() == 1);
  CHECK(block->data()[0] == 'x');
  block->Unref();
}

}  // namespace
}  // namespace ringway
