// RMP answers that are held back for a while, in the order they became due; a cancel ends one early.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

namespace ringway::bench {

struct DelayedAnswer {
  int fd = -1;
  uint32_t id = 0;
  uint64_t due_ns = 0;
  std::vector<uint8_t> request;  // the whole frame
  bool over = false;             // it was cancelled, or its connection has closed
};

class DelayedAnswers {
 public:
  bool empty() const { return queue_.empty(); }
  uint64_t next_due_ns() const { return queue_.front().due_ns; }

  // All have the same delay: who comes later is due later.
  void Add(DelayedAnswer answer) {
    numbers_[KeyOf(answer.fd, answer.id)] = first_ + queue_.size();
    queue_.push_back(std::move(answer));
  }

  // The request that was held back, unless it was answered before.
  std::optional<std::vector<uint8_t>> Cancel(int fd, uint32_t id) {
    const auto found = numbers_.find(KeyOf(fd, id));
    if (found == numbers_.end()) return std::nullopt;
    DelayedAnswer& answer = queue_[found->second - first_];
    numbers_.erase(found);
    answer.over = true;
    return std::move(answer.request);
  }

  void CancelAll(int fd) {
    for (DelayedAnswer& answer : queue_) {
      if (answer.fd != fd || answer.over) continue;
      answer.over = true;
      numbers_.erase(KeyOf(fd, answer.id));
    }
  }

  // The first one, if it is due.
  std::optional<DelayedAnswer> TakeDue(uint64_t now_ns) {
    while (!queue_.empty() && (queue_.front().over || queue_.front().due_ns <= now_ns)) {
      DelayedAnswer answer = std::move(queue_.front());
      queue_.pop_front();
      ++first_;
      if (answer.over) continue;
      numbers_.erase(KeyOf(answer.fd, answer.id));
      return answer;
    }
    return std::nullopt;
  }

 private:
  static uint64_t KeyOf(int fd, uint32_t id) { return static_cast<uint64_t>(fd) << 32 | id; }

  std::deque<DelayedAnswer> queue_;
  uint64_t first_ = 0;                              // number of the queue's first answer
  std::unordered_map<uint64_t, uint64_t> numbers_;  // of those that are not over
};

}  // namespace ringway::bench
