// Bytes on their way to one socket: small ones copied together, large ones only pointed to, so that a payload of 256 KB
// costs the generator no copy.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace ringway::bench {

class Outbox {
 public:
  bool empty() const { return parts_.empty(); }

  // Room for bytes that the caller writes before the next call.
  uint8_t* Append(size_t length) {
    if (length > room_ - used_) Grow(length);
    if (parts_.empty() || parts_.back().borrowed != nullptr) parts_.push_back({nullptr, used_, 0});
    parts_.back().length += length;
    used_ += length;
    return bytes_.get() + used_ - length;
  }

  // `bytes` stay as they are until they were sent.
  void Borrow(const uint8_t* bytes, size_t length) {
    if (length > 0) parts_.push_back({bytes, 0, length});
  }

  // Sends what the socket takes; true when that was all. An error other than a full socket shows itself again at the
  // next receive.
  bool SendTo(int fd) {
    while (first_ < parts_.size()) {
      const ssize_t taken = parts_.size() - first_ == 1 ? SendOne(fd) : SendMany(fd);
      if (taken <= 0 || !Drop(static_cast<size_t>(taken))) return false;
    }
    Clear();
    return true;
  }

  void Clear() {
    parts_.clear();
    used_ = first_ = 0;
  }

 private:
  static constexpr size_t kMaxParts = 64;

  struct Part {
    const uint8_t* borrowed;  // null: in bytes_, from `offset` on
    size_t offset;
    size_t length;
  };

  const uint8_t* Start(const Part& part) const {
    return part.borrowed != nullptr ? part.borrowed + part.offset : bytes_.get() + part.offset;
  }

  ssize_t SendOne(int fd) const {
    const Part& part = parts_[first_];
    asked_ = part.length;
    return send(fd, Start(part), part.length, MSG_NOSIGNAL);
  }

  ssize_t SendMany(int fd) const {
    std::array<iovec, kMaxParts> pieces;
    const size_t count = std::min(parts_.size() - first_, kMaxParts);
    asked_ = 0;
    for (size_t i = 0; i < count; ++i) {
      const Part& part = parts_[first_ + i];
      pieces[i] = {const_cast<uint8_t*>(Start(part)), part.length};
      asked_ += part.length;
    }
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = count;
    return sendmsg(fd, &message, MSG_NOSIGNAL);
  }

  // False when less was taken than was asked for.
  bool Drop(size_t taken) {
    const bool all = taken == asked_;
    while (taken > 0) {
      Part& part = parts_[first_];
      const size_t dropped = std::min(taken, part.length);
      part.offset += dropped;
      part.length -= dropped;
      taken -= dropped;
      if (part.length == 0) ++first_;
    }
    return all;
  }

  void Grow(size_t length) {
    room_ = std::max({2 * room_, used_ + length, size_t{4096}});
    auto grown = std::make_unique_for_overwrite<uint8_t[]>(room_);
    if (used_ > 0) std::memcpy(grown.get(), bytes_.get(), used_);
    bytes_ = std::move(grown);
  }

  std::unique_ptr<uint8_t[]> bytes_;
  size_t room_ = 0;
  size_t used_ = 0;
  std::vector<Part> parts_;
  size_t first_ = 0;
  mutable size_t asked_ = 0;
};

}  // namespace ringway::bench
