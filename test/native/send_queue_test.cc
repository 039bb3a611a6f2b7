#include "buffer/send_queue.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "support/random_seed.h"

namespace ringway {
namespace {

std::span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// All that Gather shows with `max` entries.
std::string Front(const SendQueue& queue, int max = 64) {
  std::vector<iovec> iov(static_cast<size_t>(max));
  const int count = queue.Gather(iov.data(), max);
  REQUIRE(count <= max);
  std::string text;
  for (int i = 0; i < count; ++i) {
    REQUIRE(iov[i].iov_len > 0);
    text.append(static_cast<const char*>(iov[i].iov_base), iov[i].iov_len);
  }
  return text;
}

Block* BlockOf(const std::string& text) {
  Block* block = Block::Make(text.size());
  std::memcpy(block->data(), text.data(), text.size());
  return block;
}

TEST_CASE("what is appended is gathered in order, and consuming goes from the front") {
  BufferPool pool;
  SendQueue queue(pool);
  queue.Append(Bytes("hello "));
  queue.Append(Bytes(""));
  queue.Append(Bytes("world"));
  CHECK(queue.size() == 11);
  CHECK(Front(queue) == "hello world");
  queue.Consume(0);
  queue.Consume(7);
  CHECK(Front(queue) == "orld");
  queue.Append(Bytes("!"));
  CHECK(Front(queue) == "orld!");
  queue.Consume(5);
  CHECK(queue.empty());
}

TEST_CASE("an empty queue holds no memory") {
  BufferPool pool;
  SendQueue queue(pool);
  CHECK(pool.bytes_in_use() == 0);
  queue.Append({});
  CHECK(pool.bytes_in_use() == 0);
  queue.Append(Bytes(std::string(100000, 'x')));
  CHECK(pool.bytes_in_use() > 100000);
  queue.Consume(100000);
  CHECK(pool.bytes_in_use() == 0);
  queue.Append(Bytes("x"));
  queue.Clear();
  CHECK(pool.bytes_in_use() == 0);
  CHECK(queue.size() == 0);
}

TEST_CASE("the first chunk is small, further ones larger, and each is filled") {
  BufferPool pool;
  SendQueue queue(pool);
  for (int i = 0; i < 1000; ++i) queue.Append(Bytes(std::string(100, 'x')));
  std::array<iovec, 8> iov;
  REQUIRE(queue.Gather(iov.data(), 8) == 4);
  CHECK(iov[0].iov_len == 2048 - sizeof(Chunk));
  CHECK(iov[1].iov_len == 16384 - sizeof(Chunk));
  CHECK(iov[2].iov_len == 65536 - sizeof(Chunk));
  CHECK(queue.size() == 100000);
}

TEST_CASE("bytes in flight do not move while more are appended") {
  BufferPool pool;
  SendQueue queue(pool);
  queue.Append(Bytes("in flight"));
  iovec in_flight;
  REQUIRE(queue.Gather(&in_flight, 1) == 1);
  for (int i = 0; i < 5000; ++i) queue.Append(Bytes("more"));
  iovec now;
  REQUIRE(queue.Gather(&now, 1) == 1);
  CHECK(now.iov_base == in_flight.iov_base);
  CHECK(std::string(static_cast<char*>(in_flight.iov_base), in_flight.iov_len) == "in flight");
  // A short send: the rest stays where it is as well.
  queue.Consume(3);
  REQUIRE(queue.Gather(&now, 1) == 1);
  CHECK(now.iov_base == static_cast<char*>(in_flight.iov_base) + 3);
}

TEST_CASE("blocks are pinned in their place, not copied") {
  BufferPool pool;
  Block* block = BlockOf("0123456789");
  {
    SendQueue queue(pool);
    queue.Append(Bytes("a"));
    queue.AppendBlock(block, 2, 5);
    queue.AppendBlock(block, 0, 0);
    queue.Append(Bytes("b"));
    queue.AppendBlock(block, 10, 0);
    queue.AppendBlock(block, 0, 10);
    CHECK(queue.size() == 17);
    CHECK(Front(queue) == "a23456b0123456789");
    CHECK(Front(queue, 2) == "a23456");
    std::array<iovec, 4> iov;
    REQUIRE(queue.Gather(iov.data(), 4) == 4);
    CHECK(iov[1].iov_base == block->data() + 2);
    queue.Consume(3);
    CHECK(Front(queue) == "456b0123456789");
    CHECK_FALSE(block->HasOneOwner());
    queue.Consume(4);
    CHECK_FALSE(block->HasOneOwner());
    queue.Consume(10);
    CHECK(block->HasOneOwner());
    CHECK(pool.bytes_in_use() == 0);
    queue.AppendBlock(block, 0, 10);
  }
  CHECK(block->HasOneOwner());
  CHECK(pool.bytes_in_use() == 0);
  block->Unref();
}

// What was gathered and not yet consumed: the kernel reads these very bytes at any time until then.
struct InFlight {
  std::vector<iovec> iov;
  std::string expected;

  void RequireIntact() const {
    std::string text;
    for (const iovec& part : iov) text.append(static_cast<const char*>(part.iov_base), part.iov_len);
    REQUIRE(text == expected);
  }
};

TEST_CASE("somebody else's memory is sent from where it lies, between what was copied") {
  BufferPool pool;
  SendQueue queue(pool);
  const std::string pinned = "pinned";
  queue.Append(Bytes("a "));
  queue.AppendPinned(Bytes(pinned).data(), pinned.size());
  queue.AppendPinned(Bytes(pinned).data(), 0);
  queue.Append(Bytes(" b"));
  CHECK(queue.size() == 10);
  iovec parts[4];
  REQUIRE(queue.Gather(parts, 4) == 3);
  CHECK(parts[1].iov_base == pinned.data());
  queue.Consume(5);
  CHECK(Front(queue) == "ned b");
  queue.Clear();
  CHECK(pool.bytes_in_use() == 0);
}

TEST_CASE("random operations against a string, with sends in flight") {
  std::mt19937_64 random(test::RandomSeed());
  BufferPool pool;
  Block* block = Block::Make(70000);
  for (size_t i = 0; i < block->size(); ++i) block->data()[i] = static_cast<uint8_t>(random());
  SendQueue queue(pool);
  std::string model;
  InFlight in_flight;
  const auto length = [&random] { return test::Between(random, 0, uint64_t{1} << test::Between(random, 0, 16)); };
  for (int step = 0; step < 20000; ++step) {
    const uint64_t operation = test::Between(random, 0, 9);
    if (operation < 5 && model.size() < 300000) {
      std::string text(length(), '\0');
      for (char& byte : text) byte = static_cast<char>(random());
      queue.Append(Bytes(text));
      model += text;
    } else if (operation == 5 && model.size() < 300000) {
      const size_t offset = test::Between(random, 0, block->size());
      const size_t count = std::min<size_t>(length(), block->size() - offset);
      queue.AppendBlock(block, offset, count);
      model.append(reinterpret_cast<const char*>(block->data()) + offset, count);
    } else if (operation == 6 && in_flight.iov.empty() && model.size() < 300000) {
      std::string lent(length(), '\0');
      for (char& byte : lent) byte = static_cast<char>(random());
      const size_t taken = test::Between(random, 0, model.size() + lent.size());
      queue.AppendLent(Bytes(lent).data(), lent.size());
      queue.Append(Bytes("behind"));
      model += lent + "behind";
      queue.Consume(taken);
      model.erase(0, taken);
      queue.KeepLent();
      REQUIRE_FALSE(queue.HasLent());
      std::fill(lent.begin(), lent.end(), '?');
      REQUIRE(Front(queue, 400000) == model);
    } else if (in_flight.iov.empty()) {
      in_flight.iov.resize(test::Between(random, 1, 8));
      in_flight.iov.resize(
          static_cast<size_t>(queue.Gather(in_flight.iov.data(), static_cast<int>(in_flight.iov.size()))));
      size_t total = 0;
      for (const iovec& part : in_flight.iov) total += part.iov_len;
      REQUIRE(total <= model.size());
      in_flight.expected = model.substr(0, total);
      REQUIRE(in_flight.iov.empty() == model.empty());
    } else {
      in_flight.RequireIntact();
      const size_t taken = test::Between(random, 0, 3) == 0 ? test::Between(random, 0, in_flight.expected.size())
                                                            : in_flight.expected.size();
      queue.Consume(taken);
      model.erase(0, taken);
      in_flight = {};
    }
    REQUIRE(queue.size() == model.size());
    if (step % 97 == 0) REQUIRE(Front(queue, 100000) == model);
    if (test::Between(random, 0, 999) == 0 && in_flight.iov.empty()) {
      queue.Clear();
      model.clear();
    }
    if (model.empty()) REQUIRE(pool.bytes_in_use() == 0);
  }
  queue.Clear();
  CHECK(pool.bytes_in_use() == 0);
  CHECK(block->HasOneOwner());
  block->Unref();
}

}  // namespace
}  // namespace ringway
