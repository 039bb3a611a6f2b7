#include "driver/driver_select.h"

#include <doctest/doctest.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <string>

namespace ringway {
namespace {

// What Docker's and containerd's default profiles do, with the errno of one's choice.
bool RefuseIoUring(int error) {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{sizeof(filter) / sizeof(filter[0]), filter};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// A kernel that knows io_uring and this registration not.
bool RefuseRegistering(uint32_t operation) {
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_register, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, operation, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{sizeof(filter) / sizeof(filter[0]), filter};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// Runs in a child behind the filter; answers "name|error|reason" of the choice.
std::string ChoiceBehindFilter(int error, DriverRequest request) {
  int pipe[2];
  REQUIRE_EQ(::pipe(pipe), 0);
  const pid_t child = ::fork();
  REQUIRE_GE(child, 0);
  if (child == 0) {
    ::unsetenv("RINGWAY_DENY_IO_URING");
    if (!RefuseIoUring(error)) ::_exit(3);
    const DriverChoice choice = SelectDriver(request, {});
    const std::string line = choice.name + "|" + std::to_string(choice.error) + "|" + choice.reason +
                             (choice.driver != nullptr && choice.driver->Start() == 0 ? "|starts" : "|none");
    const ssize_t written = ::write(pipe[1], line.data(), line.size());
    ::_exit(written == static_cast<ssize_t>(line.size()) ? 0 : 4);
  }
  ::close(pipe[1]);
  std::string line;
  char bytes[1024];
  for (ssize_t count; (count = ::read(pipe[0], bytes, sizeof(bytes))) > 0;)
    line.append(bytes, static_cast<size_t>(count));
  ::close(pipe[0]);
  int status = 0;
  REQUIRE_EQ(::waitpid(child, &status, 0), child);
  REQUIRE_EQ(status, 0);
  return line;
}

class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~Environment() { ::unsetenv(name_); }

 private:
  const char* name_;
};

TEST_CASE("behind a seccomp profile that refuses io_uring, auto runs epoll and says why") {
  const std::string line = ChoiceBehindFilter(EPERM, DriverRequest::kAuto);
  CHECK(line.starts_with("epoll|0|io_uring_setup was refused with EPERM: "));
  CHECK(line.ends_with("|starts"));
  const bool names_a_cause = line.find("seccomp profile") != std::string::npos ||
                             line.find("kernel.io_uring_disabled is") != std::string::npos;
  CHECK(names_a_cause);
}

TEST_CASE("behind such a profile io_uring by name is an error, and epoll by name is not") {
  const std::string uring = ChoiceBehindFilter(EPERM, DriverRequest::kIoUring);
  CHECK(uring.starts_with("io_uring|" + std::to_string(-EPERM) + "|io_uring_setup was refused with EPERM: "));
  CHECK(uring.ends_with("|none"));
  CHECK_EQ(ChoiceBehindFilter(EPERM, DriverRequest::kEpoll), "epoll|0|epoll was asked for|starts");
}

TEST_CASE("each refusal has its own sentence") {
  CHECK(ChoiceBehindFilter(ENOSYS, DriverRequest::kAuto).find("built without io_uring") != std::string::npos);
  CHECK(ChoiceBehindFilter(ENOMEM, DriverRequest::kAuto).find("RLIMIT_MEMLOCK") != std::string::npos);
  CHECK(ChoiceBehindFilter(EINVAL, DriverRequest::kAuto).find("older than 6.1") != std::string::npos);
  CHECK(ChoiceBehindFilter(EMFILE, DriverRequest::kAuto).find("ulimit -n") != std::string::npos);
}

TEST_CASE("a kernel that restricts no ring runs without, and says so") {
  const DriverChoice here = SelectDriver(DriverRequest::kIoUring, {});
  if (here.error != 0) {
    MESSAGE("io_uring is refused here: " << here.reason);
    return;
  }
  CHECK(here.reason.find("not restricted") == std::string::npos);
  const pid_t child = ::fork();
  REQUIRE_GE(child, 0);
  if (child == 0) {
    if (!RefuseRegistering(IORING_REGISTER_RESTRICTIONS)) ::_exit(3);
    const DriverChoice choice = SelectDriver(DriverRequest::kIoUring, {});
    const bool runs = choice.error == 0 && choice.reason.find("not restricted") != std::string::npos;
    bool said = false;
    for (const UringFeature& feature : DescribeIoUring()) {
      said = said || (!feature.found && std::string(feature.name) == "RESTRICTIONS" &&
                      feature.sentence.find("EINVAL") != std::string::npos);
    }
    ::_exit(runs && said ? 0 : 4);
  }
  int status = 0;
  REQUIRE_EQ(::waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
}

TEST_CASE("where an eventfd cannot be rung, Node's loop polls the ring itself") {
  if (SelectDriver(DriverRequest::kIoUring, {}).error != 0) {
    MESSAGE("io_uring is refused here");
    return;
  }
  const pid_t child = ::fork();
  REQUIRE_GE(child, 0);
  if (child == 0) {
    ::unsetenv("RINGWAY_URING_IN_LOOP");
    if (!RefuseRegistering(IORING_REGISTER_EVENTFD)) ::_exit(3);
    const DriverChoice choice = SelectDriver(DriverRequest::kIoUring, {.external_loop = true});
    ::_exit(choice.error == 0 && choice.reason.find("polls the ring") != std::string::npos ? 0 : 4);
  }
  int status = 0;
  REQUIRE_EQ(::waitpid(child, &status, 0), child);
  CHECK_EQ(status, 0);
}

TEST_CASE("the environment can refuse io_uring") {
  const Environment denied("RINGWAY_DENY_IO_URING", "EPERM");
  const DriverChoice choice = SelectDriver(DriverRequest::kAuto, {});
  CHECK_EQ(choice.name, "epoll");
  REQUIRE(choice.driver != nullptr);
  CHECK_EQ(std::string(choice.driver->Name()), "epoll");
  CHECK(choice.reason.find("EPERM") != std::string::npos);
  const std::vector<UringFeature> features = DescribeIoUring();
  REQUIRE_EQ(features.size(), 1);
  CHECK_FALSE(features.front().found);
}

TEST_CASE("where io_uring is allowed, auto runs it in every mode") {
  const DriverChoice own = SelectDriver(DriverRequest::kIoUring, {});
  if (own.error != 0) {
    MESSAGE("io_uring is refused here: " << own.reason);
    return;
  }
  CHECK_EQ(SelectDriver(DriverRequest::kAuto, {}).name, "io_uring");
  CHECK(own.reason.find("passed its self-test") != std::string::npos);
  ::unsetenv("RINGWAY_URING_IN_LOOP");
  const auto in_loop = [] { return SelectDriver(DriverRequest::kAuto, {.external_loop = true}); };
  CHECK_EQ(in_loop().name, "io_uring");
  CHECK(in_loop().reason.find("polls an eventfd") != std::string::npos);
  {
    const Environment cooperative("RINGWAY_URING_IN_LOOP", "cooperative");
    CHECK_EQ(in_loop().name, "io_uring");
    CHECK(in_loop().reason.find("polls the ring") != std::string::npos);
  }
  const Environment deferred("RINGWAY_URING_IN_LOOP", "deferred");
  CHECK(in_loop().reason.find("polls an eventfd") != std::string::npos);
  for (const UringFeature& feature : DescribeIoUring()) CHECK_FALSE(feature.sentence.empty());
}

}  // namespace
}  // namespace ringway
