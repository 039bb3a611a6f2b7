#include "buffer/heap_trim.h"

#include <doctest/doctest.h>

#include "buffer/block.h"

namespace ringway {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

TEST_CASE("blocks are counted from their making to their last owner's going") {
  const size_t before = Block::BytesInUse();
  Block* block = Block::Make(1000);
  CHECK(Block::BytesInUse() == before + 1000);
  block = Block::Resize(block, 5000);
  CHECK(Block::BytesInUse() == before + 5000);
  block = Block::Resize(block, 200);
  CHECK(Block::BytesInUse() == before + 200);
  block->Ref();
  block->Unref();
  CHECK(Block::BytesInUse() == before + 200);
  block->Unref();
  CHECK(Block::BytesInUse() == before);
}

TEST_CASE("the heap is trimmed after a burst, and not for less") {
  HeapTrim trim;
  CHECK_FALSE(trim.Look(15 * kMiB, 0));
  CHECK_FALSE(trim.Look(0, 1));
  CHECK_FALSE(trim.Look(40 * kMiB, 2));
  CHECK_FALSE(trim.Look(11 * kMiB, 3));
  CHECK(trim.Look(10 * kMiB, 4));
}

TEST_CASE("never twice within the interval, and not without a further burst") {
  HeapTrim trim;
  trim.Look(100 * kMiB, 10);
  CHECK(trim.Look(0, 10));
  CHECK_FALSE(trim.Look(0, 10 + HeapTrim::kIntervalMs));
  trim.Look(100 * kMiB, 11);
  CHECK_FALSE(trim.Look(0, 9 + HeapTrim::kIntervalMs));
  CHECK(trim.Look(0, 10 + HeapTrim::kIntervalMs));
}

}  // namespace
}  // namespace ringway
