// One engine as JavaScript sees it: the rings' memory, the doorbell, and where Node's loop calls in.
//
// Thread rule: everything belongs to JavaScript's thread; reactors touch only the rings and ring the doorbell.
// Lifetime rule: the environment's cleanup hook stops and joins the reactors before the memory goes. process.exit()
// runs no hook on the main thread: nothing is joined then, and nothing here needs it.
#pragma once

#include <node_api.h>
#include <uv.h>

#include <cstdint>
#include <string>
#include <vector>

#include "reactor_group.h"

namespace ringway {

class Bridge {
 public:
  // options: { kind, reactors, maxEngineBytes, maxPartialBytes }; memory: one object of typed arrays per reactor;
  // on_events: takes what the rings hold. nullptr, with the reason in *error, when the engine cannot run.
  static Bridge* Create(napi_env env, napi_value options, napi_value memory, napi_value on_events, std::string* error);

  // Closes everything; kStopped follows from each reactor.
  void Shutdown();
  // After every kStopped: joins the threads and frees the engine.
  void Destroy();
  // Keeps Node's loop alive, or no longer.
  void SetRef(bool referenced);
  // JavaScript filled a command ring to the brim: the reactor should take commands now.
  void FlushCommands();
  // The process ends: nobody takes events any more, and the kernel gets what it takes.
  void FinishSends();
  // Whether commands and sends are this thread's own matter.
  bool external_loop() const { return external_loop_; }

  ReactorGroup& group() { return group_; }
  const std::string& driver_name() const { return driver_name_; }
  const std::string& reason() const { return reason_; }

 private:
  explicit Bridge(napi_env env) : env_(env) {}
  ~Bridge() = default;

  bool AddReactors(napi_value options, napi_value memory, std::string* error);
  void Hold(napi_value value);
  bool StartHandles(std::string* error);
  void CloseHandles();
  static void OnHandleClosed(uv_handle_t* handle);
  static void OnEnvironmentExit(napi_async_cleanup_hook_handle handle, void* data);

  void OnDoorbell();
  void OnReadable();
  void BeforeSleep();
  void OnIdle();
  void Turn();
  void Deliver();
  bool DeliverInScope();
  bool HasEvents() const;
  void NotifyReactors();
  void KeepTurning(bool needed);

  const napi_env env_;
  napi_ref on_events_ = nullptr;
  napi_ref resource_ = nullptr;
  napi_async_context async_context_ = nullptr;
  napi_async_cleanup_hook_handle cleanup_hook_ = nullptr;
  std::vector<napi_ref> memory_;
  ReactorGroup group_;
  std::string driver_name_;
  std::string reason_;
  bool external_loop_ = false;
  bool in_turn_ = false;
  bool redeliver_ = false;  // JavaScript threw and has not said whether it is through
  bool closing_ = false;
  bool environment_ends_ = false;
  int open_handles_ = 0;
  uv_async_t doorbell_;
  uv_prepare_t prepare_;
  uv_idle_t idle_;
  uv_poll_t poll_;
};

}  // namespace ringway
