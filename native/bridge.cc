#include "bridge.h"

#include "base/clock.h"
#include "bridge_values.h"
#include "driver/driver_select.h"

namespace ringway {

namespace {

// How often one call from Node's loop goes round at most, before the loop turns: again only for long chunks that were
// left.
constexpr int kRoundsPerTurn = 32;

DriverRequest RequestOf(const std::string& kind) {
  if (kind == "io_uring") return DriverRequest::kIoUring;
  if (kind == "epoll") return DriverRequest::kEpoll;
  return DriverRequest::kAuto;
}

}  // namespace

Bridge* Bridge::Create(napi_env env, napi_value options, napi_value memory, napi_value on_events, std::string* error) {
  auto* bridge = new Bridge(env);
  CHECK(napi_create_reference(env, on_events, 1, &bridge->on_events_) == napi_ok);
  napi_value resource = values::MakeObject(env);
  CHECK(napi_create_reference(env, resource, 1, &bridge->resource_) == napi_ok);
  CHECK(napi_async_init(env, resource, values::Make(env, "ringway"), &bridge->async_context_) == napi_ok);
  bridge->group_.accounts().max_buffered_bytes = values::Unsigned(env, options, "maxEngineBytes");
  bridge->group_.accounts().max_partial_bytes = values::Unsigned(env, options, "maxPartialBytes");
  if (!bridge->AddReactors(options, memory, error) || !bridge->StartHandles(error)) {
    bridge->group_.Stop();
    napi_async_destroy(env, bridge->async_context_);
    napi_delete_reference(env, bridge->on_events_);
    napi_delete_reference(env, bridge->resource_);
    for (napi_ref reference : bridge->memory_) napi_delete_reference(env, reference);
    delete bridge;
    return nullptr;
  }
  CHECK(napi_add_async_cleanup_hook(env, OnEnvironmentExit, bridge, &bridge->cleanup_hook_) == napi_ok);
  return bridge;
}

bool Bridge::AddReactors(napi_value options, napi_value memory, std::string* error) {
  const DriverRequest request = RequestOf(values::String(env_, options, "kind"));
  external_loop_ = values::Unsigned(env_, options, "reactors") == 0;
  uint32_t count = 0;
  CHECK(napi_get_array_length(env_, memory, &count) == napi_ok);
  DriverOptions driver_options;
  CHECK_EQ(kReceiveBytes, driver_options.receive_buffers * driver_options.receive_buffer_bytes);
  driver_options.external_loop = external_loop_;
  for (uint32_t i = 0; i < count; ++i) {
    DriverChoice choice = SelectDriver(request, driver_options);
    if (choice.driver == nullptr) {
      *error = choice.reason;
      return false;
    }
    driver_name_ = choice.name;
    reason_ = choice.reason;
    napi_value rings;
    CHECK(napi_get_element(env_, memory, i, &rings) == napi_ok);
    const auto array = [&](const char* name, size_t length) {
      const napi_value value = values::Property(env_, rings, name);
      Hold(value);
      const values::Bytes bytes = values::TypedArray(env_, value);
      CHECK_EQ(bytes.length, length);
      return bytes.data;
    };
    ReactorMemory reactor_memory;
    reactor_memory.events.control = static_cast<uint32_t*>(array("control", static_cast<size_t>(ControlWord::kWords)));
    reactor_memory.events.descriptors = static_cast<Descriptor*>(array("descriptors", kEventDescriptors * 4));
    reactor_memory.events.bytes = static_cast<uint8_t*>(array("bytes", kEventBytes + kReceiveBytes));
    reactor_memory.events.receive_bytes = kReceiveBytes;
    reactor_memory.commands = static_cast<uint32_t*>(array("commands", kCommandWords));
    reactor_memory.progress = static_cast<uint32_t*>(array("progress", kSlots));
    group_.AddReactor(std::move(choice.driver), reactor_memory, [this] { uv_async_send(&doorbell_); });
  }
  return true;
}

void Bridge::Hold(napi_value value) {
  napi_ref reference;
  CHECK(napi_create_reference(env_, value, 1, &reference) == napi_ok);
  memory_.push_back(reference);
}

bool Bridge::StartHandles(std::string* error) {
  // Before the handles: where the reactors cannot start there must be none, the loop would hold on to them. Nobody
  // rings yet, since there is nothing to tell.
  if (const int status = group_.Start(external_loop_); status < 0) {
    *error = std::string("the reactor could not start: ") + uv_strerror(status);
    return false;
  }
  uv_loop_t* loop;
  CHECK(napi_get_uv_event_loop(env_, &loop) == napi_ok);
  CHECK(uv_async_init(loop, &doorbell_, [](uv_async_t* h) { static_cast<Bridge*>(h->data)->OnDoorbell(); }) == 0);
  CHECK(uv_prepare_init(loop, &prepare_) == 0);
  CHECK(uv_idle_init(loop, &idle_) == 0);
  doorbell_.data = prepare_.data = idle_.data = this;
  open_handles_ = 3;
  if (external_loop_) {
    CHECK(uv_poll_init(loop, &poll_, group_.reactor(0).driver().PollFd()) == 0);
    poll_.data = this;
    ++open_handles_;
    CHECK(uv_poll_start(&poll_, UV_READABLE,
                        [](uv_poll_t* h, int, int) { static_cast<Bridge*>(h->data)->OnReadable(); }) == 0);
    uv_unref(reinterpret_cast<uv_handle_t*>(&poll_));
  }
  CHECK(uv_prepare_start(&prepare_, [](uv_prepare_t* h) { static_cast<Bridge*>(h->data)->BeforeSleep(); }) == 0);
  uv_unref(reinterpret_cast<uv_handle_t*>(&doorbell_));
  uv_unref(reinterpret_cast<uv_handle_t*>(&prepare_));
  uv_unref(reinterpret_cast<uv_handle_t*>(&idle_));
  return true;
}

// --- Node's loop calls in

void Bridge::OnDoorbell() {
  if (external_loop_) {
    Turn();
    return;
  }
  Deliver();
  NotifyReactors();
  if (HasEvents() || redeliver_) uv_async_send(&doorbell_);
}

void Bridge::OnReadable() { Turn(); }

void Bridge::OnIdle() { Turn(); }

void Bridge::Turn() {
  if (closing_ || in_turn_) return;
  in_turn_ = true;
  Reactor& reactor = group_.reactor(0);
  for (int round = 0; round < kRoundsPerTurn; ++round) {
    // JavaScript may still have to look at what the ring holds.
    if (!redeliver_) reactor.Tick(false);
    if (!HasEvents() && !redeliver_) break;
    Deliver();
    if (closing_) break;
    reactor.RunCommands();
    if (!HasEvents() && !redeliver_) reactor.events().StartOver();
    if (redeliver_ || !reactor.IsCutShort()) break;
  }
  in_turn_ = false;
  if (!closing_) KeepTurning(HasEvents() || redeliver_ || reactor.HasWork());
}

// Commands that were given outside of a turn (timers, promises) leave before the loop sleeps.
void Bridge::BeforeSleep() {
  if (closing_) return;
  if (!external_loop_) return NotifyReactors();
  Reactor& reactor = group_.reactor(0);
  reactor.RunCommands();
  if (HasEvents() || redeliver_ || reactor.HasWork()) KeepTurning(true);
}

// An idle handle keeps the loop from sleeping without a system call.
void Bridge::KeepTurning(bool needed) {
  if (needed == (uv_is_active(reinterpret_cast<uv_handle_t*>(&idle_)) != 0)) return;
  if (needed) {
    uv_idle_start(&idle_, [](uv_idle_t* h) { static_cast<Bridge*>(h->data)->OnIdle(); });
  } else {
    uv_idle_stop(&idle_);
  }
}

// A callback scope for all events, and further ones as long as JavaScript asks for them (a socket of its users has one
// of its own): next ticks and microtasks run after each. What stands behind a frame whose handler threw stays in the
// ring and is taken by the next call.
void Bridge::Deliver() {
  while (!closing_ && DeliverInScope()) {
  }
}

// Not napi_make_callback: it would catch what next ticks throw, and Node's report of an uncaught exception then names
// another line than the one that threw. True: again.
bool Bridge::DeliverInScope() {
  napi_handle_scope handles;
  if (napi_open_handle_scope(env_, &handles) != napi_ok) return false;
  bool again = false;
  redeliver_ = false;
  napi_value function;
  napi_value receiver;
  napi_value resource;
  napi_callback_scope scope;
  napi_get_global(env_, &receiver);
  if (napi_get_reference_value(env_, on_events_, &function) == napi_ok && function != nullptr &&
      napi_get_reference_value(env_, resource_, &resource) == napi_ok && resource != nullptr &&
      napi_open_callback_scope(env_, resource, async_context_, &scope) == napi_ok) {
    napi_value result;
    const napi_status status = napi_call_function(env_, receiver, function, 0, nullptr, &result);
    if (status == napi_pending_exception) {
      napi_value exception;
      if (napi_get_and_clear_last_exception(env_, &exception) == napi_ok) napi_fatal_exception(env_, exception);
      // Not in this call: where the environment is being terminated every call ends so.
      redeliver_ = true;
    } else if (status == napi_ok) {
      napi_get_value_bool(env_, result, &again);
    }
    napi_close_callback_scope(env_, scope);
  }
  napi_close_handle_scope(env_, handles);
  return again;
}

bool Bridge::HasEvents() const {
  for (const std::unique_ptr<Reactor>& reactor : group_.reactors()) {
    const EventRing& events = reactor->events();
    if (events.Control(ControlWord::kEventHead).load(std::memory_order_acquire) !=
        events.Control(ControlWord::kEventTail).load(std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

void Bridge::NotifyReactors() {
  for (const std::unique_ptr<Reactor>& reactor : group_.reactors()) {
    if (reactor->TakeWantsRoom()) {
      reactor->Wake();
    } else if (reactor->HasCommands()) {
      reactor->NotifyCommands();
    }
  }
}

void Bridge::FlushCommands() {
  if (!external_loop_) return NotifyReactors();
  // Inside a turn JavaScript runs between two steps of the reactor, never within one: taking commands is safe.
  group_.reactor(0).RunCommands();
}

void Bridge::FinishSends() {
  if (!external_loop_) return NotifyReactors();
  group_.reactor(0).FinishSends();
}

void Bridge::SetRef(bool referenced) {
  auto* handle = reinterpret_cast<uv_handle_t*>(&doorbell_);
  referenced ? uv_ref(handle) : uv_unref(handle);
}

// --- the end

void Bridge::Shutdown() {
  group_.Shutdown();
  if (external_loop_) KeepTurning(true);
}

void Bridge::Destroy() {
  if (closing_) return;
  closing_ = true;
  group_.Stop();
  CloseHandles();
}

void Bridge::CloseHandles() {
  const auto close = [](void* handle) { uv_close(static_cast<uv_handle_t*>(handle), OnHandleClosed); };
  close(&doorbell_);
  close(&prepare_);
  close(&idle_);
  if (external_loop_) close(&poll_);
}

void Bridge::OnHandleClosed(uv_handle_t* handle) {
  auto* bridge = static_cast<Bridge*>(handle->data);
  if (--bridge->open_handles_ > 0) return;
  napi_handle_scope scope;
  if (!bridge->environment_ends_ && napi_open_handle_scope(bridge->env_, &scope) == napi_ok) {
    napi_async_destroy(bridge->env_, bridge->async_context_);
    napi_delete_reference(bridge->env_, bridge->on_events_);
    napi_delete_reference(bridge->env_, bridge->resource_);
    for (napi_ref reference : bridge->memory_) napi_delete_reference(bridge->env_, reference);
    napi_close_handle_scope(bridge->env_, scope);
  }
  napi_remove_async_cleanup_hook(bridge->cleanup_hook_);
  delete bridge;
}

void Bridge::OnEnvironmentExit(napi_async_cleanup_hook_handle /*handle*/, void* data) {
  auto* bridge = static_cast<Bridge*>(data);
  bridge->environment_ends_ = true;
  bridge->Destroy();
}

}  // namespace ringway
