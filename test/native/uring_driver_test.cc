// What only io_uring has: queues that fill up, a submission's memory, task work in pieces, buffers that join the
// circle.
#include "driver/uring_driver.h"

#include <doctest/doctest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include "base/fd.h"

namespace ringway {
namespace {

struct Ends {
  Fd ours;
  Fd theirs;
};

Ends SocketPair() {
  int fds[2];
  REQUIRE_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
  return {Fd(fds[0]), Fd(fds[1])};
}

// False where this machine refuses io_uring: what that means is driver_select_test.cc's.
bool Start(UringDriver& driver) {
  const int error = driver.Start();
  if (error == -EPERM || error == -ENOSYS) {
    MESSAGE("io_uring is refused here: not tested");
    return false;
  }
  REQUIRE_EQ(error, 0);
  return true;
}

template <typename Visit>
void UntilIdle(UringDriver& driver, Visit visit) {
  while (driver.InFlight() > 0) {
    driver.Wait();
    Completion batch[64];
    for (size_t count; (count = driver.Reap(batch)) > 0;) {
      for (size_t i = 0; i < count; ++i) visit(batch[i]);
      driver.EndDispatch();
    }
  }
}

// Watches one event `count` times, rings it, and expects one completion of each.
void WatchManyTimes(uint32_t count) {
  UringDriver driver({});
  if (!Start(driver)) return;
  const Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  for (uint32_t i = 0; i < count; ++i) driver.Watch({i, 1, Op::kWatch}, event.Get());
  driver.Submit();
  CHECK_EQ(driver.InFlight(), count);
  REQUIRE_EQ(::eventfd_write(event.Get(), 1), 0);

  std::vector<uint32_t> watched(count, 0);
  uint32_t distinct = 0;
  const auto visit = [&](const Completion& completion) {
    if (completion.result >= 0 && watched[completion.data.slot]++ == 0) ++distinct;
  };
  while (distinct < count) {
    driver.Wait();
    Completion batch[64];
    const size_t reaped = driver.Reap(batch);
    for (size_t i = 0; i < reaped; ++i) visit(batch[i]);
    driver.EndDispatch();
  }
  driver.Cancel({}, event.Get());
  UntilIdle(driver, visit);
  CHECK_EQ(distinct, count);
}

TEST_CASE("more operations than the submission queue holds") { WatchManyTimes(5'000); }

TEST_CASE("more completions than their queue holds: none is lost") { WatchManyTimes(20'000); }

TEST_CASE("messages of many parts outgrow one batch's memory and keep their bytes") {
  UringDriver driver({});
  if (!Start(driver)) return;
  constexpr uint32_t kPairs = 300;
  constexpr size_t kParts = 64;
  std::vector<Ends> pairs;
  std::vector<std::string> texts;
  for (uint32_t i = 0; i < kPairs; ++i) {
    pairs.push_back(SocketPair());
    texts.push_back(std::string(kParts, static_cast<char>('a' + i % 26)) + std::to_string(i));
  }
  for (uint32_t i = 0; i < kPairs; ++i) {
    // Gone when Send returns, unlike the bytes.
    std::vector<iovec> parts(kParts, {texts[i].data(), 1});
    parts.back() = {texts[i].data() + kParts - 1, texts[i].size() - kParts + 1};
    CHECK_EQ(driver.Send({i, 1, Op::kSend}, pairs[i].ours.Get(), parts.data(), kParts), kSendPending);
  }
  UntilIdle(driver, [&](const Completion& completion) {
    CHECK_EQ(completion.result, static_cast<int32_t>(texts[completion.data.slot].size()));
  });
  for (uint32_t i = 0; i < kPairs; ++i) {
    char bytes[256];
    const ssize_t count = ::recv(pairs[i].theirs.Get(), bytes, sizeof(bytes), 0);
    REQUIRE_GT(count, 0);
    CHECK_EQ(std::string(bytes, static_cast<size_t>(count)), texts[i]);
  }
}

TEST_CASE("one wait gathers more than the twenty task works of one call") {
  UringDriver driver({});
  if (!Start(driver)) return;
  constexpr uint32_t kPairs = 100;
  std::vector<Ends> pairs;
  for (uint32_t i = 0; i < kPairs; ++i) {
    pairs.push_back(SocketPair());
    driver.Receive({i, 1, Op::kReceive}, pairs[i].ours.Get());
  }
  driver.Submit();
  for (const Ends& pair : pairs) REQUIRE_EQ(::send(pair.theirs.Get(), "x", 1, 0), 1);
  driver.Wait();
  Completion batch[kPairs];
  CHECK_EQ(driver.Reap(batch), kPairs);
  driver.EndDispatch();
  for (const Ends& pair : pairs) driver.Cancel({}, pair.ours.Get());
  UntilIdle(driver, [](const Completion&) {});
}

TEST_CASE("buffers join the circle until nobody starves") {
  UringDriver driver({.receive_buffer_bytes = 4096, .receive_buffers = 1024});
  if (!Start(driver)) return;
  constexpr uint32_t kPairs = 900;
  std::vector<Ends> pairs;
  std::vector<uint32_t> received(kPairs, 0);
  for (uint32_t i = 0; i < kPairs; ++i) {
    pairs.push_back(SocketPair());
    driver.Receive({i, 1, Op::kReceive}, pairs[i].ours.Get());
  }
  driver.Submit();
  size_t starved_in_round = 0;
  for (uint32_t round = 1; round <= 5; ++round) {
    starved_in_round = 0;
    for (const Ends& pair : pairs) REQUIRE_EQ(::send(pair.theirs.Get(), "x", 1, 0), 1);
    uint32_t done = 0;
    std::vector<UserData> again;
    while (done < kPairs) {
      driver.Wait();
      // All at once, so that their buffers are out together.
      std::vector<Completion> batch(2048);
      const size_t count = driver.Reap(batch);
      for (size_t i = 0; i < count; ++i) {
        if (batch[i].has_data) {
          const std::span<const uint8_t> bytes = driver.Take(batch[i]);
          REQUIRE_EQ(bytes.size(), 1);
          CHECK_EQ(++received[batch[i].data.slot], round);
          ++done;
        }
        if (batch[i].result == -ENOBUFS) ++starved_in_round;
        if (!batch[i].more) again.push_back(batch[i].data);
      }
      driver.EndDispatch();
      for (const UserData& data : again) driver.Receive(data, pairs[data.slot].ours.Get());
      again.clear();
    }
  }
  CHECK_EQ(starved_in_round, 0);
  for (const Ends& pair : pairs) driver.Cancel({}, pair.ours.Get());
  UntilIdle(driver, [](const Completion&) {});
}

TEST_CASE("a cancellation that meets nothing is nobody's completion") {
  UringDriver driver({});
  if (!Start(driver)) return;
  const Ends pair = SocketPair();
  for (int i = 0; i < 100; ++i) driver.StopReceive({1, 1, Op::kReceive}, pair.ours.Get());
  driver.Submit();
  CHECK_FALSE(driver.HasReady());
  CHECK_EQ(driver.InFlight(), 0);
  Completion completion;
  CHECK_EQ(driver.Reap({&completion, 1}), 0);
}

TEST_CASE("one connection does not hold up the others") {
  UringDriver driver({});
  if (!Start(driver)) return;
  const Ends loud = SocketPair();
  const Ends quiet = SocketPair();
  const std::string flood(150'000, 'x');
  driver.Receive({1, 1, Op::kReceive}, loud.ours.Get());
  driver.Receive({2, 1, Op::kReceive}, quiet.ours.Get());
  driver.Submit();
  REQUIRE_EQ(::send(loud.theirs.Get(), flood.data(), flood.size(), 0), static_cast<ssize_t>(flood.size()));
  REQUIRE_EQ(::send(quiet.theirs.Get(), "x", 1, 0), 1);
  size_t received = 0;
  bool heard = false;
  while (received < flood.size() || !heard) {
    driver.Wait();
    Completion batch[64];
    const size_t count = driver.Reap(batch);
    for (size_t i = 0; i < count; ++i) {
      REQUIRE(batch[i].has_data);
      const size_t size = driver.Take(batch[i]).size();
      if (batch[i].data.slot == 1) received += size;
      if (batch[i].data.slot == 2) heard = true;
    }
    driver.EndDispatch();
  }
  CHECK_EQ(received, flood.size());
  driver.Cancel({}, loud.ours.Get());
  driver.Cancel({}, quiet.ours.Get());
  UntilIdle(driver, [](const Completion&) {});
}

}  // namespace
}  // namespace ringway
