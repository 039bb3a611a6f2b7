#include "timer/timing_wheel.h"

#include <doctest/doctest.h>
#include <poll.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "base/clock.h"
#include "support/random_seed.h"
#include "timer/timerfd.h"

namespace ringway {
namespace {

constexpr uint64_t kNever = TimingWheel::kNever;

std::vector<TimerNode*> Fired(TimingWheel& wheel, uint64_t now_ms) {
  std::vector<TimerNode*> fired;
  wheel.Advance(now_ms, [&fired](TimerNode& node) { fired.push_back(&node); });
  return fired;
}

using Nodes = std::vector<TimerNode*>;

TEST_CASE("an empty wheel asks for nothing") {
  TimingWheel wheel(12345);
  CHECK(wheel.NextDeadline() == kNever);
  CHECK(Fired(wheel, 99'999'999).empty());
  CHECK(wheel.NextDeadline() == kNever);
  CHECK(wheel.size() == 0);
}

TEST_CASE("a timer fires once, never early, within a granule") {
  for (const uint64_t delay : {1u, 63u, 64u, 65u, 1000u, 4095u, 4096u, 4097u, 262144u, 300'000u, 86'400'000u}) {
    for (const uint64_t start : {0u, 1u, 63u, 64u, 5000u, 1'000'003u}) {
      CAPTURE(delay);
      CAPTURE(start);
      TimingWheel wheel(start);
      TimerNode node;
      wheel.Arm(node, start + delay);
      CHECK(node.armed());
      CHECK(wheel.NextDeadline() < start + delay + 64);
      CHECK(Fired(wheel, start + delay - 1).empty());
      CHECK(Fired(wheel, start + delay + 63) == Nodes{&node});
      CHECK_FALSE(node.armed());
      CHECK(wheel.size() == 0);
      CHECK(wheel.NextDeadline() == kNever);
      CHECK(Fired(wheel, start + delay + 1'000'000).empty());
    }
  }
}

TEST_CASE("a deadline that has passed fires at the next granule") {
  TimingWheel wheel(10'000);
  TimerNode node;
  wheel.Arm(node, 5);
  CHECK(wheel.NextDeadline() <= 10'064);
  CHECK(Fired(wheel, 10'000).empty());
  CHECK(Fired(wheel, 10'064) == Nodes{&node});
}

TEST_CASE("kNever does not arm, and disarms what was") {
  TimingWheel wheel(0);
  TimerNode node;
  wheel.Arm(node, 100);
  wheel.Arm(node, kNever);
  CHECK_FALSE(node.armed());
  CHECK(wheel.size() == 0);
  CHECK(wheel.NextDeadline() == kNever);
}

TEST_CASE("cancelling and arming again") {
  TimingWheel wheel(0);
  TimerNode first;
  TimerNode second;
  wheel.Cancel(first);
  wheel.Arm(first, 640);
  wheel.Arm(second, 640);
  wheel.Cancel(first);
  wheel.Cancel(first);
  CHECK(wheel.size() == 1);
  wheel.Arm(second, 6400);
  CHECK(wheel.size() == 1);
  CHECK(Fired(wheel, 6399).empty());
  wheel.Arm(second, 6500);
  CHECK(Fired(wheel, 6499).empty());
  CHECK(Fired(wheel, 6600) == Nodes{&second});
}

TEST_CASE("timers fire granule by granule in order, however far the time jumps") {
  TimingWheel wheel(0);
  std::vector<TimerNode> nodes(50);
  for (size_t i = 0; i < nodes.size(); ++i) wheel.Arm(nodes[i], 1 + (i * 7919 % 50) * 1'000'003);
  const Nodes fired = Fired(wheel, 1'000'000'000);
  REQUIRE(fired.size() == nodes.size());
  for (size_t i = 1; i < fired.size(); ++i) CHECK(fired[i - 1]->deadline_ms < fired[i]->deadline_ms);
}

TEST_CASE("beyond the coarsest level, to the end of time") {
  const uint64_t year = uint64_t{365} * 24 * 3600 * 1000;
  TimingWheel wheel(1000);
  TimerNode node;
  wheel.Arm(node, 50 * year);
  CHECK(Fired(wheel, 50 * year - 1).empty());
  CHECK(Fired(wheel, 50 * year + 64) == Nodes{&node});
  TimerNode last;
  wheel.Arm(last, kNever - 1);
  CHECK(Fired(wheel, 1000 * year).empty());
  CHECK(last.armed());
  wheel.Cancel(last);
}

TEST_CASE("time that runs backwards is ignored") {
  TimingWheel wheel(10'000);
  TimerNode node;
  wheel.Arm(node, 10'100);
  CHECK(Fired(wheel, 5).empty());
  CHECK(Fired(wheel, 10'200) == Nodes{&node});
}

TEST_CASE("a callback may arm its own node again") {
  TimingWheel wheel(0);
  TimerNode node;
  wheel.Arm(node, 100);
  std::vector<uint64_t> fired_at;
  for (uint64_t now = 0; now <= 1000; now += 10) {
    wheel.Advance(now, [&](TimerNode& fired) {
      CHECK_FALSE(fired.armed());
      fired_at.push_back(now);
      wheel.Arm(fired, now + 300);
    });
  }
  CHECK(fired_at == std::vector<uint64_t>{130, 450, 770});
}

TEST_CASE("a callback that arms with a passed deadline does not fire for ever") {
  TimingWheel wheel(0);
  TimerNode node;
  wheel.Arm(node, 1);
  int calls = 0;
  wheel.Advance(6400, [&](TimerNode& fired) {
    ++calls;
    wheel.Arm(fired, 0);
  });
  CHECK(calls == 100);
  wheel.Cancel(node);
}

TEST_CASE("a callback may cancel, arm and free nodes of its own granule") {
  TimingWheel wheel(0);
  std::vector<std::unique_ptr<TimerNode>> nodes;
  for (int i = 0; i < 6; ++i) {
    nodes.push_back(std::make_unique<TimerNode>());
    wheel.Arm(*nodes.back(), 100);
  }
  std::vector<size_t> fired;
  wheel.Advance(128, [&](TimerNode& node) {
    const auto at = std::find_if(nodes.begin(), nodes.end(), [&](const auto& held) { return held.get() == &node; });
    fired.push_back(static_cast<size_t>(at - nodes.begin()));
    if (fired.size() > 1) return;
    wheel.Cancel(*nodes[1]);
    wheel.Cancel(*nodes[5]);
    nodes[1].reset();
    nodes[5].reset();
    wheel.Arm(*nodes[2], 200);
    at->reset();
  });
  CHECK(fired == std::vector<size_t>{0, 3, 4});
  CHECK(wheel.size() == 1);
  CHECK(Fired(wheel, 256) == Nodes{nodes[2].get()});
}

TEST_CASE("another granule") {
  TimingWheel wheel(7, 1);
  TimerNode node;
  wheel.Arm(node, 10);
  CHECK(wheel.NextDeadline() == 10);
  CHECK(Fired(wheel, 9).empty());
  CHECK(Fired(wheel, 10) == Nodes{&node});
}

// The model: every armed timer in a sorted set.
class Model {
 public:
  void Arm(size_t timer, uint64_t deadline_ms) {
    Cancel(timer);
    deadlines_[timer] = deadline_ms;
    order_.insert({deadline_ms, timer});
  }
  void Cancel(size_t timer) {
    const auto found = deadlines_.find(timer);
    if (found == deadlines_.end()) return;
    order_.erase({found->second, timer});
    deadlines_.erase(found);
  }
  bool IsArmed(size_t timer) const { return deadlines_.count(timer) > 0; }
  size_t size() const { return deadlines_.size(); }
  uint64_t Earliest() const { return order_.empty() ? kNever : order_.begin()->first; }

 private:
  std::map<size_t, uint64_t> deadlines_;
  std::set<std::pair<uint64_t, size_t>> order_;
};

uint64_t RandomDelay(std::mt19937_64& random) {
  return test::Between(random, 0, uint64_t{1} << test::Between(random, 0, 38));
}

TEST_CASE("random operations against a sorted set, callbacks that arm and cancel included") {
  std::mt19937_64 random(test::RandomSeed());
  for (int round = 0; round < 20; ++round) {
    uint64_t now = RandomDelay(random);
    TimingWheel wheel(now);
    Model model;
    std::vector<TimerNode> nodes(300);
    const auto change_one = [&] {
      const size_t timer = test::Between(random, 0, nodes.size() - 1);
      if (test::Between(random, 0, 2) == 0) {
        wheel.Cancel(nodes[timer]);
        model.Cancel(timer);
      } else {
        // Ahead of the time that Advance is given: what is due at once is another test's.
        const uint64_t deadline_ms = now + 1 + RandomDelay(random);
        wheel.Arm(nodes[timer], deadline_ms);
        model.Arm(timer, deadline_ms);
      }
    };
    for (int step = 0; step < 2000; ++step) {
      change_one();
      if (test::Between(random, 0, 3) != 0) continue;
      now += test::Between(random, 0, uint64_t{1} << test::Between(random, 0, 22));
      wheel.Advance(now, [&](TimerNode& node) {
        const auto timer = static_cast<size_t>(&node - nodes.data());
        REQUIRE(model.IsArmed(timer));
        REQUIRE(node.deadline_ms <= now);
        model.Cancel(timer);
        if (test::Between(random, 0, 1) == 0) change_one();
      });
      // Whatever is left may be late by less than a granule, and the wheel knows when to look again.
      REQUIRE(model.Earliest() > now - std::min<uint64_t>(now, 64));
      REQUIRE(wheel.size() == model.size());
      const uint64_t next = wheel.NextDeadline();
      REQUIRE((model.size() == 0) == (next == kNever));
      if (model.size() > 0) REQUIRE(next < model.Earliest() + 64);
      if (model.size() > 0) REQUIRE(next > now);
    }
  }
}

TEST_CASE("driven by NextDeadline alone, each timer fires within a granule of its deadline") {
  std::mt19937_64 random(test::RandomSeed());
  TimingWheel wheel(77);
  std::vector<TimerNode> nodes(2000);
  for (TimerNode& node : nodes) wheel.Arm(node, 78 + RandomDelay(random));
  size_t fired = 0;
  size_t advances = 0;
  for (uint64_t now = wheel.NextDeadline(); now != kNever; now = wheel.NextDeadline()) {
    ++advances;
    wheel.Advance(now, [&](TimerNode& node) {
      ++fired;
      REQUIRE(node.deadline_ms <= now);
      REQUIRE(now - node.deadline_ms < 64);
    });
  }
  CHECK(fired == nodes.size());
  // Each timer costs its own wake-up and at most one per level.
  CHECK(advances <= nodes.size() * 5);
}

TEST_CASE("a million timers") {
  std::mt19937_64 random(test::RandomSeed());
  TimingWheel wheel(0);
  std::deque<TimerNode> nodes(1'000'000);
  for (TimerNode& node : nodes) wheel.Arm(node, test::Between(random, 1, 600'000));
  CHECK(wheel.size() == nodes.size());
  size_t cancelled = 0;
  for (size_t i = 0; i < nodes.size(); i += 3, ++cancelled) wheel.Cancel(nodes[i]);
  size_t fired = 0;
  size_t wrong = 0;
  for (uint64_t now = 50; now <= 600'100; now += 50) {
    wheel.Advance(now, [&](TimerNode& node) {
      ++fired;
      if (node.deadline_ms > now || node.deadline_ms + 64 + 50 <= now) ++wrong;
    });
  }
  CHECK(wrong == 0);
  CHECK(fired + cancelled == nodes.size());
  CHECK(wheel.size() == 0);
  CHECK(wheel.NextDeadline() == kNever);
}

bool IsReadable(const Timerfd& timer, int timeout_ms) {
  pollfd poll_fd = {timer.fd(), POLLIN, 0};
  return ::poll(&poll_fd, 1, timeout_ms) == 1;
}

TEST_CASE("a timerfd turns readable at its time, and not once it is disarmed") {
  Timerfd timer;
  REQUIRE(timer.Open() == 0);
  CHECK_FALSE(IsReadable(timer, 0));
  CHECK_FALSE(timer.Drain());
  const uint64_t deadline_ms = MonotonicMs() + 20;
  timer.ArmAt(deadline_ms);
  timer.ArmAt(deadline_ms);
  REQUIRE(IsReadable(timer, -1));
  CHECK(MonotonicMs() >= deadline_ms);
  CHECK(timer.Drain());
  CHECK_FALSE(IsReadable(timer, 0));
  timer.ArmAt(MonotonicMs() + 3'600'000);
  timer.Disarm();
  CHECK_FALSE(IsReadable(timer, 0));
}

TEST_CASE("a time that has passed is due at once, the same one again after a drain, and so is time zero") {
  Timerfd timer;
  REQUIRE(timer.Open() == 0);
  for (const uint64_t passed : {uint64_t{0}, uint64_t{1}, uint64_t{1000}, uint64_t{1000}}) {
    timer.ArmAt(passed);
    REQUIRE(IsReadable(timer, -1));
    REQUIRE(timer.Drain());
  }
  timer.ArmAt(Timerfd::kNever - 1);
  CHECK_FALSE(IsReadable(timer, 0));
}

}  // namespace
}  // namespace ringway
