// The bytes of one incomplete frame (and of what came in behind it), contiguous.
//
//     storage:  nothing -> 2 KB chunk -> 16 KB chunk -> 64 KB chunk -> block, doubled as bytes arrive
//               [...consumed...|----- bytes() -----|....room....]
//                              ^begin_             ^end_
//
// Grows by what arrived, never by what was declared: what is held is at most 2 KB, or 8 times (the step between chunk
// classes) and beyond 64 KB twice what the peer has sent; and there no more than the frame needs once its size is
// known. Idle it holds no memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "buffer/block.h"
#include "buffer/buffer_pool.h"

namespace ringway {

class PartialBuffer {
 public:
  // The pool outlives the buffer.
  explicit PartialBuffer(BufferPool& pool) : pool_(pool) {}
  ~PartialBuffer() { Clear(); }
  PartialBuffer(const PartialBuffer&) = delete;
  PartialBuffer& operator=(const PartialBuffer&) = delete;

  // Copies. limit_hint: the whole frame's size on the wire when it is known (FrameResult::frame_bytes), else 0;
  // appending past it is allowed and only ends its use. Append no more than the frame's rest where it is known, so that
  // DetachAsBlock has nothing to copy. false: out of memory, nothing was appended.
  // bytes() before is no longer valid. `bytes` must not lie in this buffer.
  [[nodiscard]] bool Append(std::span<const uint8_t> bytes, size_t limit_hint = 0);

  std::span<const uint8_t> bytes() const { return {Base() + begin_, size()}; }
  size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  // Memory held; counts against the engine's maxPartialBytes.
  size_t bytes_held() const;

  // Drops the first n bytes (n <= size()). Moves nothing; the last byte's going frees the memory.
  void Consume(size_t n);

  // Hands over the first frame_bytes bytes as a block whose byte *offset is bytes()[0], and consumes them. What stands
  // behind them is kept (copied to new storage). The caller owns the reference. nullptr where the bytes are in a pool
  // chunk, memory ran out, or the block is more than twice as large (a frame would hold the memory of all behind it,
  // and a row of them be copied once for each): nothing changed, copy instead.
  [[nodiscard]] Block* DetachAsBlock(size_t frame_bytes, size_t* offset);

  void Clear();

 private:
  // A Chunk*, or a Block* with the lowest bit set; 0 when idle.
  static constexpr uintptr_t kBlockBit = 1;

  bool IsBlock() const { return (storage_ & kBlockBit) != 0; }
  Chunk* AsChunk() const { return reinterpret_cast<Chunk*>(storage_); }
  Block* AsBlock() const { return reinterpret_cast<Block*>(storage_ & ~kBlockBit); }
  uint8_t* Base() const;
  size_t Capacity() const;
  bool MakeRoom(size_t more, size_t limit_hint);
  bool MoveToBlock(size_t capacity);
  void MoveToChunk(size_t capacity);
  void FreeStorage();

  BufferPool& pool_;
  uintptr_t storage_ = 0;
  size_t begin_ = 0;
  size_t end_ = 0;
};

static_assert(sizeof(PartialBuffer) <= 32);

}  // namespace ringway
