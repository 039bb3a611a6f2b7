// Descriptors of one reactor's open connections, by slot: for what JavaScript asks of a socket without asking its
// reactor (addresses, options, bytes read). Never on the way of a message.
//
// Thread rule: any thread. A connection enters when it opens and leaves before its descriptor is closed, so that nobody
// meets a descriptor number that has become somebody else's.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

namespace ringway {

class DescriptorTable {
 public:
  struct Entry {
    int fd = -1;
    uint32_t generation = 0;
    const std::atomic<uint64_t>* bytes_received = nullptr;
  };

  void Enter(uint32_t slot, const Entry& entry) {
    const std::lock_guard lock(mutex_);
    if (slot >= entries_.size()) entries_.resize(slot + 1);
    entries_[slot] = entry;
  }

  void Leave(uint32_t slot) {
    const std::lock_guard lock(mutex_);
    entries_[slot] = {};
  }

  // Calls use(entry) while the descriptor cannot be closed. False: the connection is gone.
  template <typename Use>
  bool With(uint32_t slot, uint32_t generation, Use&& use) const {
    const std::lock_guard lock(mutex_);
    if (slot >= entries_.size() || entries_[slot].fd < 0 || entries_[slot].generation != generation) return false;
    use(entries_[slot]);
    return true;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;  // under mutex_
};

}  // namespace ringway
