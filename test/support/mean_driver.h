// A driver over real descriptors that does, from a seed, all that a kernel may do and rarely does: short and late sends
// and receives, completions in any order, multishots that end without a cause, buffers that run out, announced bytes
// that are not there. Unlike FakeDriver it has no world of its own, so that what sits on top may shut down, reset and
// close real sockets. What a caller must never do aborts, and the message names the seed.
#pragma once

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

#include "driver/driver.h"

namespace ringway::test {

struct MeanDriverOptions {
  uint64_t seed = 1;
  DriverOptions driver{.receive_buffer_bytes = 512, .receive_buffers = 4};
  // In percent. 0 for all: every operation does at once what it can.
  uint32_t late_percent = 30;        // an operation that could go on does not yet
  uint32_t short_percent = 50;       // fewer bytes than possible
  uint32_t lost_more_percent = 10;   // a multishot ends with a completion that is otherwise fine
  uint32_t false_data_percent = 20;  // announced bytes are not there, or are received only when they are taken
  uint32_t pending_percent = 50;     // a send that could be answered at once is not
  uint32_t no_buffer_percent = 0;    // a receive finds no buffer, though there are some
  bool receives_at_take = false;     // says that bytes leave the socket when they are taken, and some do
};

class MeanDriver : public Driver {
 public:
  explicit MeanDriver(const MeanDriverOptions& options) : options_(options), random_(options.seed) {}

  const char* Name() const override { return "mean"; }
  int Start() override;
  void Accept(UserData data, int listener_fd) override { Begin({.data = data, .fd = listener_fd}); }
  void Connect(UserData data, int fd, const sockaddr* address, socklen_t length) override;
  void Receive(UserData data, int fd) override { Begin({.data = data, .fd = fd}); }
  void StopReceive(UserData data, int fd) override;
  std::span<const uint8_t> Take(Completion& completion) override;
  std::span<const uint8_t> ReceiveAtOnce(int fd, bool in_blocks, Completion& completion) override;
  int32_t Send(UserData data, int fd, const iovec* iov, int iov_count) override;
  void Watch(UserData data, int fd) override { Begin({.data = data, .fd = fd}); }
  void Cancel(UserData data, int fd) override;
  void Forget(int fd) override;
  void Submit() override;
  void Wait() override;
  size_t Reap(std::span<Completion> completions) override;
  void EndDispatch() override;
  int PollFd() const override { return -1; }
  bool ReceivesAtTake() const override { return options_.receives_at_take; }
  bool HasReady() const override { return !posted_.empty(); }
  size_t InFlight() const override { return in_flight_; }
  size_t FreeReceiveBuffers(bool) const override { return std::max<size_t>(1, free_buffers_.size()); }

 private:
  struct Operation {
    UserData data;
    int fd = -1;
    std::vector<iovec> parts{};
    const sockaddr* given_address = nullptr;  // until it is submitted
    sockaddr_storage address = {};
    socklen_t address_length = 0;
    bool connects = false;  // connect(2) is still to be called
    bool submitted = false;
    bool cancelled = false;
    bool announced = false;  // a completion whose truth shows in Take, or that its owner has not read yet, is out
  };
  struct Posted {
    Completion completion;
    int fd = -1;
  };
  enum : uint32_t { kNoBuffer = UINT32_MAX };

  bool Chance(uint32_t percent) { return random_() % 100 < percent; }
  size_t Some(size_t most) { return Chance(options_.short_percent) ? 1 + random_() % most : most; }
  void Begin(Operation operation);
  bool IsBusy(int fd, bool output) const;
  void Post(size_t index, Completion completion);
  void Finish(size_t index, int32_t result) { Post(index, {.data = {}, .result = result}); }
  void Step();
  void Progress(size_t index);
  void ProgressReceive(size_t index);
  int32_t SendSome(int fd, const iovec* iov, size_t count);
  [[noreturn]] void Fail(const char* what) const;

  const MeanDriverOptions options_;
  std::mt19937_64 random_;
  std::vector<Operation> operations_;
  std::deque<Posted> posted_;
  size_t in_flight_ = 0;
  std::vector<std::vector<uint8_t>> buffers_;
  std::vector<size_t> filled_;
  std::vector<uint32_t> free_buffers_;
  std::vector<uint32_t> handed_out_;
  std::vector<uint8_t> late_buffer_;
  std::vector<uint8_t> at_once_;
};

}  // namespace ringway::test
