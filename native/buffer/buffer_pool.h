// Chunks of memory for one reactor: what waits to be sent and what is not yet a whole frame.
//
// Thread rule: single-threaded; belongs to its reactor. Lifetime rule: outlives every chunk it handed out.
//
// A slab is 64 KB of mapped memory cut into chunks of one size; once it is empty it may be cut anew for another size.
//
//     2 KB class   [c|c|c|c|c|c|...|c]   32 chunks     each chunk:  +------+------------------------------+
//     16 KB class  [   c   |   c   |..]   4 chunks                  | head | bytes[capacity]              |
//     64 KB class  [        c         ]   1 chunk                   +------+------------------------------+
//                                                                          0 <= begin <= end <= capacity
//
//     partial_[class] -> slab -> slab     some chunks free: the first slab serves, its last released chunk first (hot)
//     empty_          -> slab -> slab     no chunk used: kept up to max_free_bytes, the rest goes back to the kernel
//
// Full slabs are in no list. Filling the first partial slab before the next lets the others run empty (Bonwick's slab
// allocator, USENIX 1994, section 3), so idle memory falls back after a burst.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ringway {

struct Slab;

struct Chunk {
  Chunk* next;  // the holder's
  Slab* slab;   // the pool's
  uint32_t capacity;
  uint32_t begin;
  uint32_t end;
  uint32_t tag;  // the holder's; 0 when acquired
  uint8_t bytes[];
};

class BufferPool {
 public:
  static constexpr size_t kSlabBytes = 65536;
  static constexpr std::array<uint32_t, 3> kClassBytes = {2048, 16384, 65536};
  // The most that Acquire can be asked for. The chunk's own head takes the rest.
  static constexpr size_t kMaxChunkBytes = kSlabBytes - sizeof(Chunk);

  explicit BufferPool(size_t max_free_bytes = size_t{4} << 20) : max_free_bytes_(max_free_bytes) {}
  // Every chunk must have been released.
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // The smallest chunk with capacity >= min_bytes (at most kMaxChunkBytes), empty: next is null, begin and end are 0.
  // Never null: a process that cannot map 64 KB ends here.
  Chunk* Acquire(size_t min_bytes);
  void Release(Chunk* chunk);

  // Memory of chunks that are out, heads included.
  size_t bytes_in_use() const { return bytes_in_use_; }
  // Memory that is mapped and not out: free chunks of slabs in use, and empty slabs (these at most max_free_bytes).
  size_t bytes_free() const { return bytes_mapped_ - bytes_in_use_; }

 private:
  Slab* TakeEmptySlab();
  void Retire(Slab* slab);
  void LinkPartial(Slab* slab);
  void UnlinkPartial(Slab* slab);

  const size_t max_free_bytes_;
  size_t bytes_in_use_ = 0;
  size_t bytes_mapped_ = 0;
  size_t empty_bytes_ = 0;
  Slab* empty_ = nullptr;
  std::array<Slab*, kClassBytes.size()> partial_ = {};
};

}  // namespace ringway
