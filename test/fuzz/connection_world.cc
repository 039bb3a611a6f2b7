#include "fuzz/connection_world.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "fuzz/framer_case.h"

namespace ringway::test {

namespace {

constexpr size_t kMostTalks = 8;
constexpr uint32_t kAdopted = 100;  // listener ids of sockets handed over by themselves
// Turns in which nothing moves before somebody is stuck.
constexpr int kMostTurns = 2'000;
constexpr size_t kMostOutbox = 140'000;

uint64_t now_ms = 1'000'000;

uint64_t Now() { return now_ms; }

std::string Pattern(size_t length, size_t from) {
  std::string bytes(length, '\0');
  for (size_t i = 0; i < length; ++i) bytes[i] = static_cast<char>((from + i) * 131 >> 3);
  return bytes;
}

template <typename T>
bool IsPrefix(const T& part, const T& whole) {
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

FramingOptions ReadFraming(FuzzInput& input) {
  FramingOptions framing;
  const uint8_t byte = input.U8();
  framing.format = static_cast<FramingFormat>(byte % 4);
  framing.max_frame_length = (byte & 0x80) != 0 ? 16 : 300'000;
  framing.initial_bytes_to_strip = (byte & 0x40) != 0 ? 4 : 0;
  framing.strip_carriage_return = (byte & 0x20) != 0;
  framing.accept_unterminated = (byte & 0x10) != 0;
  return framing;
}

// A frame as its sender would write it.
std::string Encode(const FramingOptions& framing, const std::string& payload) {
  std::string frame;
  size_t length = payload.size();
  switch (framing.format) {
    case FramingFormat::kLengthField:
      for (int shift = 24; shift >= 0; shift -= 8) frame.push_back(static_cast<char>(length >> shift));
      return frame + payload;
    case FramingFormat::kVarint:
      for (; length > 0x7f; length >>= 7) frame.push_back(static_cast<char>(length | 0x80));
      frame.push_back(static_cast<char>(length));
      return frame + payload;
    case FramingFormat::kDelimiter:
      return payload + "\n";
    case FramingFormat::kRaw:
      break;
  }
  return payload;
}

std::string Joined(const std::vector<std::string>& parts) {
  std::string all;
  for (const std::string& part : parts) all += part;
  return all;
}

}  // namespace

ConnectionWorld::ConnectionWorld(FuzzInput* input) : input_(*input) {
  static constexpr size_t kPipes[] = {256, 16, 4096, 100'000};
  static constexpr uint32_t kBuffers[] = {64, 8, 4096, 16'384};
  driver_options_.seed = input_.U16();
  const uint8_t mood = input_.U8();
  driver_options_.pipe_bytes = kPipes[mood & 3];
  driver_options_.driver = {.receive_buffer_bytes = kBuffers[mood >> 2 & 3],
                            .receive_buffers = (mood & 0x10) != 0 ? 1u : 8u};
  if ((mood & 0x20) != 0) driver_options_.completion_entries = 3;
  if ((mood & 0x40) != 0) driver_options_.trouble_percent = 3;
  if ((mood & 0x80) != 0) {
    driver_options_.late_percent = driver_options_.short_percent = driver_options_.lost_more_percent = 0;
    driver_options_.false_data_percent = driver_options_.pending_percent = 0;
  }
  const uint8_t memory = input_.U8();
  if ((memory & 1) != 0) accounts_.max_buffered_bytes = 40'000;
  if ((memory & 2) != 0) accounts_.max_partial_bytes = 6'000;
  driver_options_.receives_at_take = (memory & 16) != 0;
  if ((memory & 4) != 0) driver_options_.no_buffer_percent = (memory & 8) != 0 ? 100 : 50;
  Start();
}

ConnectionWorld::~ConnectionWorld() { reactors_.clear(); }

void ConnectionWorld::Start() {
  now_ms = 1'000'000;
  // Slow drivers get less to carry.
  most_bytes_ = std::min(
      {kMostOutbox, driver_options_.pipe_bytes * 50, size_t{driver_options_.driver.receive_buffer_bytes} * 100});
  auto driver = std::make_unique<FakeDriver>(driver_options_);
  driver_ = driver.get();
  kernel_ = std::make_unique<FakeKernel>(driver_);
  reactors_.push_back(std::make_unique<Reactor>(
      0, std::move(driver), js_.memory(), [] {}, Now));
  reactor_ = reactors_.front().get();
  reactor_->SetPeers(&reactors_);
  CHECK_EQ(reactor_->Start(), 0);
  js_.on_frame = [this](const JsSide::Frame& frame) { OnFrame(frame); };

  listener_fd_ = driver_->Listen();
  listener_options_ = ReadOptions(1);
  listener_options_->admission = std::make_shared<Admission>(1000, 0, false);
  const auto place = [this](Fd fd, const std::shared_ptr<const ConnectionOptions>& options, Admission::Ticket ticket) {
    reactor_->connections().fetch_add(1);
    Connection::Adopt(*reactor_, std::move(fd), options, ticket);
  };
  listener_ =
      Listener::Start(*reactor_, Fd(listener_fd_), listener_options_, place, [this] { listener_closed_ = true; });
}

std::shared_ptr<ConnectionOptions> ConnectionWorld::ReadOptions(uint32_t listener) {
  static constexpr uint64_t kTimeouts[] = {300'000, 1, 1000, 0};
  auto options = std::make_shared<ConnectionOptions>();
  options->framing = ReadFraming(input_);
  options->listener = listener;
  options->accounts = &accounts_;
  const uint8_t timeouts = input_.U8();
  options->idle_timeout_ms = kTimeouts[timeouts & 3];
  options->partial_frame_timeout_ms = kTimeouts[timeouts >> 2 & 3];
  options->write_stall_timeout_ms = kTimeouts[timeouts >> 4 & 3];
  options->connect_timeout_ms = kTimeouts[timeouts >> 6];
  const uint8_t limits = input_.U8();
  if ((limits & 1) != 0) options->credit_frames = 2;
  if ((limits & 2) != 0) options->credit_bytes = 32;
  if ((limits & 4) != 0) options->high_water_mark = options->low_water_mark = 64;
  if ((limits & 8) != 0) options->max_buffered_bytes = 3'000;
  if ((limits & 16) != 0) options->held_frame_bytes = 1;
  return options;
}

ConnectionWorld::Talk& ConnectionWorld::NewTalk(const FramingOptions& framing) {
  talks_.push_back(std::make_unique<Talk>());
  talks_.back()->framing = framing;
  return *talks_.back();
}

void ConnectionWorld::Adopt() {
  const auto options = ReadOptions(kAdopted + static_cast<uint32_t>(talks_.size()));
  Talk& talk = NewTalk(options->framing);
  const auto [ours, theirs] = driver_->Pair();
  talk.fd = theirs;
  reactor_->connections().fetch_add(1);
  Connection::Adopt(*reactor_, Fd(ours), options, {});
}

void ConnectionWorld::Dial() {
  if (listener_ == nullptr || listener_closed_) return;
  Talk& talk = NewTalk(listener_options_->framing);
  talk.dialled = true;
  talk.fd = driver_->PeerDial(listener_fd_);
  dialled_.push_back(&talk);
}

void ConnectionWorld::Connect() {
  const auto options = ReadOptions(0);
  const auto token = static_cast<uint32_t>(talks_.size());
  Talk& talk = NewTalk(options->framing);
  sockaddr_in to = driver_->RefusingAddress();
  if (input_.U8() % 4 != 0) {
    talk.meeting_fd = driver_->Listen();
    to = driver_->AddressOf(talk.meeting_fd);
  }
  sockaddr_storage address{};
  std::memcpy(&address, &to, sizeof to);
  reactor_->connections().fetch_add(1);
  Connection::Connect(*reactor_, address, sizeof to, options, token);
}

// --- steps

ConnectionWorld::Talk* ConnectionWorld::Pick() {
  if (talks_.empty()) return nullptr;
  return talks_[input_.U8() % talks_.size()].get();
}

void ConnectionWorld::Step() {
  const uint8_t step = input_.U8() % 32;
  switch (step) {
    case 0:
      if (talks_.size() < kMostTalks) Adopt();
      return;
    case 1:
      if (talks_.size() < kMostTalks) Dial();
      return;
    case 2:
      if (talks_.size() < kMostTalks) Connect();
      return;
    case 3:
    case 4:
    case 5:
      for (int turns = 1 + input_.U8() % 8; turns > 0; --turns) Turn();
      return;
    case 6:
      return reactor_->Tick(false);
    case 7:
      reactor_->RunCommands();
      // What a command lent is written again from now on.
      if (js_.CommandsTaken()) js_.ScribbleCommands();
      return;
    case 8: {
      const size_t budget = input_.U8();
      return TakeEvents(budget, (budget & 1) != 0);
    }
    case 9: {
      static constexpr uint64_t kSteps[] = {1, 10, 200, 1000, 31'000, 300'001};
      return Pass(kSteps[input_.Below(6)]);
    }
    case 10:
      // Once: it goes when its last operation is over.
      if (input_.U8() % 8 == 0 && listener_ != nullptr) std::exchange(listener_, nullptr)->Close();
      return;
    default:
      break;
  }
  Talk* talk = Pick();
  if (talk == nullptr) return;
  return step < 19 ? PeerStep(step, *talk) : JsStep(step, *talk);
}

void ConnectionWorld::PeerStep(uint8_t step, Talk& talk) {
  switch (step) {
    case 11:
    case 12:
      return PeerSays(talk, input_.Bytes(input_.U8()));
    case 13:
      return PeerSays(talk, Encode(talk.framing, Pattern(input_.U8(), talk.outbox.size())));
    case 14:
      return PeerSays(talk, Encode(talk.framing, Pattern(input_.U16() * size_t{3}, talk.outbox.size())));
    case 15:
      talk.reads = !talk.reads;
      return;
    case 16:
      talk.finishes = true;
      return;
    case 17:
      return PeerLeaves(talk, false);
    case 18:
      return PeerLeaves(talk, true);
    default:
      return;
  }
}

void ConnectionWorld::PeerSays(Talk& talk, std::string_view bytes) {
  if (talk.finishes || talk.outbox.size() + bytes.size() > most_bytes_) return;
  talk.outbox += bytes;
}

void ConnectionWorld::PeerLeaves(Talk& talk, bool reset) {
  if (talk.fd < 0) return;
  talk.left = true;
  talk.reset = reset;
  talk.closed_kindly = false;
  const int fd = std::exchange(talk.fd, -1);
  talk.taken = driver_->ArrivedAt(fd);
  if (reset) {
    driver_->PeerReset(fd);
  } else {
    driver_->CloseFd(fd);
  }
}

void ConnectionWorld::JsStep(uint8_t step, Talk& talk) {
  if (talk.js == nullptr) return;
  JsConnection& js = *talk.js;
  switch (step) {
    case 19:
      return JsSends(talk, input_.U8());
    case 20:
      return JsSends(talk, input_.U16() * size_t{2});
    case 21:
      talk.echoes = !talk.echoes;
      return;
    case 22: {
      const bool disturbed = driver_options_.trouble_percent > 0 || accounts_.max_buffered_bytes < (1 << 20);
      talk.closed_kindly = !talk.ended_by_js && !js.closed && talk.fd >= 0 && !disturbed;
      talk.ended_by_js = true;
      return js_.Close(js);
    }
    case 23:
      talk.ended_by_js = true;
      talk.closed_kindly = false;
      return js_.Abort(js);
    case 24:
      talk.ended_by_js = true;
      talk.closed_kindly = false;
      return js_.Shutdown(js);
    case 25:
      return js_.Pause(js);
    case 26:
      return js_.Resume(js);
    case 27:
      return js_.WantDrain(js);
    case 28:
      talk.ended_by_js = true;
      talk.closed_kindly = false;
      return js_.Simple(CommandKind::kDestroy, js, static_cast<uint32_t>(CloseReason::kClosed));
    case 29:
      return JsDetaches(talk);
    case 30:
      return JsSendsPinned(talk, input_.U16() * size_t{2});
    default: {
      const size_t header = input_.U8();
      return JsSendsBlock(talk, header, input_.U16() + size_t{2});
    }
  }
}

bool ConnectionWorld::MaySend(const Talk& talk, size_t length) const {
  return length > 0 && talk.answers.size() + length <= most_bytes_;
}

// Also on a connection that is over: such a command must meet nobody.
std::string ConnectionWorld::NextAnswer(Talk& talk, size_t length) {
  std::string bytes = Pattern(length, talk.answers.size() + 7);
  if (!talk.ended_by_js) talk.answers += bytes;
  return bytes;
}

void ConnectionWorld::JsSends(Talk& talk, size_t length) {
  if (MaySend(talk, length)) js_.Send(*talk.js, NextAnswer(talk, length));
}

// Freed as soon as the engine says that it is done with it: a sanitizer sees who reads it afterwards.
void ConnectionWorld::JsSendsPinned(Talk& talk, size_t length) {
  if (!MaySend(talk, length)) return;
  const std::string bytes = NextAnswer(talk, length);
  Pin pin{talk.ended_by_js ? UINT64_MAX : talk.answers.size(), std::make_unique<uint8_t[]>(length)};
  std::copy(bytes.begin(), bytes.end(), pin.bytes.get());
  js_.SendPinned(*talk.js, pin.bytes.get(), static_cast<uint32_t>(length));
  talk.pins.push_back(std::move(pin));
}

// One block in two sends: each of them holds it.
void ConnectionWorld::JsSendsBlock(Talk& talk, size_t header, size_t length) {
  if (!MaySend(talk, header + length)) return;
  const std::string bytes = NextAnswer(talk, header + length);
  Block* block = Block::Make(bytes.size());
  std::copy(bytes.begin(), bytes.end(), block->data());
  const auto half = static_cast<uint32_t>(length / 2);
  const auto start = static_cast<uint32_t>(header);
  block->Ref();
  js_.SendBlock(*talk.js, std::string_view(bytes).substr(0, header), block, start, half);
  js_.SendBlock(*talk.js, {}, block, start + half, static_cast<uint32_t>(length) - half);
}

void ConnectionWorld::JsDetaches(Talk& talk) {
  const bool under_way = talk.given_fd >= 0 || talk.detaches > talk.js->detached.size();
  if (!under_way) talk.owed = talk.ended_by_js ? 0 : talk.answers.size();
  ++talk.detaches;
  js_.Simple(CommandKind::kDetach, *talk.js);
}

void ConnectionWorld::Pass(uint64_t ms) {
  now_ms += ms;
  for (auto& talk : talks_) talk->closed_kindly = false;
}

// --- turns

void ConnectionWorld::Turn() {
  for (auto& talk : talks_) {
    MovePeer(*talk);
    MoveNewOwner(*talk);
  }
  kernel_->AdvanceTo(now_ms);
  reactor_->Tick(false);
  TakeEvents(limits::drain_frames, true);
}

void ConnectionWorld::MovePeer(Talk& talk) {
  if (talk.fd < 0 && !talk.left && talk.meeting_fd >= 0)
    talk.fd = std::max(-1, driver_->AcceptWaiting(talk.meeting_fd));
  if (talk.fd < 0) return;
  if (talk.sent < talk.outbox.size()) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(talk.outbox.data());
    const ssize_t sent = driver_->PeerSend(talk.fd, {bytes + talk.sent, talk.outbox.size() - talk.sent});
    if (sent > 0) talk.sent += static_cast<size_t>(sent);
  } else if (talk.finishes && !talk.fin_sent) {
    talk.fin_sent = true;
    driver_->ShutdownWrite(talk.fd);
  }
  if (!talk.reads) return;
  uint8_t bytes[4096];
  for (ssize_t count; (count = driver_->PeerReceive(talk.fd, bytes)) != -EAGAIN;) {
    if (count <= 0) {
      talk.saw_end = talk.saw_end || count == 0;
      return;
    }
    talk.received.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(count));
  }
}

void ConnectionWorld::MoveNewOwner(Talk& talk) {
  if (talk.given_fd < 0) return;
  uint8_t bytes[4096];
  for (ssize_t count; (count = driver_->PeerReceive(talk.given_fd, bytes)) > 0;) {
    talk.rest.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(count));
  }
}

void ConnectionWorld::TakeEvents(size_t budget, bool release) {
  js_.Take(budget, release);
  NameNewConnections();
  js_.ReleaseTaken();
  for (auto& talk : talks_) {
    if (talk->js == nullptr) continue;
    MeetDetached(*talk);
    ReleasePins(*talk);
  }
}

void ConnectionWorld::MeetDetached(Talk& talk) {
  while (talk.detaches_met < talk.js->detached.size()) {
    const int fd = talk.js->detached[talk.detaches_met++].fd;
    if (fd < 0) continue;
    FUZZ_REQUIRE(talk.given_fd < 0, "detached twice");
    talk.given_fd = fd;
  }
}

void ConnectionWorld::ReleasePins(Talk& talk) {
  while (!talk.pins.empty() && (talk.js->closed || js_.Progress(*talk.js) >= talk.pins.front().until))
    talk.pins.pop_front();
}

void ConnectionWorld::NameNewConnections() {
  for (; named_ < js_.connections.size(); ++named_) {
    JsConnection& js = *js_.connections[named_];
    Talk* talk = js.listener == 0   ? talks_.at(js.token).get()
                 : js.listener == 1 ? dialled_.at(next_dialled_++)
                                    : talks_.at(js.listener - kAdopted).get();
    FUZZ_REQUIRE(talk->js == nullptr, "opened twice");
    talk->js = &js;
  }
}

ConnectionWorld::Talk& ConnectionWorld::TalkOf(const JsConnection& connection) {
  NameNewConnections();
  for (auto& talk : talks_) {
    if (talk->js == &connection) return *talk;
  }
  CHECK(false && "a connection that nobody made");
  return *talks_.front();
}

void ConnectionWorld::OnFrame(const JsSide::Frame& frame) {
  Talk& talk = TalkOf(frame.connection);
  talk.frames.emplace_back(frame.bytes);
  if (!talk.echoes || talk.answers.size() + frame.bytes.size() > most_bytes_) return;
  if (!talk.ended_by_js) talk.answers += frame.bytes;
  const auto length = static_cast<uint32_t>(frame.bytes.size());
  if (frame.block != nullptr) {
    frame.block->Ref();
    js_.SendBlock(frame.connection, {}, frame.block, frame.offset, length);
  } else {
    js_.SendReceived(frame.connection, {}, 0, frame.place, length);
  }
}

// --- what must come of it

const FramerOutcome& ConnectionWorld::ExpectedOf(Talk& talk) {
  const bool ended = talk.fin_sent || (talk.left && !talk.reset);
  if (talk.expected_of != talk.sent || talk.expected_end != ended) {
    talk.expected = RunReference({talk.framing, {}, ended, talk.outbox.substr(0, talk.sent)});
    talk.expected_of = talk.sent;
    talk.expected_end = ended;
  }
  return talk.expected;
}

bool ConnectionWorld::NeverOpened(const Talk& talk) const {
  // An accept that failed rests until time passes.
  if (talk.dialled) return driver_options_.trouble_percent > 0 || listener_closed_;
  const size_t token = static_cast<size_t>(
      std::find_if(talks_.begin(), talks_.end(), [&](const auto& each) { return each.get() == &talk; }) -
      talks_.begin());
  return std::any_of(js_.unopened.begin(), js_.unopened.end(),
                     [token](const CloseEvent& event) { return event.token == token; });
}

bool ConnectionWorld::IsSettled(Talk& talk) {
  if (talk.js == nullptr) return NeverOpened(talk);
  const JsConnection& js = *talk.js;
  // It may have ended for another reason before the command was taken; after a fault it lingers before it says so.
  if (js.faults > 0 || (js.closed && js.reason() != CloseReason::kClosed)) talk.closed_kindly = false;
  // Its peer's time to take anything may have been over before the close, which the next tick finds out.
  if (js.closed && reactor_->counters().Get(Counter::kWriteStalls) > 0) talk.closed_kindly = false;
  if (talk.closed_kindly) return talk.received == talk.answers && talk.saw_end;
  if (talk.given_fd >= 0) return HasRest(talk);
  if (js.closed || js.faults > 0 || talk.ended_by_js) return true;
  // After the peer's FIN nothing is read any more: a reset shows at the next send.
  if (talk.reset) return js.ends == 1;
  if (!talk.left && talk.sent < talk.outbox.size()) return false;
  const FramerOutcome& expected = ExpectedOf(talk);
  if (talk.framing.format == FramingFormat::kRaw) {
    if (Joined(talk.frames).size() != talk.sent) return false;
  } else if (talk.frames.size() != expected.frames.size() || expected.failed()) {
    return false;
  }
  if (talk.left) return js.ends == 1;
  return talk.finishes == (js.ends == 1) && talk.received == talk.answers;
}

bool ConnectionWorld::HasRest(const Talk& talk) const {
  if (talk.reset) return true;
  const size_t read = Join(talk.js->close.received_low, talk.js->close.received_high) + talk.rest.size();
  return talk.js->closed && read == talk.sent && (talk.left || talk.sent == talk.outbox.size());
}

size_t ConnectionWorld::Moved() const {
  size_t moved = reactor_->counters().Get(Counter::kBytesReceived);
  for (const auto& talk : talks_) moved += talk->sent + talk->frames.size() + talk->received.size() + talk->rest.size();
  return moved;
}

void ConnectionWorld::Describe(size_t i) const {
  const Talk& talk = *talks_[i];
  const char* state = talk.js == nullptr ? "never opened" : talk.js->closed ? "closed" : "open";
  const char* peer = talk.reset ? "reset" : talk.left ? "left" : talk.fd < 0 ? "not met" : "there";
  std::fprintf(stderr, "talk %zu: %s, its peer %s%s, sent %zu of %zu, %zu frames, ends %d, answered %zu of %zu\n", i,
               state, peer, talk.finishes ? " and finished" : "", talk.sent, talk.outbox.size(), talk.frames.size(),
               talk.js == nullptr ? 0 : talk.js->ends, talk.received.size(), talk.answers.size());
}

// Also who has paused learns by its send that the peer is gone.
bool ConnectionWorld::IsOwedAReset(const Talk& talk) const {
  if (talk.js == nullptr || talk.js->closed || talk.js->faults > 0) return false;
  const bool detaches = talk.given_fd >= 0 || talk.detaches > talk.js->detached.size();
  return talk.reset && !detaches && !talk.ended_by_js && talk.taken < talk.answers.size();
}

void ConnectionWorld::SettleResets() {
  const auto is_owed = [this](const auto& talk) { return IsOwedAReset(*talk); };
  for (int turn = 0; turn < kMostTurns; ++turn) {
    if (std::none_of(talks_.begin(), talks_.end(), is_owed)) return;
    Turn();
  }
  for (size_t i = 0; i < talks_.size(); ++i) {
    if (IsOwedAReset(*talks_[i])) Describe(i);
  }
  FUZZ_REQUIRE(false, "a connection with bytes to send never learns that its peer has reset");
}

void ConnectionWorld::Settle() {
  SettleResets();
  for (auto& talk : talks_) {
    talk->reads = true;
    if (talk->js != nullptr) js_.Resume(*talk->js);
  }
  size_t moved = 0;
  for (int idle = 0; idle < kMostTurns; ++idle) {
    Turn();
    const size_t now = Moved();
    if (now != moved) idle = 0;
    moved = now;
    if (std::all_of(talks_.begin(), talks_.end(), [this](auto& talk) { return IsSettled(*talk); })) return;
  }
  for (size_t i = 0; i < talks_.size(); ++i) {
    if (!IsSettled(*talks_[i])) Describe(i);
  }
  FUZZ_REQUIRE(false, "something that should come does not");
}

void ConnectionWorld::CheckTalk(Talk& talk) {
  const FramerOutcome& expected = ExpectedOf(talk);
  if (talk.framing.format == FramingFormat::kRaw) {
    FUZZ_REQUIRE(IsPrefix(Joined(talk.frames), talk.outbox), "raw bytes are not what was sent");
  } else {
    FUZZ_REQUIRE(IsPrefix(talk.frames, expected.frames), "%zu frames, not a beginning of the %zu that were sent",
                 talk.frames.size(), expected.frames.size());
  }
  FUZZ_REQUIRE(IsPrefix(talk.received, talk.answers), "%zu bytes of answers, not a beginning of the %zu that were sent",
               talk.received.size(), talk.answers.size());
  if (talk.given_fd >= 0) CheckDetached(talk);
  if (talk.js != nullptr) CheckBroken(talk);
  if (talk.js == nullptr || talk.fd < 0) return;
  FUZZ_REQUIRE(talk.js->closed, "never told of its end");
  FUZZ_REQUIRE(talk.js->sent() == driver_->ArrivedAt(talk.fd), "said to have handed over %llu bytes, it was %llu",
               static_cast<unsigned long long>(talk.js->sent()),
               static_cast<unsigned long long>(driver_->ArrivedAt(talk.fd)));
}

// What was received before its read failed was delivered.
void ConnectionWorld::CheckBroken(const Talk& talk) {
  const JsConnection& js = *talk.js;
  const bool by_read = js.closed && js.close.call == static_cast<uint32_t>(SystemCall::kRead);
  if (!by_read || talk.ended_by_js || js.faults > 0) return;
  const auto read = static_cast<size_t>(Join(js.close.received_low, js.close.received_high));
  if (talk.framing.format == FramingFormat::kRaw) {
    FUZZ_REQUIRE(Joined(talk.frames).size() == read, "%zu bytes delivered of %zu that were read before a reset",
                 Joined(talk.frames).size(), read);
    return;
  }
  const FramerOutcome whole = RunReference({talk.framing, {}, false, talk.outbox.substr(0, read)});
  FUZZ_REQUIRE(talk.frames.size() == whole.frames.size(), "%zu frames delivered of %zu that were read before a reset",
               talk.frames.size(), whole.frames.size());
}

// What was read was delivered, what was queued was sent; the rest is its new owner's, from the next byte on.
void ConnectionWorld::CheckDetached(const Talk& talk) {
  const JsConnection& js = *talk.js;
  FUZZ_REQUIRE(js.closed && js.reason() == CloseReason::kDetached, "detached and not closed");
  FUZZ_REQUIRE(js.sent() >= talk.owed, "detached with %zu bytes to send", talk.owed - static_cast<size_t>(js.sent()));
  const auto read = static_cast<size_t>(Join(js.close.received_low, js.close.received_high));
  FUZZ_REQUIRE(talk.outbox.compare(read, talk.rest.size(), talk.rest) == 0, "the rest is not what was sent");
  if (js.ends > 0) return;
  if (talk.framing.format == FramingFormat::kRaw) {
    FUZZ_REQUIRE(Joined(talk.frames).size() == read, "detached with bytes that were read");
    return;
  }
  const FramerOutcome whole = RunReference({talk.framing, {}, false, talk.outbox.substr(0, read)});
  FUZZ_REQUIRE(talk.frames.size() == whole.frames.size(), "detached with frames that were read");
  FUZZ_REQUIRE(whole.left.empty(), "detached with %zu bytes of an incomplete frame", whole.left.size());
}

void ConnectionWorld::End() {
  reactor_->Stop(input_.Flag());
  for (int turn = 0; !reactor_->stopped() && turn < kMostTurns; ++turn) {
    Pass(20);
    Turn();
  }
  FUZZ_REQUIRE(reactor_->stopped(), "the reactor does not stop");
  while (reactor_->events().HasOverflow()) {
    TakeEvents(limits::drain_frames, true);
    reactor_->events().Flush();
  }
  while (js_.HasEvents()) TakeEvents(limits::drain_frames, true);
  reactor_->DropUntaken();

  for (auto& talk : talks_) {
    CheckTalk(*talk);
    if (talk->fd >= 0) driver_->CloseFd(talk->fd);
    if (talk->meeting_fd >= 0) driver_->CloseFd(talk->meeting_fd);
    if (talk->given_fd >= 0) driver_->CloseFd(talk->given_fd);
  }
  CHECK_EQ(js_.stopped, 1);
  CHECK(listener_closed_);
  CHECK_EQ(reactor_->owners(), 0u);
  CHECK_EQ(reactor_->connections().load(), 0u);
  CHECK_EQ(driver_->InFlight(), 0u);
  CHECK_EQ(reactor_->pool().bytes_in_use(), 0u);
  CHECK_EQ(reactor_->wheel().size(), 0u);
  CHECK_EQ(accounts_.buffered_bytes.load(), 0);
  CHECK_EQ(accounts_.partial_bytes.load(), 0);
  // Its own eventfd and timerfd.
  CHECK_EQ(driver_->OpenFds(), 2u);
}

}  // namespace ringway::test
