// How a stream came to its end, asked of the kernel: a send that is under way may be told of a reset in the receive's
// place, and the receive then answers 0, as after a FIN.
#pragma once

#include <cstdint>

namespace ringway {

// Both directions are over: whatever is received next is the last, or the end.
bool IsHungUp(int fd);

// Both directions are over, and not for the peer's FIN. `taken` is what was received of it; `waiting` says whether
// bytes wait for the peer to read (unix sockets show a reset by nothing else).
bool WasReset(int fd, uint64_t taken, bool waiting);

}  // namespace ringway
