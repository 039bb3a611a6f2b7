// A whole reactor in memory: connections on a fake driver, a fake kernel and a fake clock, JavaScript's side of the
// rings, and peers. What a fuzzer's bytes make it do is checked against what was sent: no frame is lost, changed or
// invented, no byte is sent twice, and in the end nothing is left.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "connection.h"
#include "fuzz/fake_kernel.h"
#include "fuzz/framer_case.h"
#include "fuzz/fuzz_input.h"
#include "listener.h"
#include "reactor.h"
#include "support/fake_driver.h"
#include "support/js_side.h"

namespace ringway::test {

class ConnectionWorld {
 public:
  explicit ConnectionWorld(FuzzInput* input);
  ~ConnectionWorld();

  // One step that the input names.
  void Step();
  // Lets everybody finish; aborts where something that should come does not.
  void Settle();
  // Stops the reactor, and looks at what is left.
  void End();

 private:
  // Memory of JavaScript's that the engine may read until `until` bytes of the connection were taken, or it is closed.
  struct Pin {
    uint64_t until = 0;
    std::unique_ptr<uint8_t[]> bytes;
  };

  // One connection as its peer knows it, and all that was said on it.
  struct Talk {
    FramingOptions framing;
    int fd = -1;          // the peer's end; -1: not there yet, or closed
    int meeting_fd = -1;  // where an outgoing connection arrives
    bool dialled = false;
    bool left = false;   // the peer closed its end
    bool reset = false;  // …with a reset
    uint64_t taken = 0;  // of what we sent, when it left
    bool reads = true;
    bool finishes = false;  // the peer sends nothing after what waits
    bool fin_sent = false;
    bool saw_end = false;  // our FIN came
    std::string outbox;    // what the peer wants to send
    size_t sent = 0;       // of it
    std::string received;  // by the peer
    JsConnection* js = nullptr;
    std::vector<std::string> frames;
    std::string answers;         // what JavaScript sent
    bool echoes = false;         // JavaScript sends every frame back
    bool ended_by_js = false;    // closed, aborted or shut down
    bool closed_kindly = false;  // with Close, and nothing has disturbed it since
    std::deque<Pin> pins;
    size_t detaches = 0;      // commands
    size_t detaches_met = 0;  // their answers that were looked at
    size_t owed = 0;          // bytes of answers given before the detach that is under way
    int given_fd = -1;        // our end, when it was detached
    std::string rest;         // what its new owner read
    FramerOutcome expected;   // of the first expected_of bytes
    size_t expected_of = SIZE_MAX;
    bool expected_end = false;
  };

  void Start();
  std::shared_ptr<ConnectionOptions> ReadOptions(uint32_t listener);
  Talk& NewTalk(const FramingOptions& framing);
  void Adopt();
  void Dial();
  void Connect();

  Talk* Pick();
  void PeerStep(uint8_t step, Talk& talk);
  void PeerSays(Talk& talk, std::string_view bytes);
  void PeerLeaves(Talk& talk, bool reset);
  void JsStep(uint8_t step, Talk& talk);
  void JsSends(Talk& talk, size_t length);
  void JsSendsPinned(Talk& talk, size_t length);
  void JsSendsBlock(Talk& talk, size_t header, size_t length);
  void JsDetaches(Talk& talk);
  bool MaySend(const Talk& talk, size_t length) const;
  std::string NextAnswer(Talk& talk, size_t length);
  void Pass(uint64_t ms);

  void Turn();
  void MovePeer(Talk& talk);
  void MoveNewOwner(Talk& talk);
  void MeetDetached(Talk& talk);
  void ReleasePins(Talk& talk);
  void TakeEvents(size_t budget, bool release);
  void OnFrame(const JsSide::Frame& frame);
  void NameNewConnections();
  Talk& TalkOf(const JsConnection& connection);
  const FramerOutcome& ExpectedOf(Talk& talk);
  bool NeverOpened(const Talk& talk) const;
  void Describe(size_t talk) const;
  bool IsOwedAReset(const Talk& talk) const;
  void SettleResets();
  bool IsSettled(Talk& talk);
  size_t Moved() const;
  bool HasRest(const Talk& talk) const;
  void CheckTalk(Talk& talk);
  void CheckBroken(const Talk& talk);
  void CheckDetached(const Talk& talk);

  FuzzInput& input_;
  FakeDriverOptions driver_options_;
  EngineAccounts accounts_;
  JsSide js_;
  FakeDriver* driver_ = nullptr;
  std::unique_ptr<FakeKernel> kernel_;
  std::vector<std::unique_ptr<Reactor>> reactors_;  // the one
  Reactor* reactor_ = nullptr;
  std::shared_ptr<ConnectionOptions> listener_options_;
  Listener* listener_ = nullptr;
  int listener_fd_ = -1;
  bool listener_closed_ = false;
  std::vector<std::unique_ptr<Talk>> talks_;
  std::vector<Talk*> dialled_;  // in the order of accepting
  size_t next_dialled_ = 0;
  size_t named_ = 0;       // of js_.connections
  size_t most_bytes_ = 0;  // that one side of a talk says
};

}  // namespace ringway::test
