#include "admission.h"

#include <arpa/inet.h>

#include <string>
#include <thread>
#include <vector>

#include "support/doctest_last.h"

namespace ringway::test {
namespace {

sockaddr_storage AddressOf(const std::string& text) {
  sockaddr_storage storage = {};
  auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
  if (::inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
  } else if (::inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
  } else {
    storage.ss_family = AF_UNIX;
  }
  return storage;
}

struct Gate {
  Admission admission;
  std::vector<Admission::Ticket> tickets{};

  Admission::Verdict Enter(const std::string& from) {
    Admission::Ticket ticket;
    const Admission::Verdict verdict = admission.Enter(AddressOf(from), &ticket);
    if (verdict == Admission::Verdict::kAdmitted) tickets.push_back(ticket);
    return verdict;
  }
  void Leave() {
    admission.Leave(tickets.back());
    tickets.pop_back();
  }
};

using enum Admission::Verdict;

TEST_CASE("At most maxConnections at once") {
  Gate gate{{2, 0, false}};
  CHECK(gate.Enter("192.0.2.1") == kAdmitted);
  CHECK(gate.Enter("192.0.2.2") == kAdmitted);
  CHECK(gate.Enter("192.0.2.3") == kFull);
  CHECK(gate.admission.open() == 2);
  gate.Leave();
  CHECK(gate.Enter("192.0.2.3") == kAdmitted);
}

TEST_CASE("At most maxConnectionsPerIp from one address; the ticket gives the place back") {
  Gate gate{{100, 2, false}};
  CHECK(gate.Enter("192.0.2.1") == kAdmitted);
  CHECK(gate.Enter("192.0.2.1") == kAdmitted);
  CHECK(gate.Enter("192.0.2.1") == kAddressFull);
  CHECK(gate.Enter("192.0.2.2") == kAdmitted);
  CHECK(gate.Enter("2001:db8::1") == kAdmitted);
  CHECK(gate.admission.open() == 4);
  gate.Leave();
  gate.Leave();
  gate.Leave();
  CHECK(gate.Enter("192.0.2.1") == kAdmitted);
  CHECK(gate.Enter("192.0.2.1") == kAddressFull);
}

TEST_CASE("An IPv4 client of a dual-stack listener is the same address") {
  Gate gate{{100, 1, false}};
  CHECK(gate.Enter("192.0.2.1") == kAdmitted);
  CHECK(gate.Enter("::ffff:192.0.2.1") == kAddressFull);
}

TEST_CASE("Loopback and unix sockets are exempt, unless loopback was limited by hand") {
  for (const bool limited : {false, true}) {
    CAPTURE(limited);
    Gate gate{{100, 1, limited}};
    for (const char* from : {"127.0.0.1", "127.5.5.5", "::1", "::ffff:127.0.0.1"}) {
      CAPTURE(from);
      gate.Enter(from);
      CHECK(gate.Enter(from) == (limited ? kAddressFull : kAdmitted));
    }
    CHECK(gate.Enter("unix") == kAdmitted);
    CHECK(gate.Enter("unix") == kAdmitted);
  }
}

TEST_CASE("A full listener remembers no address; tickets outlive the sweep of addresses that left") {
  Gate gate{{5000, 1, false}};
  CHECK(gate.Enter("198.51.100.1") == kAdmitted);
  const Admission::Ticket kept = gate.tickets.back();
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 1500; ++i) {
      gate.Enter("10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250));
      gate.Leave();
    }
  }
  CHECK(gate.Enter("198.51.100.1") == kAddressFull);
  gate.admission.Leave(kept);
  CHECK(gate.Enter("198.51.100.1") == kAdmitted);
}

TEST_CASE("Several reactors accept and close at once") {
  Admission admission(1000, 10, false);
  std::vector<std::thread> threads;
  std::atomic<int> over{0};
  std::atomic<int> inside{0};
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      std::vector<Admission::Ticket> tickets;
      const sockaddr_storage from = AddressOf("192.0.2.1");
      for (int i = 0; i < 20'000; ++i) {
        Admission::Ticket ticket;
        if (admission.Enter(from, &ticket) == kAdmitted) {
          if (++inside > 10) ++over;
          tickets.push_back(ticket);
        }
        if (tickets.size() < 5 && i % 2 == 0) continue;
        if (tickets.empty()) continue;
        --inside;
        admission.Leave(tickets.back());
        tickets.pop_back();
      }
      for (const Admission::Ticket& ticket : tickets) {
        --inside;
        admission.Leave(ticket);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(over == 0);
  CHECK(admission.open() == 0);
}

}  // namespace
}  // namespace ringway::test
