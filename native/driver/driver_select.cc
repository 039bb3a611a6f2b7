#include "driver/driver_select.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/clock.h"
#include "base/fd.h"
#include "driver/epoll_driver.h"
#include "driver/uring_driver.h"

namespace ringway {
namespace {

// A healthy kernel needs well under a millisecond; a broken one loses an EOF for good.
constexpr uint64_t kSelfTestTimeoutMs = 2000;
constexpr std::string_view kPing = "ringway self-test";

std::string KernelRelease() {
  utsname name;
  return ::uname(&name) == 0 ? name.release : "unknown";
}

// strerrorname_np is glibc's alone.
std::string ErrorName(int error) {
  switch (error) {
    case EPERM:
      return "EPERM";
    case EACCES:
      return "EACCES";
    case ENOSYS:
      return "ENOSYS";
    case ENOMEM:
      return "ENOMEM";
    case EMFILE:
      return "EMFILE";
    case ENFILE:
      return "ENFILE";
    case EINVAL:
      return "EINVAL";
    default:
      return "errno " + std::to_string(error);
  }
}

// The value of kernel.io_uring_disabled, or -1 where the kernel has no such setting (before 6.6).
int DisabledBySysctl() {
  std::FILE* file = std::fopen("/proc/sys/kernel/io_uring_disabled", "re");
  if (file == nullptr) return -1;
  int value = -1;
  if (std::fscanf(file, "%d", &value) != 1) value = -1;
  std::fclose(file);
  return value;
}

std::string MemlockLimit() {
  rlimit limit;
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return "unknown";
  if (limit.rlim_cur == RLIM_INFINITY) return "unlimited";
  return std::to_string(limit.rlim_cur / 1024) + " KiB";
}

std::string SetupRefused(int error) {
  const std::string refused = "io_uring_setup was refused with " + ErrorName(error) + ": ";
  switch (error) {
    case EPERM:
    case EACCES: {
      const int disabled = DisabledBySysctl();
      if (disabled > 0) {
        return refused + "sysctl kernel.io_uring_disabled is " + std::to_string(disabled) +
               (disabled == 1 ? " (only kernel.io_uring_group and privileged processes may use it)" : "");
      }
      return refused +
             "a seccomp profile (Docker's and containerd's default ones do) or a security module forbids it; sysctl "
             "kernel.io_uring_disabled does not";
    }
    case ENOSYS:
      return refused + "this kernel was built without io_uring, or a sandbox hides the system call";
    case ENOMEM:
      return refused + "no memory for its queues (RLIMIT_MEMLOCK is " + MemlockLimit() + ")";
    case EMFILE:
    case ENFILE:
      return refused + "too few file descriptors (raise ulimit -n)";
    case EINVAL:
      return refused + "kernel " + KernelRelease() + " is older than 6.1, which first defers task work";
    default:
      return refused + std::strerror(error);
  }
}

struct Verdict {
  int error = 0;  // a negative errno
  std::string reason;
};

Verdict Broken(const std::string& what) {
  return {-EIO, "io_uring failed its self-test on kernel " + KernelRelease() + ": " + what};
}

// The smallest user of a driver: one receive, one send, on one end of a socket pair.
class SelfTest {
 public:
  SelfTest(Driver* driver, bool external_loop) : driver_(driver), external_loop_(external_loop) {}

  Verdict Run() {
    int fds[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
      return {-errno, std::string("no socket pair for the self-test: ") + std::strerror(errno)};
    }
    const Fd ours(fds[0]);
    Fd theirs(fds[1]);

    driver_->Receive(kReceiver, ours.Get());
    iovec parts[2] = {{const_cast<char*>(kPing.data()), 8}, {const_cast<char*>(kPing.data()) + 8, kPing.size() - 8}};
    const int32_t sent = driver_->Send({1, 1, Op::kSend}, ours.Get(), parts, 2);
    if (sent != kSendPending) sent_ = sent;
    driver_->Submit();
    // Twice with a pause, so that the receive must go on after its first completion.
    if (::send(theirs.Get(), kPing.data(), 8, MSG_NOSIGNAL) != 8) return Broken("the peer cannot send");
    if (!Until([this] { return received_.size() >= 8; })) return Broken("received bytes did not arrive");
    if (::send(theirs.Get(), kPing.data() + 8, kPing.size() - 8, MSG_NOSIGNAL) < 0 ||
        ::shutdown(theirs.Get(), SHUT_WR) != 0) {
      return Broken("the peer cannot send");
    }
    if (!Until([this] { return ended_; })) return Broken("the end of the stream did not arrive");
    if (!Until([this] { return sent_ != kSendPending; })) return Broken("a send did not complete");
    if (received_ != kPing || result_ != 0) return Broken("received bytes were wrong");

    char echoed[64];
    const ssize_t count = ::recv(theirs.Get(), echoed, sizeof(echoed), MSG_DONTWAIT);
    if (sent_ != static_cast<int32_t>(kPing.size()) || count != sent_ ||
        std::memcmp(echoed, kPing.data(), kPing.size()) != 0) {
      return Broken("sent bytes were wrong");
    }
    return {};
  }

 private:
  static constexpr UserData kReceiver{1, 1, Op::kReceive};

  template <typename Condition>
  bool Until(Condition condition) {
    const uint64_t deadline_ms = MonotonicMs() + kSelfTestTimeoutMs;
    while (!condition()) {
      if (MonotonicMs() >= deadline_ms) return false;
      Sleep();
      driver_->Submit();
      Turn();
    }
    return true;
  }

  // Not Driver::Wait: on a kernel that loses a completion it would never return.
  void Sleep() {
    if (driver_->HasReady()) return;
    if (external_loop_) {
      pollfd poll{driver_->PollFd(), POLLIN, 0};
      ::poll(&poll, 1, static_cast<int>(kSelfTestTimeoutMs));
    } else if (turns_++ > 0) {
      ::poll(nullptr, 0, 1);
    }
  }

  void Turn() {
    Completion completions[8];
    const size_t count = driver_->Reap(completions);
    for (size_t i = 0; i < count; ++i) {
      Completion& completion = completions[i];
      if (completion.data.op == Op::kSend) {
        sent_ = completion.result;
      } else if (completion.has_data) {
        const std::span<const uint8_t> bytes = driver_->Take(completion);
        received_.append(bytes.begin(), bytes.end());
      }
      if (completion.data.op == Op::kReceive && !completion.more) {
        ended_ = true;
        result_ = completion.result;
      }
    }
    driver_->EndDispatch();
  }

  Driver* driver_;
  bool external_loop_;
  int turns_ = 0;
  int32_t sent_ = kSendPending;
  int32_t result_ = -EINPROGRESS;
  bool ended_ = false;
  std::string received_;
};

// The best first; the environment variable RINGWAY_URING_IN_LOOP names one. With deferred task work the kernel receives
// for some twenty connections at a time and we frame what came while it is in the cache, instead of for all that are
// ready (relay 500 x 16: 0.92 of the CPU per message; docs/PERFORMANCE.md). Not where memory is weakly ordered: whether
// the eventfd is rung depends on two flags, of which the kernel sets one and then reads the other without a barrier.
std::vector<UringMode> ModesFor(const DriverOptions& options) {
  if (!options.external_loop) return {UringMode::kOwnThread};
  const char* in_loop = std::getenv("RINGWAY_URING_IN_LOOP");
  const std::string_view named = in_loop == nullptr ? "" : in_loop;
  if (named == "deferred") return {UringMode::kPolledEventfd};
  if (named == "cooperative") return {UringMode::kPolledRing};
#if defined(__x86_64__)
  return {UringMode::kPolledEventfd, UringMode::kPolledRing};
#else
  return {UringMode::kPolledRing, UringMode::kPolledEventfd};
#endif
}

const char* Describe(UringMode mode) {
  switch (mode) {
    case UringMode::kOwnThread:
      return "deferred task work, waiting in the ring";
    case UringMode::kPolledRing:
      return "cooperative task work, the loop polls the ring";
    case UringMode::kPolledEventfd:
      return "deferred task work, the loop polls an eventfd";
  }
  return "";
}

Verdict TryIoUring(const DriverOptions& options, UringMode mode) {
  // The polled mode would run on 6.0 as well: one floor for all.
  UringRing floor;
  const int refused = floor.Open({.mode = UringMode::kOwnThread, .submission_entries = 8, .completion_entries = 16});
  if (refused != 0) return {refused, SetupRefused(-refused)};

  UringDriver driver(options, mode);
  if (const int error = driver.Start(); error != 0) {
    const bool lacks = error == -ENOMEM || error == -EMFILE || error == -ENFILE;
    return {error, lacks ? SetupRefused(-error)
                         : std::string("io_uring works, but something beside it (") + Describe(mode) +
                               ") was refused with " + ErrorName(-error)};
  }
  Verdict verdict = SelfTest(&driver, options.external_loop).Run();
  if (verdict.error == 0) {
    verdict.reason = "io_uring passed its self-test on kernel " + KernelRelease() + " (" + Describe(mode) +
                     (driver.ring().unrestricted_error() == 0 ? ")" : "; not restricted)");
  }
  return verdict;
}

}  // namespace

DriverChoice SelectDriver(DriverRequest request, const DriverOptions& options) {
  DriverChoice choice;
  if (request == DriverRequest::kEpoll) {
    choice.driver = std::make_unique<EpollDriver>(options);
    choice.name = "epoll";
    choice.reason = "epoll was asked for";
    return choice;
  }
  // Of several refusals the first is told.
  Verdict refused;
  for (const UringMode mode : ModesFor(options)) {
    Verdict verdict = TryIoUring(options, mode);
    if (verdict.error == 0) {
      choice.driver = std::make_unique<UringDriver>(options, mode);
      choice.name = "io_uring";
      choice.reason = std::move(verdict.reason);
      return choice;
    }
    if (refused.error == 0) refused = std::move(verdict);
  }
  choice.reason = std::move(refused.reason);
  if (request == DriverRequest::kIoUring) {
    choice.name = "io_uring";
    choice.error = refused.error;
  } else {
    choice.driver = std::make_unique<EpollDriver>(options);
    choice.name = "epoll";
  }
  return choice;
}

std::vector<UringFeature> DescribeIoUring() {
  std::vector<UringFeature> features;
  const auto add = [&features](const char* name, bool found, std::string sentence) {
    features.push_back({name, found, std::move(sentence)});
  };
  UringRing ring;
  const int error = ring.Open({});
  add("io_uring", error == 0, error == 0 ? "io_uring_setup works on kernel " + KernelRelease() : SetupRefused(-error));
  if (error != 0) return features;

  const int unrestricted = ring.Enable() < 0 ? -EINVAL : ring.unrestricted_error();
  add("RESTRICTIONS", unrestricted == 0,
      unrestricted == 0 ? "the ring accepts the operations that are used and no others (5.10)"
                        : "the kernel refuses to restrict the ring to the operations that are used (" +
                              ErrorName(-unrestricted) + "): it accepts all");

  const Verdict own = TryIoUring({}, UringMode::kOwnThread);
  add("self-test in a reactor thread", own.error == 0, own.reason);
  const DriverOptions in_loop{.external_loop = true};
  const Verdict deferred = TryIoUring(in_loop, UringMode::kPolledEventfd);
  add("self-test in Node's loop", deferred.error == 0, deferred.reason);
  const Verdict polled = TryIoUring(in_loop, UringMode::kPolledRing);
  add("self-test in Node's loop, the ring polled", polled.error == 0, polled.reason);

  add("DEFER_TASKRUN", (ring.setup_flags() & IORING_SETUP_DEFER_TASKRUN) != 0,
      "task work runs when the reactor asks for it (6.1)");
  add("NO_SQARRAY", (ring.setup_flags() & IORING_SETUP_NO_SQARRAY) != 0,
      "submissions without an index array (6.6); unused where it is missing");
  add("NODROP", (ring.features() & IORING_FEAT_NODROP) != 0, "an overflown completion queue loses nothing");
  add("SUBMIT_STABLE", (ring.features() & IORING_FEAT_SUBMIT_STABLE) != 0, "message headers are copied at submission");
  add("CQE_SKIP", (ring.features() & IORING_FEAT_CQE_SKIP) != 0, "cancellations that succeed are silent (5.17)");
  add("queue sizes", true,
      std::to_string(ring.submission_entries()) + " submissions, " + std::to_string(ring.completion_entries()) +
          " completions; RLIMIT_MEMLOCK is " + MemlockLimit());
  return features;
}

}  // namespace ringway
