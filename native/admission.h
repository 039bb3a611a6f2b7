// Who may connect to one listener: how many at all, how many from one address.
//
// Thread rule: any thread; accepting and closing happen on several reactors. Taken once per connection, never per
// message.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <unordered_map>

namespace ringway {

class Admission {
 public:
  enum class Verdict : uint8_t { kAdmitted, kFull, kAddressFull };
  // What a connection gives back when it closes.
  struct Ticket {
    uint32_t* from_address = nullptr;
  };

  // 0: unlimited, both. Loopback is exempt unless the limit was set by hand.
  Admission(uint32_t max_connections, uint32_t max_per_address, bool limit_loopback)
      : max_connections_(max_connections), max_per_address_(max_per_address), limit_loopback_(limit_loopback) {}

  Verdict Enter(const sockaddr_storage& peer, Ticket* ticket) {
    const std::lock_guard lock(mutex_);
    if (max_connections_ != 0 && open_.load(std::memory_order_relaxed) >= max_connections_) return Verdict::kFull;
    *ticket = {};
    if (Limited(peer)) {
      uint32_t& count = by_address_[KeyOf(peer)];
      if (count >= max_per_address_) return Verdict::kAddressFull;
      ++count;
      ticket->from_address = &count;
    }
    open_.fetch_add(1, std::memory_order_relaxed);
    return Verdict::kAdmitted;
  }

  void Leave(const Ticket& ticket) {
    const std::lock_guard lock(mutex_);
    open_.fetch_sub(1, std::memory_order_relaxed);
    if (ticket.from_address == nullptr || --*ticket.from_address > 0) return;
    // Counts that fell to zero are swept together: erasing needs the key, which a connection does not keep.
    if (++zeros_ < 1024) return;
    zeros_ = 0;
    std::erase_if(by_address_, [](const auto& entry) { return entry.second == 0; });
  }

  uint32_t open() const { return open_.load(std::memory_order_relaxed); }

 private:
  using Key = std::array<uint8_t, 16>;
  struct Hash {
    size_t operator()(const Key& key) const {
      uint64_t words[2];
      std::memcpy(words, key.data(), sizeof words);
      return (words[0] ^ (words[1] * 0x9e3779b97f4a7c15)) * 0xff51afd7ed558ccd;
    }
  };

  bool Limited(const sockaddr_storage& peer) const {
    if (max_per_address_ == 0 || (peer.ss_family != AF_INET && peer.ss_family != AF_INET6)) return false;
    return limit_loopback_ || !IsLoopback(KeyOf(peer));
  }

  // IPv4 as IPv4-mapped IPv6, so that a dual-stack listener counts both alike.
  static Key KeyOf(const sockaddr_storage& peer) {
    Key key = {};
    if (peer.ss_family == AF_INET6) {
      std::memcpy(key.data(), &reinterpret_cast<const sockaddr_in6&>(peer).sin6_addr, 16);
    } else {
      key[10] = key[11] = 0xff;
      std::memcpy(key.data() + 12, &reinterpret_cast<const sockaddr_in&>(peer).sin_addr, 4);
    }
    return key;
  }
  static bool IsLoopback(const Key& key) {
    static constexpr Key kV6 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    static constexpr uint8_t kMapped[13] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127};
    return key == kV6 || std::memcmp(key.data(), kMapped, sizeof kMapped) == 0;
  }

  const uint32_t max_connections_;
  const uint32_t max_per_address_;
  const bool limit_loopback_;
  std::mutex mutex_;
  std::atomic<uint32_t> open_{0};
  uint32_t zeros_ = 0;                                  // under mutex_
  std::unordered_map<Key, uint32_t, Hash> by_address_;  // under mutex_; node-based: tickets point into it
};

}  // namespace ringway
