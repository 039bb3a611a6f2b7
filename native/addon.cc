// What JavaScript can call; src/engine/native.ts declares the same list with types. Engines travel as externals.
#include <arpa/inet.h>
#include <net/if.h>
#include <node_api.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <iterator>

#include "bridge.h"
#include "bridge_values.h"
#include "buffer/block.h"
#include "driver/driver_select.h"

namespace ringway {
namespace {

template <size_t N>
struct Arguments {
  Arguments(napi_env env, napi_callback_info info) {
    size_t count = N;
    CHECK(napi_get_cb_info(env, info, &count, at, nullptr, nullptr) == napi_ok);
    CHECK_EQ(count, N);
  }
  napi_value at[N];
};

Bridge& EngineOf(napi_env env, napi_value value) {
  void* data = nullptr;
  CHECK(napi_get_value_external(env, value, &data) == napi_ok);
  return *static_cast<Bridge*>(data);
}

bool ParseIp(const std::string& host, uint16_t port, SocketAddress* address) {
  auto& v4 = reinterpret_cast<sockaddr_in&>(address->storage);
  if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    address->length = sizeof v4;
    return true;
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(address->storage);
  // A zone (fe80::1%eth0) names the interface.
  const size_t zone = host.find('%');
  if (::inet_pton(AF_INET6, host.substr(0, zone).c_str(), &v6.sin6_addr) != 1) return false;
  if (zone != std::string::npos) v6.sin6_scope_id = ::if_nametoindex(host.c_str() + zone + 1);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  address->length = sizeof v6;
  return true;
}

bool ParseAddress(napi_env env, napi_value options, SocketAddress* address) {
  const std::string path = values::String(env, options, "path");
  if (!path.empty()) {
    auto& local = reinterpret_cast<sockaddr_un&>(address->storage);
    if (path.size() >= sizeof local.sun_path) return false;
    local.sun_family = AF_UNIX;
    std::memcpy(local.sun_path, path.data(), path.size());
    // An abstract socket's name (leading NUL) has no terminator.
    const size_t terminator = path[0] == '\0' ? 0 : 1;
    address->length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + terminator);
    return true;
  }
  const auto port = static_cast<uint16_t>(values::Unsigned(env, options, "port"));
  return ParseIp(values::String(env, options, "host"), port, address);
}

void SetAddress(napi_env env, napi_value object, const sockaddr_storage& address) {
  char host[INET6_ADDRSTRLEN];
  WriteHost(address, host);
  values::Set(env, object, "host", values::Make(env, std::string(host)));
  values::Set(env, object, "port", values::Make(env, PortOf(address)));
}

// Of a bound unix socket; an abstract one's begins with NUL.
std::string PathOf(const SocketAddress& address) {
  const auto& local = reinterpret_cast<const sockaddr_un&>(address.storage);
  const size_t length = address.length - std::min<size_t>(address.length, offsetof(sockaddr_un, sun_path));
  if (length > 0 && local.sun_path[0] == '\0') return std::string(local.sun_path, length);
  return std::string(local.sun_path, ::strnlen(local.sun_path, length));
}

FramingOptions ParseFraming(napi_env env, napi_value value) {
  FramingOptions framing;
  framing.format = static_cast<FramingFormat>(values::Unsigned(env, value, "format"));
  framing.max_frame_length = values::Unsigned(env, value, "maxFrameLength");
  framing.length_field_offset = static_cast<uint32_t>(values::Unsigned(env, value, "lengthFieldOffset"));
  framing.length_field_length = static_cast<uint32_t>(values::Unsigned(env, value, "lengthFieldLength"));
  framing.little_endian = values::Boolean(env, value, "littleEndian");
  framing.length_adjustment = values::Signed(env, value, "lengthAdjustment");
  framing.initial_bytes_to_strip = static_cast<uint32_t>(values::Unsigned(env, value, "initialBytesToStrip"));
  framing.header_length = static_cast<uint32_t>(values::Unsigned(env, value, "headerLength"));
  const values::Bytes delimiter = values::TypedArray(env, values::Property(env, value, "delimiter"));
  framing.delimiter.assign(static_cast<const char*>(delimiter.data), delimiter.length);
  framing.strip_delimiter = values::Boolean(env, value, "stripDelimiter");
  framing.strip_carriage_return = values::Boolean(env, value, "stripCarriageReturn");
  framing.accept_unterminated = values::Boolean(env, value, "acceptUnterminated");
  framing.hold = values::Boolean(env, value, "hold");
  return framing;
}

std::shared_ptr<ConnectionOptions> ParseConnectionOptions(napi_env env, napi_value value) {
  auto options = std::make_shared<ConnectionOptions>();
  options->framing = ParseFraming(env, values::Property(env, value, "framing"));
  options->idle_timeout_ms = values::Unsigned(env, value, "idleTimeoutMs");
  options->partial_frame_timeout_ms = values::Unsigned(env, value, "partialFrameTimeoutMs");
  options->write_stall_timeout_ms = values::Unsigned(env, value, "writeStallTimeoutMs");
  options->connect_timeout_ms = values::Unsigned(env, value, "connectTimeoutMs");
  options->high_water_mark = values::Unsigned(env, value, "highWaterMark");
  options->low_water_mark = values::Unsigned(env, value, "lowWaterMark");
  options->max_buffered_bytes = values::Unsigned(env, value, "maxBufferedBytes");
  options->is_accounted = values::Boolean(env, value, "isAccounted");
  options->no_delay = values::Boolean(env, value, "noDelay");
  options->keep_alive_ms = values::Unsigned(env, value, "keepAliveMs");
  return options;
}

// createEngine(options, memory, onEvents) -> { handle, driver, reason } | { error }
napi_value CreateEngine(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  napi_value result = values::MakeObject(env);
  std::string error;
  Bridge* bridge = Bridge::Create(env, arguments.at[0], arguments.at[1], arguments.at[2], &error);
  if (bridge == nullptr) {
    values::Set(env, result, "error", values::Make(env, error));
    return result;
  }
  napi_value handle;
  CHECK(napi_create_external(env, bridge, nullptr, nullptr, &handle) == napi_ok);
  values::Set(env, result, "handle", handle);
  values::Set(env, result, "driver", values::Make(env, bridge->driver_name()));
  values::Set(env, result, "reason", values::Make(env, bridge->reason()));
  return result;
}

// listen(engine, options) -> { id, host, port } | negative errno
napi_value Listen(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  const napi_value options = arguments.at[1];
  ListenRequest request;
  request.fd = static_cast<int>(values::Signed(env, options, "fd"));
  if (request.fd < 0 && !ParseAddress(env, options, &request.address)) return values::Make(env, -EINVAL);
  request.backlog = static_cast<int>(values::Unsigned(env, options, "backlog"));
  request.reuse_port = values::Boolean(env, options, "reusePort");
  request.ipv6_only = values::Boolean(env, options, "ipv6Only");
  request.max_connections = static_cast<uint32_t>(values::Unsigned(env, options, "maxConnections"));
  request.max_connections_per_ip = static_cast<uint32_t>(values::Unsigned(env, options, "maxConnectionsPerIp"));
  request.limit_loopback = values::Boolean(env, options, "limitLoopback");
  uint32_t id = 0;
  SocketAddress bound;
  const int error =
      EngineOf(env, arguments.at[0]).group().Listen(request, ParseConnectionOptions(env, options), &id, &bound);
  if (error < 0) return values::Make(env, error);
  napi_value result = values::MakeObject(env);
  values::Set(env, result, "id", values::Make(env, id));
  if (bound.storage.ss_family == AF_UNIX) values::Set(env, result, "path", values::Make(env, PathOf(bound)));
  SetAddress(env, result, bound.storage);
  return result;
}

// adopt(engine, fd, options, token) -> the reactor's index | negative errno
napi_value Adopt(napi_env env, napi_callback_info info) {
  const Arguments<4> arguments(env, info);
  uint32_t reactor = 0;
  const int error =
      EngineOf(env, arguments.at[0])
          .group()
          .Adopt(static_cast<int>(values::Number(env, arguments.at[1])), ParseConnectionOptions(env, arguments.at[2]),
                 static_cast<uint32_t>(values::Number(env, arguments.at[3])), &reactor);
  return error < 0 ? values::Make(env, error) : values::Make(env, reactor);
}

// setFraming(engine, reactor, slot, generation, framing)
napi_value ChangeFraming(napi_env env, napi_callback_info info) {
  const Arguments<5> arguments(env, info);
  const auto word = [&](size_t i) { return static_cast<uint32_t>(values::Number(env, arguments.at[i])); };
  EngineOf(env, arguments.at[0]).group().SetFraming(word(1), word(2), word(3), ParseFraming(env, arguments.at[4]));
  return values::Undefined(env);
}

// connect(engine, options, token) -> the reactor's index | negative errno
napi_value Connect(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  SocketAddress address;
  if (!ParseAddress(env, arguments.at[1], &address)) return values::Make(env, -EINVAL);
  std::shared_ptr<ConnectionOptions> options = ParseConnectionOptions(env, arguments.at[1]);
  const std::string local = values::String(env, arguments.at[1], "localAddress");
  const auto local_port = static_cast<uint16_t>(values::Unsigned(env, arguments.at[1], "localPort"));
  if (!local.empty() && !ParseIp(local, local_port, &options->local)) return values::Make(env, -EINVAL);
  const auto token = static_cast<uint32_t>(values::Number(env, arguments.at[2]));
  return values::Make(env, EngineOf(env, arguments.at[0]).group().Connect(address, std::move(options), token));
}

// abandonConnect(engine, reactor, token)
napi_value AbandonConnect(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  EngineOf(env, arguments.at[0])
      .group()
      .Abandon(static_cast<uint32_t>(values::Number(env, arguments.at[1])),
               static_cast<uint32_t>(values::Number(env, arguments.at[2])));
  return values::Undefined(env);
}

// --- one open connection, without its reactor: (engine, reactor, slot, generation, …)

template <size_t N, typename Use>
bool WithConnection(napi_env env, const Arguments<N>& arguments, Use&& use) {
  const auto word = [&](size_t i) { return static_cast<uint32_t>(values::Number(env, arguments.at[i])); };
  return EngineOf(env, arguments.at[0]).group().reactor(word(1)).descriptors().With(word(2), word(3), use);
}

// localAddress(…) -> { host, port }, empty and 0 where the connection is gone
napi_value LocalAddress(napi_env env, napi_callback_info info) {
  const Arguments<4> arguments(env, info);
  SocketAddress local;
  local.length = sizeof local.storage;
  WithConnection(env, arguments, [&](const DescriptorTable::Entry& entry) {
    ::getsockname(entry.fd, reinterpret_cast<sockaddr*>(&local.storage), &local.length);
  });
  napi_value result = values::MakeObject(env);
  SetAddress(env, result, local.storage);
  return result;
}

// bytesReceived(…) -> number, -1 where the connection is gone
napi_value BytesReceived(napi_env env, napi_callback_info info) {
  const Arguments<4> arguments(env, info);
  double bytes = -1;
  WithConnection(env, arguments, [&](const DescriptorTable::Entry& entry) {
    bytes = static_cast<double>(entry.bytes_received->load(std::memory_order_relaxed));
  });
  return values::Make(env, bytes);
}

// setNoDelay(…, on)
napi_value TurnNoDelay(napi_env env, napi_callback_info info) {
  const Arguments<5> arguments(env, info);
  const bool on = values::Number(env, arguments.at[4]) != 0;
  WithConnection(env, arguments, [on](const DescriptorTable::Entry& entry) { SetNoDelay(entry.fd, on); });
  return values::Undefined(env);
}

// setKeepAlive(…, on, idleSeconds)
napi_value TurnKeepAlive(napi_env env, napi_callback_info info) {
  const Arguments<6> arguments(env, info);
  const bool on = values::Number(env, arguments.at[4]) != 0;
  const int idle = static_cast<int>(values::Number(env, arguments.at[5]));
  WithConnection(env, arguments, [on, idle](const DescriptorTable::Entry& entry) { SetKeepAlive(entry.fd, on, idle); });
  return values::Undefined(env);
}

// closeListener(engine, id)
napi_value CloseListener(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  EngineOf(env, arguments.at[0]).group().CloseListener(static_cast<uint32_t>(values::Number(env, arguments.at[1])));
  return values::Undefined(env);
}

// listenerConnections(engine, id) -> number
napi_value ListenerConnections(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  const auto id = static_cast<uint32_t>(values::Number(env, arguments.at[1]));
  return values::Make(env, EngineOf(env, arguments.at[0]).group().ListenerConnections(id));
}

// flushCommands(engine): a command ring is full, or somebody cannot wait for the end of the turn
napi_value FlushCommands(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  EngineOf(env, arguments.at[0]).FlushCommands();
  return values::Undefined(env);
}

// finishSends(engine): flushCommands for the end of the process
napi_value FinishSends(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  EngineOf(env, arguments.at[0]).FinishSends();
  return values::Undefined(env);
}

// sendNow(engine, slot, generation, bytes, keep): the one reactor of an engine in Node's loop; the bytes stay the
// caller's, and with keep = 1 they may change at once
napi_value SendNow(napi_env env, napi_callback_info info) {
  const Arguments<5> arguments(env, info);
  Bridge& engine = EngineOf(env, arguments.at[0]);
  CHECK(engine.external_loop());
  const values::Bytes bytes = values::TypedArray(env, arguments.at[3]);
  engine.group().reactor(0).SendNow(static_cast<uint32_t>(values::Number(env, arguments.at[1])),
                                    static_cast<uint32_t>(values::Number(env, arguments.at[2])),
                                    {static_cast<const uint8_t*>(bytes.data), bytes.length},
                                    values::Number(env, arguments.at[4]) != 0);
  return values::Undefined(env);
}

// offerLanding(engine, index, bytes): of an engine in Node's loop
napi_value OfferLanding(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  const values::Bytes bytes = values::TypedArray(env, arguments.at[2]);
  CHECK_EQ(bytes.length, size_t{kBlockBytes});
  EngineOf(env, arguments.at[0])
      .group()
      .reactor(0)
      .driver()
      .landing()
      .Offer(static_cast<uint32_t>(values::Number(env, arguments.at[1])), static_cast<uint8_t*>(bytes.data));
  return values::Undefined(env);
}

// setRef(engine, referenced)
napi_value SetRef(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  bool referenced;
  CHECK(napi_get_value_bool(env, arguments.at[1], &referenced) == napi_ok);
  EngineOf(env, arguments.at[0]).SetRef(referenced);
  return values::Undefined(env);
}

// shutdown(engine): everything closes; then, after kStopped from each reactor, destroy(engine)
napi_value Shutdown(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  EngineOf(env, arguments.at[0]).Shutdown();
  return values::Undefined(env);
}

napi_value Destroy(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  EngineOf(env, arguments.at[0]).Destroy();
  return values::Undefined(env);
}

// counters(engine, Float64Array): adds each reactor's
napi_value ReadCounters(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  const values::Bytes out = values::TypedArray(env, arguments.at[1]);
  CHECK_EQ(out.length, static_cast<size_t>(Counter::kCount));
  auto* numbers = static_cast<double*>(out.data);
  for (const std::unique_ptr<Reactor>& reactor : EngineOf(env, arguments.at[0]).group().reactors()) {
    for (size_t i = 0; i < out.length; ++i) {
      numbers[i] += static_cast<double>(reactor->counters().Get(static_cast<Counter>(i)));
    }
  }
  return values::Undefined(env);
}

// --- blocks: a pointer as two words, each call with a reference that somebody holds

Block* BlockAt(napi_env env, napi_value low, napi_value high) {
  return reinterpret_cast<Block*>(
      Join(static_cast<uint32_t>(values::Number(env, low)), static_cast<uint32_t>(values::Number(env, high))));
}

// openBlock(low, high, offset, length) -> ArrayBuffer over the block's bytes, which takes the reference over; null
// where the runtime forbids foreign memory (Electron's cage): readBlock then
napi_value OpenBlock(napi_env env, napi_callback_info info) {
  const Arguments<4> arguments(env, info);
  Block* block = BlockAt(env, arguments.at[0], arguments.at[1]);
  const auto offset = static_cast<size_t>(values::Number(env, arguments.at[2]));
  const auto length = static_cast<size_t>(values::Number(env, arguments.at[3]));
  CHECK(offset <= block->size() && length <= block->size() - offset);
  napi_value buffer;
  const napi_status status = napi_create_external_arraybuffer(
      env, block->data() + offset, length, [](napi_env, void*, void* hint) { static_cast<Block*>(hint)->Unref(); },
      block, &buffer);
  if (status == napi_ok) return buffer;
  CHECK(napi_get_null(env, &buffer) == napi_ok);
  return buffer;
}

// closeBlock(memory): of openBlock; its reference is given back soon, without waiting for the garbage collector
napi_value CloseBlock(napi_env env, napi_callback_info info) {
  const Arguments<1> arguments(env, info);
  CHECK(napi_detach_arraybuffer(env, arguments.at[0]) == napi_ok);
  return values::Undefined(env);
}

// readBlock(low, high, offset, bytes): copies bytes.length bytes; takes the reference over
napi_value ReadBlock(napi_env env, napi_callback_info info) {
  const Arguments<4> arguments(env, info);
  Block* block = BlockAt(env, arguments.at[0], arguments.at[1]);
  const auto offset = static_cast<size_t>(values::Number(env, arguments.at[2]));
  const values::Bytes bytes = values::TypedArray(env, arguments.at[3]);
  CHECK(offset <= block->size() && bytes.length <= block->size() - offset);
  std::memcpy(bytes.data, block->data() + offset, bytes.length);
  block->Unref();
  return values::Undefined(env);
}

// refBlock(low, high): one more reference, for a command
napi_value RefBlock(napi_env env, napi_callback_info info) {
  const Arguments<2> arguments(env, info);
  BlockAt(env, arguments.at[0], arguments.at[1])->Ref();
  return values::Undefined(env);
}

// addressOf(bytes, start, Uint32Array(2)): where in memory; it stays there as long as JavaScript holds on to it
napi_value AddressOf(napi_env env, napi_callback_info info) {
  const Arguments<3> arguments(env, info);
  const values::Bytes bytes = values::TypedArray(env, arguments.at[0]);
  const auto start = static_cast<size_t>(values::Number(env, arguments.at[1]));
  CHECK(start <= bytes.length);
  const auto address = reinterpret_cast<uint64_t>(bytes.data) + start;
  auto* words = static_cast<uint32_t*>(values::TypedArray(env, arguments.at[2]).data);
  words[0] = Low(address);
  words[1] = High(address);
  return values::Undefined(env);
}

// makeBlock(bytes, start, end, Uint32Array(2)) -> whether there was memory; the reference is the caller's
napi_value MakeBlock(napi_env env, napi_callback_info info) {
  const Arguments<4> arguments(env, info);
  const values::Bytes bytes = values::TypedArray(env, arguments.at[0]);
  const auto start = static_cast<size_t>(values::Number(env, arguments.at[1]));
  const auto end = static_cast<size_t>(values::Number(env, arguments.at[2]));
  CHECK(start <= end && end <= bytes.length);
  Block* block = Block::Make(end - start);
  if (block == nullptr) return values::MakeBool(env, false);
  std::memcpy(block->data(), static_cast<const uint8_t*>(bytes.data) + start, end - start);
  auto* words = static_cast<uint32_t*>(values::TypedArray(env, arguments.at[3]).data);
  words[0] = Low(reinterpret_cast<uint64_t>(block));
  words[1] = High(reinterpret_cast<uint64_t>(block));
  return values::MakeBool(env, true);
}

// describe() -> [{ name, found, sentence }]: io_uring features, for `ringway doctor`
napi_value Describe(napi_env env, napi_callback_info /*info*/) {
  napi_value rows;
  CHECK(napi_create_array(env, &rows) == napi_ok);
  uint32_t index = 0;
  for (const UringFeature& feature : DescribeIoUring()) {
    napi_value row = values::MakeObject(env);
    values::Set(env, row, "name", values::Make(env, feature.name));
    values::Set(env, row, "found", values::MakeBool(env, feature.found));
    values::Set(env, row, "sentence", values::Make(env, feature.sentence));
    CHECK(napi_set_element(env, rows, index++, row) == napi_ok);
  }
  return rows;
}

// layout() -> [number]: the sizes that both sides must agree on, so that a stale addon is refused instead of aborting
napi_value Layout(napi_env env, napi_callback_info /*info*/) {
  constexpr uint32_t kLayout[] = {kLayoutVersion,
                                  static_cast<uint32_t>(ControlWord::kWords),
                                  kEventDescriptors,
                                  kEventBytes,
                                  kReceiveBytes,
                                  kCommandWords,
                                  kSlots};
  napi_value numbers;
  CHECK(napi_create_array(env, &numbers) == napi_ok);
  for (uint32_t i = 0; i < std::size(kLayout); ++i) {
    CHECK(napi_set_element(env, numbers, i, values::Make(env, kLayout[i])) == napi_ok);
  }
  return numbers;
}

napi_value Init(napi_env env, napi_value exports) {
  struct Export {
    const char* name;
    napi_callback function;
  };
  constexpr Export kExports[] = {
      {"createEngine", CreateEngine},
      {"listen", Listen},
      {"connect", Connect},
      {"adopt", Adopt},
      {"setFraming", ChangeFraming},
      {"abandonConnect", AbandonConnect},
      {"localAddress", LocalAddress},
      {"bytesReceived", BytesReceived},
      {"setNoDelay", TurnNoDelay},
      {"setKeepAlive", TurnKeepAlive},
      {"closeListener", CloseListener},
      {"listenerConnections", ListenerConnections},
      {"flushCommands", FlushCommands},
      {"finishSends", FinishSends},
      {"sendNow", SendNow},
      {"offerLanding", OfferLanding},
      {"setRef", SetRef},
      {"shutdown", Shutdown},
      {"destroy", Destroy},
      {"counters", ReadCounters},
      {"openBlock", OpenBlock},
      {"closeBlock", CloseBlock},
      {"readBlock", ReadBlock},
      {"refBlock", RefBlock},
      {"makeBlock", MakeBlock},
      {"addressOf", AddressOf},
      {"describe", Describe},
      {"layout", Layout},
  };
  for (const Export& entry : kExports) {
    napi_value function;
    CHECK(napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.function, nullptr, &function) == napi_ok);
    values::Set(env, exports, entry.name, function);
  }
  return exports;
}

}  // namespace
}  // namespace ringway

NAPI_MODULE_INIT() { return ringway::Init(env, exports); }
