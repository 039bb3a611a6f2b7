#include "listener.h"

#include <sys/socket.h>

#include <cerrno>

namespace ringway {

namespace {
// Out of descriptors or memory: accepting rests for a moment instead of spinning (the connection stays in the backlog).
constexpr uint64_t kAcceptRetryMs = 100;
}  // namespace

Listener* Listener::Start(Reactor& reactor, Fd fd, std::shared_ptr<const ConnectionOptions> options, Place place,
                          Closed closed, Ownership ownership) {
  auto* listener =
      new Listener(reactor, std::move(fd), std::move(options), std::move(place), std::move(closed), ownership);
  reactor.Register(*listener);
  listener->Arm();
  return listener;
}

void Listener::Arm() {
  armed_ = true;
  reactor_.driver().Accept(Data(Op::kAccept), fd_.Get());
}

void Listener::OnCompletion(Completion& completion) {
  if (!completion.more) armed_ = false;
  if (completion.result >= 0) {
    Fd fd(completion.result);
    if (!shut_) Admit(std::move(fd));
  } else if (completion.result != -ECANCELED && completion.result != -ECONNABORTED && completion.result != -EINTR &&
             completion.result != -EAGAIN) {
    reactor_.counters().Add(Counter::kAcceptErrors);
    if (!armed_ && !closing_) return reactor_.ArmTimer(*this, reactor_.now_ms() + kAcceptRetryMs);
  }
  if (closing_) return FinishIfOver();
  if (!armed_) Arm();
}

void Listener::OnTimer(uint64_t /*now_ms*/) {
  if (!armed_ && !closing_) Arm();
}

void Listener::Admit(Fd fd) {
  sockaddr_storage peer;
  peer.ss_family = AF_UNSPEC;
  socklen_t length = sizeof peer;
  ::getpeername(fd.Get(), reinterpret_cast<sockaddr*>(&peer), &length);
  Admission::Ticket ticket;
  switch (options_->admission->Enter(peer, &ticket)) {
    case Admission::Verdict::kAdmitted:
      return place_(std::move(fd), options_, ticket);
    case Admission::Verdict::kFull:
      return reactor_.counters().Add(Counter::kRefusedMaxConnections);
    case Admission::Verdict::kAddressFull:
      return reactor_.counters().Add(Counter::kRefusedMaxConnectionsPerIp);
  }
}

void Listener::Close() {
  if (closing_) return;
  closing_ = true;
  if (armed_) {
    // The descriptor stays until the driver lets go of it; its address is free at once, for whoever listens next.
    if (!shut_) AcceptWaiting();
    if (ownership_ == Ownership::kOwn) ::shutdown(fd_.Get(), SHUT_RDWR);
    reactor_.driver().Cancel(Data(Op::kNone), fd_.Get());
  }
  FinishIfOver();
}

void Listener::Shut(bool /*graceful*/) {
  shut_ = true;
  Close();
}

void Listener::AcceptWaiting() {
  for (;;) {
    Fd fd(::accept4(fd_.Get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd.Valid()) {
      Admit(std::move(fd));
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return;
    }
  }
}

void Listener::FinishIfOver() {
  if (armed_ || !fd_.Valid()) return;
  if (!shut_) AcceptWaiting();
  reactor_.driver().Forget(fd_.Get());
  fd_.Reset();
  reactor_.Unregister(*this);
  reactor_.FreeLater(*this);
  closed_();
}

}  // namespace ringway
