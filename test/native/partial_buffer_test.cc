#include "buffer/partial_buffer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "support/random_seed.h"

namespace ringway {
namespace {

std::span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string Text(std::span<const uint8_t> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

std::string RandomText(std::mt19937_64& random, size_t length) {
  std::string text(length, '\0');
  for (char& byte : text) byte = static_cast<char>(random());
  return text;
}

TEST_CASE("bytes are kept in order until they are consumed, and then no memory is held") {
  BufferPool pool;
  PartialBuffer partial(pool);
  CHECK(partial.bytes().empty());
  CHECK(partial.bytes_held() == 0);
  REQUIRE(partial.Append({}));
  CHECK(partial.bytes_held() == 0);
  REQUIRE(partial.Append(Bytes("hel")));
  REQUIRE(partial.Append(Bytes("lo")));
  CHECK(Text(partial.bytes()) == "hello");
  CHECK(partial.bytes_held() == 2048);
  partial.Consume(2);
  CHECK(Text(partial.bytes()) == "llo");
  partial.Consume(3);
  CHECK(partial.empty());
  CHECK(partial.bytes_held() == 0);
  CHECK(pool.bytes_in_use() == 0);
}

TEST_CASE("room grows by what arrived: from chunks of the pool to a block") {
  BufferPool pool;
  PartialBuffer partial(pool);
  std::string model;
  const std::string piece(1000, 'p');
  const size_t declared = 10'000'000;
  size_t most_in_pool = 0;
  while (model.size() < 300'000) {
    REQUIRE(partial.Append(Bytes(piece), declared));
    model += piece;
    most_in_pool = std::max(most_in_pool, pool.bytes_in_use());
    REQUIRE(partial.bytes_held() <= std::max<size_t>(2048, 8 * model.size()));
    if (model.size() > BufferPool::kMaxChunkBytes) REQUIRE(partial.bytes_held() <= 2 * model.size() + 16);
  }
  CHECK(Text(partial.bytes()) == model);
  CHECK(most_in_pool == 65536);
  CHECK(pool.bytes_in_use() == 0);
}

TEST_CASE("a block is never larger than the frame it waits for, unless more arrives than that") {
  BufferPool pool;
  PartialBuffer partial(pool);
  const size_t frame = 140'000;
  REQUIRE(partial.Append(Bytes(std::string(100'000, 'a')), frame));
  CHECK(partial.bytes_held() == 100'000 + sizeof(Block));
  REQUIRE(partial.Append(Bytes("b"), frame));
  CHECK(partial.bytes_held() == frame + sizeof(Block));
  REQUIRE(partial.Append(Bytes(std::string(39'999, 'c')), frame));
  CHECK(partial.bytes_held() == frame + sizeof(Block));
  REQUIRE(partial.Append(Bytes("behind it"), frame));
  CHECK(partial.bytes_held() == 2 * frame + sizeof(Block));
  CHECK(Text(partial.bytes().last(10)) == "cbehind it");
}

TEST_CASE("a large frame is handed over without a copy") {
  BufferPool pool;
  PartialBuffer partial(pool);
  const std::string frame(200'000, 'f');
  REQUIRE(partial.Append(Bytes(frame), frame.size()));
  const uint8_t* where = partial.bytes().data();
  size_t offset = 1;
  Block* block = partial.DetachAsBlock(frame.size(), &offset);
  REQUIRE(block != nullptr);
  CHECK(block->HasOneOwner());
  CHECK(block->data() + offset == where);
  CHECK(block->size() == frame.size());
  CHECK(partial.empty());
  CHECK(partial.bytes_held() == 0);
  REQUIRE(partial.Append(Bytes("next")));
  CHECK(Text({block->data() + offset, frame.size()}) == frame);
  CHECK(Text(partial.bytes()) == "next");
  block->Unref();
}

TEST_CASE("what stands before and behind a frame that is handed over") {
  BufferPool pool;
  PartialBuffer partial(pool);
  const std::string frame(100'000, 'f');
  for (const std::string& behind : {std::string("behind"), std::string(90'000, 'b')}) {
    REQUIRE(partial.Append(Bytes("before" + frame + behind)));
    partial.Consume(6);
    size_t offset = 0;
    Block* block = partial.DetachAsBlock(frame.size(), &offset);
    REQUIRE(block != nullptr);
    CHECK(offset == 6);
    CHECK(Text({block->data() + offset, frame.size()}) == frame);
    CHECK(Text(partial.bytes()) == behind);
    block->Unref();
    partial.Clear();
  }
  CHECK(pool.bytes_in_use() == 0);
}

TEST_CASE("a frame in a chunk is not handed over") {
  BufferPool pool;
  PartialBuffer partial(pool);
  REQUIRE(partial.Append(Bytes("small")));
  size_t offset = 0;
  CHECK(partial.DetachAsBlock(5, &offset) == nullptr);
  CHECK(Text(partial.bytes()) == "small");
}

TEST_CASE(
    "a frame with many others behind it is not handed over: it would take their memory along, and they be copied") {
  BufferPool pool;
  PartialBuffer partial(pool);
  const std::string frame(70'000, 'f');
  for (int i = 0; i < 20; i++) REQUIRE(partial.Append(Bytes(frame)));
  size_t offset = 0;
  for (int i = 0; i < 20; i++) {
    if (Block* block = partial.DetachAsBlock(frame.size(), &offset)) {
      CHECK(block->size() <= 2 * frame.size());
      block->Unref();
    } else {
      partial.Consume(frame.size());
    }
  }
  CHECK(partial.empty());
}

TEST_CASE("consumed room is used again before more is taken") {
  BufferPool pool;
  PartialBuffer partial(pool);
  for (int i = 0; i < 1000; ++i) {
    REQUIRE(partial.Append(Bytes(std::string(700, 'x'))));
    partial.Consume(i == 0 ? 100 : 700);
    REQUIRE(partial.size() == 600);
    REQUIRE(partial.bytes_held() == 2048);
  }
}

TEST_CASE("random operations against a string") {
  std::mt19937_64 random(test::RandomSeed());
  BufferPool pool;
  PartialBuffer partial(pool);
  std::string model;
  for (int step = 0; step < 5000; ++step) {
    const uint64_t operation = test::Between(random, 0, 9);
    if (operation < 7 && model.size() < 400'000) {
      const std::string text =
          RandomText(random, test::Between(random, 0, uint64_t{1} << test::Between(random, 0, 16)));
      const size_t hint = test::Between(random, 0, 1) == 0 ? 0 : test::Between(random, 0, 500'000);
      REQUIRE(partial.Append(Bytes(text), hint));
      model += text;
    } else if (operation == 9 && !model.empty()) {
      const size_t frame = test::Between(random, 1, model.size());
      size_t offset = 0;
      if (Block* block = partial.DetachAsBlock(frame, &offset)) {
        REQUIRE(Text({block->data() + offset, frame}) == model.substr(0, frame));
        model.erase(0, frame);
        block->Unref();
      }
    } else {
      const size_t n = test::Between(random, 0, 2) == 0 ? model.size() : test::Between(random, 0, model.size());
      partial.Consume(n);
      model.erase(0, n);
    }
    REQUIRE(partial.size() == model.size());
    REQUIRE(Text(partial.bytes()) == model);
    if (model.empty()) REQUIRE(partial.bytes_held() == 0);
    if (model.empty()) REQUIRE(pool.bytes_in_use() == 0);
  }
  partial.Clear();
  CHECK(pool.bytes_in_use() == 0);
}

}  // namespace
}  // namespace ringway
