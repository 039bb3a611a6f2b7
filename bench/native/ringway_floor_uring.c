// ringway-floor-uring: the least an io_uring server can cost. It echoes frames (u32 big-endian length, payload) and
// does nothing else: one thread, multishot accept and receive into provided buffers, answers sent from the buffers they
// came in, at most one send per connection and turn. No allocation and no copy after the start.
//
// It is a yardstick for loopback, not a server: no time limits, no bound on what a client may leave unread but the
// buffers themselves. It needs Linux 6.1 or newer.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif

enum {
  kSubmissions = 512,
  kCompletions = 8192,
  // An odd number of cache lines, so that the buffers of a turn do not fall into the same few sets.
  kBufferBytes = 1025 * 64,
  kBuffers = 16384,  // 1 GB of addresses; memory only for those that were ever needed
  kBuffersAtFirst = 64,
  kMessages = 256,
  kMaxParts = 64,
  kMaxFds = 65536,
  kMaxFrameBytes = 64 << 20,
};

enum { kAccept, kReceive, kSend };

static const uint32_t kNone = UINT32_MAX;

struct Connection {
  uint32_t first, last;  // chain of buffers that hold what is not sent yet
  uint32_t offset;       // of the first unsent byte in the first buffer
  uint32_t missing;      // bytes of the current frame that are still to come
  uint32_t length;       // the bytes of a length field that came so far
  uint8_t length_bytes;
  bool sending, receiving, dirty, closing;
  size_t held;   // bytes in the chain
  size_t whole;  // of them, those that are whole frames
};

static struct {
  int fd, registered;
  unsigned *sq_head, *sq_tail, *cq_head, *cq_tail;
  struct io_uring_sqe* sqes;
  struct io_uring_cqe* cqes;
  unsigned tail, sq_mask, cq_mask;
} ring;

static struct io_uring_buf_ring* buffers;
static uint8_t* memory;
static uint32_t circulating;
static uint16_t buffers_tail;
static uint32_t buffer_length[kBuffers], buffer_next[kBuffers];

static struct Connection connections[kMaxFds];
static int dirty[kMaxFds], starved[kMaxFds];
static uint32_t dirty_count, starved_count, sends_in_flight;

// What sends in the queue point to: the kernel has copied it when it has taken them.
static struct msghdr messages[kMessages];
static struct iovec parts[kMessages * kMaxParts];
static uint32_t messages_used, parts_used;

static void Fail(const char* what) {
  fprintf(stderr, "ringway-floor-uring: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void* Map(size_t bytes, int fd, off_t offset) {
  const int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED | MAP_POPULATE;
  void* at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, offset);
  if (at == MAP_FAILED) Fail("mmap");
  return at;
}

static void OpenRing(void) {
  struct io_uring_params params = {.cq_entries = kCompletions};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE | IORING_SETUP_NO_SQARRAY;
  ring.fd = (int)syscall(__NR_io_uring_setup, kSubmissions, &params);
  if (ring.fd < 0 && errno == EINVAL) {  // before 6.6
    params.flags &= ~IORING_SETUP_NO_SQARRAY;
    ring.fd = (int)syscall(__NR_io_uring_setup, kSubmissions, &params);
  }
  if (ring.fd < 0) Fail("io_uring_setup");
  const size_t with_array = params.sq_off.array + kSubmissions * sizeof(uint32_t);
  const size_t with_completions = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
  uint8_t* base = Map(with_array > with_completions ? with_array : with_completions, ring.fd, IORING_OFF_SQ_RING);
  ring.sqes = Map(kSubmissions * sizeof(struct io_uring_sqe), ring.fd, IORING_OFF_SQES);
  ring.sq_head = (unsigned*)(base + params.sq_off.head);
  ring.sq_tail = (unsigned*)(base + params.sq_off.tail);
  ring.cq_head = (unsigned*)(base + params.cq_off.head);
  ring.cq_tail = (unsigned*)(base + params.cq_off.tail);
  ring.cqes = (struct io_uring_cqe*)(base + params.cq_off.cqes);
  ring.sq_mask = params.sq_entries - 1;
  ring.cq_mask = params.cq_entries - 1;
  if ((params.flags & IORING_SETUP_NO_SQARRAY) == 0) {
    for (uint32_t i = 0; i < kSubmissions; ++i) ((uint32_t*)(base + params.sq_off.array))[i] = i;
  }
  // The registered number of the ring spares a look-up of the descriptor in each enter.
  struct io_uring_rsrc_update update = {.offset = UINT32_MAX, .data = (uint64_t)ring.fd};
  if (syscall(__NR_io_uring_register, ring.fd, IORING_REGISTER_RING_FDS, &update, 1) != 1) Fail("register ring");
  ring.registered = (int)update.offset;
}

static void Enter(unsigned wait) {
  atomic_store_explicit((_Atomic unsigned*)ring.sq_tail, ring.tail, memory_order_release);
  const unsigned head = atomic_load_explicit((_Atomic unsigned*)ring.sq_head, memory_order_acquire);
  const unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_REGISTERED_RING;
  if (syscall(__NR_io_uring_enter, ring.registered, ring.tail - head, wait, flags, NULL, 0) < 0 && errno != EINTR &&
      errno != EBUSY && errno != EAGAIN) {
    Fail("io_uring_enter");
  }
  if (atomic_load_explicit((_Atomic unsigned*)ring.sq_head, memory_order_acquire) == ring.tail) {
    messages_used = parts_used = 0;
  }
}

static struct io_uring_sqe* NextSqe(uint8_t opcode, int fd, uint64_t operation) {
  while (ring.tail - atomic_load_explicit((_Atomic unsigned*)ring.sq_head, memory_order_acquire) == kSubmissions) {
    Enter(0);
  }
  struct io_uring_sqe* sqe = &ring.sqes[ring.tail++ & ring.sq_mask];
  memset(sqe, 0, sizeof *sqe);
  sqe->opcode = opcode;
  sqe->fd = fd;
  sqe->user_data = operation << 32 | (uint32_t)fd;
  return sqe;
}

static void OfferBuffer(uint32_t buffer) {
  struct io_uring_buf* entry = &buffers->bufs[buffers_tail++ & (kBuffers - 1)];
  entry->addr = (uint64_t)(memory + (size_t)buffer * kBufferBytes);
  entry->len = kBufferBytes;
  entry->bid = (uint16_t)buffer;
}

static void PublishBuffers(void) {
  atomic_store_explicit((_Atomic uint16_t*)&buffers->tail, buffers_tail, memory_order_release);
}

static void OpenBuffers(void) {
  buffers = Map(kBuffers * sizeof(struct io_uring_buf), -1, 0);
  memory = Map((size_t)kBuffers * kBufferBytes, -1, 0);
  struct io_uring_buf_reg registration = {.ring_addr = (uint64_t)buffers, .ring_entries = kBuffers};
  if (syscall(__NR_io_uring_register, ring.fd, IORING_REGISTER_PBUF_RING, &registration, 1) < 0) Fail("buffers");
  while (circulating < kBuffersAtFirst) OfferBuffer(circulating++);
  PublishBuffers();
}

static void StartAccept(int listener) {
  struct io_uring_sqe* sqe = NextSqe(IORING_OP_ACCEPT, listener, kAccept);
  sqe->ioprio = IORING_ACCEPT_MULTISHOT;
}

static void StartReceive(int fd) {
  struct io_uring_sqe* sqe = NextSqe(IORING_OP_RECV, fd, kReceive);
  sqe->ioprio = IORING_RECV_MULTISHOT;
  sqe->flags = IOSQE_BUFFER_SELECT;
  connections[fd].receiving = true;
}

static void GatherParts(const struct Connection* connection, struct msghdr* message) {
  size_t left = connection->whole;
  uint32_t offset = connection->offset;
  for (uint32_t buffer = connection->first; left > 0 && message->msg_iovlen < kMaxParts; buffer = buffer_next[buffer]) {
    const size_t there = buffer_length[buffer] - offset;
    struct iovec* part = &message->msg_iov[message->msg_iovlen++];
    part->iov_base = memory + (size_t)buffer * kBufferBytes + offset;
    part->iov_len = there < left ? there : left;
    left -= part->iov_len;
    offset = 0;
  }
}

// Sends the whole frames that the connection holds, straight from the buffers they came in.
static void StartSend(int fd) {
  struct Connection* connection = &connections[fd];
  while (messages_used == kMessages) Enter(0);
  struct io_uring_sqe* sqe = NextSqe(IORING_OP_SEND, fd, kSend);
  const size_t there = buffer_length[connection->first] - connection->offset;
  if (connection->whole <= there) {
    sqe->addr = (uint64_t)(memory + (size_t)connection->first * kBufferBytes + connection->offset);
    sqe->len = (uint32_t)connection->whole;
  } else {
    struct msghdr* message = &messages[messages_used++];
    *message = (struct msghdr){.msg_iov = &parts[parts_used]};
    GatherParts(connection, message);
    parts_used += (uint32_t)message->msg_iovlen;
    sqe->opcode = IORING_OP_SENDMSG;
    sqe->addr = (uint64_t)message;
    sqe->len = 1;
  }
  sqe->msg_flags = MSG_WAITALL | MSG_NOSIGNAL;
  connection->sending = true;
  ++sends_in_flight;
}

// Moves on past bytes that were sent, or past all of them, and gives empty buffers back.
static void Drop(struct Connection* connection, size_t bytes) {
  connection->held -= bytes;
  while (bytes > 0) {
    const uint32_t buffer = connection->first;
    const size_t there = buffer_length[buffer] - connection->offset;
    if (bytes < there) {
      connection->offset += (uint32_t)bytes;
      return;
    }
    bytes -= there;
    connection->first = buffer_next[buffer];
    connection->offset = 0;
    OfferBuffer(buffer);
  }
}

static void CloseWhenDone(int fd) {
  struct Connection* connection = &connections[fd];
  if (!connection->closing || connection->sending || connection->receiving || connection->dirty) return;
  Drop(connection, connection->held);
  close(fd);
}

// Finds the ends of frames in what came. False: a frame is longer than any may be.
static bool FindFrames(struct Connection* connection, const uint8_t* bytes, size_t length) {
  size_t at = 0;
  while (at < length) {
    if (connection->missing > 0) {
      const size_t taken = connection->missing < length - at ? connection->missing : length - at;
      connection->missing -= (uint32_t)taken;
      at += taken;
    } else {
      connection->length = connection->length << 8 | bytes[at++];
      if (++connection->length_bytes < 4) continue;
      if (connection->length > kMaxFrameBytes) return false;
      connection->missing = connection->length;
      connection->length_bytes = 0;
    }
    if (connection->missing == 0) connection->whole = connection->held + at;
  }
  return true;
}

static void OnReceive(int fd, const struct io_uring_cqe* cqe) {
  struct Connection* connection = &connections[fd];
  connection->receiving = (cqe->flags & IORING_CQE_F_MORE) != 0;
  if (cqe->res == -ENOBUFS) {
    connection->receiving = true;  // it will be, before anything else may close the descriptor
    starved[starved_count++] = fd;
    return;
  }
  bool ended = cqe->res <= 0;
  if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
    const uint32_t buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
    if (ended || connection->closing) {
      OfferBuffer(buffer);
    } else {
      buffer_length[buffer] = (uint32_t)cqe->res;
      buffer_next[buffer] = kNone;
      if (connection->held == 0) {
        connection->first = buffer;
      } else {
        buffer_next[connection->last] = buffer;
      }
      connection->last = buffer;
      ended = !FindFrames(connection, memory + (size_t)buffer * kBufferBytes, (size_t)cqe->res);
      connection->held += (size_t)cqe->res;
    }
  }
  if (ended && !connection->closing) {
    connection->closing = true;
    if (connection->receiving) shutdown(fd, SHUT_RDWR);
  }
  if (!ended && !connection->receiving) StartReceive(fd);
  if (connection->whole > 0 && !connection->dirty && !connection->sending) {
    connection->dirty = true;
    dirty[dirty_count++] = fd;
  }
  CloseWhenDone(fd);
}

static void OnSend(int fd, int32_t result) {
  struct Connection* connection = &connections[fd];
  connection->sending = false;
  --sends_in_flight;
  if (result <= 0) {
    connection->whole = 0;
    connection->closing = true;
    if (connection->receiving) shutdown(fd, SHUT_RDWR);
  } else {
    connection->whole -= (size_t)result;
    Drop(connection, (size_t)result);
    if (connection->whole > 0) StartSend(fd);
  }
  CloseWhenDone(fd);
}

static void OnAccept(int listener, const struct io_uring_cqe* cqe) {
  if (cqe->res >= kMaxFds) {
    close(cqe->res);
  } else if (cqe->res >= 0) {
    memset(&connections[cqe->res], 0, sizeof connections[0]);
    StartReceive(cqe->res);
  } else if (cqe->res != -ECONNABORTED && cqe->res != -EINTR) {
    errno = -cqe->res;
    Fail("accept");
  }
  if ((cqe->flags & IORING_CQE_F_MORE) == 0) StartAccept(listener);
}

static void Turn(void) {
  unsigned head = *ring.cq_head;
  const unsigned tail = atomic_load_explicit((_Atomic unsigned*)ring.cq_tail, memory_order_acquire);
  for (; head != tail; ++head) {
    const struct io_uring_cqe cqe = ring.cqes[head & ring.cq_mask];
    const int fd = (int)(uint32_t)cqe.user_data;
    if (cqe.user_data >> 32 == kReceive) {
      OnReceive(fd, &cqe);
    } else if (cqe.user_data >> 32 == kSend) {
      OnSend(fd, cqe.res);
    } else {
      OnAccept(fd, &cqe);
    }
  }
  atomic_store_explicit((_Atomic unsigned*)ring.cq_head, head, memory_order_release);
  for (uint32_t i = 0; i < dirty_count; ++i) {
    connections[dirty[i]].dirty = false;
    StartSend(dirty[i]);
  }
  dirty_count = 0;
}

// Twice as many buffers for those that found none, and they receive again.
static void FeedStarved(uint16_t tail_before) {
  if (starved_count == 0) return;
  const uint32_t target = circulating * 2 < kBuffers ? circulating * 2 : kBuffers;
  while (circulating < target) OfferBuffer(circulating++);
  if (buffers_tail == tail_before) {
    errno = ENOBUFS;
    if (sends_in_flight == 0) Fail("every buffer holds a part of a frame");
    return;
  }
  for (uint32_t i = 0; i < starved_count; ++i) StartReceive(starved[i]);
  starved_count = 0;
}

static int Listen(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // connections inherit it
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (bind(fd, (struct sockaddr*)&address, length) != 0 || listen(fd, 4096) != 0 ||
      getsockname(fd, (struct sockaddr*)&address, &length) != 0) {
    Fail("cannot listen");
  }
  printf("listening on 127.0.0.1:%d (floor io_uring)\n", ntohs(address.sin_port));
  fflush(stdout);
  return fd;
}

int main(int argc, char** argv) {
  if (argc != 3 || strcmp(argv[1], "--port") != 0) {
    fputs("usage: ringway-floor-uring --port P   (loopback; 0: any)\n", stderr);
    return 2;
  }
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  OpenRing();
  OpenBuffers();
  StartAccept(Listen(atoi(argv[2])));
  while (true) {
    Enter(1);
    const uint16_t tail_before = buffers_tail;
    Turn();
    FeedStarved(tail_before);
    PublishBuffers();
  }
}
