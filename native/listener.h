// One listening socket on one reactor. Accepted sockets are handed to whoever places connections (the reactor group).
//
// Thread rule: belongs to its reactor's thread.
#pragma once

#include <functional>
#include <memory>

#include "base/fd.h"
#include "connection_options.h"
#include "operation_owner.h"
#include "reactor.h"

namespace ringway {

class Listener final : public OperationOwner {
 public:
  // Called on the listener's reactor for each accepted and admitted socket.
  using Place = std::function<void(Fd, const std::shared_ptr<const ConnectionOptions>&, Admission::Ticket)>;
  // Called once, when the socket is closed and nothing more will be placed.
  using Closed = std::function<void()>;

  // Of the socket: ours alone, or somebody else may go on listening on it.
  enum class Ownership : uint8_t { kOwn, kShared };

  // Registers itself and begins to accept.
  static Listener* Start(Reactor& reactor, Fd fd, std::shared_ptr<const ConnectionOptions> options, Place place,
                         Closed closed, Ownership ownership = Ownership::kOwn);

  // Accepts what the kernel already holds, then closes the socket.
  void Close();

  void OnCompletion(Completion& completion) override;
  void OnTimer(uint64_t now_ms) override;
  void Shut(bool graceful) override;

 private:
  Listener(Reactor& reactor, Fd fd, std::shared_ptr<const ConnectionOptions> options, Place place, Closed closed,
           Ownership ownership)
      : reactor_(reactor),
        fd_(std::move(fd)),
        options_(std::move(options)),
        place_(std::move(place)),
        closed_(std::move(closed)),
        ownership_(ownership) {}

  void Arm();
  void Admit(Fd fd);
  void AcceptWaiting();
  void FinishIfOver();

  Reactor& reactor_;
  Fd fd_;
  std::shared_ptr<const ConnectionOptions> options_;
  Place place_;
  Closed closed_;
  Ownership ownership_;
  bool armed_ = false;
  bool closing_ = false;
  bool shut_ = false;
};

}  // namespace ringway
